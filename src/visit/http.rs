//! Visits over HTTP: a new connection to where the host leads, TLS checked as a browser checks it.
//!
//! Refuses to follow a redirect, to ask a proxy of the environment, to keep a connection that an
//! older route answers on, and to read more of a body than a page that says a commit has.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CACHE_CONTROL, HOST};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};

use super::answer::{Answer, judge};
use super::{Visit, Visitor};
use crate::fault::Fault;
use crate::preview::Site;
use crate::workload::{COMMIT_HEADER, Proof};

/// How long one visit may take: connection, TLS and answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long connecting alone may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How much of a body is read for the commit in it.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// How visits are made.
#[derive(Clone, Debug, Default)]
pub struct VisitConfig {
    /// Where to connect whatever the host leads to: for a network in which the controller does not
    /// reach the public address.
    pub address: Option<SocketAddr>,
    /// Certificates that are trusted beside the system's, in PEM.
    pub ca_file: Option<PathBuf>,
}

/// Visits previews of one site.
pub struct HttpVisitor {
    site: Site,
    address: Option<SocketAddr>,
    client: Client,
    led: Led,
}

impl HttpVisitor {
    /// Prepares the client; a certificate file that cannot be read is a fault.
    pub fn new(site: Site, config: &VisitConfig) -> Result<Self, Fault> {
        const DOING: &str = "preparing to visit previews";
        let fail = |why: String| Fault::permanent(DOING, why);
        let led = Led::default();
        let mut client = Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(0)
            .redirect(Policy::none())
            .no_proxy()
            .user_agent(concat!("mayfly/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(led.clone());
        if let Some(path) = &config.ca_file {
            let unfit = |why: &dyn std::fmt::Display| {
                fail(format!("previews.proof.ca_file {}: {why}", path.display()))
            };
            let pem = std::fs::read(path).map_err(|error| unfit(&error))?;
            let trusted = Certificate::from_pem_bundle(&pem).map_err(|error| unfit(&error))?;
            if trusted.is_empty() {
                return Err(unfit(&"holds no certificate in PEM"));
            }
            client = client.tls_certs_merge(trusted);
        }
        let client = client.build().map_err(|error| fail(words(&error)))?;
        Ok(Self { site, address: config.address, client, led })
    }

    async fn ask(&self, visit: &Visit<'_>, path: &str) -> Result<Response, reqwest::Error> {
        let host = visit.host.full(&self.site.suffix);
        let usual = if self.site.https { 443 } else { 80 };
        let public = self.site.port.unwrap_or(usual);
        let port = self.address.map_or(public, |address| address.port());
        let scheme = if self.site.https { "https" } else { "http" };
        let said = if public == usual { host.clone() } else { format!("{host}:{public}") };
        let addresses = match self.address {
            Some(address) => BTreeSet::from([address.ip()]),
            None => visit.addresses.clone(),
        };
        self.led.set(&host, addresses);
        let request = self.client.get(format!("{scheme}://{host}:{port}{path}"));
        request.header(HOST, said).header(CACHE_CONTROL, "no-cache").send().await
    }
}

#[async_trait]
impl Visitor for HttpVisitor {
    async fn observe(&self, visit: Visit<'_>) -> Result<(), String> {
        let path = match &visit.shape.proof {
            Proof::Header => &visit.shape.probe_path,
            Proof::Path(path) => path,
        };
        let url = self.site.url_of(visit.host);
        let url = format!("{}{path}", url.trim_end_matches('/'));
        let instead = |error: reqwest::Error| format!("{url}: {}", words(&error));
        let mut response = self.ask(&visit, path).await.map_err(instead)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        if matches!(visit.shape.proof, Proof::Path(_)) && status.is_success() {
            while body.len() < MAX_BODY_BYTES
                && let Some(piece) = response.chunk().await.map_err(instead)?
            {
                body.extend_from_slice(&piece[..piece.len().min(MAX_BODY_BYTES - body.len())]);
            }
        }
        let mut said = headers.get_all(COMMIT_HEADER).iter();
        let header = match (said.next(), said.next()) {
            (Some(_), Some(_)) => Some("more than one"),
            (only, _) => only.map(|value| value.to_str().unwrap_or("no text")),
        };
        let answer = Answer { status, header, body: &String::from_utf8_lossy(&body) };
        judge(&answer, &visit.shape.proof, &url, visit.commit)
    }
}

/// What went wrong, as far as it stays the same from visit to visit.
fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut last: &dyn Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    match last.to_string() {
        why if why.contains("certificate") => {
            format!("a browser does not trust its certificate ({why})")
        }
        why => why,
    }
}

/// Where hosts lead, as DNS was just seen to say: nothing else is resolved.
#[derive(Clone, Default)]
struct Led(Arc<Mutex<HashMap<String, BTreeSet<IpAddr>>>>);

/// How many hosts are kept in mind; those that are forgotten are set again by their next visit.
const MAX_LED: usize = 4096;

impl Led {
    fn set(&self, host: &str, addresses: BTreeSet<IpAddr>) {
        let mut led = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if led.len() >= MAX_LED {
            led.clear();
        }
        led.insert(host.to_owned(), addresses);
    }
}

impl Resolve for Led {
    fn resolve(&self, name: Name) -> Resolving {
        let led = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses = led.get(name.as_str()).cloned();
        Box::pin(async move {
            let addresses = addresses.ok_or("its host leads nowhere")?;
            let sockets = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(sockets) as Addrs)
        })
    }
}
