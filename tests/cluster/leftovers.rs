//! What a run left on the machine, and its removal: the same for one that ends and for one that was
//! killed. Refuses to touch a run that lives, or a directory of another user.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::node::LINK;
use super::run::MARK;
use super::wait::until;

/// How long what was killed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// Removes what dead runs left below this directory; how many there were.
pub async fn clean(base: &Path) -> Result<usize> {
    let found = match fs::symlink_metadata(base) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        found => found.with_context(|| format!("looking at {}", base.display()))?,
    };
    if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() {
        bail!("{} is somebody else's; remove it, or name another with --dir", base.display());
    }
    let mut dead = 0;
    for entry in fs::read_dir(base)? {
        let run = entry?.path();
        if is_dead(&run)
            && let Ok(run) = run.canonicalize()
        {
            remove(&run).await?;
            dead += 1;
        }
    }
    Ok(dead)
}

/// Ends every process of a run and removes its directory.
pub async fn remove(run: &Path) -> Result<()> {
    until(GONE_WITHIN, "the processes of the cluster to end", async || {
        let left = processes_of(run);
        left.iter().for_each(|pid| kill(run, *pid));
        if !left.is_empty() {
            bail!("still there: {left:?}");
        }
        // What ran in the node's namespaces ends with them, and so does its end of the link.
        remove_cgroups(run)?;
        let link = fs::read_to_string(run.join(LINK)).unwrap_or_default();
        if !link.is_empty() && Path::new("/sys/class/net").join(&link).exists() {
            bail!("still there: the link {link}");
        }
        Ok(())
    })
    .await?;
    match fs::remove_dir_all(run) {
        // Another one that starts cleans too, and a test removes what it made.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed.with_context(|| format!("removing {}", run.display()))?,
    }
    // The last one turns off the light.
    let _ = run.parent().map(fs::remove_dir);
    Ok(())
}

/// The name of the control group in which the pods of a run are.
pub fn cgroup_of(run: &Path) -> String {
    format!("mayfly-{}", run.file_name().unwrap_or_default().display())
}

/// Makes the run's control group in each hierarchy that is mounted.
pub fn make_cgroups(run: &Path) -> Result<()> {
    for group in cgroups(run) {
        fs::create_dir(&group).with_context(|| format!("making {}", group.display()))?;
        // Where processors and memory are shared out by name, a new group has none.
        for set in ["cpuset.cpus", "cpuset.mems"] {
            let above = group.with_file_name(set);
            if group.join(set).exists() && above.exists() {
                fs::write(group.join(set), fs::read(above)?)?;
            }
        }
    }
    Ok(())
}

/// Removes the run's control groups; the innermost go first.
fn remove_cgroups(run: &Path) -> Result<()> {
    cgroups(run).iter().filter(|group| group.is_dir()).try_for_each(|group| remove_group(group))
}

/// Where the run's control group is, or would be: in the one hierarchy of cgroup v2, or in each.
fn cgroups(run: &Path) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let name = cgroup_of(run);
    if root.join("cgroup.procs").exists() {
        return vec![root.join(name)];
    }
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|it| it.path());
    let hierarchies = hierarchies.filter(|it| it.join("cgroup.procs").exists() && !it.is_symlink());
    hierarchies.map(|it| it.join(&name)).collect()
}

fn remove_group(group: &Path) -> Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    fs::remove_dir(group).with_context(|| format!("removing {}", group.display()))
}

/// The name of a run's directory: whose it is, told from a later process with the same number.
pub fn name_of_this_process() -> Result<String> {
    let pid = std::process::id();
    let start = started(pid).context("/proc is not there")?;
    Ok(format!("run-{pid}-{start}"))
}

/// The processes that carry the mark of this run.
pub fn processes_of(run: &Path) -> Vec<i32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_of(run, *pid)).collect()
}

fn is_of(run: &Path, pid: i32) -> bool {
    let mark = [MARK.as_bytes(), b"=", run.as_os_str().as_bytes()].concat();
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|all| all.split(|byte| *byte == 0).any(|entry| entry == mark))
}

/// Kills this very process: the handle is taken before it is looked at again, so a number that was
/// given to another in between does no harm. It may have ended since it was seen.
fn kill(run: &Path, pid: i32) {
    let handle = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    if let Some(Ok(handle)) = handle
        && is_of(run, pid)
    {
        let _ = pidfd_send_signal(handle, Signal::KILL);
    }
}

/// Whether this is the directory of a run whose process has ended.
fn is_dead(run: &Path) -> bool {
    let parts = || {
        let (pid, start) = run.file_name()?.to_str()?.strip_prefix("run-")?.split_once('-')?;
        Some(started(pid.parse().ok()?).is_none_or(|it| it != start))
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
