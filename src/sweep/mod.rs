//! What nobody told us: lost webhooks and left-over things.
//!
//! Sweeps learn and poke; they refuse to act. Absence is never a reason: a preview that a listing
//! does not show is doubted, which makes the loop read that one pull request again.

mod orphans;
mod pull_requests;
mod redelivery;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;

use crate::config::SweepConfig;
use crate::ledger::LedgerError;
use crate::reconcile::Reconciler;

/// How often to look whether a sweep is due; a sweep's own interval is longer.
const TICK: Duration = Duration::from_secs(1);

/// How many old deliveries are forgotten at a time.
const FORGET_AT_ONCE: i64 = 1000;

/// The sweeps of one replica; of all replicas, one does each when it is due.
pub struct Sweeper {
    reconciler: Arc<Reconciler>,
    config: SweepConfig,
    /// Whether this process asked for failed deliveries: it may just have been down.
    begun: AtomicBool,
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Pull requests that nobody had told us of, or whose change nobody had.
    pub missed: usize,
    /// Previews whose pull request is to be read again.
    pub doubted: usize,
    /// Previews that would have been doubted, had the brake not held them.
    pub held: usize,
    /// Things with our stamp that should not be there.
    pub orphans: usize,
    /// Deliveries that failed, asked for again.
    pub redelivered: usize,
    /// Backends or repositories that could not be listed; the others were swept.
    pub failed: usize,
}

impl Found {
    /// Adds what one thing came to. A row that cannot be read, or a name that is taken, is that
    /// one's trouble; only a ledger that does not answer ends the sweep.
    fn take(&mut self, one: Result<Found, LedgerError>) -> Result<(), LedgerError> {
        let one = match one {
            Ok(one) => one,
            Err(error @ (LedgerError::Shape { .. } | LedgerError::NameTaken(_))) => {
                tracing::error!(%error, "one preview cannot be swept");
                Found { failed: 1, ..Found::default() }
            }
            Err(error) => return Err(error),
        };
        self.missed += one.missed;
        self.doubted += one.doubted;
        self.held += one.held;
        self.orphans += one.orphans;
        self.redelivered += one.redelivered;
        self.failed += one.failed;
        Ok(())
    }
}

impl Sweeper {
    /// Makes the sweeps of a reconciler's world.
    pub fn new(reconciler: Arc<Reconciler>, config: SweepConfig) -> Self {
        Self { reconciler, config, begun: AtomicBool::new(false) }
    }

    /// Runs until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.turn().await {
                tracing::warn!(%error, "the ledger failed during a sweep");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Does what is due.
    pub async fn turn(&self) -> Result<(), LedgerError> {
        let now = self.reconciler.clock.now();
        if self.take("pull-requests", self.config.pull_requests_every, now).await? {
            report("pull requests", self.sweep_pull_requests(now).await?);
        }
        if self.take("orphans", self.config.orphans_every, now).await? {
            report("orphans", self.sweep_orphans(now).await?);
        }
        if self.take("deployments", self.config.deployments_every, now).await? {
            report("deployments", self.sweep_deployments(now).await?);
        }
        let mut due = self.take("redelivery", self.config.redelivery_every, now).await?;
        if !self.begun.load(Ordering::Relaxed) {
            // Replicas that start together ask once.
            due |= self.take("redelivery-at-start", TimeDelta::minutes(1), now).await?;
            self.begun.store(true, Ordering::Relaxed);
        }
        if due {
            report("failed deliveries", self.sweep_failed_deliveries(now).await?);
        }
        if self.take("deliveries", TimeDelta::minutes(10), now).await? {
            let kept = self.config.deliveries_kept;
            self.reconciler.ledger.forget_deliveries(kept, FORGET_AT_ONCE, now).await?;
        }
        Ok(())
    }

    /// Compares the open pull requests of every repository with the rows.
    pub async fn sweep_pull_requests(&self, now: DateTime<Utc>) -> Result<Found, LedgerError> {
        pull_requests::sweep(&self.reconciler, now).await
    }

    /// Compares everything that carries our stamp with the rows.
    pub async fn sweep_orphans(&self, now: DateTime<Utc>) -> Result<Found, LedgerError> {
        orphans::sweep(&self.reconciler, now).await
    }

    /// Compares every active deployment of ours on the forge with the rows.
    pub async fn sweep_deployments(&self, now: DateTime<Utc>) -> Result<Found, LedgerError> {
        orphans::sweep_deployments(&self.reconciler, now).await
    }

    /// Asks again for deliveries that did not reach us.
    pub async fn sweep_failed_deliveries(&self, now: DateTime<Utc>) -> Result<Found, LedgerError> {
        redelivery::sweep(&self.reconciler, self.config.redelivery_window, now).await
    }

    async fn take(
        &self,
        chore: &str,
        every: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<bool, LedgerError> {
        self.reconciler.ledger.take_chore(chore, every, now).await
    }
}

fn report(what: &str, found: Found) {
    if found != Found::default() {
        tracing::info!(what, ?found, "sweep");
    }
}
