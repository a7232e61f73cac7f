//! One call to GitHub: under a deadline, and read with our own narrow types.
//!
//! Refuses to repeat a write, except one that was refused for its token and so did nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::http::Uri;
use hyper::{Method, StatusCode};
use octocrab::Octocrab;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::GitHubConfig;
use super::budget::{Budget, Outcome};
use super::etags::{Etags, Kept};
use super::faults::{self, nonsense};
use super::line::{Answer, Ask, Line, next_page};
use super::login::{Login, Who};
use crate::fault::Fault;

/// More pages than any listing of ours has: a server whose next page is the same page ends here.
const MAX_PAGES: usize = 1_000;
/// What our lists ask for, and the most that GitHub gives.
pub(super) const PER_PAGE: usize = 100;

/// Who writes our comments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// A user, by id.
    User(u64),
    /// An App's bot, by login, since the App does not tell its bot's id.
    Bot(String),
}

/// The client, with its identity once that is known.
pub(super) struct Client {
    line: Line,
    pub(super) login: Login,
    etags: Mutex<Etags>,
    timeout: Duration,
    identity: OnceCell<Identity>,
}

impl Client {
    pub(super) fn new(config: &GitHubConfig) -> Result<Self, Fault> {
        const DOING: &str = "preparing the GitHub client";
        // Fails when one is installed already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let refuse = |why: &str| Fault::permanent(DOING, why);
        let failed = |error: octocrab::Error| Fault::permanent(DOING, faults::chain(&error));
        let api: Uri = config.api_url.parse().map_err(|_| refuse("the API URL is not a URL"))?;
        let plain = api.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if !plain || !matches!(api.scheme_str(), Some("https" | "http")) {
            return Err(refuse("the API URL is http(s)://host, without a user in it"));
        }
        let login = Login::new(&config.auth, &config.api_url).map_err(refuse)?;
        // It knows no secret: each call brings its own, marked as sensitive.
        let octocrab = Octocrab::builder().base_uri(api).map_err(failed)?;
        let octocrab = octocrab.build().map_err(failed)?;
        let line = Line::new(octocrab, config.limits);
        let (etags, identity) = (Mutex::default(), OnceCell::new());
        Ok(Self { line, login, etags, timeout: config.timeout, identity })
    }

    /// What is left of the allowance.
    pub(super) fn budget(&self) -> Arc<Budget> {
        self.line.budget.clone()
    }

    /// Who we are; asked once.
    pub(super) async fn identity(&self) -> Result<&Identity, Fault> {
        #[derive(Deserialize)]
        struct User {
            id: u64,
        }
        #[derive(Deserialize)]
        struct App {
            slug: String,
        }
        let ask = async || {
            let doing = "asking GitHub who we are";
            Ok(if self.login.is_app() {
                let answer = self.call(doing, Who::App, &Ask::get("/app")).await?;
                Identity::Bot(format!("{}[bot]", read::<App>(doing, &answer.body)?.slug))
            } else {
                let answer = self.call(doing, Who::Ourselves, &Ask::get("/user")).await?;
                Identity::User(read::<User>(doing, &answer.body)?.id)
            })
        };
        self.identity.get_or_try_init(ask).await
    }

