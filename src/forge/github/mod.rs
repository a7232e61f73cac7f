//! The forge that is GitHub: reads and writes over its REST API.
//!
//! Refuses to trust one answer for two questions: a listing is every page or a fault, "not found"
//! is a fault, and nothing that lacks our author or our stamp is edited. Writes are never repeated
//! in here; the loop asks again and finds what the lost answer had done.

mod budget;
mod client;
mod comments;
mod deliveries;
mod deployments;
mod environments;
mod etags;
mod faults;
mod files;
pub mod gate;
mod line;
mod login;
pub mod manifest;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::Deserialize;

use super::event::PullRequest;
use super::{Announcement, FailedDelivery, Forge, RepositoryRef};
use crate::fault::{Disposition, Fault};
use crate::preview::{CommitSha, Notice, PreviewName, PullFacts, PullNumber, Seen};
pub use budget::{Budget, Outcome};
use client::Client;
use gate::Limits;

/// How long one call may take unless configured otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Who we are to GitHub.
#[derive(Clone, Debug)]
pub enum Auth {
    /// A personal access token.
    Token(SecretString),
    /// An installation of a GitHub App.
    App {
        /// The App's id.
        app_id: u64,
        /// Its RSA private key, in PEM.
        private_key_pem: SecretString,
        /// The installation that may see the repositories.
        installation_id: u64,
    },
}

/// What [`GitHub`] needs to know.
#[derive(Clone, Debug)]
pub struct GitHubConfig {
    /// `https://api.github.com`, or `https://<host>/api/v3` of an Enterprise Server.
    pub api_url: String,
    /// Who we are.
    pub auth: Auth,
    /// The installation's name, in markers and stamps.
    pub instance: String,
    /// How long one call may take.
    pub timeout: Duration,
    /// How much may be asked.
    pub limits: Limits,
    /// Whether to ask for failed webhook deliveries again.
    pub redeliver: bool,
}

/// GitHub, as one identity sees it.
pub struct GitHub {
    client: Client,
    instance: String,
    redeliver: bool,
    /// Deployments that were seen to have ended, so that a sweep need not ask again.
    ended: Mutex<BTreeSet<u64>>,
    /// What was said in the log, and need not be said again.
    said: Mutex<BTreeSet<&'static str>>,
}

impl GitHub {
    /// Prepares the client; asks nothing yet. Must be called within a Tokio runtime.
    pub fn new(config: GitHubConfig) -> Result<Self, Fault> {
        let client = Client::new(&config)?;
        let GitHubConfig { instance, redeliver, .. } = config;
        Ok(Self { client, instance, redeliver, ended: Mutex::default(), said: Mutex::default() })
    }

    /// What is left of GitHub's allowance, for the metrics.
    pub fn budget(&self) -> Arc<Budget> {
        self.client.budget()
    }
}

#[derive(Deserialize)]
struct Permission {
    permission: String,
}

impl GitHub {
    /// Whether a person may write to the repository, as the forge itself says.
    async fn may_write(&self, repo: &RepositoryRef, login: &str) -> Result<bool, Fault> {
        let doing = format!("asking what {login} may do in {}", repo.full_name());
        let route = format!("/repos/{}/collaborators/{login}/permission", repo.full_name());
        let answer: Permission = self.client.get(&doing, &route).await?;
        Ok(matches!(answer.permission.as_str(), "admin" | "write"))
    }

    /// Says in the log what we do without, and how to mend it; once.
    fn say_once(&self, what: &'static str, why: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.insert(what) {
            tracing::warn!(%why, "{what}");
        }
    }
}

impl std::fmt::Debug for GitHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitHub").field("instance", &self.instance).finish_non_exhaustive()
    }
}

#[async_trait]
impl Forge for GitHub {
    async fn pull(&self, repo: &RepositoryRef, number: PullNumber) -> Result<PullFacts, Fault> {
        let doing = format!("reading pull request {}#{number}", repo.full_name());
        let route = format!("/repos/{}/pulls/{number}", repo.full_name());
        let pull: PullRequest = self.client.get_again(&doing, &route).await?;
        let member = pull.perhaps_member().map(str::to_owned);
        let mut facts = pull.facts().map_err(|error| Fault::transient(&doing, error))?;
        if let (true, Some(login)) = (facts.fork, member) {
            facts.trusted_author = self.may_write(repo, &login).await?;
        }
        if facts.key.number == number {
            return Ok(facts);
        }
        Err(Fault::transient(doing, format!("the answer is about #{}", facts.key.number)))
    }

    async fn base_file(
        &self,
        repo: &RepositoryRef,
        number: PullNumber,
        path: &str,
    ) -> Result<Option<String>, Fault> {
        self.file_of_base(repo, number, path).await
    }

    async fn open_pulls(&self, repo: &RepositoryRef) -> Result<Vec<PullFacts>, Fault> {
        let doing = format!("listing open pull requests of {}", repo.full_name());
        let route = format!("/repos/{}/pulls?state=open&per_page=100", repo.full_name());
        let pulls: Vec<PullRequest> = self.client.list_again(&doing, &route).await?;
        let facts = pulls.into_iter().map(PullRequest::facts);
        facts.collect::<Result<_, _>>().map_err(|error| Fault::transient(doing, error))
    }

    async fn files(
        &self,
        repo: &RepositoryRef,
        commit: &CommitSha,
        directory: &str,
    ) -> Result<Vec<String>, Fault> {
        self.names_in(repo, commit, directory).await
    }

    async fn observe(&self, repo: &RepositoryRef, name: &PreviewName) -> Seen<()> {
        match self.active_deployments(repo, name).await {
            Ok(active) if active.is_empty() => Seen::Absent,
            Ok(_) => Seen::Present(()),
            Err(fault) => Seen::Unknown(fault.to_string()),
        }
    }

    async fn publish(
        &self,
        repo: &RepositoryRef,
        number: PullNumber,
        announcement: &Announcement,
    ) -> Result<(), Fault> {
        let Announcement { name, url, notice, .. } = announcement;
        let deployed = match notice {
            Notice::Preparing { commit } | Notice::Failing { commit, .. } => {
                self.deploy(repo, name, commit, url, notice).await
            }
            Notice::Ready { revision, .. } => {
                self.deploy(repo, name, &revision.commit, url, notice).await
            }
            Notice::Blocked { .. } => self.mark_failed(repo, name, notice).await,
            // An approval that ran out may leave the deployment of the commit that had it.
            Notice::AwaitingApproval { .. } | Notice::Stopping { .. } => {
                self.retire(repo, name, notice).await
            }
            Notice::Gone { .. } => match self.retire(repo, name, notice).await {
                Ok(()) => self.clear(repo, name).await,
                fault => fault,
            },
        };
        // People are told even where deployments are forbidden; a forge that is ill is left alone.
        match deployed {
            Err(fault) if fault.disposition == Disposition::Transient => Err(fault),
            deployed => {
                let caveat = deployed.as_ref().err().map(ToString::to_string);
                let said = self.comment(repo, number, announcement, caveat.as_deref()).await;
                said.and(deployed)
            }
        }
    }

    async fn owned(&self, repo: &RepositoryRef) -> Result<Vec<PreviewName>, Fault> {
        self.owned_deployments(repo).await
    }

    async fn failed_deliveries(
        &self,
        repos: &[RepositoryRef],
        since: DateTime<Utc>,
    ) -> Result<Vec<FailedDelivery>, Fault> {
        self.failed(repos, since).await
    }

    async fn redeliver(&self, delivery: &FailedDelivery) -> Result<(), Fault> {
        self.deliver_again(delivery).await
    }
}
