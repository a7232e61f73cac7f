//! When a preview's data has to be cloned anew by itself: it is gone, or it has had migrations that the
//! wanted commit does not go on from.
//!
//! Refuses to decide on doubt: a forge that does not answer, a tool that names say nothing of, or a
//! history that cannot be read leaves the data as it is. Decided is written down before anything is
//! dropped.

use chrono::{DateTime, Utc};

use super::Reconciler;
use super::outcome::unchanged;
use crate::database::listed::diverged;
use crate::fault::Fault;
use crate::ledger::{Findings, LedgerError, Preview};
use crate::preview::condition::conditions;
use crate::preview::migration::lost_data;
use crate::preview::phase::phase;
use crate::preview::{
    Desired, Memory, MigrationState, Observed, Outlook, Plan, Revision, Seen, Step,
};
use crate::repository::Repository;

/// Why the data has to be cloned anew, if it has to.
pub(super) async fn reason(
    this: &Reconciler,
    preview: &Preview,
    repository: &Repository,
    desired: &Desired,
    seen: &Observed,
    plan: &Plan,
) -> Result<Option<String>, LedgerError> {
    let Desired::Up(spec) = desired else { return Ok(None) };
    let want = &spec.revision;
    if let Some(why) = lost_data(want, seen) {
        return Ok(Some(why));
    }
    let Some(known) = &seen.migrations else { return Ok(None) };
    // Of what still runs nobody knows what it will have done.
    let is_over = match &known.run {
        Seen::Absent => true,
        Seen::Present(run) => matches!(run.state, MigrationState::Ended(_)),
        _ => false,
    };
    let migrations = repository.shape.migrations.as_ref();
    let directory = migrations.and_then(|migrations| migrations.directory.as_deref());
    let (Some(directory), true) =
        (directory, is_over && plan.steps.contains(&Step::EnsureMigration(want.clone())))
    else {
        return Ok(None);
    };
    let Some(before) = this.ledger.migrated_before(preview, want, spec.data_generation).await?
    else {
        return Ok(None);
    };
    match compare(this, preview, directory, &before, want).await {
        Ok(why) => Ok(why),
        Err(fault) => {
            tracing::warn!(%fault, "histories of migrations are not compared");
            Ok(None)
        }
    }
}

async fn compare(
    this: &Reconciler,
    preview: &Preview,
    directory: &str,
    before: &Revision,
    want: &Revision,
) -> Result<Option<String>, Fault> {
    let histories = this.seams.rehearsals.history(&preview.name, &preview.password).await?;
    if histories.iter().all(|history| history.entries.is_empty()) {
        return Ok(None);
    }
    let files = |commit| this.seams.forge.files(&preview.repository, commit, directory);
    let (before, now) = tokio::try_join!(files(&before.commit), files(&want.commit))?;
    Ok(diverged(&histories, &before, &now))
}

/// What such a pass found: other data is wanted from now on, and the next pass goes about it.
pub(super) fn findings(
    preview: &Preview,
    mut memory: Memory,
    repository: &Repository,
    seen: &Observed,
    why: String,
    now: DateTime<Utc>,
) -> Findings {
    memory.renew_data();
    tracing::info!(preview = %preview.name, why, "the data is cloned anew");
    let desired = memory.desired(&repository.policy, now);
    Findings {
        phase: phase(&desired, seen, &Outlook::Acting),
        conditions: conditions(&desired, seen, now, &preview.conditions),
        outlook: format!("fresh data: {why}"),
        deeds: vec![("fresh_data", why)],
        expires_at: Some(memory.expires_at(&repository.policy)),
        going: None,
        receipt: None,
        wake_at: Some(now),
        failures: 0,
        memory,
        ..unchanged(preview)
    }
}
