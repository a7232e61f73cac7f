//! A program that renders, run within bounds: time, memory, what it writes, and what it knows.
//!
//! It gets a private directory, an environment of its own without a word of the controller's, and a
//! process group that ends with it. Refuses to wait for whatever outlives its bounds, and to tell it
//! where a cluster is.

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::error::RenderErrorKind;
use super::{RenderError, RenderLimits, template};

/// How much of its complaints is read, in bytes; what follows is thrown away.
const COMPLAINT_BYTES: u64 = 64 * 1024;

/// Nobody listens on the discard port: what asks for a proxy goes nowhere.
const NO_PROXY: &str = "http://127.0.0.1:9";

/// Whether a program may use the network.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    /// To pull a chart.
    Allowed,
    /// To render one.
    Off,
}

/// One run of a program.
pub(super) struct Run<'a> {
    /// The program, and the key of the configuration that names it.
    pub(super) program: (&'a Path, &'static str),
    /// Its arguments.
    pub(super) arguments: Vec<OsString>,
    /// What it reads.
    pub(super) input: Vec<u8>,
    /// The one directory that is its own.
    pub(super) room: &'a Path,
    /// Whether it may use the network.
    pub(super) network: Network,
    /// What it is to be called when it fails.
    pub(super) blame: RenderErrorKind,
}

/// Kills a process and what it started, however the wait for it ends.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // The leader is not reaped before its group was asked to end, so the id is still its own.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Run<'_> {
    /// Runs it, and returns what it wrote.
    pub(super) async fn output(self, limits: &RenderLimits) -> Result<String, RenderError> {
        let name = self.program.0.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut child = self.start(limits).map_err(|error| {
            let words = format!("{name} cannot be run: {error}; set {}", self.program.1);
            RenderError::new(RenderErrorKind::Tool, words)
        })?;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let group = Group(pid);
        // Before it has read its input, and so before it has begun.
        confine(pid, limits);
        let ran = tokio::time::timeout(limits.timeout, converse(&mut child, &self.input, limits));
        let Ok(ran) = ran.await else {
            let words = format!("{name} took longer than {:?} and was ended", limits.timeout);
            return Err(RenderError::limit(
                words + "; make the chart simpler, or raise tools.timeout",
            ));
        };
        let (output, complaint) = ran?;
        // Whatever it left behind ends before it is reaped, while the group's id is still its own.
        drop(group);
        let status = child.wait().await;
        let status =
            status.map_err(|error| RenderError::new(RenderErrorKind::Tool, error.to_string()))?;
        self.judge(&name, status, output, &complaint, limits)
    }

    fn start(&self, limits: &RenderLimits) -> std::io::Result<Child> {
        let mut command = Command::new(self.program.0);
        command.args(&self.arguments).current_dir(self.room).env_clear();
        for (name, folder) in [
            ("HOME", "home"),
            ("TMPDIR", "tmp"),
            ("XDG_CACHE_HOME", "home/cache"),
            ("XDG_CONFIG_HOME", "home/config"),
            ("XDG_DATA_HOME", "home/data"),
            ("HELM_CACHE_HOME", "home/cache"),
            ("HELM_CONFIG_HOME", "home/config"),
            ("HELM_DATA_HOME", "home/data"),
            ("HELM_PLUGINS", "home/plugins"),
        ] {
            command.env(name, self.room.join(folder));
        }
        std::fs::create_dir_all(self.room.join("tmp"))?;
        command.env("KUBECONFIG", "/dev/null");
        command.env("GOTRACEBACK", "none");
        // The collector works harder before the limit is met.
        command.env("GOMEMLIMIT", format!("{}MiB", limits.memory_mebibytes * 3 / 4));
        if self.network == Network::Off {
            for name in ["HTTP_PROXY", "HTTPS_PROXY"] {
                command.env(name, NO_PROXY);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true).spawn()
    }

    fn judge(
        &self,
        name: &str,
        status: ExitStatus,
        output: Vec<u8>,
        complaint: &[u8],
        limits: &RenderLimits,
    ) -> Result<String, RenderError> {
        if status.success() {
            return String::from_utf8(output)
                .map_err(|_| RenderError::source(format!("{name} wrote what is not UTF-8")));
        }
        let complaint = String::from_utf8_lossy(complaint);
        let out_of_memory = ["out of memory", "cannot allocate memory", "memory allocation of"];
        if out_of_memory.iter().any(|words| complaint.contains(words)) {
            let words = format!("{name} needed more than {} MiB", limits.memory_mebibytes);
            return Err(RenderError::limit(
                words + "; make the chart simpler, or raise tools.memory_mebibytes",
            ));
        }
        if complaint.contains(template::TOO_MUCH) {
            return Err(RenderError::said(RenderErrorKind::Limit, &complaint, self.room));
        }
        let complaint = match complaint.trim() {
            "" => format!("{name} ended with {status} and said nothing"),
            words => words.to_owned(),
        };
        Err(RenderError::said(self.blame, &complaint, self.room))
    }
}

/// Hands over the input, and reads what comes, all at once: a full pipe would hold up the others.
async fn converse(
    child: &mut Child,
    input: &[u8],
    limits: &RenderLimits,
) -> Result<(Vec<u8>, Vec<u8>), RenderError> {
    let piped = "all three streams are piped";
    let (mut stdin, stdout, stderr) = (
        child.stdin.take().expect(piped),
        child.stdout.take().expect(piped),
        child.stderr.take().expect(piped),
    );
    let write = async {
        // A program that ends without reading says why itself.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        Ok(())
    };
    let output = async {
        let most = limits.output_bytes;
        let bytes = read(stdout, most as u64 + 1).await.0;
        if bytes.len() > most {
            let words = format!("more than {most} bytes were rendered");
            return Err(RenderError::limit(words + "; render less, or raise tools.output_bytes"));
        }
        Ok(bytes)
    };
    let complaint = async {
        let (bytes, mut rest) = read(stderr, COMPLAINT_BYTES).await;
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
        Ok(bytes)
    };
    let ((), output, complaint) = tokio::try_join!(write, output, complaint)?;
    Ok((output, complaint))
}

/// Reads up to so many bytes, and gives back the stream for what follows.
async fn read<R: AsyncRead + Unpin>(stream: R, most: u64) -> (Vec<u8>, R) {
    let mut bytes = Vec::new();
    let mut limited = stream.take(most);
    // A pipe fails only with its reader; what came until then is all there is.
    let _ = limited.read_to_end(&mut bytes).await;
    (bytes, limited.into_inner())
}

/// Limits a process from outside: memory that it can write to, files, and core dumps.
fn confine(pid: Option<Pid>, limits: &RenderLimits) {
    let most = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
    for (resource, limit) in [
        // Not the address space: Go reserves far more of that than it uses.
        (Resource::Data, most(limits.memory_mebibytes * 1024 * 1024)),
        (Resource::Fsize, most(limits.source_bytes)),
        (Resource::Core, most(0)),
    ] {
        // A process that has ended already has nothing to be kept from.
        let _ = pid.map(|pid| prlimit(Some(pid), resource, limit));
    }
}
