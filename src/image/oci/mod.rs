//! Registries by the OCI distribution API, over HTTP:
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>.
//!
//! A client of our own and not the crate `oci-client`: that one builds its connections itself, with
//! no place for a rule about addresses, follows redirects and a token server's realm wherever they
//! lead, obeys proxies of the environment, and reads bodies and waits without a bound.
//!
//! Refuses a registry that is not configured, to download anything but a manifest, and to repeat a
//! registry's own texts to people: they may be anybody's.

mod challenge;
mod line;
mod manifest;
mod passes;
mod resolver;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode, Url};
use tokio::sync::Semaphore;

use self::challenge::Challenge;
use self::line::{Answer, Line};
use self::passes::Passes;
use super::{Found, Images, Registry};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::workload::ImageTag;

/// With what we have, with what we ask for then, and with what is asked for once that is refused.
const MAX_LOGINS: usize = 3;

/// How much is asked at once, and how long an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tags that are asked about at the same time; others wait.
    pub asks_at_once: usize,
    /// How long one answer may take: waiting for a place, logging in and redirects included.
    pub answer_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { asks_at_once: 8, answer_within: Duration::from_secs(15) }
    }
}

/// The registries that may be asked.
pub struct OciImages {
    hosts: BTreeMap<String, Host>,
    places: Semaphore,
    limits: Limits,
}

impl OciImages {
    /// Nothing is asked before the first tag is. Permanent where a certificate cannot be read.
    pub fn new(
        registries: Vec<Registry>,
        limits: Limits,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Fault> {
        let hosts = registries.into_iter().map(|registry| {
            let line = Line::new(&registry)?;
            let passes = Passes::new(registry.login, registry.key, clock.clone());
            Ok((registry.host, Host { line, passes }))
        });
        let places = Semaphore::new(limits.asks_at_once);
        Ok(Self { hosts: hosts.collect::<Result<_, Fault>>()?, places, limits })
    }
}

#[async_trait]
impl Images for OciImages {
    async fn resolve(&self, tag: &ImageTag) -> Found {
        let name = tag.name().registry();
        let Some(host) = self.hosts.get(name) else {
            let why = format!("{name} is not in registries; add it there if its images may run");
            return Found::Refused(why);
        };
        let asked = async {
            let _place = self.places.acquire().await.expect("nobody closes the semaphore");
            host.resolve(tag).await.unwrap_or_else(|found| found)
        };
        let asked = tokio::time::timeout(self.limits.answer_within, asked).await;
        asked.unwrap_or_else(|_| {
            let seconds = self.limits.answer_within.as_secs_f32();
            Found::Unknown(format!("{name} gave no answer within {seconds} seconds"))
        })
    }
}

/// One registry.
struct Host {
    line: Line,
    passes: Passes,
}

impl Host {
    async fn resolve(&self, tag: &ImageTag) -> Result<Found, Found> {
        let head = self.ask(Method::HEAD, tag).await?;
        match head.status {
            StatusCode::OK => {}
            // It knows no HEAD.
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {}
            _ => return Err(self.not_found(&head, tag)),
        }
        if head.status == StatusCode::OK
            && let Some(image) = manifest::named_by(&head.headers, tag)?
        {
            return Ok(Found::Digest(image));
        }
        let got = self.ask(Method::GET, tag).await?;
        match got.status {
            StatusCode::OK => manifest::read(&got, tag).map(Found::Digest),
            _ => Err(self.not_found(&got, tag)),
        }
    }

    /// Asks for the manifest, logging in where that is wanted.
    async fn ask(&self, method: Method, tag: &ImageTag) -> Result<Answer, Found> {
        let repository = tag.name().repository();
        let path = format!("/v2/{repository}/manifests/{}", tag.tag());
        let mut pass = self.passes.kept(repository).await;
        for _ in 0..MAX_LOGINS {
            let header = pass.as_ref().map(|pass| &pass.header);
            let answer = self.line.manifest(method.clone(), &path, header).await?;
            if answer.status != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            let wanted = self.wanted(&answer.headers)?;
            let renewed = self.passes.renew(&self.line, &wanted, repository, pass.as_ref()).await?;
            pass = Some(renewed);
        }
        Err(self.passes.refused(&self.line.host, repository))
    }

    fn wanted(&self, headers: &HeaderMap) -> Result<Challenge, Found> {
        Challenge::of(headers).ok_or_else(|| {
            let host = &self.line.host;
            let why = format!(
                "{host} wants a login of a kind that no registry wants; see that it is one"
            );
            Found::Refused(why)
        })
    }

    /// What an answer means that is no manifest.
    fn not_found(&self, answer: &Answer, tag: &ImageTag) -> Found {
        let (host, status) = (&self.line.host, answer.status);
        match status {
            StatusCode::NOT_FOUND => Found::NotYet(format!("{host} has no {tag} yet")),
            StatusCode::FORBIDDEN => self.passes.refused(host, tag.name().repository()),
            _ if is_passing(status) => Found::Unknown(format!("{host} answers {status} for {tag}")),
            _ => {
                let why = format!("{host} answers {status} for {tag}; see that it is a registry");
                Found::Refused(why)
            }
        }
    }
}

/// Whether an answer like this may be another one soon.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
}

/// Scheme, host and port: where a URL leads.
fn origin(url: &Url) -> (&str, Option<&str>, Option<u16>) {
    (url.scheme(), url.host_str(), url.port_or_known_default())
}
