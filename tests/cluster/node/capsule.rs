//! The namespaces of a node: its mounts, network, processes and name are its own, and end with the
//! first process in them, whatever is still running there.
//!
//! That is how a node leaves nothing behind: no rule, link, address set, mount or socket of it was
//! ever the machine's. Refuses to share anything with the machine but control groups and the disk.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::run::Run;
use crate::wait::until;

/// How long making namespaces may take on a busy machine.
const MADE_WITHIN: Duration = Duration::from_secs(20);

/// What the first process does.
const INIT: &str = include_str!("init.sh");

/// The namespaces, held open by a process.
pub struct Capsule {
    /// The first process, as the machine counts.
    pub first: u32,
}

impl Capsule {
    /// Makes them.
    pub async fn make(run: &Run) -> Result<Self> {
        let directory = run.path("");
        if ["/run", "/var/lib", "/var/log"].iter().any(|hidden| directory.starts_with(hidden)) {
            bail!("{} is hidden inside of the node; name another with --dir", directory.display());
        }
        let mut arguments = Vec::from(
            ["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL"]
                .map(Into::into),
        );
        arguments.extend(["--mount-proc", "--", "bash", "-c", INIT, "init"].map(Into::into));
        arguments.push(directory.clone().into_os_string());
        let holder = run.start("capsule", Path::new("unshare"), arguments)?;
        until(MADE_WITHIN, "the namespaces", async || {
            run.check()?;
            fs::metadata(directory.join("ready")).context("not made")?;
            let first = child_of(holder).context("without a first process")?;
            Ok(Self { first })
        })
        .await
    }

    /// Starts a program inside.
    pub fn start(
        &self,
        run: &Run,
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<()> {
        let target = format!("--target={}", self.first);
        let enter = [&target, "--mount", "--net", "--pid", "--ipc", "--uts", "--"];
        let mut all: Vec<_> = enter.map(Into::into).into();
        all.push(program.as_os_str().to_owned());
        all.extend(arguments.into_iter().map(Into::into));
        run.start(name, Path::new("nsenter"), all).map(|_| ())
    }
}

fn child_of(parent: u32) -> Option<u32> {
    let parent = format!(" {parent} ");
    let entries = fs::read_dir("/proc").ok()?.flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name in brackets, which may hold anything: the state, then the parent.
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.get(1..).is_some_and(|it| it.starts_with(&parent)))
    })
}
