//! What runs: passes over what is due, as far as there is room, for as long as the process does.
//!
//! Asks the ledger what is due when somebody says so, and when it is time; a pass that ends says itself when
//! its row is due next. Refuses to look into a pass.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Reconciler;
use crate::ledger::{Lease, LedgerError};

/// How often the ledger's clock is read: machines' clocks drift apart slowly.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// How long to wait, at least, for a due row that somebody has locked.
const LOCKED_PAUSE: Duration = Duration::from_millis(10);

/// How long to wait, at most, before trying again to hear wake-ups.
const DEAF_PAUSE: Duration = Duration::from_secs(1);

/// The passes that run, each of which says when its row is due next, and what each has leased.
#[derive(Default)]
struct Running {
    passes: JoinSet<Option<DateTime<Utc>>>,
    leases: HashMap<Id, Lease>,
}

impl Reconciler {
    /// Runs until told to stop; then lets running passes end, and gives their leases back.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let hear = self.limits.listen.then(|| tokio::spawn(self.clone().hear(stop.clone())));
        let mut running = Running::default();
        let mut followed: Option<Instant> = None;
        let mut look_at = Instant::now();
        self.room.open(self.limits.concurrent_passes);
        while !stop.is_cancelled() {
            let is_time = look_at <= Instant::now();
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wake.notified() => look_at = Instant::now(),
                Some(ended) = running.passes.join_next_with_id() => {
                    // It says when its own row is due next, and so nobody has to be asked.
                    if let Some(due) = self.ended(ended, &mut running).await {
                        let wait = (due - self.clock.now()).to_std().unwrap_or_default();
                        look_at = look_at.min(Instant::now() + wait.min(self.limits.poll));
                    }
                }
                Some((leases, room)) = self.room.handed() => self.start(leases, room, &mut running),
                Some(room) = self.room.free(), if is_time => {
                    look_at = match self.start_due(room, &mut running).await {
                        Ok(next) => Instant::now() + next,
                        Err(error) => {
                            tracing::warn!(%error, "the ledger cannot be asked for due previews");
                            Instant::now() + self.limits.poll
                        }
                    };
                    // Afterwards: what is due does not wait for it.
                    if followed.is_none_or(|at| at.elapsed() >= FOLLOW_EVERY)
                        && let Ok(time) = self.ledger.server_time().await
                    {
                        self.clock.follow(time);
                        followed = Some(Instant::now());
                    }
                }
                () = tokio::time::sleep_until(look_at.into()), if !is_time => {}
            }
        }
        // Each pass has a deadline of its own, so this ends. What is free meanwhile is nobody's any more.
        let draining = async {
            while let Some(ended) = running.passes.join_next_with_id().await {
                self.ended(ended, &mut running).await;
            }
        };
        tokio::join!(self.room.close(self.limits.concurrent_passes), draining);
        if let Some(hear) = hear {
            hear.abort();
        }
        if let Err(error) = self.ledger.release_all(self.replica).await {
            tracing::warn!(%error, "leases could not be given back; they end by themselves");
        }
    }

    /// Leases what is due and runs one pass over each; how many there were. For tests and tools
    /// that move the clock by hand.
    pub async fn turn(self: &Arc<Self>) -> Result<usize, LedgerError> {
        let now = self.clock.now();
        let limit = i64::try_from(self.limits.concurrent_passes).unwrap_or(i64::MAX);
        let leases = self.ledger.claim(self.replica, limit, self.limits.lease, now).await?;
        let (count, mut running) = (leases.len(), Running::default());
        for lease in leases {
            self.begin(lease, None, &mut running);
        }
        while let Some(ended) = running.passes.join_next_with_id().await {
            self.ended(ended, &mut running).await;
        }
        Ok(count)
    }

    /// Starts passes over these, which have room.
    fn start(
        self: &Arc<Self>,
        leases: Vec<Lease>,
        mut room: OwnedSemaphorePermit,
        running: &mut Running,
    ) {
        for lease in leases {
            self.begin(lease, room.split(1), running);
        }
    }

    fn begin(
        self: &Arc<Self>,
        lease: Lease,
        place: Option<OwnedSemaphorePermit>,
        running: &mut Running,
    ) {
        let (this, copy) = (self.clone(), lease.clone());
        let handle = running.passes.spawn(async move {
            let due = this.guarded_pass(&copy).await;
            drop(place);
            due
        });
        running.leases.insert(handle.id(), lease);
    }

    /// Starts passes over what is due, as far as there is room; how long to sleep if nothing wakes
    /// us.
    async fn start_due(
        self: &Arc<Self>,
        room: OwnedSemaphorePermit,
        running: &mut Running,
    ) -> Result<Duration, LedgerError> {
        let places = room.num_permits();
        let limit = i64::try_from(places).unwrap_or(i64::MAX);
        let now = self.clock.now();
        let claimed = self.ledger.claim(self.replica, limit, self.limits.lease, now).await?;
        let is_all = claimed.len() < places;
        self.start(claimed, room, running);
        // There may be more, as soon as there is room for it.
        Ok(if is_all { self.until(self.ledger.next_due().await?) } else { Duration::ZERO })
    }

    fn until(&self, due: Option<DateTime<Utc>>) -> Duration {
        let wait = due.map(|due| (due - self.clock.now()).to_std().unwrap_or_default());
        // A due row that could not be claimed is locked by somebody: do not ask at full speed.
        wait.map_or(self.limits.poll, |wait| wait.max(LOCKED_PAUSE).min(self.limits.poll))
    }

    /// When the row of what ended is due next.
    async fn ended(
        &self,
        ended: Result<(Id, Option<DateTime<Utc>>), JoinError>,
        running: &mut Running,
    ) -> Option<DateTime<Utc>> {
        match ended {
            Ok((id, due)) => {
                running.leases.remove(&id);
                due
            }
            Err(error) => {
                // A bug in a pass must not become a row that is tried at full speed for ever.
                tracing::error!(%error, "a pass panicked");
                let lease = running.leases.remove(&error.id())?;
                self.record_failure(&lease, "an internal error ended the pass").await
            }
        }
    }

    /// Turns other replicas' wake-ups into ours, for ever; a lost connection is made again.
    async fn hear(self: Arc<Self>, stop: CancellationToken) {
        let listen = async {
            loop {
                if let Err(error) = self.relay().await {
                    tracing::warn!(%error, "wake-ups cannot be heard; polling");
                }
                tokio::time::sleep(self.limits.poll.min(DEAF_PAUSE)).await;
            }
        };
        stop.run_until_cancelled(listen).await;
    }

    /// Turns wake-ups into ours until they cannot be heard any more.
    async fn relay(&self) -> Result<(), LedgerError> {
        let mut wakeups = self.ledger.listen().await?;
        loop {
            // Also at the begin: something may have been said before anybody listened.
            self.wake.notify_one();
            wakeups.next().await?;
        }
    }
}
