//! What the process says about itself: logs and metrics.
//!
//! Refuses to label a metric with anything that a contributor can choose, and to log a secret.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use crate::ledger::Preview;
use crate::preview::Phase;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends logs to standard error; the level comes from `MAYFLY_LOG` (for example `info`, or
/// `mayfly=debug`).
pub fn init_logs(format: LogFormat) {
    let filter =
        EnvFilter::try_from_env("MAYFLY_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call, as in tests, changes nothing.
    let _ = match format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

/// Counters, gauges and histograms of one process.
pub struct Metrics {
    registry: Registry,
    passes: Family<OutcomeLabel, Counter>,
    steps: Family<StepLabel, Counter>,
    deliveries: Family<OutcomeLabel, Counter>,
    previews: Family<PhaseLabel, Gauge>,
    brake: Counter,
    ready_seconds: Histogram,
    gone_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
        let mut registry = Registry::with_prefix("mayfly");
        let metrics = Self {
            registry: Registry::default(),
            passes: Family::default(),
            steps: Family::default(),
            deliveries: Family::default(),
            previews: Family::default(),
            brake: Counter::default(),
            ready_seconds: Histogram::new(seconds),
            gone_seconds: Histogram::new(seconds),
        };
        registry.register("passes", "Passes of the loop", metrics.passes.clone());
        registry.register("steps", "Steps applied", metrics.steps.clone());
        registry.register("deliveries", "Webhook deliveries", metrics.deliveries.clone());
        registry.register("previews", "Previews by phase", metrics.previews.clone());
        registry.register("brake_engaged", "Removals held by the brake", metrics.brake.clone());
        let ready = metrics.ready_seconds.clone();
        registry.register("ready_seconds", "From the last hint of a change to Ready", ready);
        let gone = metrics.gone_seconds.clone();
        registry.register("gone_seconds", "From the begin of a removal to Gone", gone);
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// Shows what an adapter counts by itself.
    pub fn collect(&mut self, collector: Box<dyn Collector>) {
        self.registry.register_collector(collector);
    }

    /// A pass ended.
    pub fn pass(&self, outcome: &'static str) {
        self.passes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A step was applied.
    pub fn step(&self, step: &'static str, fine: bool) {
        let outcome = if fine { "ok" } else { "fault" };
        self.steps.get_or_create(&StepLabel { step, outcome }).inc();
    }

    /// A delivery was answered.
    pub fn delivery(&self, outcome: &'static str) {
        self.deliveries.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// The brake held a removal.
    pub fn brake_engaged(&self) {
        self.brake.inc();
    }

    /// A preview changed its phase.
    pub fn phase_changed(&self, before: &Preview, phase: Phase, now: DateTime<Utc>) {
        let seconds = |since: DateTime<Utc>| (now - since).as_seconds_f64().max(0.0);
        match (phase, before.going) {
            (Phase::Ready, _) => self.ready_seconds.observe(seconds(before.memory.hinted_at)),
            (Phase::Gone, Some(going)) => self.gone_seconds.observe(seconds(going.since)),
            _ => {}
        }
    }

    /// The OpenMetrics text, with these counts of previews by phase; without any when they are
    /// not known, since a zero would be a lie.
    pub fn render(&self, by_phase: Option<&[(Phase, i64)]>) -> String {
        match by_phase {
            Some(known) => Phase::ALL.into_iter().for_each(|phase| {
                let count = known.iter().find(|(p, _)| *p == phase).map_or(0, |(_, n)| *n);
                self.previews.get_or_create(&PhaseLabel { phase: phase.as_str() }).set(count);
            }),
            None => self.previews.clear(),
        }
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            let _ = writeln!(text, "# EOF");
        }
        text
    }
}
