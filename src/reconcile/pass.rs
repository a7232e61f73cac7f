//! One pass over one leased preview: look, plan, act, record.
//!
//! Refuses to wait for the world, and to record anything once its lease is lost.

use std::time::Instant;

use chrono::{DateTime, Utc};

use super::Reconciler;
use super::act::Ground;
use super::fresh;
use super::observe::{Look, look};
use super::outcome::{MOVING_FAILURES, alone, describe, ending, has_moved, moving, unchanged};
use super::pace::{Ending, wake_at};
use crate::clock::jitter;
use crate::fault::Disposition;
use crate::ledger::{Findings, Lease, LeaseLost, LedgerError, Preview};
use crate::preview::condition::{blame, conditions};
use crate::preview::desired::next_change;
use crate::preview::phase::phase;
use crate::preview::{Desired, Outlook, Plan, Receipt, plan};

impl Reconciler {
    /// Runs a pass under its deadline and records what came of it, whatever that is; when the row is due
    /// next.
    pub(super) async fn guarded_pass(&self, lease: &Lease) -> Option<DateTime<Utc>> {
        let name = lease.preview.name.namespace();
        let replica = self.replica;
        let span = tracing::info_span!("pass", preview = %name, epoch = lease.epoch, %replica);
        tracing::Instrument::instrument(self.bounded_pass(lease), span).await
    }

    async fn bounded_pass(&self, lease: &Lease) -> Option<DateTime<Utc>> {
        let begun = Instant::now();
        let due = match tokio::time::timeout(self.limits.pass_deadline, self.pass(lease)).await {
            Ok(Ok(Some(findings))) => self.record(lease, findings).await,
            Ok(Ok(None)) => {
                tracing::debug!("lease lost; findings discarded");
                None
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the ledger failed during a pass");
                self.record_failure(lease, "the ledger failed during the pass").await
            }
            Err(_) => {
                tracing::warn!("a pass exceeded its deadline");
                self.record_failure(lease, "the pass exceeded its deadline").await
            }
        };
        self.metrics.pass_took(begun.elapsed());
        due
    }

    /// Records that a pass came to nothing, and when to try again.
    pub(super) async fn record_failure(&self, lease: &Lease, why: &str) -> Option<DateTime<Utc>> {
        let preview = &lease.preview;
        let failures = preview.failures.saturating_add(1);
        let ending = Ending::Faulted(Disposition::Permanent, failures);
        let mut findings = unchanged(preview);
        findings.error = Some(why.to_owned());
        findings.failures = failures;
        findings.wake_at = wake_at(ending, &self.pacing, jitter(), self.clock.now());
        self.record(lease, findings).await
    }

    /// When the row is due next. Where that is not known, others found it, or its lease ends by itself.
    async fn record(&self, lease: &Lease, findings: Findings) -> Option<DateTime<Utc>> {
        let now = self.clock.now();
        let name = lease.preview.name.namespace();
        if findings.phase != lease.preview.phase {
            tracing::info!(preview = %name, from = lease.preview.phase.as_str(),
                to = findings.phase.as_str(), "phase");
        }
        match self.ledger.record(lease, &findings, now).await {
            Ok(Ok(due)) => {
                self.recorded.notify_waiters();
                self.metrics.pass(if findings.error.is_some() { "fault" } else { "ok" });
                if findings.phase != lease.preview.phase
                    && let Some(repository) = self.repository_of(&lease.preview)
                {
                    let wanted = lease.preview.memory.revision(&repository.policy);
                    self.metrics.phase_changed(&lease.preview, &wanted, findings.phase, now);
                }
                return due;
            }
            Ok(Err(_)) => self.metrics.pass("lease_lost"),
            Err(error) => {
                self.metrics.pass("ledger");
                tracing::warn!(preview = %name, %error, "a pass could not be recorded");
            }
        }
        None
    }

