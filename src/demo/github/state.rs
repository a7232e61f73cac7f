//! What the stand-in remembers.
//!
//! Refuses to go back in time: every change of a pull request moves its `updated_at` forward.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde_json::Value;

use super::hooks::HookDelivery;
use crate::clock::machine_time;

/// A pull request as a test opens it.
#[derive(Clone, Debug)]
pub struct PullSpec {
    /// The title.
    pub title: String,
    /// The branch, without its owner.
    pub branch: String,
    /// The author's login.
    pub author: String,
    /// GitHub's `author_association`: `MEMBER`, `CONTRIBUTOR`, `NONE`, …
    pub association: String,
    /// Whether the branch lives in a fork.
    pub fork: bool,
    /// Whether it is a draft.
    pub draft: bool,
    /// Its labels.
    pub labels: Vec<String>,
    /// The commit at the tip.
    pub sha: String,
}

impl PullSpec {
    /// A member's pull request from a branch of the repository itself.
    pub fn new(title: &str, sha: &str) -> Self {
        Self {
            title: title.to_owned(),
            branch: "topic".to_owned(),
            author: "octavia".to_owned(),
            association: "MEMBER".to_owned(),
            fork: false,
            draft: false,
            labels: Vec::new(),
            sha: sha.to_owned(),
        }
    }
}

/// A comment.
#[derive(Clone, Debug)]
pub struct Comment {
    /// Its id.
    pub id: u64,
    /// The pull request's number.
    pub number: u32,
    /// The author's login.
    pub author: String,
    /// The text.
    pub body: String,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
}

/// A deployment.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Its id.
    pub id: u64,
    /// The commit.
    pub sha: String,
    /// The environment.
    pub environment: String,
    /// The task.
    pub task: String,
    /// The description.
    pub description: String,
    /// Whether GitHub's `auto_inactive` leaves it out.
    pub transient: bool,
    /// Its statuses, oldest first.
    pub statuses: Vec<Status>,
    pub(super) payload: Value,
    pub(super) creator: String,
    pub(super) created_at: DateTime<Utc>,
}

impl Deployment {
    /// The state of the latest status; `pending` without one.
    pub fn state(&self) -> &str {
        self.statuses.last().map_or("pending", |status| &status.state)
    }
}

/// A deployment status.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its id.
    pub id: u64,
    /// `in_progress`, `success`, `failure` or `inactive`.
    pub state: String,
    /// The description.
    pub description: String,
    /// The environment's URL; empty when there is none.
    pub environment_url: String,
    pub(super) created_at: DateTime<Utc>,
}

pub(super) struct Pull {
    pub number: u32,
    pub spec: PullSpec,
    pub open: bool,
    pub merged: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

pub(super) struct Repository {
    pub id: i64,
    pub full_name: String,
    /// Every commit that was ever pushed.
    pub commits: HashSet<String>,
    pub pulls: BTreeMap<u32, Pull>,
    pub comments: BTreeMap<u64, Comment>,
    pub deployments: BTreeMap<u64, Deployment>,
    /// They come with the first deployment, and stay.
    pub environments: BTreeSet<String>,
    /// What its main branch holds, by path.
    pub files: BTreeMap<String, String>,
    /// The names of what is in a directory, by commit and path.
    pub directories: HashMap<(String, String), Vec<String>>,
    /// What people may do, where it is not what their association suggests.
    pub permissions: HashMap<String, String>,
}

#[derive(Default)]
pub(super) struct State {
    repositories: Vec<Repository>,
    renamed: HashMap<String, String>,
    last_id: u64,
    /// Webhook deliveries, and the ids of those that were asked for again.
    pub deliveries: Vec<HookDelivery>,
    pub attempts: Vec<String>,
    /// An App that is about to be made.
    pub manifest: Option<Value>,
}

/// GitHub's times have whole seconds.
pub(super) fn now() -> DateTime<Utc> {
    let now = machine_time();
    now.duration_trunc(TimeDelta::seconds(1)).unwrap_or(now)
}

impl State {
    pub fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub fn add_repository(&mut self, id: i64, full_name: &str) {
        self.repositories.push(Repository {
            id,
            full_name: full_name.to_owned(),
            commits: HashSet::new(),
            pulls: BTreeMap::new(),
            comments: BTreeMap::new(),
            deployments: BTreeMap::new(),
            environments: BTreeSet::new(),
            files: BTreeMap::new(),
            directories: HashMap::new(),
            permissions: HashMap::new(),
        });
    }

    pub fn rename_repository(&mut self, old: &str, new: &str) {
        if let Some(repo) = self.repository_mut(old) {
            new.clone_into(&mut repo.full_name);
            self.renamed.insert(old.to_owned(), new.to_owned());
        }
    }

    /// The name under which a repository is now, if this one is an old one.
    pub fn new_name(&self, full_name: &str) -> Option<&str> {
        self.renamed.get(full_name).map(String::as_str)
    }

    pub fn repository(&self, full_name: &str) -> Option<&Repository> {
        self.repositories.iter().find(|repo| repo.full_name.eq_ignore_ascii_case(full_name))
    }

    pub fn repository_mut(&mut self, full_name: &str) -> Option<&mut Repository> {
        self.repositories.iter_mut().find(|repo| repo.full_name.eq_ignore_ascii_case(full_name))
    }

    pub fn open_pull(&mut self, repo: &str, number: u32, spec: PullSpec) {
        let now = now();
        let (open, merged) = (true, false);
        if let Some(repo) = self.repository_mut(repo) {
            repo.commits.insert(spec.sha.clone());
            let pull = Pull { number, spec, open, merged, created_at: now, updated_at: now };
            repo.pulls.insert(number, pull);
        }
    }

    pub fn change(&mut self, repo: &str, number: u32, change: impl FnOnce(&mut Pull)) {
        let Some(repo) = self.repository_mut(repo) else { return };
        if let Some(pull) = repo.pulls.get_mut(&number) {
            change(pull);
            repo.commits.insert(pull.spec.sha.clone());
            pull.updated_at = now().max(pull.updated_at + TimeDelta::seconds(1));
        }
    }

    /// Adds a comment, where there is such a pull request.
    pub fn add_comment(
        &mut self,
        repo: &str,
        number: u32,
        author: &str,
        body: &str,
    ) -> Option<Comment> {
        let id = self.next_id();
        let repo = self.repository_mut(repo)?;
        repo.pulls.get(&number)?;
        let (author, body) = (author.to_owned(), body.to_owned());
        let now = now();
        let comment = Comment { id, number, author, body, created_at: now, updated_at: now };
        repo.comments.insert(id, comment.clone());
        Some(comment)
    }
}
