//! Which processes belong to a namespace, as the kernel tells it.
//!
//! They are found by the marks in their environment, which descendants inherit however they
//! detach themselves. Refuses to trust a remembered process id alone, since ids are reused: a
//! process is its id together with when it started. A program that overwrites its own environment
//! (nginx, Ruby and Perl do, to show a title in `ps`) is found as the first process of its run, or
//! in its group while that lives. One that besides detaches itself or outlives it escapes, as does
//! one whose environment the controller may not read.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::record::{Leader, Run};
use crate::preview::Revision;

/// How often a process that is not our child is looked at, for whether it has exited.
const ENDED_LOOK: Duration = Duration::from_millis(500);

/// The namespace directory that a process belongs to.
pub(super) const NAMESPACE: &str = "MAYFLY_NAMESPACE";
/// The revision that it was started as.
pub(super) const REVISION: &str = "MAYFLY_REVISION";
/// The port that its run was given; `PORT` may be changed by a workload for its own children.
pub(super) const PORT: &str = "MAYFLY_PORT";

/// Which start at that port it is of.
pub(super) const START: &str = "MAYFLY_START";

/// A process, for as long as this machine runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Identity {
    pid: i32,
    /// Boot id and start time.
    started: String,
}

/// A living process of a namespace.
#[derive(Clone, Debug)]
pub(super) struct Process {
    /// Which process.
    pub(super) identity: Identity,
    /// Which run it belongs to, if its marks can be read.
    pub(super) run: Option<Run>,
}

impl Identity {
    /// Names a process by its id, now.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Stat::read(i32::try_from(pid).ok()?, &boot_id().ok()?).map(|stat| stat.identity)
    }

    /// Whether it has not exited.
    pub(super) fn lives(&self) -> bool {
        boot_id()
            .ok()
            .and_then(|boot| Stat::read(self.pid, &boot))
            .is_some_and(|stat| stat.identity == *self)
    }

    /// Waits until it has exited. It is not our child, so nobody tells us: it is looked at.
    pub(super) async fn ended(&self) {
        while self.lives() {
            tokio::time::sleep(ENDED_LOOK).await;
        }
    }

    /// Sends a signal to this very process; nothing happens when it is gone.
    pub(super) fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        // Looked at after the handle was opened: if it is the one that we mean now, it was then.
        if self.lives() {
            let _ = pidfd_send_signal(handle, signal);
        }
    }
}

/// Every living process of the machine, as one walk through `/proc` found them.
pub(super) struct Census(Vec<Entry>);

struct Entry {
    process: Process,
    group: i32,
    /// The namespace directories that its marks name: one, unless somebody added to them.
    namespaces: Vec<Vec<u8>>,
}

impl Census {
    fn take() -> io::Result<Self> {
        let boot = boot_id()?;
        let mark = format!("{NAMESPACE}=");
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            // One that exits while we look is not there.
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let Some(Stat { identity, group }) = Stat::read(pid, &boot) else { continue };
            let entries = environ.split(|byte| *byte == 0);
            let named = entries.filter_map(|it| it.strip_prefix(mark.as_bytes()));
            let namespaces: Vec<_> = named.map(<[u8]>::to_vec).collect();
            let run = if namespaces.is_empty() { None } else { marks(&environ) };
            all.push(Entry { process: Process { identity, run }, group, namespaces });
        }
        Ok(Self(all))
    }

    /// Those that belong to this namespace directory: by their marks, or as one of the group of a leader
    /// that lived when the walk began.
    pub(super) fn of(&self, namespace: &Path, leaders: &[Leader]) -> Vec<Process> {
        let wanted = namespace.as_os_str().as_bytes();
        let found = self.0.iter().filter_map(|it| {
            if it.namespaces.iter().any(|namespace| namespace == wanted) {
                return Some(it.process.clone());
            }
            let leader = leaders.iter().find(|leader| leader.process.pid == it.group)?;
            Some(Process { run: Some(leader.run.clone()), ..it.process.clone() })
        });
        found.collect()
    }
}

/// Walks for all who ask at the same time: a walk that began after somebody asked tells him too.
#[derive(Default)]
pub(super) struct Walks(tokio::sync::Mutex<Option<(Instant, Arc<Census>)>>);

impl Walks {
    /// Who lives now, or lived after this was called.
    pub(super) async fn census(&self) -> io::Result<Arc<Census>> {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        if let Some((begun, census)) = &*last
            && *begun >= asked
        {
            return Ok(census.clone());
        }
        let begun = Instant::now();
        let walk = tokio::task::spawn_blocking(Census::take);
        let census = Arc::new(walk.await.map_err(io::Error::other)??);
        *last = Some((begun, census.clone()));
        Ok(census)
    }
}

fn marks(environ: &[u8]) -> Option<Run> {
    let value = |key: &str| {
        let entries = environ.split(|byte| *byte == 0).filter_map(|e| std::str::from_utf8(e).ok());
        entries.filter_map(|entry| entry.split_once('=')).find(|e| e.0 == key).map(|e| e.1)
    };
    Some(Run {
        revision: Revision::parse(value(REVISION)?)?,
        port: value(PORT)?.parse().ok()?,
        start: value(START).map_or(Some(0), |it| it.parse().ok())?,
    })
}

/// What `/proc/<pid>/stat` says; nothing for a zombie, which holds nothing but its number.
struct Stat {
    identity: Identity,
    group: i32,
}

impl Stat {
    fn read(pid: i32, boot: &str) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let text = String::from_utf8_lossy(&text);
        // The second field is the program's name, in parentheses, and may contain anything.
        let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
        if matches!(*fields.first()?, "Z" | "X") {
            return None;
        }
        let started = format!("{boot}/{}", fields.get(19)?);
        Some(Self { identity: Identity { pid, started }, group: fields.get(2)?.parse().ok()? })
    }
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
