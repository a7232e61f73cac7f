//! How much is taken in at once, and the writers that learn from it.
//!
//! Deliveries that arrive together share one transaction, and each is answered after it was committed:
//! a disk flushes as fast for many as for one. Refuses to hold more than it has room for, and to learn
//! what nobody waits for any more.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};

use super::error::Problem;
use crate::ledger::{Heard, Learned, Ledger, LedgerError, WRITERS};

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

/// One that waits, and whoever waits for its outcome.
struct Waiting {
    heard: Heard,
    tell: oneshot::Sender<Result<Learned, LedgerError>>,
}

/// What is taken in.
pub(super) struct Intake {
    pub(super) room: Semaphore,
    pub(super) lookups: Semaphore,
    queue: mpsc::Sender<Waiting>,
}

impl Intake {
    /// Starts the writers, which end with this. Must be called within a Tokio runtime.
    pub(super) fn start(ledger: &Ledger) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..WRITERS {
            tokio::spawn(write(ledger.clone(), waiting.clone()));
        }
        let (room, lookups) = (Semaphore::new(ROOM_BYTES), Semaphore::new(LOOKUPS_AT_ONCE));
        Self { room, lookups, queue }
    }

    /// Learns, together with what else arrives. Dropped before its outcome is there, it may have been
    /// learned or not.
    pub(super) async fn learn(&self, heard: Heard) -> Result<Learned, Problem> {
        let (tell, outcome) = oneshot::channel();
        self.queue.try_send(Waiting { heard, tell }).map_err(|_| Problem::busy())?;
        // No outcome: a bug ended the batch that it was in.
        Ok(outcome.await.map_err(|_| Problem::busy())??)
    }
}

/// Writes for as long as something may come.
async fn write(ledger: Ledger, waiting: Arc<Mutex<mpsc::Receiver<Waiting>>>) {
    loop {
        // The other writer gathers while this one writes.
        let gathered = gather(&mut *waiting.lock().await).await;
        let Some(batch) = gathered else { return };
        // In a task of its own, so that a bug ends one batch and not the writer.
        let ledger = ledger.clone();
        let _ = tokio::spawn(async move { learn(&ledger, batch).await }).await;
    }
}

/// Waits for one, and takes with it what else is there.
async fn gather(waiting: &mut mpsc::Receiver<Waiting>) -> Option<Vec<Waiting>> {
    let mut batch = vec![waiting.recv().await?];
    let mut bytes = 0;
    while batch.len() < BATCH && bytes < BATCH_BYTES {
        let Ok(next) = waiting.try_recv() else { break };
        bytes += next.heard.delivery.as_ref().map_or(0, |it| it.body.len());
        batch.push(next);
    }
    Some(batch)
}

async fn learn(ledger: &Ledger, mut batch: Vec<Waiting>) {
    batch.retain(|it| !it.tell.is_closed());
    let (heard, mut tell): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|it| (it.heard, it.tell)).unzip();
    let outcomes = tokio::select! {
        outcomes = outcomes(ledger, &heard) => outcomes,
        // They were told to come again, and will.
        _ = join_all(tell.iter_mut().map(oneshot::Sender::closed)) => return,
    };
    for (tell, outcome) in tell.into_iter().zip(outcomes) {
        let _ = tell.send(outcome);
    }
}

/// What came of each. One that the ledger refuses does not take the others with it.
async fn outcomes(ledger: &Ledger, heard: &[Heard]) -> Vec<Result<Learned, LedgerError>> {
    match ledger.learn_all(heard).await {
        Ok(outcomes) => outcomes,
        Err(error) if heard.len() == 1 => vec![Err(error)],
        Err(error) => {
            tracing::debug!(%error, "learning one at a time");
            let mut outcomes = Vec::with_capacity(heard.len());
            for one in heard {
                outcomes.push(ledger.learn(one).await);
            }
            outcomes
        }
    }
}
