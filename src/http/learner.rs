//! Learns from deliveries after they were answered: from those of this process as they come, and from
//! those that somebody stored and never came to.
//!
//! Many at once, each preview written once. Refuses to hold more than a queue of them: what finds no
//! place in it is in the ledger all the same, and its turn comes.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::webhook::{Said, understand};
use crate::ledger::{Ahead, Heard, LedgerError, Lesson, Term};
use crate::reconcile::Reconciler;

/// How many wait in this process, and are learned from at once.
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

/// One that has just been stored, and what is being read ahead of it.
pub(super) struct Fresh {
    pub(super) heard: Heard,
    pub(super) ahead: Option<JoinHandle<Option<Ahead>>>,
}

/// Starts to learn, for as long as somebody may send. Must be called within a Tokio runtime.
pub(super) fn start(reconciler: Arc<Reconciler>) -> mpsc::Sender<Fresh> {
    let (sender, waiting) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut waiting = waiting;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut storm = 0;
        while let Some((batch, origin)) = gather(&mut waiting, &mut look, &reconciler).await {
            let count = batch.len();
            let ids: Vec<_> = batch.iter().filter_map(|it| it.heard.delivery.clone()).collect();
            let learner = reconciler.clone();
            // In a task of its own, so that a bug ends one batch and not the learning.
            let learning = tokio::spawn(async move { learn(&learner, batch).await });
            let is_settled = match learning.await {
                Ok(is_settled) => is_settled,
                Err(_) => put_off(&reconciler, &ids).await,
            };
            // As many a second as began it keep it going, however long it waits by now.
            let is_storm = origin == Origin::Queue && count >= STORM * storm.max(1) as usize;
            storm = if is_storm { LONG_STORM.min(storm + 1) } else { 0 };
            // Without one, not even for the millisecond that a timer takes at least.
            if storm > 0 {
                tokio::time::sleep(BREATH * storm).await;
            }
            if origin == (Origin::LeftBehind { is_all: false }) && is_settled {
                look.reset_immediately();
            }
        }
    });
    sender
}

/// Where a batch is from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// They just came.
    Queue,
    /// Somebody left them behind: these, and perhaps more.
    LeftBehind { is_all: bool },
}

/// Waits for one, and takes with it what else is there; now and then, what was left behind. `None` when
/// nobody can send any more.
async fn gather(
    waiting: &mut mpsc::Receiver<Fresh>,
    look: &mut Interval,
    reconciler: &Arc<Reconciler>,
) -> Option<(Vec<Fresh>, Origin)> {
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            count = waiting.recv_many(&mut batch, WAITING) => return (count > 0).then_some((batch, Origin::Queue)),
            _ = look.tick() => {}
        }
        let reconciler = reconciler.clone();
        match tokio::spawn(async move { left_behind(&reconciler).await }).await {
            Ok(Ok((found, _))) if found.is_empty() => {}
            Ok(Ok((found, is_all))) => {
                let unread = |heard| Fresh { heard, ahead: None };
                let found = found.into_iter().map(unread).collect();
                return Some((found, Origin::LeftBehind { is_all }));
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "deliveries that were left behind are not looked for");
            }
            Err(_) => {}
        }
    }
}

/// What was stored a while ago and never learned from, a process having ended in between, or having had no
/// room; and whether that is all.
async fn left_behind(reconciler: &Reconciler) -> Result<(Vec<Heard>, bool), LedgerError> {
    let (ledger, now) = (&reconciler.ledger, reconciler.clock.now());
    let (mut heard, mut unread) = (Vec::new(), Vec::new());
    let left = ledger.unlearned(now, LEFT_BEHIND).await?;
    let is_all = (left.len() as i64) < LEFT_BEHIND;
    for delivery in left {
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
    Ok((heard, is_all))
}

/// Has these learned from again later; whether that was written down. What the ledger does not take now
/// stays due.
async fn put_off(reconciler: &Reconciler, ids: &[String]) -> bool {
    let until = reconciler.clock.now() + REST;
    let done = reconciler.ledger.put_off(ids, until).await;
    if let Err(error) = &done {
        tracing::debug!(%error, "deliveries could not be put off");
    }
    done.is_ok()
}

/// Learns from all of these; where the ledger refuses, from one at a time, so that one does not take the
/// others with it. What is due by that is leased where there is room for passes. Whether none of them is
/// still to be learned from.
async fn learn(reconciler: &Reconciler, mut batch: Vec<Fresh>) -> bool {
    let ahead = match &mut batch[..] {
        [Fresh { ahead: Some(reading), .. }] => reading.await.ok().flatten(),
        _ => None,
    };
    let heard: Vec<Heard> = batch.into_iter().map(|it| it.heard).collect();
    let (ledger, now) = (&reconciler.ledger, reconciler.clock.now());
    // Whatever holds the ledger up, others begin passes meanwhile.
    let most = reconciler.limits.concurrent_passes.div_ceil(2);
    let room = reconciler.room.take(heard.len().min(most));
    let term = room.as_ref().map(|room| Term {
        owner: reconciler.replica,
        now,
        until: now + reconciler.limits.lease,
        most: room.num_permits(),
    });
    let lesson = match ledger.learn_all(&heard, term, ahead).await {
        Ok(mut lesson) => {
            if let Some(room) = room {
                reconciler.room.hand(std::mem::take(&mut lesson.leases), room);
            }
            lesson
        }
        Err(error) => {
            drop(room);
            tracing::debug!(%error, "learning one at a time");
            let mut lesson = Lesson { is_due: true, ..Lesson::default() };
            for one in &heard {
                lesson.outcomes.push(ledger.learn(one).await);
            }
            lesson
        }
    };
    if lesson.is_due {
        reconciler.wake.notify_one();
    }
    let mut failed = Vec::new();
    for (one, outcome) in heard.iter().zip(lesson.outcomes) {
        let (preview, action) = (&one.hint.name, &one.hint.what);
        match outcome {
            Ok(learned) => {
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
    failed.is_empty() || put_off(reconciler, &failed).await
}
