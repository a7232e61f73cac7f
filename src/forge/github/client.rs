//! One call to GitHub: under a deadline, to our API only, and read with our own narrow types.
//!
//! Refuses to repeat a write and to follow a link or a redirect of its own to another host: of an
//! address that an answer names, only path and query are used.

use std::time::Duration;

use hyper::http::Uri;
use hyper::{HeaderMap, Method, StatusCode, header};
use octocrab::Octocrab;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::faults::{fault, nonsense};
use super::{Auth, GitHubConfig};
use crate::fault::Fault;

/// More pages than any listing of ours has: a server whose next page is the same page ends here.
const MAX_PAGES: usize = 1_000;
const MAX_REDIRECTS: usize = 3;

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
    /// Sees the repositories.
    octocrab: Octocrab,
    /// Sees the App itself; none with a token.
    app: Option<Octocrab>,
    timeout: Duration,
    identity: OnceCell<Identity>,
}

struct Page {
    body: String,
    next: Option<String>,
}

impl Client {
    pub(super) fn new(config: &GitHubConfig) -> Result<Self, Fault> {
        const DOING: &str = "preparing the GitHub client";
        // Fails when one is installed already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let refuse = |why: &str| Fault::permanent(DOING, why);
        let failed = |error: octocrab::Error| Fault::permanent(DOING, fault("", &error).why);
        let api: Uri = config.api_url.parse().map_err(|_| refuse("the API URL is not a URL"))?;
        let plain = api.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if !plain || !matches!(api.scheme_str(), Some("https" | "http")) {
            return Err(refuse("the API URL is http(s)://host, without a user in it"));
        }
        let builder = Octocrab::builder().base_uri(api).map_err(failed)?;
        let (octocrab, app) = match &config.auth {
            Auth::Token(token) => {
                if !sendable(token) {
                    return Err(refuse("the token is empty, or holds a blank or a line break"));
                }
                let nobody = builder.build().map_err(failed)?;
                // Unlike the builder's own token, this one is marked as sensitive.
                (nobody.user_access_token(token.clone()).map_err(failed)?, None)
            }
            Auth::App { app_id, private_key_pem, installation_id } => {
                let pem = private_key_pem.expose_secret();
                let app = builder
                    .app_from_rsa_pem((*app_id).into(), pem)
                    .map_err(|_| refuse("the App's private key is not an RSA key in PEM"))?;
                let app = app.build().map_err(failed)?;
                (app.installation((*installation_id).into()).map_err(failed)?, Some(app))
            }
        };
        Ok(Self { octocrab, app, timeout: config.timeout, identity: OnceCell::new() })
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
            Ok(match &self.app {
                None => {
                    let page = self.call(&self.octocrab, doing, Method::GET, "/user", NONE).await?;
                    Identity::User(read::<User>(doing, &page)?.id)
                }
                Some(app) => {
                    let page = self.call(app, doing, Method::GET, "/app", NONE).await?;
                    Identity::Bot(format!("{}[bot]", read::<App>(doing, &page)?.slug))
                }
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
        read(doing, &self.call(&self.octocrab, doing, Method::GET, route, NONE).await?)
    }

    /// Reads a list to its last page, or none of it.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        doing: &str,
        route: &str,
    ) -> Result<Vec<T>, Fault> {
        let mut items = Vec::new();
        let mut next = Some(route.to_owned());
        for _ in 0..MAX_PAGES {
            let Some(route) = next else { return Ok(items) };
            let page = self.call(&self.octocrab, doing, Method::GET, &route, NONE).await?;
            items.append(&mut read::<Vec<T>>(doing, &page)?);
            next = page.next;
        }
        Err(Fault::transient(doing, format!("the list does not end after {MAX_PAGES} pages")))
    }

    /// Creates or edits, and reads what became of it.
    pub(super) async fn write<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        doing: &str,
        method: Method,
        route: &str,
        body: &B,
    ) -> Result<T, Fault> {
        read(doing, &self.call(&self.octocrab, doing, method, route, Some(body)).await?)
    }

    /// Deletes; what is gone already is deleted.
    pub(super) async fn delete(&self, doing: &str, route: &str) -> Result<(), Fault> {
        let exchange = exchange(&self.octocrab, Method::DELETE, route, NONE);
        match self.in_time(doing, exchange).await? {
            Err(octocrab::Error::GitHub { source, .. })
                if matches!(source.status_code, StatusCode::NOT_FOUND | StatusCode::GONE) =>
            {
                Ok(())
            }
            Err(error) => Err(fault(doing, &error)),
            Ok(_) => Ok(()),
        }
    }

    async fn call<B: Serialize + Sync>(
        &self,
        octocrab: &Octocrab,
        doing: &str,
        method: Method,
        route: &str,
        body: Option<&B>,
    ) -> Result<Page, Fault> {
        let answer = self.in_time(doing, exchange(octocrab, method, route, body)).await?;
        answer.map_err(|error| fault(doing, &error))
    }

    async fn in_time<T>(&self, doing: &str, call: impl Future<Output = T>) -> Result<T, Fault> {
        let late = |_| Fault::transient(doing, format!("no answer within {:?}", self.timeout));
        tokio::time::timeout(self.timeout, call).await.map_err(late)
    }
}

/// No body.
const NONE: Option<&()> = None;

async fn exchange<B: Serialize + Sync>(
    octocrab: &Octocrab,
    method: Method,
    route: &str,
    body: Option<&B>,
) -> Result<Page, octocrab::Error> {
    let mut route = route.to_owned();
    let mut redirects = 0;
    loop {
        let request = hyper::Request::builder().method(method.clone()).uri(&route);
        let request = octocrab.build_request(request, body)?;
        let response = octocrab.execute(request).await?;
        // The client underneath follows redirects of reads. A renamed repository answers a write
        // with 307, which did nothing yet, so to send it again is not to repeat it.
        let follow = response.status().is_redirection() && redirects < MAX_REDIRECTS;
        if let Some(location) = location(response.headers()).filter(|_| follow) {
            route = location;
            redirects += 1;
            continue;
        }
        let response = octocrab::map_github_error(response).await?;
        let next = next_page(response.headers());
        return Ok(Page { body: octocrab.body_to_string(response).await?, next });
    }
}

fn read<T: DeserializeOwned>(doing: &str, page: &Page) -> Result<T, Fault> {
    serde_json::from_str(&page.body).map_err(|error| nonsense(doing, &error))
}

fn location(headers: &HeaderMap) -> Option<String> {
    path_and_query(headers.get(header::LOCATION)?.to_str().ok()?)
}

/// The `rel="next"` address of a Link header (RFC 8288).
fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(header::LINK)?.to_str().ok()?;
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let (_, rest) = next.split_once('<')?;
    path_and_query(rest.split_once('>')?.0)
}

fn path_and_query(address: &str) -> Option<String> {
    Some(address.parse::<Uri>().ok()?.path_and_query()?.as_str().to_owned())
}

/// Whether a token can stand in a header.
fn sendable(token: &SecretString) -> bool {
    let token = token.expose_secret();
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}
