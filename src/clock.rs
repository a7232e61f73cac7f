//! Time and chance: the only place where either is drawn.
//!
//! Everything else takes them as arguments, so that a test can move the clock by hand. `clippy.toml`
//! refuses the globals elsewhere.

#![allow(clippy::disallowed_methods)]

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use rand::RngCore;
use uuid::Uuid;

use crate::database::Password;

/// Tells the time, to the microsecond, which is what the ledger can keep.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> DateTime<Utc>;

    /// What the ledger's server says the time is; a clock may follow it.
    fn follow(&self, _server_time: DateTime<Utc>) {}
}

/// The ledger server's clock, kept as an offset to this machine's: replicas whose clocks differ
/// agree on leases and expiry.
#[derive(Debug, Default)]
pub struct ServerClock {
    offset_microseconds: AtomicI64,
}

impl Clock for ServerClock {
    fn now(&self) -> DateTime<Utc> {
        let offset = TimeDelta::microseconds(self.offset_microseconds.load(Ordering::Relaxed));
        (Utc::now() + offset).trunc_subsecs(6)
    }

    fn follow(&self, server_time: DateTime<Utc>) {
        let offset = (server_time - Utc::now()).num_microseconds().unwrap_or(0);
        self.offset_microseconds.store(offset, Ordering::Relaxed);
    }
}

/// This machine's own time, for what only this machine reads.
pub fn machine_time() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// A new identifier that sorts by the time at which it was made (UUID version 7).
pub fn fresh_id() -> Uuid {
    Uuid::now_v7()
}

/// 32 bytes from the operating system's generator.
pub fn fresh_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// A new password for a preview's database role.
pub fn fresh_password() -> Password {
    Password::from_bytes(fresh_bytes())
}

/// A factor in `0.0..1.0` that spreads what would otherwise happen at the same time.
pub fn jitter() -> f64 {
    rand::random()
}
