//! What a webhook delivery or a REST answer says about a pull request, parsed.
//!
//! A delivery is a hint: any action means "read this pull request again". Refuses JSON that lacks
//! what we need, and keeps nothing that it does not need; free text is cut to a length and stripped
//! of control characters, which PostgreSQL and terminals take amiss.

use chrono::{DateTime, Datelike, Utc};
use serde::Deserialize;

use super::RepositoryRef;
use crate::preview::{CommitSha, PullFacts, PullKey, PullNumber, PullState, RepositoryId};

/// The longest title that is kept, in characters.
pub const MAX_TITLE_CHARS: usize = 256;
/// The most labels that are kept, and the longest one, in characters.
pub const MAX_LABELS: usize = 100;
/// See [`MAX_LABELS`].
pub const MAX_LABEL_CHARS: usize = 100;
/// The longest login, action or event name that is kept, in characters.
const MAX_WORD_CHARS: usize = 100;
/// The longest explanation that an error carries: the parser quotes what it was given.
const MAX_WHY_CHARS: usize = 200;
/// The event that we act upon.
pub const USED: &str = "pull_request";

/// What a delivery says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The forge tries whether we are there.
    Ping,
    /// A pull request changed in some way.
    Pull {
        /// The repository's id.
        repository_id: RepositoryId,
        /// The repository's name at the time.
        full_name: RepositoryRef,
        /// What happened, for people; every action means the same to us.
        action: String,
        /// The pull request as it was then.
        facts: PullFacts,
    },
    /// Something was built, and may have pushed an image: whoever waits for one looks again.
    Built {
        /// The repository's id.
        repository_id: RepositoryId,
        /// The repository's name at the time.
        full_name: RepositoryRef,
        /// Of which commit; of any where the event does not say.
        commit: Option<CommitSha>,
    },
    /// An event that we do not act upon, by name.
    Ignored(String),
}

/// Why a delivery or an answer could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not JSON, or not of the shape that we need.
    #[error("the JSON is not what we need: {0}")]
    Shape(String),
    /// A field is there and does not make sense.
    #[error("{0} makes no sense")]
    Field(&'static str),
}

#[derive(Deserialize)]
struct Delivery {
    action: String,
    repository: DeliveryRepository,
    pull_request: PullRequest,
}

/// What CI and package registries say; the commit is under the event's own name.
#[derive(Deserialize)]
struct Build {
    action: String,
    repository: DeliveryRepository,
    workflow_run: Option<BuildHead>,
    check_suite: Option<BuildHead>,
}

#[derive(Deserialize)]
struct BuildHead {
    head_sha: String,
}

#[derive(Deserialize)]
struct DeliveryRepository {
    id: i64,
    full_name: String,
}

