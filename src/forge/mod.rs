//! The seam to the forge: what pull requests say, and what they are told.
//!
//! Domain words in and out; no `octocrab` type crosses this line. A listing is all pages or a
//! fault; "not found" is a fault, never a fact, since a revoked token says the same.

pub mod event;
pub mod github;
pub mod notice;
pub mod signature;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::fault::Fault;
use crate::preview::rehearsal::Report;
use crate::preview::{CommitSha, Notice, PreviewName, PullFacts, PullNumber, Seen};

/// A repository as the forge's API addresses it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepositoryRef {
    /// `acme`.
    pub owner: String,
    /// `shop`.
    pub name: String,
}

impl RepositoryRef {
    /// Parses `owner/name`, with the characters that GitHub allows in both.
    pub fn parse(full_name: &str) -> Option<Self> {
        let (owner, name) = full_name.split_once('/')?;
        let fine = |part: &str| {
            !part.is_empty()
                && part.len() <= 100
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
                && !matches!(part, "." | "..")
        };
        (fine(owner) && fine(name)).then(|| Self { owner: owner.to_owned(), name: name.to_owned() })
    }

    /// `acme/shop`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }
}

/// Something to tell a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The preview.
    pub name: PreviewName,
    /// Its public URL.
    pub url: String,
    /// The URL of each component that the public reaches, by its name.
    pub components: Vec<(String, String)>,
    /// What to say.
    pub notice: Notice,
    /// The head that a person went back from, where what is told is about an older commit.
    pub rolled_back_from: Option<CommitSha>,
    /// What the migrations of what is served did; `None` where none ran.
    pub rehearsal: Option<Report>,
    /// The teardown receipt, one line per backend; empty unless the notice is a final one.
    pub receipt: Vec<String>,
}

/// A webhook delivery that did not reach us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedDelivery {
    /// The delivery's id, the same for each attempt, and the one that it comes in with.
    pub id: String,
    /// How the forge's API addresses its last attempt.
    pub address: String,
    /// When that was.
    pub at: DateTime<Utc>,
}

/// Where pull requests live.
#[async_trait]
pub trait Forge: Send + Sync {
    /// Reads one pull request.
    async fn pull(&self, repo: &RepositoryRef, number: PullNumber) -> Result<PullFacts, Fault>;

    /// Reads a file of the branch that a pull request wants to be merged into, never of the pull
    /// request itself; `None` where that has no such file.
    async fn base_file(
        &self,
        repo: &RepositoryRef,
        number: PullNumber,
        path: &str,
    ) -> Result<Option<String>, Fault>;

    /// Lists every open pull request: all pages, or a fault.
    async fn open_pulls(&self, repo: &RepositoryRef) -> Result<Vec<PullFacts>, Fault>;

    /// The names of what is in a directory of the repository at a commit: all of them, or a fault. "Not
    /// found" is a fault too.
    async fn files(
        &self,
        repo: &RepositoryRef,
        commit: &CommitSha,
        directory: &str,
    ) -> Result<Vec<String>, Fault>;

    /// Whether an active deployment of this preview is shown.
    async fn observe(&self, repo: &RepositoryRef, name: &PreviewName) -> Seen<()>;

    /// Says it: one sticky comment, one deployment with its status. Twice is the same as once.
    async fn publish(
        &self,
        repo: &RepositoryRef,
        number: PullNumber,
        announcement: &Announcement,
    ) -> Result<(), Fault>;

    /// Every preview with an active deployment of ours in this repository. All or a fault.
    async fn owned(&self, repo: &RepositoryRef) -> Result<Vec<PreviewName>, Fault>;

    /// Deliveries to us since then that failed and were not repeated with success, oldest first;
    /// those that the forge still knows of. None, where we may not ask for them.
    async fn failed_deliveries(
        &self,
        repos: &[RepositoryRef],
        since: DateTime<Utc>,
    ) -> Result<Vec<FailedDelivery>, Fault>;

    /// Asks for a delivery again; it comes in, or fails, later.
    async fn redeliver(&self, delivery: &FailedDelivery) -> Result<(), Fault>;
}
