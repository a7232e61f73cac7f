//! A forge in memory: what is true is set by the test, what was said can be read back.
//!
//! Refuses to invent pull requests: what nobody put is "not found", and that is a fault.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mayfly::fault::Fault;
use mayfly::forge::{Announcement, FailedDelivery, Forge, RepositoryRef};
use mayfly::preview::{CommitSha, Notice, PreviewName, PullFacts, PullNumber, PullState, Seen};

use super::faults::Faults;

type Key = (String, PullNumber);

#[derive(Default)]
struct Inner {
    pulls: BTreeMap<Key, PullFacts>,
    lost: HashSet<PullNumber>,
    /// Every change of a sticky comment, in order.
    said: Vec<(PullNumber, Announcement)>,
    /// The sticky comments: one per pull request and preview.
    comments: BTreeMap<(Key, PreviewName), Announcement>,
    /// The active deployments, by repository.
    active: BTreeSet<(String, PreviewName)>,
    /// The deliveries that failed, and the ids of those that were asked for again.
    failed: Vec<FailedDelivery>,
    /// What is in each directory, by commit.
    directories: BTreeMap<(CommitSha, String), Vec<String>>,
    redelivered: Vec<String>,
    /// What the base branches hold, by repository and path.
    files: BTreeMap<(String, String), String>,
}

/// The fake; clones share the world.
#[derive(Clone, Default)]
pub struct FakeForge {
    inner: Arc<Mutex<Inner>>,
    faults: Faults,
}

impl FakeForge {
    /// A forge that fails as these faults say.
    pub fn new(faults: Faults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// This is what the forge knows of a pull request from now on; found again if it was lost.
    pub fn put(&self, repo: &RepositoryRef, facts: PullFacts) {
        let mut inner = self.inner.lock().unwrap();
        inner.lost.remove(&facts.key.number);
        inner.pulls.insert((repo.full_name(), facts.key.number), facts);
    }

    /// The pull requests of this number are "not found" until they are put again.
    pub fn lose(&self, number: PullNumber) {
        self.inner.lock().unwrap().lost.insert(number);
    }

    /// What the pull requests of this number were told, without repetitions.
    pub fn said(&self, number: PullNumber) -> Vec<Announcement> {
        let inner = self.inner.lock().unwrap();
        inner.said.iter().filter(|(n, _)| *n == number).map(|(_, said)| said.clone()).collect()
    }

    /// What the sticky comment says now.
    pub fn comment(&self, number: PullNumber) -> Option<Announcement> {
        self.said(number).pop()
    }

    /// How many comments of ours a pull request has.
    pub fn comments(&self, number: PullNumber) -> usize {
        let inner = self.inner.lock().unwrap();
        inner.comments.keys().filter(|((_, n), _)| *n == number).count()
    }

    /// The base branch of a repository has this file from now on.
    pub fn put_file(&self, repo: &RepositoryRef, path: &str, text: &str) {
        let key = (repo.full_name(), path.to_owned());
        self.inner.lock().unwrap().files.insert(key, text.to_owned());
    }

    /// This is in a directory at a commit; one that nobody put is "not found".
    pub fn put_files(&self, commit: &CommitSha, directory: &str, names: &[&str]) {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let at = (commit.clone(), directory.to_owned());
        self.inner.lock().unwrap().directories.insert(at, names);
    }

    /// A delivery did not reach us.
    pub fn fail_delivery(&self, id: &str, at: DateTime<Utc>) {
        let (id, address) = (id.to_owned(), format!("/{id}"));
        self.inner.lock().unwrap().failed.push(FailedDelivery { id, address, at });
    }

    /// The deliveries that were asked for again.
    pub fn redelivered(&self) -> Vec<String> {
        self.inner.lock().unwrap().redelivered.clone()
    }

    /// Whether an active deployment of this preview is shown.
    pub fn deployment_active(&self, name: &PreviewName) -> bool {
        self.inner.lock().unwrap().active.iter().any(|(_, active)| active == name)
    }
}

impl Inner {
    fn pull(&self, repo: &RepositoryRef, number: PullNumber) -> Result<&PullFacts, Fault> {
        let found = self.pulls.get(&(repo.full_name(), number));
        found.filter(|_| !self.lost.contains(&number)).ok_or_else(|| {
            Fault::transient("reading a pull request", "404: not found, or no access")
        })
    }
}

#[async_trait]
impl Forge for FakeForge {
    async fn pull(&self, repo: &RepositoryRef, number: PullNumber) -> Result<PullFacts, Fault> {
        self.faults.run("forge.pull", || self.inner.lock().unwrap().pull(repo, number).cloned())
    }

