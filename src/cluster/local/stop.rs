//! Ends processes: those of retired revisions, and all of a namespace that is being removed.
//!
//! SIGTERM first, SIGKILL after the grace. Refuses to signal a process that is not marked as the
//! namespace's own, or to call a namespace gone while one of its processes lives.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::sleep;

use super::Room;
use super::files;
use super::lock::Lock;
use super::namespace::{self, Stand};
use super::processes::{Identity, Process};
use super::record::{Record, Run};
use super::route;
use crate::fault::Fault;
use crate::preview::{PreviewName, Seen};

/// How often a removal looks whether the last process is gone.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

impl Room {
    /// Goes on where a controller that was killed stopped.
    pub(super) async fn resume(self: &Arc<Self>, name: &PreviewName) {
        match self.stand(name) {
            Ok(Stand::Leaving(_)) => self.see_off(name),
            Ok(Stand::Present) => {
                self.watch(name);
                self.resume_migration(name).await;
                // What fails here is tried again when the loop next acts on the preview.
                let Ok(_lock) = self.enter(name, "retiring old revisions").await else { return };
                let _ = self.retire(name).await;
            }
            _ => {}
        }
    }

    /// Asks for a look when a service ends that an earlier controller started: it is nobody's
    /// child that we could wait for.
    fn watch(self: &Arc<Self>, name: &PreviewName) {
        for record in Record::all(&self.directory(name)).unwrap_or_default().values() {
            let Some(leader) = record.leader().cloned() else { continue };
            let (room, name) = (self.clone(), name.clone());
            tokio::spawn(async move {
                leader.ended().await;
                room.changed(&name);
            });
        }
    }

