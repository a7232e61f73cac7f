//! Learns from deliveries after they were answered: from those of this process as they come, and from
//! those that somebody stored and never came to.
//!
//! Many at once, each preview written once. Refuses to hold more than a queue of them: what finds no
//! place in it is in the ledger all the same, and its turn comes.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::webhook::{Said, understand};
use crate::ledger::{Heard, Learned, LedgerError};
use crate::reconcile::Reconciler;

/// How many wait in this process.
const WAITING: usize = 4096;

/// How many share one transaction.
const BATCH: usize = 512;

/// So many at once are a storm: then others are waited for, so that each preview is written less often.
const STORM: usize = 16;

/// How long, in a storm.
const BREATH: Duration = Duration::from_millis(50);

/// How many of those that nobody came to are read at a time, with their bodies.
const LEFT_BEHIND: i64 = 64;

/// How often they are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How old they are by then: whoever stored them comes to them sooner, or not at all.
const LEFT_AFTER: TimeDelta = TimeDelta::seconds(5);

/// Starts to learn, for as long as somebody may send. Must be called within a Tokio runtime.
pub(super) fn start(reconciler: Arc<Reconciler>) -> mpsc::Sender<Heard> {
    let (sender, waiting) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut waiting = waiting;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Each in a task of its own, so that a bug ends one batch and not the learning.
        while let Some(batch) = gather(&mut waiting, &mut look, &reconciler).await {
            let reconciler = reconciler.clone();
            let is_storm = batch.len() >= STORM;
            let _ = tokio::spawn(async move { learn(&reconciler, batch).await }).await;
            if is_storm {
                tokio::time::sleep(BREATH).await;
            }
        }
    });
    sender
}

/// Waits for one, and takes with it what else is there; now and then, what was left behind. `None` when
/// nobody can send any more.
async fn gather(
    waiting: &mut mpsc::Receiver<Heard>,
    look: &mut Interval,
    reconciler: &Reconciler,
) -> Option<Vec<Heard>> {
    let mut batch = Vec::new();
    while batch.is_empty() {
        tokio::select! {
            count = waiting.recv_many(&mut batch, BATCH) => if count == 0 { return None },
            _ = look.tick() => batch = left_behind(reconciler).await.unwrap_or_default(),
        }
    }
    Some(batch)
}

/// What was stored a while ago and never learned from: a process ended in between, or had no room.
async fn left_behind(reconciler: &Reconciler) -> Result<Vec<Heard>, LedgerError> {
    let ledger = &reconciler.ledger;
    let (mut heard, mut of_no_use) = (Vec::new(), Vec::new());
    for delivery in ledger.unlearned(reconciler.clock.now() - LEFT_AFTER, LEFT_BEHIND).await? {
        match understand(reconciler, &delivery.event, &delivery.body) {
            Ok(Said::Pull(hint)) => {
                heard.push(Heard { hint: *hint, delivery: Some(delivery.id), at: delivery.at });
            }
            // The configuration has changed since.
            _ => of_no_use.push(delivery.id),
        }
    }
    if !of_no_use.is_empty() {
        ledger.cross_off(&of_no_use).await?;
    }
    Ok(heard)
}

/// Learns from all of these; where the ledger refuses, from one at a time, so that one does not take the
/// others with it.
async fn learn(reconciler: &Reconciler, heard: Vec<Heard>) {
    let ledger = &reconciler.ledger;
    let outcomes = match ledger.learn_all(&heard).await {
        Ok(outcomes) => outcomes,
        Err(error) if heard.len() == 1 => vec![Err(error)],
        Err(error) => {
            tracing::debug!(%error, "learning one at a time");
            let mut outcomes = Vec::with_capacity(heard.len());
            for one in &heard {
                outcomes.push(ledger.learn(one).await);
            }
            outcomes
        }
    };
    let mut is_due = false;
    for (one, outcome) in heard.iter().zip(outcomes) {
        let (preview, action) = (&one.hint.name, &one.hint.what);
        match outcome {
            Ok(learned) => {
                is_due |= matches!(learned, Learned::New(_) | Learned::Known(_));
                tracing::debug!(delivery = one.delivery, %preview, %action, ?learned, "learned");
            }
            Err(error @ LedgerError::Database(_)) => {
                reconciler.metrics.delivery("unlearned");
                tracing::warn!(delivery = one.delivery, %preview, %error,
                    "a delivery is not learned from yet; it is tried again");
            }
            Err(error) => {
                reconciler.metrics.delivery("unlearned");
                tracing::error!(delivery = one.delivery, %preview, %error,
                    "a delivery cannot be learned from; mend that and redeliver it");
            }
        }
    }
    if is_due {
        reconciler.wake.notify_one();
    }
}
