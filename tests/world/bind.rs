//! Real BIND servers for one test: a primary that takes signed updates, a secondary, a resolver that
//! caches, each as it is wanted.
//!
//! What is true is asked of `dig`, and what another hand changes goes through `nsupdate`: neither is
//! ours. Refuses to share: each test has servers and ports of its own, and they end with it.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket as Socket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use hickory_server::proto::op::{Message, MessageType, OpCode, Query};
use hickory_server::proto::rr::{Name, RecordType};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;
use tokio::net::UdpSocket;

use super::skip::Skipped;
use super::wait::until;

/// The zone that the primary holds.
pub const ZONE: &str = "example.test";
/// The zone's key.
pub const KEY: &str = "mayfly-key";
/// The key's secret.
pub const SECRET: &str = "c2VjcmV0LW9mLXRoZS16b25lLWZvci10ZXN0cy1vbmx5ISE=";
/// Another secret, of the same length.
pub const WRONG_SECRET: &str = "d3JvbmctLW9mLXRoZS16b25lLWZvci10ZXN0cy1vbmx5ISE=";

static SKIPPED: Skipped =
    Skipped::for_want_of("BIND; as root: apt-get install -y bind9 bind9-dnsutils");
static COUNT: AtomicU16 = AtomicU16::new(0);

/// Below the ports that the kernel gives to connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// What is started.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub secondary: bool,
    /// Whether the primary tells the secondary of changes.
    pub notify: bool,
    pub resolver: bool,
    /// How long a denial may be remembered, in seconds.
    pub negative_ttl: u32,
    /// Records of the zone beside its own, as lines of a zone file.
    pub records: &'static str,
    /// Whom the primary's update-policy lets change the zone.
    pub updates: bool,
    /// Whether the primary lets the key transfer the zone.
    pub transfers: bool,
    /// Of the primary; a free one where it is not said.
    pub port: Option<u16>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            secondary: false,
            notify: true,
            resolver: false,
            negative_ttl: 600,
            records: "",
            updates: true,
            transfers: true,
            port: None,
        }
    }
}

/// One running server.
pub struct Named {
    pub address: SocketAddr,
    child: Child,
    directory: PathBuf,
}

/// The servers of one test.
pub struct Bind {
    pub primary: Named,
    pub secondary: Option<Named>,
    pub resolver: Option<Named>,
    _directory: TempDir,
}

