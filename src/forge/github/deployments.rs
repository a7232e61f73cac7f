//! The deployments that GitHub shows for a preview: one per commit, the latest status counts.
//!
//! Refuses to touch a deployment without our stamp. A deployment of ours without any status is
//! active: its making was interrupted.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::GitHub;
use crate::fault::Fault;
use crate::forge::{RepositoryRef, notice};
use crate::preview::{CommitSha, Notice, PreviewName, Stamp};

const TASK: &str = "mayfly";
const INACTIVE: &str = "inactive";
/// How many ended deployments are remembered.
const MAX_ENDED: usize = 10_000;

#[derive(Deserialize)]
pub(super) struct Deployment {
    pub(super) id: u64,
    sha: String,
    pub(super) environment: String,
    task: String,
    description: Option<String>,
    #[serde(default)]
    payload: Value,
}

#[derive(Deserialize)]
struct Status {
    id: u64,
    state: String,
    environment_url: Option<String>,
    description: Option<String>,
}

#[derive(Serialize)]
struct NewStatus<'a> {
    state: &'a str,
    description: &'a str,
    environment_url: &'a str,
    auto_inactive: bool,
}

impl GitHub {
    /// Shows this commit as being deployed or as served.
    pub(super) async fn deploy(
        &self,
        repo: &RepositoryRef,
        name: &PreviewName,
        commit: &CommitSha,
        url: &str,
        notice: &Notice,
    ) -> Result<(), Fault> {
        let ours = self.deployments(repo, Some(name)).await?;
        let same = ours.iter().filter(|deployment| deployment.sha == commit.as_str());
        let id = match same.map(|deployment| deployment.id).max() {
            Some(id) => id,
            None => self.create(repo, name, commit).await?,
        };
        let served = matches!(notice, Notice::Ready { .. });
        self.say(repo, id, notice, if served { url } else { "" }).await?;
        // GitHub's `auto_inactive` leaves out transient environments, so this is ours to do.
        if served {
            for other in ours.iter().filter(|deployment| deployment.id != id) {
                self.end(repo, other, "Another commit is served").await?;
            }
        }
        Ok(())
    }

    /// Shows the newest active deployment, if there is one, as failed.
    pub(super) async fn mark_failed(
        &self,
        repo: &RepositoryRef,
        name: &PreviewName,
        notice: &Notice,
    ) -> Result<(), Fault> {
        let active = self.active_deployments(repo, name).await?;
        match active.iter().map(|deployment| deployment.id).max() {
            Some(id) => self.say(repo, id, notice, "").await,
            None => Ok(()),
        }
    }

    /// Ends every active deployment of this preview.
    pub(super) async fn retire(
        &self,
        repo: &RepositoryRef,
        name: &PreviewName,
        notice: &Notice,
    ) -> Result<(), Fault> {
        for deployment in self.deployments(repo, Some(name)).await? {
            self.end(repo, &deployment, &notice::description(notice)).await?;
        }
        Ok(())
    }

    /// The preview's deployments whose latest status is not `inactive`.
    pub(super) async fn active_deployments(
        &self,
        repo: &RepositoryRef,
        name: &PreviewName,
    ) -> Result<Vec<Deployment>, Fault> {
        let mut active = Vec::new();
        for deployment in self.deployments(repo, Some(name)).await? {
            if self.is_active(repo, deployment.id).await? {
                active.push(deployment);
            }
        }
        Ok(active)
    }

    /// The previews with an active deployment of ours.
    pub(super) async fn owned_deployments(
        &self,
        repo: &RepositoryRef,
    ) -> Result<Vec<PreviewName>, Fault> {
        let mut owned = BTreeSet::new();
        for deployment in self.deployments(repo, None).await? {
            let Some(name) = PreviewName::parse(&deployment.environment) else { continue };
            let known = owned.contains(&name) || self.ended().contains(&deployment.id);
            if !known && self.is_active(repo, deployment.id).await? {
                owned.insert(name);
            }
        }
        Ok(owned.into_iter().collect())
    }

