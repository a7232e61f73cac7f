//! How many passes run at once in this process, and what comes to the loop leased already.
//!
//! Whoever has room may lease. Refuses both before the loop runs and after it was told to stop: a lease
//! that nobody works on keeps everybody from the row.

use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::ledger::Lease;

/// What was leased, and the room that it takes.
pub(super) type Handed = (Vec<Lease>, OwnedSemaphorePermit);

/// The room for passes.
pub struct Room {
    places: Arc<Semaphore>,
    hand: UnboundedSender<Handed>,
    handed: Mutex<UnboundedReceiver<Handed>>,
}

impl Default for Room {
    fn default() -> Self {
        let (hand, handed) = unbounded_channel();
        Self { places: Arc::new(Semaphore::new(0)), hand, handed: Mutex::new(handed) }
    }
}

impl Room {
    /// What is free at this moment, if anything is, and at most so much. Whoever takes it gives it back soon.
    pub fn take(&self, most: usize) -> Option<OwnedSemaphorePermit> {
        let free = u32::try_from(self.places.available_permits().min(most)).unwrap_or(u32::MAX);
        if free == 0 {
            return None;
        }
        self.places.clone().try_acquire_many_owned(free).ok()
    }

    /// Hands on what was leased in that room, and gives the rest of it back.
    pub fn hand(&self, leases: Vec<Lease>, mut room: OwnedSemaphorePermit) {
        if let (false, Some(taken)) = (leases.is_empty(), room.split(leases.len())) {
            // In vain only where the loop has ended, and gives all leases back.
            let _ = self.hand.send((leases, taken));
        }
    }

    /// There is room for so many.
    pub(super) fn open(&self, places: usize) {
        self.places.add_permits(places);
    }

    /// Waits until some is free, and takes all that is.
    pub(super) async fn free(&self) -> Option<OwnedSemaphorePermit> {
        let mut room = self.places.clone().acquire_owned().await.ok()?;
        if let Some(more) = self.take(usize::MAX) {
            room.merge(more);
        }
        Some(room)
    }

    /// Waits for what is handed on.
    pub(super) async fn handed(&self) -> Option<Handed> {
        self.handed.lock().await.recv().await
    }

    /// Takes all of it for ever, once it is free: nobody leases any more.
    pub(super) async fn close(&self, places: usize) {
        let all = u32::try_from(places).unwrap_or(u32::MAX);
        let mut handed = self.handed.lock().await;
        let closing = self.places.acquire_many(all);
        tokio::pin!(closing);
        loop {
            tokio::select! {
                permit = &mut closing => {
                    permit.into_iter().for_each(tokio::sync::SemaphorePermit::forget);
                    return;
                }
                // Nobody begins a pass over it; the lease is given back with the others.
                late = handed.recv() => drop(late),
            }
        }
    }
}
