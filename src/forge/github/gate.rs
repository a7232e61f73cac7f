//! Whether GitHub may be asked now: one gate for every call of this process.
//!
//! Pure: the time comes in. Refuses to queue: a call passes, waits for at most [`MAX_WAIT`], or is
//! told until when it is too early, and GitHub is not bothered. The numbers are those of
//! <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

/// The longest wait for a write's turn; longer ones are refused, so that no pass sleeps.
pub const MAX_WAIT: TimeDelta = TimeDelta::seconds(2);
/// The longest that the gate stays closed, whatever GitHub says: the primary limit is an hour's.
pub const MAX_CLOSED: TimeDelta = TimeDelta::hours(1);
/// Where GitHub refuses and does not say for how long; doubled each time that it goes on.
pub const FIRST_CLOSED: TimeDelta = TimeDelta::minutes(1);
/// A write costs as much as five reads, and so does any other request that is no read.
const WRITE_POINTS: u32 = 5;

/// How much may be asked of GitHub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls under way at the same time; GitHub allows 100 for all that one identity does.
    pub calls_at_once: usize,
    /// A read costs one point, a write five.
    pub points_per_minute: u32,
    /// Requests that create or change something.
    pub writes_per_minute: u32,
    /// The same, over an hour.
    pub writes_per_hour: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_at_once: 50,
            points_per_minute: 900,
            writes_per_minute: 80,
            writes_per_hour: 500,
        }
    }
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It looks.
    Read,
    /// It creates, changes or removes.
    Write,
    /// It is no read and creates no content, as asking for an access token: points, and no more.
    Token,
}

/// Why a call may not be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// When to ask again.
    pub until: DateTime<Utc>,
    /// In words.
    pub why: &'static str,
}

/// What an answer says about how much was asked. Spans, not instants: GitHub's clock need not be
/// ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// It is a refusal for the number of requests.
    pub refused: bool,
    /// `Retry-After`.
    pub retry_after: Option<TimeDelta>,
    /// `x-ratelimit-limit`.
    pub limit: Option<i64>,
    /// `x-ratelimit-remaining`.
    pub remaining: Option<i64>,
    /// How long until `x-ratelimit-reset`.
    pub resets_in: Option<TimeDelta>,
}

/// The gate's memory.
#[derive(Clone, Debug)]
pub struct Gate {
    closed: Option<Closed>,
    refusals_in_a_row: u32,
    points: Window,
    hour: Window,
    turns: Turns,
}

impl Gate {
    /// An open gate.
    pub fn new(limits: Limits) -> Self {
        Self {
            closed: None,
            refusals_in_a_row: 0,
            points: Window::new(TimeDelta::minutes(1), limits.points_per_minute),
            hour: Window::new(TimeDelta::hours(1), limits.writes_per_hour),
            turns: Turns::new(limits.writes_per_minute),
        }
    }

    /// Lets a call through after this wait, and counts it; or says until when it is too early.
    pub fn admit(&mut self, kind: Kind, now: DateTime<Utc>) -> Result<TimeDelta, Closed> {
        if let Some(closed) = self.closed_at(now) {
            return Err(closed);
        }
        let points = if kind == Kind::Read { 1 } else { WRITE_POINTS };
        let full = |until, why| Closed { until, why };
        if let Some(until) = self.points.full_until(points, now) {
            return Err(full(until, "as much was asked in this minute as GitHub allows"));
        }
        let mut wait = TimeDelta::zero();
        if kind == Kind::Write {
            if let Some(until) = self.hour.full_until(1, now) {
                return Err(full(until, "as much was written in this hour as GitHub allows"));
            }
            wait = self.turns.take(now).map_err(|until| {
                full(until, "as much was written in this minute as GitHub allows")
            })?;
            self.hour.spend(1, now);
        }
        self.points.spend(points, now);
        Ok(wait)
    }

