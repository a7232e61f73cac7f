//! The public hosts of a preview: what is asked and done of each, as one.
//!
//! Refuses to forget a host: one that the configuration has no more is asked for until the preview is
//! gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures_util::future::join_all;

use super::Reconciler;
use crate::ledger::Preview;
use crate::preview::observed::Resolution;
use crate::preview::{CommitSha, ComponentName, Host, PreviewName, Seen};
use crate::visit::Visit;
use crate::workload::{Service, Shape};

/// The hosts that are to lead somewhere, the preview's own first.
pub(super) fn wanted(name: &PreviewName, shape: &Shape) -> Vec<Host> {
    let components = shape.public_components().map(|it| Host::of(name, Some(it)));
    std::iter::once(Host::from(name)).chain(components).collect()
}

/// Those, and every other that may have a record.
pub(super) fn known(preview: &Preview, shape: &Shape) -> Vec<Host> {
    let mut all = wanted(&preview.name, shape);
    for component in &preview.hosted {
        let host = Host::of(&preview.name, Some(component));
        if !all.contains(&host) {
            all.push(host);
        }
    }
    all
}

/// The URL of each component that the public reaches, by its name.
pub(super) fn urls(this: &Reconciler, name: &PreviewName, shape: &Shape) -> Vec<(String, String)> {
    let of = |it| (ComponentName::to_string(it), this.site.url_of(&Host::of(name, Some(it))));
    shape.public_components().map(of).collect()
}

impl Reconciler {
    /// The URL of each component of a preview that the public reaches, by its name.
    pub fn components(&self, preview: &Preview) -> BTreeMap<String, String> {
        let Some(repository) = self.repository_of(preview) else { return BTreeMap::new() };
        let chosen = repository.chosen(&preview.memory.choice(&repository.policy));
        urls(self, &preview.name, &chosen.shape).into_iter().collect()
    }

    /// Whether every public URL of a preview serves this commit at this moment; the error says what
    /// one does instead.
    pub async fn serves(&self, preview: &Preview, commit: &CommitSha) -> Result<(), String> {
        let Some(repository) = self.repository_of(preview) else {
            return Err("its repository is not in the configuration any more".to_owned());
        };
        let chosen = repository.chosen(&preview.memory.choice(&repository.policy));
        let resolved = resolve(self, wanted(&preview.name, &chosen.shape)).await;
        match &resolved.all {
            Resolution::Right { .. } => resolved.serve(self, &chosen.shape, commit).await,
            Resolution::NotYet(why) | Resolution::Wrong(why) => Err(why.clone()),
        }
    }
}

/// Looks for the record of each.
pub(super) async fn records(this: &Reconciler, hosts: Vec<Host>) -> Vec<(Host, Seen<()>)> {
    let looks = hosts.iter().map(|host| this.seams.dns.observe(host));
    let seen = join_all(looks).await;
    hosts.into_iter().zip(seen).collect()
}

/// Where each leads; the first that leads nowhere, or elsewhere, speaks for all.
pub(super) struct Resolved {
    pub(super) all: Resolution,
    addresses: Vec<(Host, BTreeSet<IpAddr>)>,
}

/// Asks whether each leads to us.
pub(super) async fn resolve(this: &Reconciler, hosts: Vec<Host>) -> Resolved {
    let looks = hosts.iter().map(|host| this.seams.dns.resolve(host));
    let mut found = join_all(looks).await;
    let addresses = hosts.into_iter().zip(&found).filter_map(|(host, seen)| match seen {
        Resolution::Right { addresses } => Some((host, addresses.clone())),
        _ => None,
    });
    let addresses = addresses.collect();
    let unfit = found.iter().position(|it| !matches!(it, Resolution::Right { .. }));
    Resolved { all: found.swap_remove(unfit.unwrap_or_default()), addresses }
}

impl Resolved {
    /// None was asked, for this reason.
    pub(super) fn unasked(why: &str) -> Self {
        Self { all: Resolution::NotYet(why.to_owned()), addresses: Vec::new() }
    }

    /// Whether each serves the commit; the first that does not says what it does instead.
    pub(super) async fn serve(
        &self,
        this: &Reconciler,
        shape: &Shape,
        commit: &CommitSha,
    ) -> Result<(), String> {
        let services = shape.services();
        let shape_of = |host: &Host| {
            let of_it = |it: &&Service| it.component == host.component;
            services.iter().find(of_it).map(|it| &it.shape)
        };
        let visits = self.addresses.iter().filter_map(|(host, addresses)| {
            let visit = Visit { host, shape: shape_of(host)?, addresses, commit };
            Some(this.seams.visitor.observe(visit))
        });
        join_all(visits).await.into_iter().collect()
    }
}
