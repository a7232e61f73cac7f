//! The line to one registry: every request, held to the rules about where it may go.
//!
//! Refuses an address that is out of reach, plain HTTP where it is not configured, a redirect to
//! another host, a body without a bound, and proxies, which would go where we may not.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Certificate, Client, Method, Response, StatusCode, Url, redirect};

use super::resolver::{Guarded, OutOfReach};
use super::{manifest, origin};
use crate::address::Reach;
use crate::fault::Fault;
use crate::image::{Found, Registry};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most of a manifest; the specification has registries take at least this much.
const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;
/// The most of a token server's answer.
const MAX_TOKEN_BYTES: usize = 64 * 1024;
/// Within the same host.
const MAX_REDIRECTS: usize = 3;
/// Connections that are kept for the next question.
const MAX_IDLE_CONNECTIONS: usize = 2;

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// The line to one registry.
pub(super) struct Line {
    client: Client,
    /// As images' names have it.
    pub(super) host: String,
    base: Url,
    reach: Reach,
    insecure: bool,
    key: String,
}

impl Line {
    pub(super) fn new(registry: &Registry) -> Result<Self, Fault> {
        let doing = || format!("preparing to ask {} ({})", registry.host, registry.key);
        let mut client = Client::builder()
            .user_agent(concat!("mayfly/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .https_only(!registry.insecure)
            .dns_resolver(Guarded(registry.reach.clone()));
        if let Some(pem) = &registry.ca_pem {
            let certificates = Certificate::from_pem_bundle(pem)
                .map_err(|error| Fault::permanent(doing(), reason(&error)))?;
            client = client.tls_certs_merge(certificates);
        }
        let scheme = if registry.insecure { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{}", api_host(&registry.host)));
        Ok(Self {
            client: client.build().map_err(|error| Fault::permanent(doing(), reason(&error)))?,
            host: registry.host.clone(),
            base: base.map_err(|error| Fault::permanent(doing(), error))?,
            reach: registry.reach.clone(),
            insecure: registry.insecure,
            key: registry.key.clone(),
        })
    }

    /// Asks the registry itself for a manifest.
    pub(super) async fn manifest(
        &self,
        method: Method,
        path: &str,
        pass: Option<&HeaderValue>,
    ) -> Result<Answer, Found> {
        let mut url = self.base.clone();
        url.set_path(path);
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.send(method.clone(), &url, pass).await?;
            if !answer.status().is_redirection() {
                return self.answer(answer, MAX_MANIFEST_BYTES).await;
            }
            let location = answer.headers().get(LOCATION).and_then(|it| it.to_str().ok());
            let next = location.and_then(|it| url.join(it).ok());
            match next.filter(|next| origin(next) == origin(&self.base)) {
                Some(next) => url = next,
                None => {
                    let why = "redirects to another host, which is not followed; name the host \
                               that has the image";
                    return Err(Found::Refused(format!("{} {why}", self.host)));
                }
            }
        }
        Err(Found::Refused(format!("{} redirects for ever; see that it is a registry", self.host)))
    }

    /// Asks a token server.
    pub(super) async fn token(
        &self,
        realm: &Url,
        login: Option<&HeaderValue>,
    ) -> Result<Answer, Found> {
        let answer = self.send(Method::GET, realm, login).await?;
        self.answer(answer, MAX_TOKEN_BYTES).await
    }

    async fn send(
        &self,
        method: Method,
        url: &Url,
        pass: Option<&HeaderValue>,
    ) -> Result<Response, Found> {
        let is_fine = url.scheme() == "https" || self.insecure && url.scheme() == "http";
        if !is_fine {
            let why = "sends us to its token server without TLS, which is not followed";
            return Err(Found::Refused(format!("{} {why}", self.host)));
        }
        // An address needs no resolver, so none would have been asked about it.
        let host = url.host_str().unwrap_or_default();
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>()
            && !self.reach.allows(address)
        {
            let why = OutOfReach { host: host.to_owned(), address };
            return Err(self.out_of_reach(&why));
        }
        let mut request = self.client.request(method, url.clone()).header(ACCEPT, manifest::ACCEPT);
        if let Some(pass) = pass {
            request = request.header(AUTHORIZATION, pass);
        }
        request.send().await.map_err(|error| self.failed(&error))
    }

    async fn answer(&self, mut response: Response, most_bytes: usize) -> Result<Answer, Found> {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        // What is said beside a failure is of no use to us.
        while status.is_success()
            && let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))?
        {
            if body.len() + chunk.len() > most_bytes {
                let why = format!("{} answers with more than {most_bytes} bytes", self.host);
                return Err(Found::Refused(format!("{why}; see that it is a registry")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body })
    }

    fn out_of_reach(&self, why: &OutOfReach) -> Found {
        Found::Refused(format!("{why}; if it is yours, allow it in {}.addresses", self.key))
    }

    /// What it means that there is no answer.
    fn failed(&self, error: &reqwest::Error) -> Found {
        let host = &self.host;
        for cause in causes(error) {
            if let Some(why) = cause.downcast_ref() {
                return self.out_of_reach(why);
            }
            match innermost(cause).downcast_ref() {
                Some(rustls::Error::InvalidCertificate(why)) => {
                    let cure = format!("renew it, or name its issuer in {}.ca_file", self.key);
                    let why = format!("the certificate of {host} is not trusted ({why}); {cure}");
                    return Found::Refused(why);
                }
                Some(rustls::Error::InvalidMessage(_)) => {
                    return Found::Refused(format!("{host} does not speak TLS; see its port"));
                }
                _ => {}
            }
        }
        Found::Unknown(format!("{host} cannot be asked: {}", reason(error)))
    }
}

/// Where the API of a registry is: Docker Hub's images are named by another host than has them.
fn api_host(host: &str) -> &str {
    if host == "docker.io" { "registry-1.docker.io" } else { host }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// What an I/O error carries, however often it was wrapped: `source` passes over it.
fn innermost<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
    {
        error = inner;
    }
    error
}

/// The innermost reason; the outer ones repeat the URL.
fn reason(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}