    /// Ends every process that is neither of a wanted run, nor of one that the route leads to,
    /// nor of migrations that are not over. The caller holds the namespace's lock.
    pub(super) async fn retire(self: &Arc<Self>, name: &PreviewName) -> io::Result<()> {
        let kept = self.kept(name)?;
        let mut doomed = self.processes(name).await?;
        doomed.retain(|process| !is_kept(process, &kept));
        let asked = self.ask_to_end(&doomed);
        if asked.is_empty() {
            return Ok(());
        }
        let runs: Vec<Option<Run>> = doomed.into_iter().map(|process| process.run).collect();
        let (room, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            sleep(room.grace).await;
            while let Ok(mut left) = room.processes(&name).await {
                // Asked after the look: whatever was started again meanwhile is written down.
                let Ok(kept) = room.kept(&name) else { break };
                left.retain(|it| runs.contains(&it.run) && !is_kept(it, &kept));
                if left.is_empty() {
                    break;
                }
                left.iter().for_each(|process| process.identity.signal(Signal::KILL));
                sleep(PAUSE).await;
            }
            room.forget(&asked);
            room.changed(&name);
        });
        Ok(())
    }

    /// The wanted runs, those that the route leads to, and migrations that are not over.
    fn kept(&self, name: &PreviewName) -> io::Result<Vec<Run>> {
        let mut kept = Vec::new();
        kept.extend(Record::all(&self.directory(name))?.into_values().map(|record| record.run));
        kept.extend(self.migrating(name)?);
        let host = name.host(&self.suffix);
        match route::look(&self.layout.routes(), &host, &self.stamp(name)) {
            Seen::Present(route) => kept.extend(route.runs().cloned()),
            Seen::Unknown(why) => return Err(io::Error::other(why)),
            _ => {}
        }
        Ok(kept)
    }

    /// Begins a removal, and ends it at once where nothing runs.
    pub(super) async fn remove_namespace(
        self: &Arc<Self>,
        name: &PreviewName,
    ) -> Result<(), Fault> {
        let doing = format!("removing namespace {name}");
        let fail = |error: io::Error| Fault::transient(&doing, error);
        match self.stand(name).map_err(fail)? {
            Stand::Foreign(whose) => return Err(Fault::not_ours(&doing, whose)),
            Stand::Present => {
                let _lock = self.enter(name, &doing).await?;
                namespace::leave(&self.layout, &self.directory(name)).map_err(fail)?;
            }
            Stand::Absent | Stand::Leaving(_) => {}
        }
        // Once begun, a removal is carried through in the background, whatever fails here.
        if !self.removed(name, files::unix_ms()).await.unwrap_or(false) {
            self.see_off(name);
        }
        Ok(())
    }

    /// Carries a removal through in the background; one task per preview.
    pub(super) fn see_off(self: &Arc<Self>, name: &PreviewName) {
        let mut seen_off = self.seen_off.lock().expect("no holder of this lock can panic");
        if !seen_off.insert(name.clone()) {
            return;
        }
        drop(seen_off);
        let (room, name, begun) = (self.clone(), name.clone(), files::unix_ms());
        tokio::spawn(async move {
            // What fails may pass: a full disk, a lock that somebody holds.
            while !room.removed(&name, begun).await.unwrap_or(false) {
                sleep(PAUSE).await;
            }
            let mut seen_off = room.seen_off.lock().expect("no holder of this lock can panic");
            seen_off.remove(&name);
            drop(seen_off);
            room.changed(&name);
        });
    }

    /// One step of a removal; true when there is nothing left to remove. `begun` counts where the
    /// directory, which knows better, is gone already.
    async fn removed(&self, name: &PreviewName, begun: u64) -> Result<bool, Fault> {
        let doing = format!("removing namespace {name}");
        let fail = |error: io::Error| Fault::transient(&doing, error);
        let directory = self.directory(name);
        // Looked for before the directory is: if that is absent then, these are of no later life.
        let mut left = self.processes(name).await.map_err(fail)?;
        let (begun, _lock) = match self.stand(name).map_err(fail)? {
            Stand::Present | Stand::Foreign(_) => return Ok(true),
            Stand::Absent => (begun, None),
            Stand::Leaving(_) => {
                let lock = Lock::take(&directory.join("lock"), &doing).await?;
                // Somebody else may have finished, and a new life begun, before we got the lock.
                let Stand::Leaving(begun) = self.stand(name).map_err(fail)? else {
                    return Ok(false);
                };
                left = self.processes(name).await.map_err(fail)?;
                (begun, Some(lock))
            }
        };
        if left.is_empty() {
            // `/proc` is not read in one instant: a process may fork behind the reader's back and
            // exit before the reader comes to it. Twice nothing means nothing.
            if !self.processes(name).await.map_err(fail)?.is_empty() {
                return Ok(false);
            }
            return match self.stand(name).map_err(fail)? {
                Stand::Leaving(_) => {
                    let layout = self.layout.clone();
                    let discard = move || layout.discard(&directory);
                    let done = tokio::task::spawn_blocking(discard).await;
                    done.map_err(io::Error::other).flatten().map_err(fail).map(|()| true)
                }
                _ => Ok(true),
            };
        }
        let grace = u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX);
        if files::unix_ms().saturating_sub(begun) < grace {
            self.ask_to_end(&left);
        } else {
            left.iter().for_each(|process| process.identity.signal(Signal::KILL));
            self.forget(&left.into_iter().map(|process| process.identity).collect::<Vec<_>>());
        }
        Ok(false)
    }

    /// Sends SIGTERM to those that did not get it yet, since some programs take a second one for
    /// impatience. Returns those that got it now.
    fn ask_to_end(&self, processes: &[Process]) -> Vec<Identity> {
        let mut asked = self.asked.lock().expect("no holder of this lock can panic");
        let mut now = Vec::new();
        for Process { identity, .. } in processes {
            if asked.insert(identity.clone()) {
                identity.signal(Signal::TERM);
                now.push(identity.clone());
            }
        }
        now
    }

    fn forget(&self, processes: &[Identity]) {
        let mut asked = self.asked.lock().expect("no holder of this lock can panic");
        for identity in processes {
            asked.remove(identity);
        }
    }
}

fn is_kept(process: &Process, kept: &[Run]) -> bool {
    process.run.as_ref().is_some_and(|run| kept.contains(run))
}