/// A pull request as deliveries, single reads (`merged`) and lists (`merged_at` only) give it.
#[derive(Deserialize)]
pub(super) struct PullRequest {
    number: i64,
    state: String,
    merged: Option<bool>,
    merged_at: Option<String>,
    head: Head,
    base: Base,
    author_association: String,
    #[serde(default)]
    draft: bool,
    #[serde(default)]
    labels: Vec<Label>,
    user: Option<User>,
    #[serde(default)]
    title: String,
    updated_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Head {
    sha: String,
    /// Null when the fork was deleted.
    repo: Option<Repository>,
}

#[derive(Deserialize)]
struct Base {
    repo: Repository,
}

#[derive(Deserialize)]
struct Repository {
    id: i64,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

#[derive(Deserialize)]
struct User {
    login: String,
}

/// Reads a delivery: the `X-GitHub-Event` header and the body, already verified.
pub fn parse(event: &str, body: &[u8]) -> Result<Event, EventError> {
    match event {
        "ping" => return Ok(Event::Ping),
        USED => {}
        "workflow_run" | "check_suite" | "registry_package" | "package" => {
            return built(event, body);
        }
        other => return Ok(Event::Ignored(plain(other, MAX_WORD_CHARS))),
    }
    let delivery: Delivery = serde_json::from_slice(body).map_err(shape)?;
    let full_name = RepositoryRef::parse(&delivery.repository.full_name)
        .ok_or(EventError::Field("repository.full_name"))?;
    let facts = delivery.pull_request.facts()?;
    // Otherwise one repository's delivery would speak for another's pull request.
    if delivery.repository.id != facts.key.repository.0 {
        return Err(EventError::Field("repository.id"));
    }
    Ok(Event::Pull {
        repository_id: facts.key.repository,
        full_name,
        action: plain(&delivery.action, MAX_WORD_CHARS),
        facts,
    })
}

fn built(event: &str, body: &[u8]) -> Result<Event, EventError> {
    let build: Build = serde_json::from_slice(body).map_err(shape)?;
    let full_name = RepositoryRef::parse(&build.repository.full_name)
        .ok_or(EventError::Field("repository.full_name"))?;
    let head = build.workflow_run.or(build.check_suite);
    // Packages name no commit that could be relied upon; a run that began has built nothing yet.
    let commit = match (event, head) {
        ("registry_package" | "package", _) => None,
        _ if build.action != "completed" => {
            return Ok(Event::Ignored(plain(event, MAX_WORD_CHARS)));
        }
        (_, Some(head)) => {
            Some(CommitSha::parse(&head.head_sha).ok_or(EventError::Field("head_sha"))?)
        }
        (_, None) => return Err(EventError::Field("head_sha")),
    };
    let repository_id = RepositoryId(build.repository.id);
    Ok(Event::Built { repository_id, full_name, commit })
}

impl PullRequest {
    /// The facts, or what is wrong with them.
    /// The author, where the forge suggests that they may write; what they may do is asked.
    pub(super) fn perhaps_member(&self) -> Option<&str> {
        let associated =
            matches!(self.author_association.as_str(), "OWNER" | "MEMBER" | "COLLABORATOR");
        let login = self.user.as_ref().map(|user| user.login.as_str()).filter(|_| associated)?;
        // Bots have brackets in their names, and approve nothing.
        let plain = login.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        (plain && !login.is_empty()).then_some(login)
    }

    pub(super) fn facts(self) -> Result<PullFacts, EventError> {
        let repository = Some(self.base.repo.id)
            .filter(|id| *id > 0)
            .map(RepositoryId)
            .ok_or(EventError::Field("base.repo.id"))?;
        let number = PullNumber::new(self.number).ok_or(EventError::Field("number"))?;
        let merged = self.merged.unwrap_or(false) || self.merged_at.is_some();
        let state = match (self.state.as_str(), merged) {
            ("open", _) => PullState::Open,
            ("closed", true) => PullState::Merged,
            ("closed", false) => PullState::Closed,
            _ => return Err(EventError::Field("state")),
        };
        // Years outside of this range are not times that a database can keep.
        if !(1970..=9999).contains(&self.updated_at.year()) {
            return Err(EventError::Field("updated_at"));
        }
        let labels = self.labels.iter().take(MAX_LABELS);
        let fork = self.head.repo.as_ref().is_none_or(|repo| repo.id != repository.0);
        Ok(PullFacts {
            key: PullKey { repository, number },
            state,
            head: CommitSha::parse(&self.head.sha).ok_or(EventError::Field("head.sha"))?,
            fork,
            // Whoever has a branch in the repository may write to it. For a fork nothing that an
            // event says is believed: the forge is asked what the author may do.
            trusted_author: !fork,
            draft: self.draft,
            labels: labels.map(|label| plain(&label.name, MAX_LABEL_CHARS)).collect(),
            // GitHub shows those whose account is gone as its user "ghost".
            author: plain(self.user.as_ref().map_or("ghost", |u| &u.login), MAX_WORD_CHARS),
            title: plain(&self.title, MAX_TITLE_CHARS),
            updated_at: self.updated_at,
        })
    }
}

fn shape(error: serde_json::Error) -> EventError {
    EventError::Shape(plain(&error.to_string(), MAX_WHY_CHARS))
}

/// Text for people: at most `chars` characters, none of them a control character.
fn plain(text: &str, chars: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(chars).collect()
}
