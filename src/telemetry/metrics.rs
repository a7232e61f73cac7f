//! Counters, gauges and histograms of one process.
//!
//! Refuses to label with anything that a contributor can choose: every label has a short list.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::openmetrics::Exposition;
use super::process::Process;
use crate::fault::Disposition;
use crate::ledger::{Preview, Survey};
use crate::preview::notice::Notice;
use crate::preview::{Phase, Revision, Told};

/// From a tenth of a second to half an hour.
const SECONDS: [f64; 11] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

/// What one call to a neighbour takes.
const SHORT_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 45.0];

/// Labels are words of ours.
type Word = &'static str;

macro_rules! labels {
    ($($name:ident { $($label:ident),* })*) => {
        $(#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
        struct $name { $($label: Word),* })*
    };
}

labels! {
    OutcomeLabel { outcome }
    StepLabel { step, outcome }
    StepName { step }
    FaultLabel { seam, disposition }
    PhaseLabel { phase }
    ConditionLabel { part, status }
    BuildLabel { version }
}

type Seconds = Gauge<f64, AtomicU64>;

/// Counters, gauges and histograms of one process.
pub struct Metrics {
    registry: Registry,
    passes: Family<OutcomeLabel, Counter>,
    pass_seconds: Histogram,
    steps: Family<StepLabel, Counter>,
    step_seconds: Family<StepName, Histogram>,
    faults: Family<FaultLabel, Counter>,
    deliveries: Family<OutcomeLabel, Counter>,
    brake: Counter,
    webhook_to_ready: Histogram,
    gone_seconds: Histogram,
    // What a scrape finds out.
    previews: Family<PhaseLabel, Gauge>,
    conditions: Family<ConditionLabel, Gauge>,
    oldest_due: Seconds,
    not_ready: Seconds,
    ledger_up: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut this = Self {
            registry: Registry::default(),
            passes: Family::default(),
            pass_seconds: Histogram::new(SHORT_SECONDS),
            steps: Family::default(),
            step_seconds: Family::new_with_constructor(|| Histogram::new(SHORT_SECONDS)),
            faults: Family::default(),
            deliveries: Family::default(),
            brake: Counter::default(),
            webhook_to_ready: Histogram::new(SECONDS),
            gone_seconds: Histogram::new(SECONDS),
            previews: Family::default(),
            conditions: Family::default(),
            oldest_due: Seconds::default(),
            not_ready: Seconds::default(),
            ledger_up: Gauge::default(),
        };
        let build = Family::<BuildLabel, Gauge>::default();
        build.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        this.registry.register_collector(Box::new(Process));
        let mayfly = this.registry.sub_registry_with_prefix("mayfly");
        mayfly.register("build_info", "The version that runs; always 1", build);
        mayfly.register("passes", "Passes of the loop by what came of them", this.passes.clone());
        mayfly.register("pass_seconds", "How long passes took", this.pass_seconds.clone());
        mayfly.register("steps", "Steps tried by what came of them", this.steps.clone());
        mayfly.register("step_seconds", "How long steps took", this.step_seconds.clone());
        let help = "Faults by seam and by what is made of them";
        mayfly.register("faults", help, this.faults.clone());
        let help =
            "Webhook deliveries by answer, and as unlearned each failed try to learn from one";
        mayfly.register("deliveries", help, this.deliveries.clone());
        mayfly.register("brake_engaged", "Removals held by the brake", this.brake.clone());
        let help = "From hearing of a change, by a webhook unless it was lost, to Ready";
        mayfly.register("webhook_to_ready_seconds", help, this.webhook_to_ready.clone());
        let help = "From the begin of a removal to its receipt";
        mayfly.register("gone_seconds", help, this.gone_seconds.clone());
        mayfly.register("previews", "Previews by phase", this.previews.clone());
        let help = "Parts of live previews by how they stand";
        mayfly.register("conditions", help, this.conditions.clone());
        let help = "For how long the most overdue preview that nobody works on has been due";
        mayfly.register("oldest_due_age_seconds", help, this.oldest_due.clone());
        let help = "For how long the slowest preview that is on its way has made no progress";
        mayfly.register("not_ready_seconds", help, this.not_ready.clone());
        let help = "Whether the ledger answered this scrape";
        mayfly.register("ledger_up", help, this.ledger_up.clone());
        this
    }
}

