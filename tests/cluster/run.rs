//! One run: its directory and its programs.
//!
//! Refuses to let a program outlive it: each is tied to our life by the kernel, and carries the
//! directory in its environment, so that it is found even where that failed.

use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result};

use super::leftovers;
use super::wait::Hopeless;

/// The variable by which a program is known to be of a run.
pub const MARK: &str = "MAYFLY_TEST_CLUSTER";

/// How many lines of its log a program that ended leaves in the error.
const LAST_LINES: usize = 8;

/// A run and what it started.
pub struct Run {
    directory: PathBuf,
    started: Mutex<Vec<(String, Child)>>,
}

impl Run {
    /// Makes the directory of a new run of this process.
    pub fn make(base: &Path) -> Result<Self> {
        let directory = base.join(leftovers::name_of_this_process()?);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.with_context(|| format!("making {}", directory.display()))?;
        Ok(Self { directory: directory.canonicalize()?, started: Mutex::default() })
    }

    /// A place in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes the control group of its pods, and says its name.
    pub fn make_cgroup(&self) -> Result<String> {
        leftovers::make_cgroups(&self.directory)?;
        Ok(leftovers::cgroup_of(&self.directory))
    }

    /// Writes a file into its directory.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// Starts a program, whose number is returned; what it says goes to `<name>.log`.
    pub fn start<A: AsRef<std::ffi::OsStr>>(
        &self,
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<u32> {
        let log =
            OpenOptions::new().create(true).append(true).open(self.path(&format!("{name}.log")))?;
        // The kernel ends it when we end, however that happens. util-linux is essential in Debian.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        command.env(MARK, &self.directory).env_remove("KUBECONFIG").current_dir(&self.directory);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A group of its own: Ctrl-C is ours to handle.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().with_context(|| format!("starting {name} through setpriv"))?;
        let pid = child.id();
        self.lock().push((name.to_owned(), child));
        Ok(pid)
    }

    /// An error when one of its programs has ended, with the last that it said.
    pub fn check(&self) -> Result<()> {
        for (name, child) in self.lock().iter_mut() {
            if let Some(status) = child.try_wait()? {
                let log = fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n  ");
                return Err(Hopeless(format!("{name} ended ({status}):\n  {last}")).into());
            }
        }
        Ok(())
    }

    /// Ends every program and removes the directory.
    pub async fn remove(self) -> Result<()> {
        for (_, child) in self.lock().iter_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        leftovers::remove(&self.directory).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, Child)>> {
        self.started.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Loopback ports that nobody listens on, all different.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listeners: Vec<_> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
