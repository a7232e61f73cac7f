//! When to look at a preview again: the only place that decides it.
//!
//! Refuses to know what a preview is made of; it sees how a pass ended and how long the world has
//! been the way it is.

use chrono::{DateTime, TimeDelta, Utc};

use crate::fault::Disposition;

/// Delays, all bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// The shortest wait for the world to move, in milliseconds.
    pub wait_min_milliseconds: i64,
    /// The longest, in milliseconds.
    pub wait_max_milliseconds: i64,
    /// The first delay after a fault, in milliseconds; doubles with each.
    pub retry_min_milliseconds: i64,
    /// The longest, in milliseconds.
    pub retry_max_milliseconds: i64,
    /// How often to look whether a person decided, or the brake was released, in milliseconds.
    pub held_milliseconds: i64,
    /// How often a settled preview is looked at for drift, in seconds, give or take a quarter.
    pub drift_seconds: i64,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            wait_min_milliseconds: 150,
            wait_max_milliseconds: 10_000,
            retry_min_milliseconds: 500,
            retry_max_milliseconds: 300_000,
            held_milliseconds: 120_000,
            drift_seconds: 300,
        }
    }
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It did something: look at once whether it worked.
    Acted,
    /// The world has to move; it has stood still for this long.
    Waiting(TimeDelta),
    /// A person has to decide, or the brake to be released.
    Held,
    /// A call failed, as it did in this many passes in a row.
    Faulted(Disposition, u32),
    /// The goal holds; it may stop to hold by time alone at this instant.
    SettledUp(DateTime<Utc>),
    /// Nothing is left, and only a poke can change that.
    SettledDown,
}

/// When to look again; `None` for "when poked". `jitter` is a factor in `0.0..1.0`.
pub fn wake_at(
    ending: Ending,
    pacing: &Pacing,
    jitter: f64,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let delay = match ending {
        Ending::Acted => TimeDelta::zero(),
        Ending::Waiting(still) => TimeDelta::milliseconds(
            (still.num_milliseconds() / 8)
                .clamp(pacing.wait_min_milliseconds, pacing.wait_max_milliseconds),
        ),
        Ending::Held => spread(pacing.held_milliseconds, jitter),
        Ending::Faulted(disposition, failures) => {
            let slower = if disposition == Disposition::Transient { 0 } else { 4 };
            let doublings = (failures.saturating_sub(1) + slower).min(20);
            let delay = pacing.retry_min_milliseconds.saturating_mul(1 << doublings);
            spread(delay.min(pacing.retry_max_milliseconds), jitter)
        }
        Ending::SettledUp(next_change) => {
            let drift = spread(pacing.drift_seconds.saturating_mul(1000), jitter);
            return Some((now + drift).min(next_change.max(now)));
        }
        Ending::SettledDown => return None,
    };
    Some(now + delay)
}

/// `milliseconds`, give or take a quarter.
fn spread(milliseconds: i64, jitter: f64) -> TimeDelta {
    TimeDelta::milliseconds((milliseconds as f64 * (0.75 + jitter / 2.0)) as i64)
}