    /// Our deployments, of one preview or of all.
    pub(super) async fn deployments(
        &self,
        repo: &RepositoryRef,
        name: Option<&PreviewName>,
    ) -> Result<Vec<Deployment>, Fault> {
        let full_name = repo.full_name();
        let doing = format!("listing deployments of {full_name}");
        let mut route = format!("/repos/{full_name}/deployments?task={TASK}&per_page=100");
        if let Some(name) = name {
            route.push_str(&format!("&environment={name}"));
        }
        let mut found: Vec<Deployment> = self.client.list(&doing, &route).await?;
        let wanted = name.map(PreviewName::namespace);
        found.retain(|deployment| {
            wanted.as_ref().is_none_or(|name| deployment.environment == *name)
                && deployment.is_ours(&self.instance)
        });
        Ok(found)
    }

    async fn create(
        &self,
        repo: &RepositoryRef,
        name: &PreviewName,
        commit: &CommitSha,
    ) -> Result<u64, Fault> {
        #[derive(Deserialize)]
        struct Created {
            id: u64,
        }
        let stamp = Stamp::new(&self.instance, name).line();
        let body = json!({
            "ref": commit.as_str(),
            "task": TASK,
            "environment": name.namespace(),
            "transient_environment": true,
            "production_environment": false,
            "auto_merge": false,
            "required_contexts": [],
            "description": stamp,
            "payload": { "stamp": stamp },
        });
        let doing = format!("creating a deployment of {name} in {}", repo.full_name());
        let route = format!("/repos/{}/deployments", repo.full_name());
        let created: Created = self.client.write(&doing, Method::POST, &route, &body).await?;
        Ok(created.id)
    }

    async fn is_active(&self, repo: &RepositoryRef, id: u64) -> Result<bool, Fault> {
        let latest = self.latest(repo, id).await?;
        let active = latest.is_none_or(|status| status.state != INACTIVE);
        let mut ended = self.ended();
        if active {
            ended.remove(&id);
        } else {
            // Forgetting costs a request for each, and nothing else.
            if ended.len() >= MAX_ENDED {
                ended.clear();
            }
            ended.insert(id);
        }
        Ok(active)
    }

    fn ended(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn latest(&self, repo: &RepositoryRef, id: u64) -> Result<Option<Status>, Fault> {
        let doing = format!("reading deployment {id} of {}", repo.full_name());
        let route = format!("{}?per_page=100", statuses(repo, id));
        let all: Vec<Status> = self.client.list(&doing, &route).await?;
        Ok(all.into_iter().max_by_key(|status| status.id))
    }

    async fn end(
        &self,
        repo: &RepositoryRef,
        deployment: &Deployment,
        why: &str,
    ) -> Result<(), Fault> {
        if self.is_active(repo, deployment.id).await? {
            self.add_status(repo, deployment.id, INACTIVE, why, "").await?;
        }
        Ok(())
    }

    /// Adds the notice's status unless the latest one says the same.
    async fn say(
        &self,
        repo: &RepositoryRef,
        id: u64,
        notice: &Notice,
        url: &str,
    ) -> Result<(), Fault> {
        let state = notice::deployment_state(notice);
        let description = notice::description(notice);
        let same = self.latest(repo, id).await?.is_some_and(|status| {
            status.state == state
                && status.description.as_deref().unwrap_or_default() == description
                && status.environment_url.as_deref().unwrap_or_default() == url
        });
        if same { Ok(()) } else { self.add_status(repo, id, state, &description, url).await }
    }

    async fn add_status(
        &self,
        repo: &RepositoryRef,
        id: u64,
        state: &str,
        description: &str,
        environment_url: &str,
    ) -> Result<(), Fault> {
        let doing = format!("setting deployment {id} of {} to {state}", repo.full_name());
        self.ended().remove(&id);
        let body = NewStatus { state, description, environment_url, auto_inactive: true };
        let route = statuses(repo, id);
        let _: Status = self.client.write(&doing, Method::POST, &route, &body).await?;
        Ok(())
    }
}

impl Deployment {
    /// Whether it carries our stamp for the environment that it is in.
    fn is_ours(&self, instance: &str) -> bool {
        // GitHub gives a payload back as it was sent: as an object or as its text.
        let payload = match &self.payload {
            Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
            other => other.clone(),
        };
        let lines = [self.description.as_deref(), payload["stamp"].as_str()];
        let mut stamps = lines.into_iter().flatten().filter_map(Stamp::parse);
        self.task == TASK && stamps.any(|s| s.instance == instance && s.preview == self.environment)
    }
}

fn statuses(repo: &RepositoryRef, id: u64) -> String {
    format!("/repos/{}/deployments/{id}/statuses", repo.full_name())
}
