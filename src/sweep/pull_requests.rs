//! Open pull requests against rows: heals webhooks that never came.
//!
//! Refuses to believe a listing about what it does not show, and to doubt more at once than the
//! brake allows: each doubted pull request is read by itself before anything happens to it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::Found;
use crate::ledger::{Heard, LedgerError, Preview, PullHint};
use crate::preview::{PullFacts, PullKey, PullState, brake};
use crate::reconcile::Reconciler;
use crate::repository::Repository;

pub(super) async fn sweep(this: &Reconciler, now: DateTime<Utc>) -> Result<Found, LedgerError> {
    let mut found = Found::default();
    let released = this.ledger.brake().await?.released_until.is_some_and(|until| until > now);
    for repository in this.repositories.iter() {
        match this.seams.forge.open_pulls(&repository.reference).await {
            Ok(open) => compare(this, repository, open, released, now, &mut found).await?,
            Err(fault) => {
                // One repository that cannot be listed does not stop the others.
                tracing::warn!(%fault, "open pull requests cannot be listed");
                found.failed += 1;
            }
        }
    }
    Ok(found)
}

async fn compare(
    this: &Reconciler,
    repository: &Repository,
    open: Vec<PullFacts>,
    released: bool,
    now: DateTime<Utc>,
    found: &mut Found,
) -> Result<(), LedgerError> {
    let mut rows: HashMap<PullKey, Preview> = HashMap::new();
    for preview in this.ledger.live_previews(repository.prefix.as_ref()).await? {
        // One of a repository that had this prefix before is not this one's to judge.
        if this.repository_of(&preview).is_some() {
            rows.insert(preview.memory.facts.key, preview);
        }
    }
    let live = rows.len();
    for facts in open {
        let known = rows.remove(&facts.key);
        found.take(hear(this, repository, known, facts, now).await)?;
    }
    // What is left was not listed. Those that we hold for open are doubted; the others are on
    // their way out already.
    let mut absent: Vec<_> =
        rows.into_values().filter(|p| p.memory.facts.state == PullState::Open).collect();
    // Those come first that were not heard of for longest, so that each gets its turn.
    absent.sort_by_key(|preview| preview.memory.hinted_at);
    let allowed = match released {
        true => absent.len(),
        false => usize::try_from(brake::allowance(live as u64)).unwrap_or(usize::MAX),
    };
    if absent.len() > allowed {
        found.held += absent.len() - allowed;
        this.metrics.brake_engaged();
        this.ledger.engage_brake(now).await?;
        tracing::error!(
            repository = %repository.reference.full_name(),
            missing = absent.len(),
            allowed,
            "the listing lacks so many open pull requests that the mass-teardown brake holds; \
             they are read again a few at a time"
        );
    }
    for preview in absent.iter().take(allowed) {
        found.doubted += 1;
        this.ledger.doubt(preview.id, now).await?;
        this.wake.notify_one();
    }
    Ok(())
}

/// Learns of one listed pull request, if it says something new.
async fn hear(
    this: &Reconciler,
    repository: &Repository,
    known: Option<Preview>,
    facts: PullFacts,
    now: DateTime<Utc>,
) -> Result<Found, LedgerError> {
    let news = match &known {
        Some(preview) => {
            preview.repository != repository.reference || is_news(&facts, &preview.memory.facts)
        }
        None => is_unknown(this, &facts).await?,
    };
    if !news {
        return Ok(Found::default());
    }
    let hint = PullHint {
        name: repository.preview_name(facts.key.number),
        repository: repository.reference.clone(),
        facts,
        source: "sweep",
        what: "an event was missed".to_owned(),
        choosing: repository.policy.choices.labels(),
        even_if_closed: false,
    };
    this.ledger.learn(&Heard { hint, delivery: None, at: now }).await?;
    this.wake.notify_one();
    Ok(Found { missed: 1, ..Found::default() })
}

/// Whether a listed pull request says something that we have not heard.
fn is_news(listed: &PullFacts, known: &PullFacts) -> bool {
    listed.updated_at > known.updated_at
        && (listed.head != known.head
            || listed.state != known.state
            || listed.draft != known.draft
            || listed.labels != known.labels)
}

/// Whether an open pull request has no row, or one that holds it for closed. A row of a preview
/// that expired is no news.
async fn is_unknown(this: &Reconciler, facts: &PullFacts) -> Result<bool, LedgerError> {
    let known = this.ledger.preview_of(facts.key).await?;
    Ok(known.is_none_or(|preview| is_news(facts, &preview.memory.facts)))
}
