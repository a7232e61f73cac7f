//! Stamped things against rows: heals leaks.
//!
//! Refuses to remove: what should not be there gets a row that is due, and the loop reads its pull
//! request and takes it from there. Each thing is on its own; one that cannot be settled does not
//! stop the others.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::Found;
use crate::fault::Fault;
use crate::ledger::{Heard, LedgerError, PullHint};
use crate::preview::PreviewName;
use crate::reconcile::Reconciler;

pub(super) async fn sweep(this: &Reconciler, now: DateTime<Utc>) -> Result<Found, LedgerError> {
    let mut found = Found::default();
    let seams = &this.seams;
    let (cluster, databases, dns) =
        tokio::join!(seams.cluster.owned(), seams.databases.owned(), seams.dns.owned());
    let mut hosts = Vec::new();
    let dns = dns.map(|listed| {
        hosts.extend(listed.iter().filter(|host| host.component.is_some()).cloned());
        listed.into_iter().map(|host| host.name).collect()
    });
    let mut names = BTreeSet::new();
    for listed in [cluster, databases, dns] {
        collect(listed, &mut names, &mut found);
    }
    for name in names {
        let of_it: Vec<_> = hosts.iter().filter(|host| host.name == name).cloned().collect();
        // Before a pass that is woken says what is gone; and after, where there was no row yet.
        let is_news = async || match of_it.is_empty() {
            true => Ok(false),
            false => this.ledger.found_hosts(&name, &of_it).await,
        };
        is_news().await?;
        found.take(settle(this, &name, now).await)?;
        if is_news().await? {
            this.ledger.poke_named(&name, now).await?;
        }
    }
    Ok(found)
}

/// The same for deployments on the forge, whose listing costs it a request for each.
pub(super) async fn sweep_deployments(
    this: &Reconciler,
    now: DateTime<Utc>,
) -> Result<Found, LedgerError> {
    let mut found = Found::default();
    let mut names = BTreeSet::new();
    for repository in this.repositories.iter() {
        collect(this.seams.forge.owned(&repository.reference).await, &mut names, &mut found);
    }
    for name in names {
        found.take(settle(this, &name, now).await)?;
    }
    Ok(found)
}

fn collect(
    listed: Result<Vec<PreviewName>, Fault>,
    names: &mut BTreeSet<PreviewName>,
    found: &mut Found,
) {
    match listed {
        Ok(listed) => names.extend(listed),
        Err(fault) => {
            tracing::warn!(%fault, "a backend cannot be swept");
            found.failed += 1;
        }
    }
}

async fn settle(
    this: &Reconciler,
    name: &PreviewName,
    now: DateTime<Utc>,
) -> Result<Found, LedgerError> {
    let mut found = Found::default();
    if let Some(preview) = this.ledger.preview_named(name).await? {
        if preview.phase.holds_nothing() {
            found.orphans += 1;
            tracing::warn!(preview = %name, "something of a preview that is gone was found");
            this.ledger.poke_named(name, now).await?;
            this.wake.notify_one();
        }
        return Ok(found);
    }
    found.orphans += 1;
    let Some(repository) = this.repositories.of_name(name) else {
        tracing::error!(preview = %name, "something with our stamp belongs to no configured \
            repository; add its repository, or remove it by hand");
        return Ok(found);
    };
    match this.seams.forge.pull(&repository.reference, name.number()).await {
        Ok(facts) => {
            tracing::warn!(preview = %name, "something of an unknown preview was found");
            let hint = PullHint {
                name: name.clone(),
                repository: repository.reference.clone(),
                facts,
                source: "sweep",
                what: "something with our stamp was found".to_owned(),
                choosing: repository.policy.choices.labels(),
                even_if_closed: true,
            };
            this.ledger.learn(&Heard { hint, delivery: None, at: now }).await?;
            this.wake.notify_one();
        }
        Err(fault) => {
            tracing::warn!(preview = %name, %fault, "an unknown preview cannot be settled yet");
            found.failed += 1;
        }
    }
    Ok(found)
}
