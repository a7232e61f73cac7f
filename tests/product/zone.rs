//! The previews' zone: a real BIND on this machine that takes signed updates, as docs/dns.md has it.
//!
//! What is in it is told by a transfer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mayfly::demo::witness::resolve;
use tokio::process::{Child, Command};

use super::cluster::output;
use super::stage::SUFFIX;
use super::wait::until;

/// The key's name.
pub const KEY: &str = "mayfly";
/// The key's secret.
pub const SECRET: &str = "c2VjcmV0LW9mLXRoZS16b25lLWZvci10ZXN0cy1vbmx5ISE=";

/// A running server; it ends with this.
pub struct Zone {
    pub address: SocketAddr,
    _server: Child,
}

impl Zone {
    /// Starts it on this address, with its files below a directory.
    pub async fn start(base: &Path, ip: Ipv4Addr) -> Self {
        let directory = base.join("named");
        std::fs::create_dir(&directory).unwrap();
        let zone = format!(
            "$ORIGIN {SUFFIX}.\n$TTL 5\n@ SOA ns1 hostmaster 1 86400 3600 864000 5\n\
                            @ NS ns1\nns1 A {ip}\n"
        );
        std::fs::write(directory.join("zone"), zone).unwrap();
        let address = SocketAddr::new(ip.into(), 5300);
        let here = directory.display();
        let config = format!(
            "key \"{KEY}\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};
             controls {{}};
             options {{ directory \"{here}\"; pid-file none; session-keyfile none; notify no;
               listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; recursion no;
               allow-query {{ any; }}; dnssec-validation no; empty-zones-enable no; }};
             logging {{ channel all {{ file \"log\"; severity info; }};
               category default {{ all; }}; }};
             zone \"{SUFFIX}\" {{ type primary; file \"{here}/zone\";
               update-policy {{ grant {KEY} zonesub ANY; }};
               allow-transfer {{ key {KEY}; }}; }};\n",
            port = address.port(),
        );
        let file = directory.join("named.conf");
        std::fs::write(&file, config).unwrap();
        // A copy runs where a profile of AppArmor would keep the installed one out.
        let program = directory.join("named.program");
        std::fs::copy(named(), &program).unwrap();
        let mut command = Command::new(program);
        command.args(["-f", "-n", "1", "-c"]).arg(file).current_dir(&directory);
        let server = command.kill_on_drop(true).stderr(Stdio::null()).spawn().unwrap();
        until("the zone is served", async || {
            resolve(address, &format!("ns1.{SUFFIX}")).await.is_ok()
        })
        .await;
        Self { address, _server: server }
    }

    /// Where a host leads, as it says.
    pub async fn lead(&self, host: &str) -> Option<IpAddr> {
        resolve(self.address, host).await.unwrap()
    }

    /// The whole of it, sorted, but for the serial, which counts changes.
    pub async fn records(&self) -> Vec<String> {
        let (server, port) = (format!("@{}", self.address.ip()), self.address.port().to_string());
        let key = format!("hmac-sha256:{KEY}:{SECRET}");
        let words = ["-p", &port, "-y", &key, SUFFIX, "AXFR", "+noall", "+answer"];
        let told = output(Command::new("dig").arg(server).args(words)).await;
        let lines = told.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut lines: Vec<_> = lines
            .filter(|words| words.get(3) != Some(&"SOA"))
            .map(|words| words.join(" "))
            .collect();
        lines.sort();
        assert!(!lines.is_empty(), "a transfer: {told}");
        lines
    }
}

/// Servers are not in everybody's path.
fn named() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = all.map(|directory| directory.join("named")).find(|file| file.is_file());
    found.expect("BIND; as root: apt-get install bind9 bind9-dnsutils")
}
