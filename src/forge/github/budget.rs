//! What is left of GitHub's allowance, and what came of each call, as metrics.
//!
//! Refuses to guess: before the first answer there is no number. Its labels are ours; nothing that
//! an answer says becomes one.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;

use super::gate::Heard;

const UNKNOWN: i64 = -1;

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// GitHub did it.
    Ok,
    /// What we have is still true; such an answer costs nothing of the hourly allowance.
    NotModified,
    /// Our own gate is closed: GitHub was not asked.
    Refused,
    /// GitHub refused for the number of requests.
    Limited,
    /// Any other refusal, or no answer.
    Fault,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::NotModified => "not_modified",
            Outcome::Refused => "refused",
            Outcome::Limited => "limited",
            Outcome::Fault => "fault",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The allowance of one identity, as its latest answer told it.
pub struct Budget {
    limit: AtomicI64,
    remaining: AtomicI64,
    calls: Family<OutcomeLabel, Counter>,
}

impl Default for Budget {
    fn default() -> Self {
        let unknown = || AtomicI64::new(UNKNOWN);
        Self { limit: unknown(), remaining: unknown(), calls: Family::default() }
    }
}

impl Budget {
    /// A call ended so.
    pub(super) fn count(&self, outcome: Outcome) {
        self.calls.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
    }

    /// An answer told these numbers.
    pub(super) fn hear(&self, heard: &Heard) {
        for (kept, told) in [(&self.limit, heard.limit), (&self.remaining, heard.remaining)] {
            if let Some(told) = told {
                kept.store(told, Ordering::Relaxed);
            }
        }
    }

    /// How many calls are left until the allowance is renewed, once that was told.
    pub fn remaining(&self) -> Option<i64> {
        known(&self.remaining)
    }

    /// How many calls there are in an hour, once that was told.
    pub fn limit(&self) -> Option<i64> {
        known(&self.limit)
    }

    /// How many calls ended so.
    pub fn calls(&self, outcome: Outcome) -> u64 {
        self.calls.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).get()
    }
}

fn known(number: &AtomicI64) -> Option<i64> {
    Some(number.load(Ordering::Relaxed)).filter(|number| *number != UNKNOWN)
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, remaining) = (self.limit(), self.remaining());
        f.debug_struct("Budget").field("limit", &limit).field("remaining", &remaining).finish()
    }
}

impl Collector for Budget {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let numbers = [
            ("github_budget_limit", "Calls that GitHub allows in an hour", self.limit()),
            ("github_budget_remaining", "Calls left of this hour's", self.remaining()),
        ];
        for (name, help, number) in numbers {
            let Some(number) = number else { continue };
            let gauge = ConstGauge::new(number);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let (name, help) = ("github_requests", "Calls to GitHub by what came of them");
        let kind = self.calls.metric_type();
        self.calls.encode(encoder.encode_descriptor(name, help, None, kind)?)
    }
}
