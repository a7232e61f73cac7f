//! What is remembered of a revision's migrations, beside what is seen of their run.
//!
//! Changes nothing. Refuses to make a report a reason for anything: one that cannot be read is not
//! shown, and what it would say is in the API's fault.

use super::Reconciler;
use crate::ledger::{LedgerError, Preview};
use crate::preview::rehearsal::Report;
use crate::preview::{Desired, MigrationSeen, MigrationsSeen, Notice, Seen};
use crate::repository::Repository;

/// How the migrations of the wanted revision stand, where it has some.
pub(super) async fn remembered(
    this: &Reconciler,
    preview: &Preview,
    repository: &Repository,
    desired: &Desired,
    run: Seen<MigrationSeen>,
) -> Result<Option<MigrationsSeen>, LedgerError> {
    let (Some(_), Desired::Up(spec)) = (&repository.shape.migrations, desired) else {
        return Ok(None);
    };
    let (remembered, begun) =
        this.ledger.migrated(preview, &spec.revision, spec.data_generation).await?;
    Ok(Some(MigrationsSeen { run, remembered, begun }))
}

/// What the pull request is shown of it, with the word that its URL serves the commit.
pub(super) async fn shown(
    this: &Reconciler,
    preview: &Preview,
    notice: &Notice,
) -> Result<Option<Report>, LedgerError> {
    let Notice::Ready { revision, .. } = notice else { return Ok(None) };
    match this.ledger.rehearsal_of(preview, revision).await {
        Err(error @ LedgerError::Shape { .. }) => {
            tracing::error!(%error, "a report cannot be read; it is not shown");
            Ok(None)
        }
        kept => Ok(kept?.map(|kept| kept.report)),
    }
}