    /// Reads one thing.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        doing: &str,
        route: &str,
    ) -> Result<T, Fault> {
        read(doing, &self.call(doing, Who::Ourselves, &Ask::get(route)).await?.body)
    }

    /// Reads one thing that is asked for often.
    pub(super) async fn get_again<T: DeserializeOwned>(
        &self,
        doing: &str,
        route: &str,
    ) -> Result<T, Fault> {
        let page = self.conditional(doing, route).await?;
        let thing = read(doing, &page.body)?;
        self.etags().keep(route, page);
        Ok(thing)
    }

    /// Reads one thing that is asked for often; `None` where GitHub has none, or hides it.
    pub(super) async fn find_again<T: DeserializeOwned>(
        &self,
        doing: &str,
        route: &str,
    ) -> Result<Option<T>, Fault> {
        let kept = self.etags().find(route);
        let etag = kept.as_ref().map(|kept| kept.etag.as_str());
        let answer = self.answer(doing, Who::Ourselves, &Ask { etag, ..Ask::get(route) }).await?;
        if answer.status == StatusCode::NOT_FOUND {
            self.etags().forget(route);
            return Ok(None);
        }
        let page = self.kept(doing, kept, answer)?;
        let thing = read(doing, &page.body)?;
        self.etags().keep(route, page);
        Ok(Some(thing))
    }

    /// Reads a list to its last page, or none of it.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        doing: &str,
        route: &str,
    ) -> Result<Vec<T>, Fault> {
        let (items, whole) = self.pages(doing, Who::Ourselves, route, MAX_PAGES, |_| true).await?;
        if whole { Ok(items) } else { Err(endless(doing)) }
    }

    /// Reads at most so many pages of a list, for as long as `wanted` likes what a page held; and
    /// whether that was all of it.
    pub(super) async fn pages<T: DeserializeOwned>(
        &self,
        doing: &str,
        who: Who,
        route: &str,
        most: usize,
        wanted: impl Fn(&[T]) -> bool,
    ) -> Result<(Vec<T>, bool), Fault> {
        let mut items = Vec::new();
        let mut next = Some(route.to_owned());
        for _ in 0..most {
            let Some(route) = next else { return Ok((items, true)) };
            let answer = self.call(doing, who, &Ask::get(&route)).await?;
            let page: Vec<T> = read(doing, &answer.body)?;
            let more = wanted(&page);
            items.extend(page);
            next = next_page(&answer.headers).filter(|_| more);
        }
        Ok((items, next.is_none()))
    }

    /// Reads a list that is asked for often to its last page, or none of it.
    pub(super) async fn list_again<T: DeserializeOwned>(
        &self,
        doing: &str,
        route: &str,
    ) -> Result<Vec<T>, Fault> {
        let mut items = Vec::new();
        let mut next = Some(route.to_owned());
        for _ in 0..MAX_PAGES {
            let Some(route) = next else { return Ok(items) };
            let page = self.conditional(doing, &route).await?;
            let mut found: Vec<T> = read(doing, &page.body)?;
            next = page.next.clone();
            // A full last page may get a successor without changing itself, and a 304 would not
            // tell of it.
            if found.len() < PER_PAGE || next.is_some() {
                self.etags().keep(&route, page);
            } else {
                self.etags().forget(&route);
            }
            items.append(&mut found);
        }
        Err(endless(doing))
    }

    /// Creates or edits, and reads what became of it.
    pub(super) async fn write<B: Serialize, T: DeserializeOwned>(
        &self,
        doing: &str,
        method: Method,
        route: &str,
        body: &B,
    ) -> Result<T, Fault> {
        let body = serde_json::to_value(body).map_err(|error| Fault::permanent(doing, error))?;
        let ask = Ask { method, body: Some(&body), ..Ask::get(route) };
        read(doing, &self.call(doing, Who::Ourselves, &ask).await?.body)
    }

    /// Asks for something to be done, of which the answer says nothing more.
    pub(super) async fn order(&self, doing: &str, who: Who, route: &str) -> Result<(), Fault> {
        let ask = Ask { method: Method::POST, ..Ask::get(route) };
        self.call(doing, who, &ask).await.map(drop)
    }

    /// Deletes; what is gone already is deleted.
    pub(super) async fn delete(&self, doing: &str, route: &str) -> Result<(), Fault> {
        let ask = Ask { method: Method::DELETE, ..Ask::get(route) };
        let answer = self.answer(doing, Who::Ourselves, &ask).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(self.refused(doing, &answer)),
        }
    }

    /// Asks whether what we have is still true.
    async fn conditional(&self, doing: &str, route: &str) -> Result<Kept, Fault> {
        let kept = self.etags().find(route);
        let etag = kept.as_ref().map(|kept| kept.etag.as_str());
        let ask = Ask { etag, ..Ask::get(route) };
        let answer = self.answer(doing, Who::Ourselves, &ask).await?;
        self.kept(doing, kept, answer)
    }

    /// What an answer says of what we have.
    fn kept(&self, doing: &str, kept: Option<Kept>, answer: Answer) -> Result<Kept, Fault> {
        match (answer.status, kept) {
            (StatusCode::NOT_MODIFIED, Some(kept)) => Ok(kept),
            (status, _) if status.is_success() => {
                let etag = answer.header("etag").unwrap_or_default().to_owned();
                Ok(Kept { etag, next: next_page(&answer.headers), body: answer.body })
            }
            _ => Err(self.refused(doing, &answer)),
        }
    }

    async fn call(&self, doing: &str, who: Who, ask: &Ask<'_>) -> Result<Answer, Fault> {
        let answer = self.answer(doing, who, ask).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(self.refused(doing, &answer)) }
    }

    /// Asks, and gives any answer but a refusal for the number of requests.
    pub(super) async fn answer(
        &self,
        doing: &str,
        who: Who,
        ask: &Ask<'_>,
    ) -> Result<Answer, Fault> {
        let asking = async {
            let bearer = self.login.bearer(&self.line, who).await?;
            let ours = who == Who::Ourselves;
            let answer = self.line.ask(doing, Some(&bearer), ask, ours).await?;
            let revoked = ours && answer.status == StatusCode::UNAUTHORIZED;
            if !revoked || !self.login.forget(&bearer).await {
                return Ok(answer);
            }
            let bearer = self.login.bearer(&self.line, who).await?;
            self.line.ask(doing, Some(&bearer), ask, ours).await
        };
        tokio::time::timeout(self.timeout, asking).await.unwrap_or_else(|_| {
            self.line.budget.count(Outcome::Fault);
            Err(Fault::transient(doing, format!("no answer within {:?}", self.timeout)))
        })
    }

    /// What a refusal means.
    pub(super) fn refused(&self, doing: &str, answer: &Answer) -> Fault {
        faults::refused(doing, answer, |permission| self.login.cure(permission))
    }

    fn etags(&self) -> MutexGuard<'_, Etags> {
        self.etags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn endless(doing: &str) -> Fault {
    Fault::transient(doing, format!("the list does not end after {MAX_PAGES} pages"))
}

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(doing: &str, body: &str) -> Result<T, Fault> {
    serde_json::from_str(body).map_err(|error| nonsense(doing, &error))
}
