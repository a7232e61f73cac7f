//! The directory of a demo's run, and what a demo that was killed left in it.
//!
//! A run is named after its process and when that started, so that one that lives is told from one
//! that died. Refuses to touch a run that lives, or a directory of another user.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long a database server whose demo was killed may take to end by itself.
const SERVER_ENDS: Duration = Duration::from_secs(15);

/// The directory of this run, made anew.
pub struct RunDirectory(PathBuf);

impl RunDirectory {
    /// Removes what dead runs left, and makes the directory of this one; how many were found.
    pub async fn make() -> io::Result<(Self, usize)> {
        let uid = rustix::process::getuid().as_raw();
        let base = std::env::temp_dir().join(format!("mayfly-demo-{uid}"));
        match fs::create_dir(&base) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = fs::symlink_metadata(&base)?;
        if !found.is_dir() || found.uid() != uid {
            let why = format!("{} is somebody else's; remove it", base.display());
            return Err(io::Error::other(why));
        }
        let mut dead = 0;
        for entry in fs::read_dir(&base)? {
            let path = entry?.path();
            if path.is_dir() && !is_alive(&path) {
                clean(&path).await?;
                dead += 1;
            }
        }
        let pid = std::process::id();
        let start = started(pid).ok_or_else(|| io::Error::other("/proc is not there"))?;
        let directory = base.join(format!("run-{pid}-{start}"));
        fs::create_dir(&directory)?;
        Ok((Self(directory), dead))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Ends every process that still runs in it, and removes it.
    pub async fn remove(self) -> io::Result<()> {
        clean(&self.0).await?;
        // The last one turns off the light; another demo's run keeps it on.
        if let Some(base) = self.0.parent() {
            let _ = fs::remove_dir(base);
        }
        Ok(())
    }
}

/// The processes whose environment names a place below this directory.
pub fn processes_of(directory: &Path) -> Vec<i32> {
    let mut mark = b"MAYFLY_NAMESPACE=".to_vec();
    mark.extend_from_slice(directory.as_os_str().as_bytes());
    mark.push(b'/');
    let of_run = |pid: &i32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|all| all.split(|byte| *byte == 0).any(|v| v.starts_with(&mark)))
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(of_run).collect()
}

async fn clean(directory: &Path) -> io::Result<()> {
    let deadline = tokio::time::Instant::now() + SERVER_ENDS;
    // A database server ends by itself when its demo is gone, and removes its directory.
    while has_server(directory) && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    loop {
        let left = processes_of(directory);
        for pid in &left {
            if let Some(pid) = Pid::from_raw(*pid) {
                // It may have ended since it was seen.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if left.is_empty() || tokio::time::Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fs::remove_dir_all(directory)
}

fn has_server(directory: &Path) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut servers =
        entries.filter(|entry| entry.file_name().as_bytes().starts_with(b"mayfly-postgres-"));
    servers.any(|server| server.path().join("data/postmaster.pid").exists())
}

fn is_alive(run: &Path) -> bool {
    let parts = || {
        let name = run.file_name()?.to_str()?.strip_prefix("run-")?;
        let (pid, start) = name.split_once('-')?;
        Some(started(pid.parse().ok()?)? == start)
    };
    parts().unwrap_or(false)
}

/// When a process started, in ticks since boot: field 22 of proc(5)'s `stat`.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, which may hold anything; it ends with the last ')'.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19).map(str::to_owned)
}
