//! What visitors of the local proxy are told about a host that has no route.
//!
//! Refuses to say more than anybody may read.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::cluster::local::proxy::{Fate, HostBook};
use crate::ledger::{Ledger, Preview};
use crate::preview::{Part, Phase, PreviewName, Status};

/// What the ledger knows of a host that has no route.
pub(super) struct LedgerBook {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
}

impl LedgerBook {
    pub(super) fn new(ledger: Ledger, clock: Arc<dyn Clock>, wake: Arc<Notify>) -> Self {
        Self { ledger, clock, wake }
    }
}

/// What is not there yet, in words that anybody may read: a condition's own message can quote a
/// workload's log.
fn missing(preview: &Preview) -> String {
    let parts = preview.conditions.iter().filter(|c| c.status != Status::True);
    let parts =
        parts.filter(|c| !matches!(c.part, Part::Notice | Part::Parity | Part::PullRequest));
    let parts: Vec<_> = parts.map(|condition| condition.part.as_str()).collect();
    if parts.is_empty() { String::new() } else { format!("Still to come: {}.", parts.join(", ")) }
}

#[async_trait]
impl HostBook for LedgerBook {
    async fn fate(&self, name: &PreviewName) -> Fate {
        match self.ledger.preview_named(name).await {
            Ok(None) => Fate::Unknown,
            Ok(Some(preview)) if preview.phase.holds_nothing() => Fate::Gone,
            Ok(Some(preview)) => {
                // A visitor found nothing behind a preview that we hold for ready: look again.
                if preview.phase == Phase::Ready
                    && let Ok(true) = self.ledger.poke_named(name, self.clock.now()).await
                {
                    self.wake.notify_one();
                }
                Fate::Starting { detail: missing(&preview) }
            }
            Err(error) => {
                tracing::warn!(preview = %name, %error, "the ledger was asked for a host in vain");
                Fate::Starting { detail: String::new() }
            }
        }
    }
}