    /// Learns from an answer, whatever it answered.
    pub fn hear(&mut self, heard: &Heard, now: DateTime<Utc>) {
        let spent = heard.remaining == Some(0);
        if !heard.refused {
            self.refusals_in_a_row = 0;
            if let (true, Some(resets_in)) = (spent, heard.resets_in) {
                self.close(resets_in, "this hour's requests are spent", now);
            }
            return;
        }
        // "Wait for at least one minute", and for exponentially longer if it goes on.
        let unsaid = FIRST_CLOSED * (1 << self.refusals_in_a_row.min(6));
        self.refusals_in_a_row = self.refusals_in_a_row.saturating_add(1);
        let said = heard.retry_after.or(heard.resets_in.filter(|_| spent));
        self.close(said.unwrap_or(unsaid), "GitHub refused for the number of requests", now);
    }

    /// Until when every call is refused, if it is.
    pub fn closed_at(&mut self, now: DateTime<Utc>) -> Option<Closed> {
        // A clock that went back does not keep it closed for longer.
        let within = |closed: &Closed| closed.until > now && closed.until <= now + MAX_CLOSED;
        self.closed = self.closed.filter(within);
        self.closed
    }

    fn close(&mut self, span: TimeDelta, why: &'static str, now: DateTime<Utc>) {
        let until = now + span.clamp(TimeDelta::seconds(1), MAX_CLOSED);
        if self.closed_at(now).is_none_or(|closed| closed.until < until) {
            self.closed = Some(Closed { until, why });
        }
    }
}

/// How much was spent within a sliding span of time.
#[derive(Clone, Debug)]
struct Window {
    length: TimeDelta,
    most: u32,
    sum: u32,
    spent: VecDeque<(DateTime<Utc>, u32)>,
}

impl Window {
    fn new(length: TimeDelta, most: u32) -> Self {
        Self { length, most, sum: 0, spent: VecDeque::new() }
    }

    /// When there is room for this much, unless there is now.
    fn full_until(&mut self, cost: u32, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // What seems to be of the future is from before the clock went back.
        while let Some((at, old)) = self.spent.front().copied()
            && (at + self.length <= now || at > now)
        {
            self.sum -= old;
            self.spent.pop_front();
        }
        let mut over = (self.sum + cost).saturating_sub(self.most);
        if over == 0 {
            return None;
        }
        let enough = self.spent.iter().find(|(_, old)| {
            over = over.saturating_sub(*old);
            over == 0
        });
        Some(enough.map_or(now, |(at, _)| *at) + self.length)
    }

    fn spend(&mut self, cost: u32, now: DateTime<Utc>) {
        self.sum += cost;
        self.spent.push_back((now, cost));
    }
}

/// Spaces writes: an eighth of a minute's may come at once, the others get turns.
#[derive(Clone, Debug)]
struct Turns {
    gap: TimeDelta,
    burst: TimeDelta,
    /// When the next turn would be, had nobody come early.
    next: DateTime<Utc>,
}

impl Turns {
    fn new(per_minute: u32) -> Self {
        let at_once = per_minute / 8;
        // With these two, no minute ever sees more than `per_minute`.
        let gap = TimeDelta::minutes(1)
            / i32::try_from((per_minute - at_once).max(1)).unwrap_or(i32::MAX);
        let burst = gap * i32::try_from(at_once.saturating_sub(1)).unwrap_or(i32::MAX);
        Self { gap, burst, next: DateTime::UNIX_EPOCH }
    }

    /// How long to wait for the turn that is taken, or when to come again.
    fn take(&mut self, now: DateTime<Utc>) -> Result<TimeDelta, DateTime<Utc>> {
        // After a clock that went back, the turns begin anew.
        if self.next > now + self.burst + self.gap + MAX_WAIT {
            self.next = now;
        }
        let due = self.next.max(now);
        let wait = (due - self.burst - now).max(TimeDelta::zero());
        if wait > MAX_WAIT {
            return Err(now + wait);
        }
        self.next = due + self.gap;
        Ok(wait)
    }
}
