//! Deliveries that failed: heals an outage of ours sooner than the listing would.
//!
//! Refuses to learn anything from the listing: the forge is asked to deliver again, and the delivery
//! comes in by the same door as any other. What the ledger has heard is not asked for.

use chrono::{DateTime, TimeDelta, Utc};

use super::Found;
use crate::ledger::LedgerError;
use crate::reconcile::Reconciler;

/// How many are asked for at a time; the others are for the next turn.
const MAX_ASKED: usize = 50;

pub(super) async fn sweep(
    this: &Reconciler,
    window: TimeDelta,
    now: DateTime<Utc>,
) -> Result<Found, LedgerError> {
    let mut found = Found::default();
    let forge = &this.seams.forge;
    let repositories: Vec<_> = this.repositories.iter().map(|r| r.reference.clone()).collect();
    let mut failed = match forge.failed_deliveries(&repositories, now - window).await {
        Ok(failed) => failed,
        Err(fault) => {
            tracing::warn!(%fault, "failed deliveries cannot be listed");
            return Ok(Found { failed: 1, ..found });
        }
    };
    let ids: Vec<_> = failed.iter().map(|delivery| delivery.id.clone()).collect();
    let heard = this.ledger.heard_deliveries(&ids).await?;
    failed.retain(|delivery| !heard.contains(&delivery.id));
    for delivery in failed.iter().take(MAX_ASKED) {
        match forge.redeliver(delivery).await {
            Ok(()) => found.redelivered += 1,
            Err(fault) => {
                // What stops one most likely stops the others.
                tracing::warn!(%fault, "a failed delivery cannot be asked for again");
                found.failed += 1;
                break;
            }
        }
    }
    Ok(found)
}