impl Bind {
    /// `None` where there is no BIND: the test that asked is skipped, aloud.
    pub async fn start(wanted: Wanted) -> Option<Self> {
        let programs = ["named", "dig", "nsupdate"].map(find);
        let [Some(named), Some(_), Some(_)] = programs else {
            SKIPPED.count();
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        // A copy runs where a profile of AppArmor would keep the installed one out.
        let program = directory.path().join("named");
        // Not copied by this process: a file that is open for writing here cannot be run, and each
        // child that is started meanwhile holds it open a little longer.
        assert!(Command::new("cp").arg(named).arg(&program).status().unwrap().success());
        let first = wanted.port.map_or_else(free, local);
        let (second, third) = (free(), free());
        let at = |a: SocketAddr| format!("{} port {}", a.ip(), a.port());
        let zone = directory.path().join("zone");
        std::fs::write(&zone, zone_file(wanted, first, second)).unwrap();
        let notify = match wanted.notify && wanted.secondary {
            true => format!("notify explicit; also-notify {{ {}; }};", at(second)),
            false => "notify no;".to_owned(),
        };
        let policy = if wanted.updates { KEY } else { "nobody" };
        let transfer = if wanted.transfers { KEY } else { "nobody" };
        let primary = format!(
            "zone \"{ZONE}\" {{ type primary; file \"{zone}\"; {notify}
               update-policy {{ grant {policy} zonesub ANY; }};
               allow-transfer {{ key {transfer}; key looks-only; }}; }};",
            zone = zone.display()
        );
        let primary = Named::start(&program, directory.path(), "primary", first, &primary);
        primary.ready().await;
        let mut bind = Self { primary, secondary: None, resolver: None, _directory: directory };
        let directory = program.parent().unwrap();
        if wanted.secondary {
            let zone = format!(
                "zone \"{ZONE}\" {{ type secondary; primaries {{ {} key looks-only; }};
                   file \"secondary.zone\"; allow-notify {{ any; }}; }};",
                at(first)
            );
            let secondary = Named::start(&program, directory, "secondary", second, &zone);
            secondary.ready().await;
            bind.secondary = Some(secondary);
        }
        if wanted.resolver {
            let zone = format!(
                "zone \"{ZONE}\" {{ type forward; forward only; forwarders {{ {}; }}; }};",
                at(first)
            );
            let resolver = Named::start(&program, directory, "resolver", third, &zone);
            resolver.ready().await;
            bind.resolver = Some(resolver);
        }
        Some(bind)
    }

    /// The whole zone, as a transfer tells it, sorted; the serial counts changes, and is left out.
    pub fn zone(&self) -> String {
        let key = format!("hmac-sha256:looks-only:{SECRET}");
        let words = ["-y", &key, ZONE, "AXFR", "+onesoa", "+noall", "+answer"];
        let told = self.primary.dig(&words);
        let mut lines: Vec<String> = told
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .map(|mut words| {
                if words.get(3) == Some(&"SOA") {
                    words[6] = "serial";
                }
                words.join(" ")
            })
            .collect();
        lines.sort();
        assert!(lines.iter().any(|line| line.contains("SOA")), "a transfer: {told}");
        lines.join("\n")
    }

    /// Changes the zone by another hand: lines of `nsupdate`, such as `update delete <name> A`.
    pub fn edit(&self, lines: &[&str]) {
        let (server, key) = (self.primary.address, format!("hmac-sha256:{KEY}:{SECRET}"));
        let mut child = Command::new("nsupdate")
            .args(["-y", &key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = format!("server {} {}\nzone {ZONE}\n", server.ip(), server.port());
        text.push_str(&lines.join("\n"));
        text.push_str("\nsend\n");
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    }

    /// Tells the secondary that the zone changed, as the primary would.
    pub async fn notify(&self) {
        let mut message = Message::new(4711, MessageType::Query, OpCode::Notify);
        message.add_query(Query::query(Name::from_ascii(ZONE).unwrap(), RecordType::SOA));
        message.metadata.authoritative = true;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let secondary = self.secondary.as_ref().unwrap().address;
        socket.send_to(&message.to_vec().unwrap(), secondary).await.unwrap();
    }
}

impl Named {
    fn start(program: &Path, parent: &Path, role: &str, address: SocketAddr, zone: &str) -> Self {
        let directory = parent.join(role);
        std::fs::create_dir(&directory).unwrap();
        let recursion = if role == "resolver" { "yes" } else { "no" };
        let key =
            |name| format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n");
        let text = format!(
            "{keys}controls {{}};
             options {{ directory \"{here}\"; pid-file none; session-keyfile none;
               listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};
               recursion {recursion}; allow-query {{ any; }}; dnssec-validation no;
               empty-zones-enable no; querylog yes; notify-delay 0; notify-rate 1000;
               min-ncache-ttl 0; max-cache-size 8m; }};
             logging {{ channel queries {{ file \"queries\"; severity info; }};
               channel rest {{ file \"log\"; severity info; }};
               category queries {{ queries; }}; category default {{ rest; }}; }};
             {zone}\n",
            keys = [KEY, "looks-only", "nobody"].map(key).concat(),
            here = directory.display(),
            port = address.port(),
            ip = address.ip(),
        );
        let config = directory.join("named.conf");
        std::fs::write(&config, text).unwrap();
        let child = Command::new(program)
            .args(["-f", "-n", "1", "-c"])
            .arg(&config)
            .current_dir(&directory)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { address, child, directory }
    }

    /// It has the zone, or finds it.
    async fn ready(&self) {
        let what = format!("{} serves {ZONE}", self.directory.display());
        until(&what, async || {
            let told = self.try_dig(&[ZONE, "SOA", "+short", "+tries=1", "+time=1"]);
            told.is_some_and(|text| text.contains("hostmaster"))
        })
        .await;
    }

    /// What `dig` prints.
    pub fn dig(&self, words: &[&str]) -> String {
        self.try_dig(words).unwrap_or_else(|| panic!("dig {words:?}"))
    }

    fn try_dig(&self, words: &[&str]) -> Option<String> {
        let (ip, port) = (format!("@{}", self.address.ip()), self.address.port().to_string());
        let all = ["+nocookie", &ip, "-p", &port];
        let out = Command::new("dig").args(all).args(words).output().unwrap();
        out.status.success().then(|| String::from_utf8(out.stdout).unwrap())
    }

    /// What it was asked about a host so far.
    pub fn asked(&self, host: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.directory.join("queries")).unwrap_or_default();
        log.lines()
            .filter(|line| line.contains(&format!("query: {host} ")))
            .map(str::to_owned)
            .collect()
    }

    /// It keeps its sockets, and answers nobody.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        // A signal arrives a moment after it was sent, and one more answer may come before it.
        let pid = Pid::from_child(&self.child);
        let stopped = WaitOptions::UNTRACED;
        waitpid(Some(pid), stopped).unwrap();
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Without a last word.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn zone_file(wanted: Wanted, first: SocketAddr, second: SocketAddr) -> String {
    let second = match wanted.secondary {
        true => format!("@ NS ns2\nns2 A {}\n", second.ip()),
        false => String::new(),
    };
    format!(
        "$ORIGIN {ZONE}.\n$TTL 60\n@ 86400 SOA ns1 hostmaster 1 86400 3600 864000 {ttl}\n@ NS ns1\n\
         ns1 A {first}\n{second}{more}\n",
        ttl = wanted.negative_ttl,
        first = first.ip(),
        more = wanted.records,
    )
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A port that nobody has, and that no other test of this run is given.
fn free() -> SocketAddr {
    let start = std::process::id() % 1_000_000 * 97;
    loop {
        let next = start + u32::from(COUNT.fetch_add(1, Ordering::Relaxed));
        let address = local(PORTS.start + u16::try_from(next % 12_000).unwrap());
        if is_free(address) {
            return address;
        }
    }
}

/// Whether a server could listen there.
pub fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok() && Socket::bind(address).is_ok()
}

/// Where a program is; servers are not in everybody's `PATH`.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let all = std::env::split_paths(&path).chain(more);
    all.map(|directory| directory.join(program)).find(|file| file.is_file())
}
