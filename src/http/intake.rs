//! How much is taken in at once, and the writers that store it.
//!
//! Deliveries that arrive together share one transaction, and each is answered after it was committed:
//! a disk flushes as fast for many as for one. What they say is learned a moment later. Refuses to hold
//! more than it has room for, and to store what nobody waits for any more.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::error::Problem;
use super::learner::{self, Fresh};
use crate::ledger::{Delivery, Heard, Ledger, LedgerError, PullHint, WRITERS, Writer};
use crate::reconcile::Reconciler;

/// How much of all bodies together is held; real ones have some 30 KiB.
pub(super) const ROOM_BYTES: usize = 64 * 1024 * 1024;

/// How many signed deliveries wait for the ledger; the next is told to come back.
const WAITING: usize = 1024;

/// How many share one transaction.
const BATCH: usize = 128;

/// How much of all bodies together shares one, in bytes; a single one may be larger.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How many lookups for images run at once: fewer than the ledger has connections, which the loop
/// needs too.
const LOOKUPS_AT_ONCE: usize = 4;

/// One that waits, what it says, and whoever waits for it to be stored.
struct Waiting {
    delivery: Delivery,
    hint: PullHint,
    tell: oneshot::Sender<Result<Stored, Arc<LedgerError>>>,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// It was not there, and is to be learned from.
    Fresh,
    /// It was here before, and was answered.
    Again,
}

/// What is taken in.
pub(super) struct Intake {
    pub(super) room: Semaphore,
    pub(super) lookups: Semaphore,
    queue: mpsc::Sender<Waiting>,
}

impl Intake {
    /// Starts the writers, which end with this. Must be called within a Tokio runtime.
    pub(super) fn start(reconciler: &Arc<Reconciler>) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        let learner = learner::start(reconciler.clone());
        for _ in 0..WRITERS {
            tokio::spawn(write(reconciler.ledger.clone(), waiting.clone(), learner.clone()));
        }
        let (room, lookups) = (Semaphore::new(ROOM_BYTES), Semaphore::new(LOOKUPS_AT_ONCE));
        Self { room, lookups, queue }
    }

    /// Stores, together with what else arrives. Dropped before its outcome is there, it may have been
    /// stored or not.
    pub(super) async fn store(
        &self,
        delivery: Delivery,
        hint: PullHint,
    ) -> Result<Stored, Problem> {
        let (tell, outcome) = oneshot::channel();
        self.queue.try_send(Waiting { delivery, hint, tell }).map_err(|_| Problem::busy())?;
        // No outcome: a bug ended the batch that it was in.
        let outcome = outcome.await.map_err(|_| Problem::busy())?;
        outcome.map_err(|error| Problem::from(&*error))
    }
}

/// Writes for as long as something may come.
async fn write(
    ledger: Ledger,
    waiting: Arc<Mutex<mpsc::Receiver<Waiting>>>,
    learner: mpsc::Sender<Fresh>,
) {
    let mut writer = ledger.writer();
    loop {
        // The other writer gathers while this one writes.
        let gathered = gather(&mut *waiting.lock().await).await;
        let Some(batch) = gathered else { return };
        // In a task of its own, so that a bug ends one batch and not the writer.
        let (reader, learner) = (ledger.clone(), learner.clone());
        let storing = tokio::spawn(async move {
            store(&reader, &mut writer, &learner, batch).await;
            writer
        });
        writer = storing.await.unwrap_or_else(|_| ledger.writer());
    }
}

/// Waits for one, and takes with it what else is there.
async fn gather(waiting: &mut mpsc::Receiver<Waiting>) -> Option<Vec<Waiting>> {
    let mut batch = vec![waiting.recv().await?];
    let mut bytes = 0;
    while batch.len() < BATCH && bytes < BATCH_BYTES {
        let Ok(next) = waiting.try_recv() else { break };
        bytes += next.delivery.body.len();
        batch.push(next);
    }
    Some(batch)
}

async fn store(
    ledger: &Ledger,
    writer: &mut Writer,
    learner: &mpsc::Sender<Fresh>,
    mut batch: Vec<Waiting>,
) {
    batch.retain(|it| !it.tell.is_closed());
    let (said, mut tell): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|it| ((it.delivery, it.hint), it.tell)).unzip();
    let deliveries: Vec<&Delivery> = said.iter().map(|(delivery, _)| delivery).collect();
    // Alone, what it speaks of is read while the disk is flushed.
    let mut ahead = match &said[..] {
        [(_, hint)] => {
            let (ledger, of) = (ledger.clone(), hint.facts.key);
            Some(tokio::spawn(async move { ledger.read_ahead(of).await }))
        }
        _ => None,
    };
    let stored = tokio::select! {
        stored = writer.store(&deliveries) => stored.map_err(Arc::new),
        // They were told to come again, and will.
        _ = join_all(tell.iter_mut().map(oneshot::Sender::closed)) => return,
    };
    // What was read before the store was done, whoever learns from it has changed; later it may be after that.
    ahead = ahead.filter(JoinHandle::is_finished);
    let mut fresh = match stored {
        Ok(fresh) => fresh,
        Err(error) => {
            tell.into_iter().for_each(|it| drop(it.send(Err(error.clone()))));
            return;
        }
    };
    for ((delivery, hint), tell) in said.into_iter().zip(tell) {
        let (id, at) = (delivery.id, delivery.at);
        if !fresh.remove(&id) {
            let _ = tell.send(Ok(Stored::Again));
            continue;
        }
        let _ = tell.send(Ok(Stored::Fresh));
        // Without room for it, it is learned from like those that others left behind.
        let heard = Heard { hint, delivery: Some(id), at };
        let _ = learner.try_send(Fresh { heard, ahead: ahead.take() });
    }
}
