//! How an installation of the bench is configured.
//!
//! Refuses to switch anything off that production has on.

use std::net::SocketAddr;
use std::path::Path;

use super::api_server::CLASS;
use super::stage::SHOP;

/// Where previews run, and how much GitHub may be asked.
pub struct Place<'a> {
    /// Where this leads.
    pub kubeconfig: &'a Path,
    /// Visitors come in here.
    pub entry: SocketAddr,
    pub limits: &'static str,
}

/// As in production.
pub const LIMITED: &str = "github: {}";

/// GitHub's limits are not what is measured there, and no sweep begins while something is.
pub const UNLIMITED: &str = "\
github: {limits: {points_per_minute: 1000000, writes_per_minute: 100000, writes_per_hour: 1000000}}
sweep: {pull_requests_every: 6h, orphans_every: 6h}";

pub fn configuration(
    instance: &str,
    data: &Path,
    seed: &Path,
    [main, operations, dns]: [u16; 3],
    Place { kubeconfig, entry, limits }: &Place<'_>,
) -> String {
    let (data, seed, kubeconfig) = (data.display(), seed.display(), kubeconfig.display());
    let (port, digest) = (entry.port(), "0".repeat(64));
    format!(
        "instance: {instance}
listen: 127.0.0.1:{main}
operations_listen: 127.0.0.1:{operations}
ledger: {{}}
previews: {{suffix: preview.localhost, port: {port}}}
{limits}
registries: [{{host: registry.example}}]
cluster:
  kubernetes:
    kubeconfig: '{kubeconfig}'
    ingress: {{class: {CLASS}}}
    network: {{database: [{{cidr: 127.0.0.1/32}}]}}
dns:
  embedded: {{listen: '127.0.0.1:{dns}', target: 127.0.0.1, data_dir: '{data}'}}
databases: {{}}
policy: {{skip_label: no-preview}}
repositories:
  - name: {SHOP}
    workload: {{image: 'registry.example/shop@sha256:{digest}'}}
    seed: {{directories: ['{seed}/migrations']}}
"
    )
}