impl Metrics {
    /// Shows what an adapter counts by itself.
    pub fn collect(&mut self, collector: Box<dyn Collector>) {
        self.registry.sub_registry_with_prefix("mayfly").register_collector(collector);
    }

    /// A pass ended.
    pub fn pass(&self, outcome: Word) {
        self.passes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A pass took this long, recording included.
    pub fn pass_took(&self, length: Duration) {
        self.pass_seconds.observe(length.as_secs_f64());
    }

    /// A step was tried.
    pub fn step(&self, step: Word, fine: bool, length: Duration) {
        let outcome = if fine { "ok" } else { "fault" };
        self.steps.get_or_create(&StepLabel { step, outcome }).inc();
        self.step_seconds.get_or_create(&StepName { step }).observe(length.as_secs_f64());
    }

    /// A seam did not do what it was asked.
    pub fn fault(&self, seam: Word, disposition: Disposition) {
        let disposition = match disposition {
            Disposition::Transient => "transient",
            Disposition::Permanent => "permanent",
            Disposition::NotOurs => "not_ours",
        };
        self.faults.get_or_create(&FaultLabel { seam, disposition }).inc();
    }

    /// A delivery was answered.
    pub fn delivery(&self, outcome: Word) {
        self.deliveries.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// The brake held a removal.
    pub fn brake_engaged(&self) {
        self.brake.inc();
    }

    /// A preview changed its phase. One that is Ready again without anybody having asked for
    /// something else was healed, which is no answer to a webhook.
    /// `wanted` is what was to run then.
    pub fn phase_changed(
        &self,
        before: &Preview,
        wanted: &Revision,
        phase: Phase,
        now: DateTime<Utc>,
    ) {
        let seconds = |since: DateTime<Utc>| (now - since).as_seconds_f64().max(0.0);
        let healed = matches!(&before.told, Told::Said(Notice::Ready { revision, .. })
            if revision == wanted);
        match (phase, before.going) {
            (Phase::Ready, _) if !healed => {
                self.webhook_to_ready.observe(seconds(before.memory.hinted_at));
            }
            (Phase::Gone, Some(going)) => self.gone_seconds.observe(seconds(going.since)),
            _ => {}
        }
    }

    /// All of it as text, with what the ledger was found to hold; without that where it is not
    /// known, since a zero would be a lie.
    pub fn render(&self, survey: Option<&Survey>, exposition: Exposition) -> String {
        self.ledger_up.set(i64::from(survey.is_some()));
        self.conditions.clear();
        match survey {
            Some(survey) => self.show(survey),
            None => {
                self.previews.clear();
                self.oldest_due.set(f64::NAN);
                self.not_ready.set(f64::NAN);
            }
        }
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            let _ = writeln!(text, "# EOF");
        }
        exposition.of(text)
    }

    fn show(&self, survey: &Survey) {
        for phase in Phase::ALL {
            let count = survey.phases.iter().find(|(p, _)| *p == phase).map_or(0, |(_, n)| *n);
            self.previews.get_or_create(&PhaseLabel { phase: phase.as_str() }).set(count);
        }
        for (part, status, count) in &survey.conditions {
            let label = ConditionLabel { part: part.as_str(), status: status.as_str() };
            self.conditions.get_or_create(&label).set(*count);
        }
        self.oldest_due.set(survey.overdue.as_seconds_f64());
        self.not_ready.set(survey.not_ready.as_seconds_f64());
    }
}
