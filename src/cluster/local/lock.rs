//! One worker at a time per namespace, across tasks and across controllers.
//!
//! `flock` belongs to the open file, so two tasks of one process exclude each other as two
//! processes do, and the kernel releases it when its holder is killed. A child that was forked
//! and has not yet executed its program still holds it: whoever gets the lock after a crash sees
//! every process that the dead controller started. Refuses to wait for ever.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::time::{Instant, sleep};

use crate::fault::Fault;

const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// Held until dropped.
pub(super) struct Lock(File);

impl Lock {
    /// Waits for the lock on this file, whose directory must exist.
    pub(super) async fn take(path: &Path, doing: &str) -> Result<Self, Fault> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match attempt(path) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if Instant::now() < deadline => sleep(PAUSE).await,
                Ok(None) => return Err(Fault::transient(doing, "another controller is at it")),
                Err(error) => return Err(Fault::transient(doing, error)),
            }
        }
    }
}

/// `None` when somebody else holds it.
fn attempt(path: &Path) -> io::Result<Option<Lock>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let lock = Lock(file);
    // The directory may have been removed, and made anew, while we opened and locked the file.
    let same = std::fs::metadata(path).is_ok_and(|now| {
        lock.0.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (now.dev(), now.ino()))
    });
    Ok(same.then_some(lock))
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Said aloud, since a child that is being started right now shares the open file.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