    async fn base_file(
        &self,
        repo: &RepositoryRef,
        number: PullNumber,
        path: &str,
    ) -> Result<Option<String>, Fault> {
        self.faults.run("forge.base_file", || {
            let inner = self.inner.lock().unwrap();
            inner.pull(repo, number)?;
            Ok(inner.files.get(&(repo.full_name(), path.to_owned())).cloned())
        })
    }

    async fn open_pulls(&self, repo: &RepositoryRef) -> Result<Vec<PullFacts>, Fault> {
        self.faults.run("forge.open_pulls", || {
            let inner = self.inner.lock().unwrap();
            let of_repo = inner.pulls.iter().filter(|((name, _), _)| *name == repo.full_name());
            let open = of_repo
                .filter(|((_, number), facts)| {
                    facts.state == PullState::Open && !inner.lost.contains(number)
                })
                .map(|(_, facts)| facts.clone());
            Ok(open.collect())
        })
    }

    async fn files(
        &self,
        _: &RepositoryRef,
        commit: &CommitSha,
        directory: &str,
    ) -> Result<Vec<String>, Fault> {
        self.faults.run("forge.files", || {
            let inner = self.inner.lock().unwrap();
            let found = inner.directories.get(&(commit.clone(), directory.to_owned())).cloned();
            found.ok_or_else(|| Fault::transient("listing a directory", "404: not found"))
        })
    }

    async fn observe(&self, repo: &RepositoryRef, name: &PreviewName) -> Seen<()> {
        let active = self.faults.run("forge.observe", || {
            let inner = self.inner.lock().unwrap();
            Ok(inner.active.contains(&(repo.full_name(), name.clone())))
        });
        match active {
            Ok(true) => Seen::Present(()),
            Ok(false) => Seen::Absent,
            Err(fault) => Seen::Unknown(fault.to_string()),
        }
    }

    async fn publish(
        &self,
        repo: &RepositoryRef,
        number: PullNumber,
        announcement: &Announcement,
    ) -> Result<(), Fault> {
        self.faults.run("forge.publish", || {
            let mut inner = self.inner.lock().unwrap();
            inner.pull(repo, number)?;
            let deployment = (repo.full_name(), announcement.name.clone());
            match announcement.notice {
                Notice::Preparing { .. } | Notice::Failing { .. } | Notice::Ready { .. } => {
                    inner.active.insert(deployment);
                }
                Notice::Blocked { .. } => {}
                Notice::AwaitingApproval { .. } | Notice::Stopping { .. } | Notice::Gone { .. } => {
                    inner.active.remove(&deployment);
                }
            }
            let sticky = ((repo.full_name(), number), announcement.name.clone());
            let before = inner.comments.insert(sticky, announcement.clone());
            if before.as_ref() != Some(announcement) {
                inner.said.push((number, announcement.clone()));
            }
            Ok(())
        })
    }

    async fn owned(&self, repo: &RepositoryRef) -> Result<Vec<PreviewName>, Fault> {
        self.faults.run("forge.owned", || {
            let inner = self.inner.lock().unwrap();
            let of_repo = inner.active.iter().filter(|(name, _)| *name == repo.full_name());
            Ok(of_repo.map(|(_, name)| name.clone()).collect())
        })
    }

    async fn failed_deliveries(
        &self,
        _: &[RepositoryRef],
        since: DateTime<Utc>,
    ) -> Result<Vec<FailedDelivery>, Fault> {
        self.faults.run("forge.failed_deliveries", || {
            let inner = self.inner.lock().unwrap();
            let mut found: Vec<_> =
                inner.failed.iter().filter(|d| d.at >= since).cloned().collect();
            found.sort_by_key(|delivery| delivery.at);
            Ok(found)
        })
    }

    async fn redeliver(&self, delivery: &FailedDelivery) -> Result<(), Fault> {
        self.faults.run("forge.redeliver", || {
            self.inner.lock().unwrap().redelivered.push(delivery.id.clone());
            Ok(())
        })
    }
}
