//! How an installation of the bench is configured.
//!
//! Refuses to switch anything off that production has on.

use std::net::SocketAddr;
use std::path::Path;

use super::api_server::CLASS;
use super::stage::SHOP;

/// Where previews run.
pub enum Place<'a> {
    /// On this machine.
    Local,
    /// Where this kubeconfig leads; visitors come in at that address.
    Cluster(&'a Path, SocketAddr),
}

/// GitHub's limits are not what is measured there, and no sweep begins while something is.
const OF_CLUSTER: &str = "\
github: {limits: {points_per_minute: 1000000, writes_per_minute: 100000, writes_per_hour: 1000000}}
registries: [{host: registry.example}]
sweep: {pull_requests_every: 6h, orphans_every: 6h}";

pub fn configuration(
    instance: &str,
    data: &Path,
    seed: &Path,
    [main, operations, dns, proxy]: [u16; 4],
    place: &Place<'_>,
) -> String {
    let (data, seed) = (data.display(), seed.display());
    let (cluster, workload, port, more) = match place {
        Place::Local => (
            format!("local: {{data_dir: '{data}', proxy_listen: '127.0.0.1:{proxy}'}}"),
            "command: ['/bin/true']".to_owned(),
            proxy,
            "github: {}",
        ),
        Place::Cluster(kubeconfig, entry) => (
            format!(
                "kubernetes: {{kubeconfig: '{}', ingress: {{class: {CLASS}}}, \
                 network: {{database: [{{cidr: 127.0.0.1/32}}]}}}}",
                kubeconfig.display()
            ),
            format!("image: 'registry.example/shop@sha256:{}'", "0".repeat(64)),
            entry.port(),
            OF_CLUSTER,
        ),
    };
    format!(
        "instance: {instance}
listen: 127.0.0.1:{main}
operations_listen: 127.0.0.1:{operations}
ledger: {{}}
previews: {{suffix: preview.localhost, port: {port}}}
{more}
cluster:
  {cluster}
dns:
  embedded: {{listen: '127.0.0.1:{dns}', target: 127.0.0.1, data_dir: '{data}'}}
databases: {{}}
policy: {{skip_label: no-preview}}
repositories:
  - name: {SHOP}
    workload: {{{workload}}}
    seed: {{directories: ['{seed}/migrations']}}
"
    )
}
