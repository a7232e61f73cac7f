//! Migrations on this machine: one run to its end, its log, and how it ended.
//!
//! A shell runs them and writes down how they ended, so that a controller that is killed meanwhile
//! leaves an answer to the next one. What is written before the start, without a process or an end, is
//! a start that did not happen. Refuses to run those of two revisions at once, and to let any outlive
//! their timeout.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use super::files::{self, Layout};
use super::processes::{Identity, Process};
use super::record::{Leader, Run, revision_text};
use super::stop::PAUSE;
use super::{Room, log, start};
use crate::fault::{Fault, Progress};
use crate::preview::{Ended, MigrationSeen, MigrationState, PreviewName, Revision, Seen};
use crate::workload::{Migrations, WorkloadOrder};

const FILE: &str = "migration.json";
const LOG: &str = "migration.log";

/// What is written as the end of what was ended for being late.
const LATE: &str = "late";

/// Runs the rest of its arguments, and writes their exit code where the first says, unless somebody
/// wrote there before.
const RUN: &str = r#"ended=$1; shift; ("$@"); code=$?; set -C; printf %s "$code" > "$ended""#;

/// The migrations that were last asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Attempt {
    #[serde(with = "revision_text")]
    revision: Revision,
    started_unix_ms: u64,
    timeout_ms: u64,
    /// Its shell; `None` when the controller died before noting it.
    shell: Option<Identity>,
    /// Whether others are wanted, and it is being ended. Until it is gone it stays written down, which
    /// alone leads to a program that has overwritten its own marks.
    #[serde(default)]
    ending: bool,
}

impl Attempt {
    /// Reads what is written down in a namespace, if anything is.
    pub(super) fn read(namespace: &Path) -> io::Result<Option<Self>> {
        let Some(text) = files::read(&namespace.join(FILE))? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(io::Error::from)
    }

    fn write(&self, layout: &Layout, namespace: &Path) -> io::Result<()> {
        layout.write(&namespace.join(FILE), &serde_json::to_vec_pretty(self)?)
    }

    /// Its processes are told from a workload's by a port that nobody listens on.
    fn run(&self) -> Run {
        Run { revision: self.revision.clone(), port: 0, start: 0 }
    }

    /// Its first process.
    pub(super) fn leader(self) -> Option<Leader> {
        let run = self.run();
        self.shell.map(|process| Leader { run, process })
    }

    /// Where its end is written.
    fn end(&self, namespace: &Path) -> PathBuf {
        namespace.join(format!("migration-{}.ended", self.revision))
    }

    fn left(&self) -> Duration {
        let age = files::unix_ms().saturating_sub(self.started_unix_ms);
        Duration::from_millis(self.timeout_ms.saturating_sub(age))
    }

    /// How far it is; `None` for a start that did not happen, and for what was ended for others.
    fn state(&self, namespace: &Path, found: &[Process]) -> io::Result<Option<MigrationState>> {
        if self.ending {
            let lives = found.iter().any(|process| process.run.as_ref() == Some(&self.run()));
            let why = "its migrations are being ended";
            return Ok(lives.then(|| MigrationState::Running(why.to_owned())));
        }
        // Whether it lives before how it ended: the end is written by who is about to exit.
        let marked = || found.iter().any(|process| process.run.as_ref() == Some(&self.run()));
        let lives = self.shell.as_ref().map_or_else(marked, Identity::lives);
        let failed = |why: String| {
            let log = log::last_lines(&namespace.join(LOG));
            MigrationState::Ended(Ended::Failed { why, log })
        };
        let running = |why: &str| MigrationState::Running(why.to_owned());
        let ended = files::read(&self.end(namespace))?.filter(|text| !text.is_empty());
        Ok(Some(match (ended.as_deref(), lives) {
            (Some(LATE), true) => running("its migrations are late, and being ended"),
            (Some(LATE), false) => failed(self.shape().failed_late()),
            (Some("0"), _) => MigrationState::Ended(Ended::Done),
            (Some(code), _) => match code.parse() {
                Ok(code) => failed(Migrations::failed_with(code)),
                Err(_) => return Err(io::Error::other(format!("{code:?} is no end"))),
            },
            (None, true) => running("its migrations run"),
            (None, false) if self.shell.is_none() => return Ok(None),
            (None, false) => failed(Migrations::failed(
                "they were killed, or the machine was, before they came to an end",
            )),
        }))
    }

    fn shape(&self) -> Migrations {
        let timeout = Duration::from_millis(self.timeout_ms);
        Migrations { command: Vec::new(), timeout, directory: None }
    }
}

impl Room {
    pub(super) fn look_at_migration(
        &self,
        name: &PreviewName,
        found: &[Process],
    ) -> Seen<MigrationSeen> {
        let directory = self.directory(name);
        let state = Attempt::read(&directory).and_then(|attempt| match attempt {
            Some(attempt) => Ok(attempt.state(&directory, found)?.map(|it| (attempt.revision, it))),
            None => Ok(None),
        });
        match state {
            Ok(Some((revision, state))) => Seen::Present(MigrationSeen { revision, state }),
            Ok(None) => Seen::Absent,
            Err(error) => Seen::Unknown(format!("reading how its migrations are: {error}")),
        }
    }

