//! A real ExternalDNS for one test, between a real API server and a real BIND.
//!
//! Refuses to be shared: each heeds the routes of one installation, and ends with its test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::bind::{Bind, KEY, SECRET, ZONE};
use super::skip::Skipped;

/// Its `--txt-owner-id`.
pub const OWNER: &str = "here";

static SKIPPED: Skipped = Skipped::for_want_of(
    "ExternalDNS; tests/tools/build external-dns builds it, with Go (https://go.dev/dl)",
);
static PROGRAM: LazyLock<Option<PathBuf>> = LazyLock::new(find);

/// What the build says when the program is missing.
const MISSING: i32 = 3;

/// A running one.
pub struct ExternalDnsProgram {
    child: Child,
    directory: TempDir,
}

impl ExternalDnsProgram {
    /// Writes into the zone of `bind` what the Ingresses of this instance ask for. `None` where there
    /// is no such program: the test that asked is skipped, aloud.
    pub fn start(kubeconfig: &Path, bind: &Bind, instance: &str) -> Option<Self> {
        let Some(program) = &*PROGRAM else {
            SKIPPED.count();
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let at = bind.primary.address;
        // It ends with this thread, which is the test's. util-linux is essential in Debian.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg(format!("--label-filter=mayfly.dev/instance={instance}"))
            .args(["--source=ingress", "--policy=sync", "--interval=1s", "--log-level=debug"])
            .args(["--registry=txt", &format!("--txt-owner-id={OWNER}")])
            .args(["--provider=rfc2136", "--rfc2136-axfr", "--rfc2136-min-ttl=60s"])
            .args([format!("--rfc2136-host={}", at.ip()), format!("--rfc2136-port={}", at.port())])
            .args([format!("--rfc2136-zone={ZONE}"), format!("--rfc2136-tsig-keyname={KEY}")])
            .args(["--rfc2136-tsig-secret-alg=hmac-sha256"])
            .arg(format!("--rfc2136-tsig-secret={SECRET}"))
            // A record and the TXT record that says whose it is: in a message each.
            .args(["--rfc2136-batch-change-size=1", "--metrics-address=127.0.0.1:0"])
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Some(Self { child, directory })
    }

    /// It does nothing more until it is thawed.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// What it said so far; panics when it has ended.
    pub fn log(&mut self) -> String {
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap();
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "ExternalDNS ended ({ended:?}):\n{log}");
        log
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for ExternalDnsProgram {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where it is, of the pins in `tests/tools`. Not built here: that takes longer than all these tests.
fn find() -> Option<PathBuf> {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/build");
    let mut command = Command::new(build);
    let command = command.args(["--no-build", "external-dns"]).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    if output.status.code() == Some(MISSING) {
        return None;
    }
    assert!(output.status.success(), "ExternalDNS was not found, and why was said");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.trim().strip_prefix("external-dns ").unwrap().into())
}
