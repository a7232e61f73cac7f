//! Does what was planned: in its order, at once what stands in none, and the word to the pull request last.
//!
//! Refuses a step whose ground was not laid in this pass, and to reach out before the ledger has the
//! intent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::Reconciler;
use super::apply::{StepError, apply};
use super::outcome::{Deeds, seam};
use crate::fault::{Disposition, Fault, Progress};
use crate::ledger::{Kind, Lease, LeaseLost, LedgerError};
use crate::preview::plan::failure;
use crate::preview::{Desired, Memory, Observed, Plan, Receipt, Step, Told};
use crate::repository::Repository;

/// What a plan stands on.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    /// What the pull request was read to be in this pass, which is recorded only after it.
    pub(super) memory: &'a Memory,
    pub(super) desired: &'a Desired,
    pub(super) seen: &'a Observed,
    pub(super) receipt: Option<&'a Receipt>,
    /// What was written down to be made already.
    pub(super) intended: &'a [Kind],
}

impl Reconciler {
    /// Does the steps. After a fault only notices are still tried: what the pull request is told neither
    /// waits for the rest nor holds it up. A fault that a person has to mend is told instead of what was
    /// planned to be said. `None` when the lease was lost.
    pub(super) async fn act(
        &self,
        lease: &Lease,
        repository: &Repository,
        plan: &Plan,
        ground: Ground<'_>,
    ) -> Result<Option<Deeds>, LedgerError> {
        let told = lease.preview.told.clone();
        let mut deeds = Deeds {
            told,
            done: Vec::new(),
            fault: None,
            failed: None,
            unheard: None,
            underway: None,
        };
        let mut steps: VecDeque<Step> = plan.steps.iter().cloned().collect();
        let mut intended = ground.intended.to_vec();
        let mut unfinished: Vec<Step> = Vec::new();
        while let Some(wave) = next_wave(&mut steps) {
            let is_tried = |step: &Step| {
                let waits = unfinished.iter().any(|it| step.stands_on(it));
                matches!(step, Step::Publish(_)) || deeds.fault.is_none() && !waits
            };
            let wave: Vec<Step> = wave.into_iter().filter(is_tried).collect();
            if self.intend(lease, wave.iter().chain(&steps), &mut intended).await?.is_err() {
                return Ok(None);
            }
            let calls = wave.iter().map(async |step| {
                let begun = Instant::now();
                (apply(self, lease, repository, step, ground).await, begun.elapsed())
            });
            for (step, (outcome, took)) in wave.iter().zip(join_all(calls).await) {
                let outcome = match outcome {
                    Err(StepError::LeaseLost(_)) => return Ok(None),
                    Err(StepError::Ledger(error)) => return Err(error),
                    Err(StepError::Fault(fault)) => Err(fault),
                    Ok(progress) => Ok(progress),
                };
                if outcome != Ok(Progress::Done) {
                    unfinished.push(step.clone());
                }
                let instead = self.note(&mut deeds, step, outcome, took, ground);
                steps = instead.unwrap_or(steps);
            }
        }
        Ok(Some(deeds))
    }

    /// Writes the intent of these steps, as far as this pass has not.
    async fn intend(
        &self,
        lease: &Lease,
        steps: impl Iterator<Item = &Step>,
        intended: &mut Vec<Kind>,
    ) -> Result<Result<(), LeaseLost>, LedgerError> {
        let mut kinds: Vec<Kind> = steps.filter_map(makes).collect();
        kinds.retain(|kind| !intended.contains(kind));
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.is_empty() {
            return Ok(Ok(()));
        }
        intended.extend(&kinds);
        self.ledger.intend(lease, &kinds, &self.site.suffix, self.clock.now()).await
    }

    /// Writes down what came of a step; what is to be done instead of the rest, if that is another.
    fn note(
        &self,
        deeds: &mut Deeds,
        step: &Step,
        outcome: Result<Progress, Fault>,
        took: Duration,
        ground: Ground<'_>,
    ) -> Option<VecDeque<Step>> {
        let fine = outcome.is_ok();
        let mut instead = None;
        let notice = match step {
            Step::Publish(notice) => Some(notice),
            _ => None,
        };
        let outcome = match outcome {
            Ok(Progress::Done) => {
                if let Some(notice) = notice {
                    deeds.told = Told::Said(notice.clone());
                }
                String::new()
            }
            Ok(Progress::Underway(what)) => {
                deeds.underway = Some(what.clone());
                what
            }
            Err(fault) => {
                self.metrics.fault(seam(step.part()), fault.disposition);
                let why = fault.to_string();
                if notice.is_some() {
                    deeds.told = Told::Unsure;
                    deeds.unheard = Some((fault.disposition, why.clone()));
                } else if deeds.fault.as_ref().is_none_or(|(before, _)| {
                    *before == Disposition::Transient && fault.disposition != Disposition::Transient
                }) {
                    deeds.fault = Some((fault.disposition, why.clone()));
                    deeds.failed = Some(step.part());
                    if let (Desired::Up(spec), Disposition::Permanent, false) =
                        (ground.desired, fault.disposition, step.is_tidying())
                    {
                        let told = failure(spec, ground.seen, &why).map(Step::Publish);
                        instead = Some(told.into_iter().collect());
                    }
                }
                why
            }
        };
        let (name, seconds) = (step.as_str(), took.as_secs_f64());
        self.metrics.step(name, fine, took);
        tracing::info!(step = name, fine, seconds, outcome, "step");
        deeds.done.push((name, outcome));
        instead
    }
}

/// The next steps that stand in no order: each with what comes before it, up to the first that waits for
/// one of them.
fn next_wave(steps: &mut VecDeque<Step>) -> Option<Vec<Step>> {
    let mut wave = vec![steps.pop_front()?];
    while let Some(next) = steps.front()
        && !wave.iter().any(|step| next.stands_on(step))
    {
        wave.extend(steps.pop_front());
    }
    Some(wave)
}

/// What a step may bring into the world that was not there.
fn makes(step: &Step) -> Option<Kind> {
    match step {
        Step::EnsureNamespace => Some(Kind::Namespace),
        Step::EnsureDatabase { .. } => Some(Kind::Database),
        // A workload may open its way in early.
        Step::EnsureWorkload(_) | Step::EnsureRoute(_) => Some(Kind::Route),
        Step::EnsureRecord => Some(Kind::Record),
        Step::Publish(_) => Some(Kind::Notice),
        Step::EnsureMigration(_)
        | Step::EnsureReport { .. }
        | Step::RemoveOthers(_)
        | Step::RemoveLogin
        | Step::RemoveRecord
        | Step::RemoveRoute
        | Step::RemoveNamespace
        | Step::RemoveDatabase
        | Step::RemoveRole => None,
    }
}
