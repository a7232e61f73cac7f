//! What a pass came to: how it ended, and how a person is told.
//!
//! Pure. Refuses to decide when to look again; that is `pace`.

use chrono::{DateTime, Utc};

use super::pace::Ending;
use crate::fault::Disposition;
use crate::ledger::{Findings, Preview};
use crate::preview::condition::{Condition, Status};
use crate::preview::observed::{Health, WorkloadSeen};
use crate::preview::{Desired, MigrationsSeen, Observed, Outlook, Part, Plan, Seen, Step, Told};

/// What the steps of a pass came to.
pub(super) struct Deeds {
    pub(super) told: Told,
    pub(super) done: Vec<(&'static str, String)>,
    pub(super) fault: Option<(Disposition, String)>,
    /// What the failed step was about.
    pub(super) failed: Option<Part>,
    /// A fault of telling the pull request: it holds nothing else up.
    pub(super) unheard: Option<(Disposition, String)>,
    pub(super) underway: Option<String>,
}

impl Deeds {
    /// The parts that failed steps were about, and why they failed.
    pub(super) fn failures(&self) -> impl Iterator<Item = (Part, &str)> {
        let step = self.failed.zip(self.fault.as_ref());
        let word = self.unheard.as_ref().map(|unheard| (Part::Notice, unheard));
        step.into_iter().chain(word).map(|(part, (_, why))| (part, why.as_str()))
    }
}

/// The fault that is all that this pass came to: the forge could not be told, or could not be
/// asked, and there was nothing else to do.
pub(super) fn alone(
    plan: &Plan,
    deeds: &Deeds,
    unread: Option<(Disposition, String)>,
) -> Option<(Disposition, String)> {
    let only_words = plan.steps.iter().all(|step| matches!(step, Step::Publish(_)));
    match plan.outlook {
        Outlook::Waiting(_) => unread.or_else(|| deeds.unheard.clone()),
        _ if only_words => deeds.unheard.clone(),
        _ => None,
    }
}

/// Faults of the forge count no higher than this while the rest of the world moves: back-off stays
/// at a few seconds.
pub(super) const MOVING_FAILURES: u32 = 4;

/// Whether something of the preview is on its way, in either direction.
pub(super) fn moving(seen: &Observed) -> bool {
    let starting = |workload: &WorkloadSeen| workload.health != Health::Ready;
    let migrating = |it: &MigrationsSeen| it.remembered.is_none();
    seen.workload.present().is_some_and(starting)
        || seen.migrations.as_ref().is_some_and(migrating)
        || matches!(seen.namespace, Seen::Leaving(_))
        || matches!(seen.database, Seen::Unknown(_) | Seen::Leaving(_))
}

/// Whether something was done before a fault that the pass before did not do: what came of it has to be
/// seen, and the fault met again, before anybody is told how things stand.
pub(super) fn has_moved(plan: &Plan, deeds: &Deeds, before: &Preview) -> bool {
    let is_deed = |(step, outcome): &(&str, String)| outcome.is_empty() && *step != Step::PUBLISH;
    deeds.done.iter().any(is_deed) && describe(plan, deeds) != before.outlook
}

/// What a pass found that found nothing.
pub(super) fn unchanged(preview: &Preview) -> Findings {
    Findings {
        memory: preview.memory.clone(),
        phase: preview.phase,
        conditions: preview.conditions.clone(),
        outlook: preview.outlook.clone(),
        error: None,
        told: None,
        deeds: Vec::new(),
        expires_at: preview.expires_at,
        going: preview.going.map(|going| going.reason),
        receipt: preview.receipt.clone(),
        wake_at: None,
        failures: preview.failures,
    }
}

/// `before` is what the pass before came to.
pub(super) fn ending(
    desired: &Desired,
    plan: &Plan,
    deeds: &Deeds,
    conditions: &[Condition],
    before: &Preview,
    now: DateTime<Utc>,
    next_change: impl Fn(&Desired) -> Option<DateTime<Utc>>,
) -> Ending {
    let newest = conditions
        .iter()
        .filter(|condition| condition.status != Status::True || condition.since == now)
        .map(|condition| condition.since)
        .max();
    let still = now - newest.unwrap_or(now);
    match plan.outlook {
        // Background work pokes when it ends; until then there is nothing new to see.
        Outlook::Acting if deeds.underway.is_some() && deeds.done.len() == 1 => {
            Ending::Waiting(still)
        }
        // The same steps as in the pass before, and nothing came of them: the world has to move.
        Outlook::Acting
            if describe(plan, deeds) == before.outlook && conditions == before.conditions =>
        {
            Ending::Waiting(still)
        }
        Outlook::Acting => Ending::Acted,
        Outlook::Waiting(_) => Ending::Waiting(still),
        Outlook::Blocked(_) if !plan.steps.is_empty() => Ending::Acted,
        Outlook::Blocked(_) => Ending::Held,
        Outlook::Settled => match next_change(desired) {
            Some(at) => Ending::SettledUp(at),
            None => Ending::SettledDown,
        },
    }
}

/// What a person reads about the plan.
pub(super) fn describe(plan: &Plan, deeds: &Deeds) -> String {
    if let Some(what) = &deeds.underway {
        return what.clone();
    }
    match &plan.outlook {
        Outlook::Settled => String::new(),
        Outlook::Acting => {
            let steps: Vec<_> = plan.steps.iter().map(Step::as_str).collect();
            steps.join(", ")
        }
        Outlook::Waiting(why) => format!("waiting for {why}"),
        Outlook::Blocked(why) => why.clone(),
    }
}

/// Which seam answers for a part, as a metric calls it.
pub(super) fn seam(part: Part) -> &'static str {
    match part {
        Part::Namespace | Part::Migrations | Part::Workload | Part::Route => "cluster",
        Part::Database | Part::Parity => "databases",
        Part::Dns => "dns",
        Part::Served => "visitor",
        Part::Image => "images",
        Part::PullRequest | Part::Notice => "forge",
    }
}