    /// The run of migrations that are not over.
    pub(super) fn migrating(&self, name: &PreviewName) -> io::Result<Option<Run>> {
        let directory = self.directory(name);
        let attempt = Attempt::read(&directory)?;
        let unended = attempt.filter(|it| !it.ending && !it.end(&directory).exists());
        Ok(unended.map(|attempt| attempt.run()))
    }

    pub(super) async fn ensure_migration(
        self: &Arc<Self>,
        name: &PreviewName,
        order: &WorkloadOrder,
    ) -> Result<Progress, Fault> {
        let doing = format!("migrating {name} at {}", order.revision.commit.short());
        let fail = |error: io::Error| Fault::transient(&doing, error);
        let Some(migrations) = &order.shape.migrations else {
            return Err(Fault::permanent(doing, "its repository has no workload.migrations"));
        };
        let _lock = self.enter(name, &doing).await?;
        let directory = self.directory(name);
        let found = self.processes(name).await.map_err(fail)?;
        let before = Attempt::read(&directory).map_err(fail)?;
        let same = before.as_ref().filter(|it| it.revision == order.revision && !it.ending);
        if let Some(attempt) = same
            && attempt.state(&directory, &found).map_err(fail)?.is_some()
        {
            return Ok(Progress::Done);
        }
        let mut next = Attempt {
            revision: order.revision.clone(),
            started_unix_ms: files::unix_ms(),
            timeout_ms: u64::try_from(migrations.timeout.as_millis()).unwrap_or(u64::MAX),
            shell: None,
            ending: false,
        };
        if found.iter().any(|it| it.run.as_ref().is_some_and(|run| run.port == 0)) {
            // Of another revision, or of an earlier start of this one: from here on they are nobody's.
            if let Some(mut attempt) = before {
                attempt.ending = true;
                attempt.write(&self.layout, &directory).map_err(fail)?;
            }
            self.retire(name).await.map_err(fail)?;
            let what = "migrations: those of before are being ended";
            return Ok(Progress::Underway(what.to_owned()));
        }
        forget_ends(&directory).map_err(fail)?;
        next.write(&self.layout, &directory).map_err(fail)?;
        let log = log::fresh(&directory.join(LOG)).map_err(fail)?;
        let end = next.end(&directory);
        let shell = ["/bin/sh", "-c", RUN, "migrations"].map(str::to_owned);
        let mut program = shell.to_vec();
        program.push(end.to_string_lossy().into_owned());
        program.extend(migrations.command.iter().cloned());
        let child = start::spawn(&directory, order, &program, None, log);
        let mut child = child.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
                Fault::permanent(&doing, format!("{error}; see workload.directory"))
            }
            _ => fail(error),
        })?;
        next.shell = child.id().and_then(Identity::of);
        self.see_through(name, &next, async move {
            let _ = child.wait().await;
        });
        next.write(&self.layout, &directory).map_err(fail)?;
        Ok(Progress::Done)
    }

    /// Goes on watching what an earlier controller started.
    pub(super) async fn resume_migration(self: &Arc<Self>, name: &PreviewName) {
        let Ok(Some(attempt)) = Attempt::read(&self.directory(name)) else { return };
        let (room, of, run) = (self.clone(), name.clone(), attempt.run());
        // By its marks, since the shell may not have been noted.
        let ended = async move {
            while room.processes(&of).await.is_ok_and(|all| all.iter().any(|it| is_of(it, &run))) {
                sleep(10 * PAUSE).await;
            }
        };
        self.see_through(name, &attempt, ended);
    }

    /// Waits for an end, no longer than it may take, and asks for a look.
    fn see_through(
        self: &Arc<Self>,
        name: &PreviewName,
        attempt: &Attempt,
        ended: impl Future<Output = ()> + Send + 'static,
    ) {
        let (room, name, attempt) = (self.clone(), name.clone(), attempt.clone());
        tokio::spawn(async move {
            if timeout(attempt.left(), ended).await.is_err() {
                room.cut_off(&name, &attempt).await;
            }
            room.changed(&name);
        });
    }

    /// Ends what is late, with everything that it started.
    async fn cut_off(&self, name: &PreviewName, attempt: &Attempt) {
        let run = attempt.run();
        while let Ok(mut left) = self.processes(name).await {
            left.retain(|process| is_of(process, &run));
            let now = Attempt::read(&self.directory(name)).ok().flatten();
            // Another start may have taken its place meanwhile, and has a time of its own.
            let is_this = now.is_some_and(|it| it.started_unix_ms == attempt.started_unix_ms);
            if left.is_empty() || !is_this {
                return;
            }
            // Not over an end that it came to by itself at the last moment.
            let end = attempt.end(&self.directory(name));
            if let Ok(mut file) = OpenOptions::new().write(true).create_new(true).open(end) {
                let _ = file.write_all(LATE.as_bytes());
            }
            left.iter().for_each(|process| process.identity.signal(Signal::KILL));
            sleep(PAUSE).await;
        }
    }
}

fn is_of(process: &Process, run: &Run) -> bool {
    process.run.as_ref() == Some(run)
}

/// Deletes what is written of ends; one run at a time has one.
fn forget_ends(namespace: &Path) -> io::Result<()> {
    for entry in fs::read_dir(namespace)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("migration-") && name.ends_with(".ended") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
