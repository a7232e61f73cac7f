//! The forges under test, each with the hand that moves what is true on it.

use chrono::{DateTime, TimeDelta, Utc};
use mayfly::clock::machine_time;
use mayfly::demo::github::{GitHubStandIn, HookDelivery, PullSpec};
use mayfly::forge::github::gate::Limits;
use mayfly::forge::github::{Auth, DEFAULT_TIMEOUT, GitHub, GitHubConfig};
use mayfly::forge::{Announcement, Forge, RepositoryRef};
use mayfly::preview::desired::Reason;
use mayfly::preview::{
    Choice, CommitSha, Notice, PreviewName, PullFacts, PullKey, PullNumber, PullState,
    RepositoryId, Revision,
};

use crate::world::faults::Faults;
use crate::world::forge::FakeForge;

pub const REPO_ID: i64 = 42;
pub const REPO: &str = "acme/shop";

pub fn repo() -> RepositoryRef {
    RepositoryRef::parse(REPO).unwrap()
}

pub fn number(n: u32) -> PullNumber {
    PullNumber::new(i64::from(n)).unwrap()
}

pub fn sha(seed: u32) -> CommitSha {
    CommitSha::parse(&format!("{seed:040x}")).unwrap()
}

pub fn say(n: u32, notice: Notice) -> Announcement {
    let name = PreviewName::new(None, number(n));
    let url = format!("https://{name}.preview.example.com");
    let (rolled_back_from, rehearsal) = (None, None);
    let (components, receipt) = (Vec::new(), Vec::new());
    Announcement { name, url, components, notice, rolled_back_from, rehearsal, receipt }
}

pub fn preparing(n: u32) -> Announcement {
    say(n, Notice::Preparing { commit: sha(n) })
}

pub fn ready(n: u32) -> Announcement {
    ready_at(n, sha(n))
}

pub fn ready_at(n: u32, commit: CommitSha) -> Announcement {
    let expires_at = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    let (revision, choice) = (Revision { commit, restart: 0 }, Choice::default());
    say(n, Notice::Ready { revision, choice, expires_at, expiring: false })
}

pub fn stopping(n: u32) -> Announcement {
    say(n, Notice::Stopping { reason: Reason::Stopped })
}

pub fn gone(n: u32) -> Announcement {
    let receipt = vec!["database pr_7: absent".to_owned()];
    Announcement { receipt, ..say(n, Notice::Gone { reason: Reason::Merged }) }
}

/// A forge under test, and the hand that moves what is true on it.
pub trait Stage {
    fn forge(&self) -> &dyn Forge;
    /// Opens a pull request by a member whose head is [`sha`] of its number.
    fn open(&self, n: u32);
    fn close(&self, n: u32, merged: bool);
    /// The base branch has this file.
    fn put_file(&self, path: &str, text: &str);
    fn comments(&self, n: u32) -> usize;
    /// Whether the comment carries the words for this.
    fn comment_says(&self, n: u32, announcement: &Announcement) -> bool;
    /// A delivery of a pull request's event did not reach us then.
    fn fail_delivery(&self, id: &str, at: DateTime<Utc>);
    /// The deliveries that were asked for again, in order.
    fn redelivered(&self) -> Vec<String>;
    /// This is in a directory at a commit.
    fn put_files(&self, commit: &CommitSha, directory: &str, names: &[&str]);
}

pub struct Fake(pub FakeForge);

impl Fake {
    pub async fn start() -> Self {
        Self(FakeForge::new(Faults::default()))
    }

    fn put(&self, n: u32, state: PullState) {
        let facts = PullFacts {
            key: PullKey { repository: RepositoryId(REPO_ID), number: number(n) },
            state,
            head: sha(n),
            fork: false,
            trusted_author: true,
            draft: false,
            labels: Vec::new(),
            author: "octavia".to_owned(),
            title: format!("Change {n}"),
            updated_at: machine_time(),
        };
        self.0.put(&repo(), facts);
    }
}

impl Stage for Fake {
    fn forge(&self) -> &dyn Forge {
        &self.0
    }

    fn open(&self, n: u32) {
        self.put(n, PullState::Open);
    }

    fn put_file(&self, path: &str, text: &str) {
        self.0.put_file(&repo(), path, text);
    }

    fn close(&self, n: u32, merged: bool) {
        self.put(n, if merged { PullState::Merged } else { PullState::Closed });
    }

    fn comments(&self, n: u32) -> usize {
        self.0.comments(number(n))
    }

    fn comment_says(&self, n: u32, announcement: &Announcement) -> bool {
        self.0.comment(number(n)).as_ref() == Some(announcement)
    }

    fn fail_delivery(&self, id: &str, at: DateTime<Utc>) {
        self.0.fail_delivery(id, at);
    }

    fn redelivered(&self) -> Vec<String> {
        self.0.redelivered()
    }

    fn put_files(&self, commit: &CommitSha, directory: &str, names: &[&str]) {
        self.0.put_files(commit, directory, names);
    }
}

pub struct Real {
    pub hub: GitHubStandIn,
    pub github: GitHub,
}

pub fn config(hub: &GitHubStandIn) -> GitHubConfig {
    GitHubConfig {
        api_url: hub.api_url(),
        auth: Auth::Token(hub.token().into()),
        instance: "test".to_owned(),
        timeout: DEFAULT_TIMEOUT,
        limits: Limits { writes_per_minute: 10_000, ..Limits::default() },
        redeliver: true,
    }
}

impl Drop for Real {
    /// Whatever a test was about: all that was asked is in GitHub's description.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            super::description::hold(&self.hub);
        }
    }
}

impl Real {
    pub async fn start() -> Self {
        let hub = GitHubStandIn::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        hub.add_repository(REPO_ID, REPO);
        let github = GitHub::new(config(&hub)).unwrap();
        Self { hub, github }
    }

    pub fn actives(&self) -> usize {
        self.hub.deployments(REPO).iter().filter(|d| d.state() != "inactive").count()
    }
}

impl Stage for Real {
    fn forge(&self) -> &dyn Forge {
        &self.github
    }

    fn open(&self, n: u32) {
        self.hub.open_pull(REPO, n, PullSpec::new(&format!("Change {n}"), sha(n).as_str()));
    }

    fn put_file(&self, path: &str, text: &str) {
        self.hub.put_file(REPO, path, text);
    }

    fn close(&self, n: u32, merged: bool) {
        self.hub.close(REPO, n, merged);
    }

    fn comments(&self, n: u32) -> usize {
        self.hub.comments(REPO, n).len()
    }

    fn comment_says(&self, n: u32, announcement: &Announcement) -> bool {
        let words = mayfly::forge::notice::markdown(announcement, "test");
        self.hub.comments(REPO, n).iter().any(|comment| comment.body == words)
    }

    fn fail_delivery(&self, id: &str, at: DateTime<Utc>) {
        self.hub.note_delivery(HookDelivery {
            id: u64::try_from(at.timestamp()).unwrap(),
            guid: id.to_owned(),
            event: "pull_request".to_owned(),
            status_code: 502,
            delivered_at: at,
            installation_id: None,
        });
    }

    fn redelivered(&self) -> Vec<String> {
        self.hub.attempts()
    }

    fn put_files(&self, commit: &CommitSha, directory: &str, names: &[&str]) {
        self.hub.put_files(REPO, commit.as_str(), directory, names);
    }
}
