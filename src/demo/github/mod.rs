//! A GitHub to talk to: one HTTP server on this machine, with pull requests, comments and
//! deployments in memory.
//!
//! Answers only the routes that Mayfly calls, with GitHub's shapes, pages and refusals. Refuses to
//! be kinder than GitHub where that would hide a mistake.

mod answers;
mod apps;
mod contents;
mod deployments;
mod gate;
mod hooks;
mod payload;
mod people;
mod record;
mod routes;
mod state;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use chrono::TimeDelta;

pub use apps::{APP_PEM, APP_WEBHOOK_SECRET};
use gate::Gate;
pub use hooks::HookDelivery;
pub use record::Exchange;
use state::State;
pub use state::{Comment, Deployment, PullSpec, Status};

/// The login that owns [`GitHubStandIn::token`].
pub const TOKEN_LOGIN: &str = "mayfly-preview";
/// The slug of the App; its bot is `mayfly-app[bot]`.
pub const APP_SLUG: &str = "mayfly-app";

/// What the routes and the test's hand share.
struct Shared {
    state: Mutex<State>,
    gate: Mutex<Gate>,
    /// Whether answers are held back.
    held: watch::Sender<bool>,
    address: SocketAddr,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running stand-in; it stops when it is dropped.
pub struct GitHubStandIn {
    shared: Arc<Shared>,
    server: AbortHandle,
}

impl Drop for GitHubStandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl GitHubStandIn {
    /// Listens there; port 0 takes a free one.
    pub async fn start(listen: SocketAddr) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(listen).await?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            gate: Mutex::default(),
            held: watch::Sender::new(false),
            address: listener.local_addr()?,
        });
        let app = routes::router(shared.clone());
        let server = tokio::spawn(async move {
            // Serving ends with an error only when the listener is gone, and so are we then.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { shared, server: server.abort_handle() })
    }

    /// What to configure as the API's URL.
    pub fn api_url(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    /// A token that it accepts.
    pub fn token(&self) -> String {
        gate::USER_TOKEN.to_owned()
    }

    /// Adds a repository.
    pub fn add_repository(&self, id: i64, full_name: &str) {
        self.shared.state().add_repository(id, full_name);
    }

    /// Gives a person this permission: `admin`, `write`, `read` or `none`.
    pub fn permit(&self, repo: &str, login: &str, permission: &str) {
        if let Some(repository) = self.shared.state().repository_mut(repo) {
            repository.permissions.insert(login.to_owned(), permission.to_owned());
        }
    }

    /// The main branch has this file from now on.
    pub fn put_file(&self, repo: &str, path: &str, text: &str) {
        if let Some(repository) = self.shared.state().repository_mut(repo) {
            repository.files.insert(path.to_owned(), text.to_owned());
        }
    }

    /// Renames a repository; the old name redirects from then on.
    pub fn rename_repository(&self, old: &str, new: &str) {
        self.shared.state().rename_repository(old, new);
    }

    /// Opens a pull request.
    pub fn open_pull(&self, repo: &str, number: u32, spec: PullSpec) {
        self.shared.state().open_pull(repo, number, spec);
    }

    /// Pushes a commit to a pull request's branch.
    pub fn push(&self, repo: &str, number: u32, sha: &str) {
        self.change(repo, number, |pull| sha.clone_into(&mut pull.spec.sha));
    }

    /// Closes a pull request, merged or not.
    pub fn close(&self, repo: &str, number: u32, merged: bool) {
        self.change(repo, number, |pull| {
            pull.open = false;
            pull.merged = merged;
        });
    }

    /// Opens a closed pull request again.
    pub fn reopen(&self, repo: &str, number: u32) {
        self.change(repo, number, |pull| pull.open = true);
    }

    /// Makes a pull request a draft, or ready for review.
    pub fn set_draft(&self, repo: &str, number: u32, draft: bool) {
        self.change(repo, number, |pull| pull.spec.draft = draft);
    }

    /// Replaces a pull request's labels.
    pub fn set_labels(&self, repo: &str, number: u32, labels: &[&str]) {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        self.change(repo, number, |pull| pull.spec.labels = labels);
    }

    /// Puts entries of these names into a directory of a repository, as it is at a commit.
    pub fn put_files(&self, repo: &str, commit: &str, directory: &str, names: &[&str]) {
        if let Some(repo) = self.shared.state().repository_mut(repo) {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            repo.commits.insert(commit.to_owned());
            repo.directories.insert((commit.to_owned(), directory.to_owned()), names);
        }
    }

    /// The webhook delivery that GitHub would send for this action; null when there is no such
    /// pull request.
    pub fn payload(&self, repo: &str, number: u32, action: &str) -> Value {
        let state = self.shared.state();
        let found = state.repository(repo).and_then(|r| Some((r, r.pulls.get(&number)?)));
        found.map_or(Value::Null, |(repo, pull)| payload::delivery(repo, pull, action))
    }

    /// Writes a comment as somebody else.
    pub fn add_comment(&self, repo: &str, number: u32, author: &str, body: &str) {
        self.shared.state().add_comment(repo, number, author, body);
    }

    /// The comments of a pull request, oldest first.
    pub fn comments(&self, repo: &str, number: u32) -> Vec<Comment> {
        let state = self.shared.state();
        let comments = state.repository(repo).map(|repo| repo.comments.values());
        comments.into_iter().flatten().filter(|c| c.number == number).cloned().collect()
    }

    /// The deployments of a repository with their statuses, oldest first.
    pub fn deployments(&self, repo: &str) -> Vec<Deployment> {
        let state = self.shared.state();
        let deployments = state.repository(repo).map(|repo| repo.deployments.values());
        deployments.into_iter().flatten().cloned().collect()
    }

    /// The environments of a repository.
    pub fn environments(&self, repo: &str) -> Vec<String> {
        let state = self.shared.state();
        let found = state.repository(repo).map(|repo| repo.environments.iter().cloned().collect());
        found.unwrap_or_default()
    }

    /// Makes an environment by hand, as a person does in the settings.
    pub fn add_environment(&self, repo: &str, name: &str) {
        if let Some(repo) = self.shared.state().repository_mut(repo) {
            repo.environments.insert(name.to_owned());
        }
    }

    /// Notes a webhook delivery, or another attempt at one.
    pub fn note_delivery(&self, delivery: HookDelivery) {
        self.shared.state().deliveries.push(delivery);
    }

    /// The deliveries that were asked for again, by their id, in order.
    pub fn attempts(&self) -> Vec<String> {
        self.shared.state().attempts.clone()
    }

    /// Takes a permission away from everybody: `deployments`, `issues`, `administration`,
    /// `repository_hooks`.
    pub fn forbid(&self, permission: &str) {
        self.shared.gate().forbidden.insert(permission.to_owned());
    }

    /// Revokes every installation token.
    pub fn revoke_tokens(&self) {
        self.shared.gate().revoke();
    }

    /// How long installation tokens are valid from now on.
    pub fn set_token_life(&self, life: TimeDelta) {
        self.shared.gate().token_life = life;
    }

    /// How many calls are left of this hour's, from now on.
    pub fn set_remaining(&self, remaining: i64) {
        self.shared.gate().remaining = remaining;
    }

    /// What was asked and answered, the oldest first.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.shared.gate().exchanges.iter().cloned().collect()
    }

    /// How often each method and route was asked: `GET /repos/{owner}/{repo}/pulls`.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.shared.gate().requests.clone()
    }

    /// The next `n` requests, after those already planned, are answered as they should be.
    pub fn pass_next(&self, n: usize) {
        self.shared.gate().plan(n, gate::Fault::None);
    }

    /// The next `n` requests fail with this status, and nothing happens.
    pub fn fail_next(&self, n: usize, status: u16) {
        self.shared.gate().plan(n, gate::Fault::Status(status));
    }

    /// The next `n` requests are refused for their number.
    pub fn rate_limit_next(&self, n: usize) {
        self.shared.gate().plan(n, gate::Fault::RateLimit);
    }

    /// The next `n` requests are refused for so many seconds.
    pub fn retry_after_next(&self, n: usize, seconds: u32) {
        self.shared.gate().plan(n, gate::Fault::RetryAfter(seconds));
    }

    /// The next `n` requests are answered 200 with a page for people, as a broken proxy does.
    pub fn html_next(&self, n: usize) {
        self.shared.gate().plan(n, gate::Fault::Html);
    }

    /// The next `n` writes happen and are answered 500.
    pub fn commit_then_500(&self, n: usize) {
        self.shared.gate().lost_answers += n;
    }

    /// Whether every list of pull requests is empty, as an outage once made them.
    pub fn lie_empty_list(&self, lies: bool) {
        self.shared.gate().empty_lists = lies;
    }

    /// Whether answers are held back until this is called with `false`.
    pub fn hold(&self, held: bool) {
        self.shared.held.send_replace(held);
    }

    fn change(&self, repo: &str, number: u32, change: impl FnOnce(&mut state::Pull)) {
        self.shared.state().change(repo, number, change);
    }
}
