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

/// How many wait in this process; as many may share one transaction.
const WAITING: usize = 4096;

/// So many at once are a storm: then others are waited for, so that each preview is written less often.
const STORM: usize = 16;

/// How long after the first such batch; after the second one twice as long, and so on.
const BREATH: Duration = Duration::from_millis(50);

/// How many batches of a storm make it longer: to half a second, which a preview rests between two hints anyway.
const LONG_STORM: u32 = 10;

/// How many of those that nobody came to are read at a time, with their bodies.
const LEFT_BEHIND: i64 = 64;

/// How often they are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long what could not be learned from rests before it is tried again.
const REST: TimeDelta = TimeDelta::minutes(1);

/// How long a delivery is kept that says nothing to this process: another version, or the next
/// configuration, may understand it.
const KEPT: TimeDelta = TimeDelta::hours(1);

/// Starts to learn, for as long as somebody may send. Must be called within a Tokio runtime.
pub(super) fn start(reconciler: Arc<Reconciler>) -> mpsc::Sender<Heard> {
    let (sender, waiting) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut waiting = waiting;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut storm = 0;
        while let Some((batch, is_fresh)) = gather(&mut waiting, &mut look, &reconciler).await {
            let is_storm = is_fresh && batch.len() >= STORM;
            let ids: Vec<_> = batch.iter().filter_map(|it| it.delivery.clone()).collect();
            let learner = reconciler.clone();
            // In a task of its own, so that a bug ends one batch and not the learning.
            if tokio::spawn(async move { learn(&learner, batch).await }).await.is_err() {
                put_off(&reconciler, &ids).await;
            }
            storm = if is_storm { LONG_STORM.min(storm + 1) } else { 0 };
            tokio::time::sleep(BREATH * storm).await;
        }
    });
    sender
}

/// Waits for one, and takes with it what else is there; now and then, what was left behind. With them,
/// whether they just came. `None` when nobody can send any more.
async fn gather(
    waiting: &mut mpsc::Receiver<Heard>,
    look: &mut Interval,
    reconciler: &Arc<Reconciler>,
) -> Option<(Vec<Heard>, bool)> {
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            count = waiting.recv_many(&mut batch, WAITING) => return (count > 0).then_some((batch, true)),
            _ = look.tick() => {}
        }
        let reconciler = reconciler.clone();
        match tokio::spawn(async move { left_behind(&reconciler).await }).await {
            Ok(Ok(found)) if found.is_empty() => {}
            Ok(Ok(found)) => {
                // There may be more.
                look.reset_immediately();
                return Some((found, false));
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "deliveries that were left behind are not looked for");
            }
            Err(_) => {}
        }
    }
}

/// What was stored a while ago and never learned from: a process ended in between, or had no room.
async fn left_behind(reconciler: &Reconciler) -> Result<Vec<Heard>, LedgerError> {
    let (ledger, now) = (&reconciler.ledger, reconciler.clock.now());
    let (mut heard, mut unread) = (Vec::new(), Vec::new());
    for delivery in ledger.unlearned(now, LEFT_BEHIND).await? {
        match understand(reconciler, &delivery.event, &delivery.body) {
            Ok(Said::Pull(hint)) => {
                heard.push(Heard { hint: *hint, delivery: Some(delivery.id), at: delivery.at });
            }
            _ if now - delivery.at < KEPT => unread.push(delivery.id),
            _ => {
                tracing::warn!(
                    delivery = delivery.id,
                    "a delivery says nothing to this configuration any more; it is not learned from"
                );
                ledger.cross_off(&[delivery.id]).await?;
            }
        }
    }
    if !unread.is_empty() {
        ledger.put_off(&unread, now + REST).await?;
    }
    Ok(heard)
}

/// Has these learned from again later. What the ledger does not take now stays due.
async fn put_off(reconciler: &Reconciler, ids: &[String]) {
    let until = reconciler.clock.now() + REST;
    if let Err(error) = reconciler.ledger.put_off(ids, until).await {
        tracing::debug!(%error, "deliveries could not be put off");
    }
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
    let (mut is_due, mut failed) = (false, Vec::new());
    for (one, outcome) in heard.iter().zip(outcomes) {
        let (preview, action) = (&one.hint.name, &one.hint.what);
        match outcome {
            Ok(learned) => {
                is_due |= matches!(learned, Learned::New(_) | Learned::Known(_));
                tracing::debug!(delivery = one.delivery, %preview, %action, ?learned, "learned");
            }
            Err(error) => {
                reconciler.metrics.delivery("unlearned");
                tracing::warn!(delivery = one.delivery, %preview, %error,
                    "a delivery is not learned from yet; it is tried again in a minute");
                failed.extend(one.delivery.clone());
            }
        }
    }
    if !failed.is_empty() {
        put_off(reconciler, &failed).await;
    }
    if is_due {
        reconciler.wake.notify_one();
    }
}
