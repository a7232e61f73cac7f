//! The loop: lease a due row, look, plan, act, record, and say when to look again.
//!
//! The only room that changes the outside world, in `apply`. Refuses to know why a row is due, and
//! to wait for the world inside a pass.

mod act;
mod apply;
mod fresh;
mod hosts;
mod image;
mod observe;
mod outcome;
pub mod pace;
mod pass;
mod rehearsal;
mod render;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::database::{Databases, Rehearsals};
use crate::dns::Dns;
use crate::forge::Forge;
use crate::image::Images;
use crate::ledger::{Lease, Ledger, LedgerError, Preview};
use crate::preview::Site;
use crate::repository::{Repositories, Repository};
use crate::telemetry::Metrics;
use crate::visit::Visitor;
pub use pace::Pacing;
pub use render::{Renderer, Wanted};

/// How often the ledger's clock is read: machines' clocks drift apart slowly.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// How long to wait, at least, for a due row that somebody has locked.
const LOCKED_PAUSE: Duration = Duration::from_millis(10);

/// How long to wait, at most, before trying again to hear wake-ups.
const DEAF_PAUSE: Duration = Duration::from_secs(1);

/// The seams, as they are wired in this process.
#[derive(Clone)]
pub struct Seams {
    /// What runs previews.
    pub cluster: Arc<dyn Cluster>,
    /// What holds their data.
    pub databases: Arc<dyn Databases>,
    /// What watches migrations of it, and reads what they left.
    pub rehearsals: Arc<dyn Rehearsals>,
    /// What makes their names resolve.
    pub dns: Arc<dyn Dns>,
    /// Where pull requests live.
    pub forge: Arc<dyn Forge>,
    /// What knows the images of commits.
    pub images: Arc<dyn Images>,
    /// What asks their URLs.
    pub visitor: Arc<dyn Visitor>,
}

/// Bounds of the loop.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many passes run at once in this process.
    pub concurrent_passes: usize,
    /// How long a lease lasts. Longer than [`Limits::pass_deadline`], so that a pass that was cut
    /// off has let go of the world before another begins.
    pub lease: TimeDelta,
    /// How long a pass may take.
    pub pass_deadline: Duration,
    /// How often to look for due rows when nothing wakes the loop.
    pub poll: Duration,
    /// Whether to hear other replicas' wake-ups; the poll finds the same, later.
    pub listen: bool,
    /// How long a URL may answer something else, with all in place behind it, before people are told.
    pub serve_patience: TimeDelta,
    /// How long a commit's image may take to be built before people are told.
    pub image_patience: TimeDelta,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent_passes: 16,
            lease: TimeDelta::seconds(60),
            pass_deadline: Duration::from_secs(45),
            poll: Duration::from_secs(1),
            listen: true,
            serve_patience: TimeDelta::seconds(60),
            image_patience: TimeDelta::minutes(30),
        }
    }
}

/// The loop and what it needs.
pub struct Reconciler {
    /// Mayfly's memory.
    pub ledger: Ledger,
    /// The outside world.
    pub seams: Seams,
    /// The configured repositories.
    pub repositories: Repositories,
    /// What turns a repository's chart into objects.
    pub renderer: Renderer,
    /// Where previews are reached.
    pub site: Site,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// When to look again.
    pub pacing: Pacing,
    /// Bounds.
    pub limits: Limits,
    /// Counts what happened.
    pub metrics: Arc<Metrics>,
    /// Wakes the loop from inside this process.
    pub wake: Arc<Notify>,
    /// Told of each pass of this process that was recorded.
    pub recorded: Notify,
    /// This replica, as the owner of leases.
    pub replica: Uuid,
}

impl Reconciler {
    /// The configured repository of a preview.
    pub fn repository_of(&self, preview: &Preview) -> Option<&Repository> {
        let id = preview.memory.facts.key.repository;
        self.repositories.of(id, &preview.repository, &preview.name)
    }

    /// Runs until told to stop; then lets running passes end, and gives their leases back.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let hear = self.limits.listen.then(|| tokio::spawn(self.clone().hear(stop.clone())));
        let mut running = JoinSet::new();
        let mut leases: HashMap<Id, Lease> = HashMap::new();
        let mut followed: Option<Instant> = None;
        while !stop.is_cancelled() {
            let sleep_until = match self.start_due(&mut running, &mut leases).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(%error, "the ledger cannot be asked for due previews");
                    self.limits.poll
                }
            };
            // Afterwards: what is due does not wait for it.
            if followed.is_none_or(|at| at.elapsed() >= FOLLOW_EVERY)
                && let Ok(time) = self.ledger.server_time().await
            {
                self.clock.follow(time);
                followed = Some(Instant::now());
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wake.notified() => {}
                Some(ended) = running.join_next_with_id(), if !running.is_empty() => {
                    self.ended(ended, &mut leases).await;
                }
                () = tokio::time::sleep(sleep_until) => {}
            }
        }
        // Each pass has a deadline of its own, so this ends.
        while let Some(ended) = running.join_next_with_id().await {
            self.ended(ended, &mut leases).await;
        }
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
        let count = leases.len();
        let (mut running, mut held) = (JoinSet::new(), HashMap::new());
        self.start(leases, &mut running, &mut held);
        while let Some(ended) = running.join_next_with_id().await {
            self.ended(ended, &mut held).await;
        }
        Ok(count)
    }

    fn start(
        self: &Arc<Self>,
        claimed: Vec<Lease>,
        running: &mut JoinSet<()>,
        leases: &mut HashMap<Id, Lease>,
    ) {
        for lease in claimed {
            let this = self.clone();
            let copy = lease.clone();
            let handle = running.spawn(async move { this.guarded_pass(&copy).await });
            leases.insert(handle.id(), lease);
        }
    }

    /// Starts passes over what is due, as far as there is room; how long to sleep if nothing wakes
    /// us.
    async fn start_due(
        self: &Arc<Self>,
        running: &mut JoinSet<()>,
        leases: &mut HashMap<Id, Lease>,
    ) -> Result<Duration, LedgerError> {
        let room = self.limits.concurrent_passes.saturating_sub(running.len());
        if room == 0 {
            return Ok(self.limits.poll);
        }
        let limit = i64::try_from(room).unwrap_or(i64::MAX);
        let now = self.clock.now();
        let claimed = self.ledger.claim(self.replica, limit, self.limits.lease, now).await?;
        let is_all = claimed.len() < room;
        self.start(claimed, running, leases);
        // With no room left, the end of a pass is what is waited for.
        Ok(if is_all { self.until(self.ledger.next_due().await?) } else { self.limits.poll })
    }

    fn until(&self, due: Option<DateTime<Utc>>) -> Duration {
        let wait = due.map(|due| (due - self.clock.now()).to_std().unwrap_or_default());
        // A due row that could not be claimed is locked by somebody: do not ask at full speed.
        wait.map_or(self.limits.poll, |wait| wait.max(LOCKED_PAUSE).min(self.limits.poll))
    }

    async fn ended(&self, ended: Result<(Id, ()), JoinError>, leases: &mut HashMap<Id, Lease>) {
        match ended {
            Ok((id, ())) => {
                leases.remove(&id);
            }
            Err(error) => {
                // A bug in a pass must not become a row that is tried at full speed for ever.
                tracing::error!(%error, "a pass panicked");
                if let Some(lease) = leases.remove(&error.id()) {
                    self.record_failure(&lease, "an internal error ended the pass").await;
                }
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