    /// `None` when the lease was lost.
    async fn pass(&self, lease: &Lease) -> Result<Option<Findings>, LedgerError> {
        let now = self.clock.now();
        let preview = &lease.preview;
        let Some(repository) = self.repository_of(preview) else {
            return Ok(Some(self.unconfigured(preview, now)));
        };
        let mut memory = preview.memory.clone();
        let Ok(looked) = look(self, lease, &mut memory, repository, now).await? else {
            return Ok(None);
        };
        let Look { seen, unread, repository, intended } = looked;
        let repository = &repository;
        if let Some((disposition, _)) = &unread {
            self.metrics.fault("forge", *disposition);
        }
        let policy = &repository.policy;
        memory.renew(policy);
        let desired = memory.desired(policy, now);
        let mut plan = plan(&desired, &seen, &memory.facts.head);
        if let Some(why) = fresh::reason(self, preview, repository, &desired, &seen, &plan).await? {
            return Ok(Some(fresh::findings(preview, memory, repository, &seen, why, now)));
        }
        let Ok(held) = self.held_by_brake(lease, &desired, &plan, now).await? else {
            return Ok(None);
        };
        if let Some(why) = &held {
            plan = Plan { steps: Vec::new(), outlook: Outlook::Blocked(why.clone()) };
        }
        let receipt = match desired {
            Desired::Down(_) => Receipt::of(&seen, &preview.name, &self.site.suffix, now),
            Desired::Up(_) => None,
        };
        let ground = Ground {
            memory: &memory,
            desired: &desired,
            seen: &seen,
            receipt: receipt.as_ref(),
            intended,
        };
        let Some(deeds) = self.act(lease, repository, &plan, ground).await? else {
            return Ok(None);
        };
        let mut conditions = conditions(&desired, &seen, now, &preview.conditions);
        for (part, why) in deeds.failures() {
            blame(&mut conditions, part, why);
        }
        let fault = deeds.fault.clone().or_else(|| alone(&plan, &deeds, unread));
        let failures = if fault.is_some() { preview.failures.saturating_add(1) } else { 0 };
        let ending = match &fault {
            // The world moves on while the forge does not listen: look again soon enough to see it.
            Some(_) if deeds.fault.is_none() && moving(&seen) => {
                Ending::Faulted(Disposition::Transient, failures.min(MOVING_FAILURES))
            }
            Some(_) if deeds.fault.is_some() && has_moved(&plan, &deeds, preview) => Ending::Acted,
            Some((disposition, _)) => Ending::Faulted(*disposition, failures),
            None => ending(&desired, &plan, &deeds, &conditions, preview, now, |d| {
                next_change(d, policy)
            }),
        };
        let settled = plan.outlook == Outlook::Settled;
        let phase = match held {
            Some(_) => preview.phase,
            None => phase(&desired, &seen, &plan.outlook),
        };
        // The first proof stays: it is the one that the pull request was shown.
        let receipt = receipt.map(|fresh| preview.receipt.clone().unwrap_or(fresh));
        Ok(Some(Findings {
            phase,
            conditions,
            outlook: describe(&plan, &deeds),
            error: fault.or(deeds.unheard).map(|(_, why)| why),
            told: Some(deeds.told),
            deeds: deeds.done,
            expires_at: match &desired {
                Desired::Up(spec) => Some(spec.expires_at),
                Desired::Down(_) => None,
            },
            going: match &desired {
                // Hearsay alone does not begin a removal; once begun, it goes on.
                Desired::Down(reason)
                    if preview.going.is_some() || settled || !plan.steps.is_empty() =>
                {
                    Some(*reason)
                }
                _ => None,
            },
            receipt,
            wake_at: wake_at(ending, &self.pacing, jitter(), now),
            failures,
            memory,
        }))
    }

    /// Whether the brake keeps an expiry from beginning, and what to say about it.
    async fn held_by_brake(
        &self,
        lease: &Lease,
        desired: &Desired,
        plan: &Plan,
        now: DateTime<Utc>,
    ) -> Result<Result<Option<String>, LeaseLost>, LedgerError> {
        let preview = &lease.preview;
        let Desired::Down(reason) = desired else { return Ok(Ok(None)) };
        let begins = reason.is_expiry() && preview.going.is_none() && !plan.steps.is_empty();
        if !begins {
            return Ok(Ok(None));
        }
        match self.ledger.may_expire(lease, *reason, now).await? {
            Ok(true) => return Ok(Ok(None)),
            Ok(false) => {}
            Err(lost) => return Ok(Err(lost)),
        }
        self.metrics.brake_engaged();
        tracing::error!(preview = %preview.name, "the mass-teardown brake holds an expiry");
        Ok(Ok(Some(
            "held by the mass-teardown brake: too many previews expire at once; it goes when fewer \
             do, or when an admin releases the brake"
                .to_owned(),
        )))
    }

    /// A preview whose repository is not configured any more: absence is no reason to delete.
    fn unconfigured(&self, preview: &Preview, now: DateTime<Utc>) -> Findings {
        let mut findings = unchanged(preview);
        findings.outlook = format!(
            "repository {} is not in the configuration; add it again to have this preview removed",
            preview.repository.full_name()
        );
        findings.wake_at = wake_at(Ending::Held, &self.pacing, jitter(), now);
        findings
    }
}
