//! Passes one request on to the workload that the route leads to.
//!
//! Each request gets a connection of its own: none that the workload closed meanwhile is ever
//! reused, which matters while revisions change. Refuses to pass headers on that are about one
//! connection only, and to send a request twice that may have had an effect.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::host::{self, HostError};
use super::{Fate, HostBook, page};
use crate::cluster::local::record::Run;
use crate::cluster::local::route;
use crate::door::{Door, Slot};
use crate::preview::{Host, Suffix};

/// A body on its way through.
pub(super) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a request is tried on a route that moved under it.
const MAX_TRIES: usize = 3;

/// RFC 9110 §7.6.1, and what is customary.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What every connection shares.
pub(super) struct Forwarder {
    pub(super) routes: PathBuf,
    pub(super) suffix: Suffix,
    /// How browsers reach previews, whatever ends TLS in front of us.
    pub(super) scheme: &'static str,
    pub(super) book: Arc<dyn HostBook>,
    pub(super) door: Door,
}

impl Forwarder {
    /// Answers one request.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        slot: Slot,
    ) -> Result<Response<Body>, Infallible> {
        let (to, host) = match host::preview(&request, &self.suffix) {
            Ok(named) => named,
            Err(HostError::Malformed) => return Ok(page::malformed()),
            Err(HostError::NotOurs) => return Ok(page::fate("this host", Fate::Unknown)),
        };
        let (mut parts, body) = request.into_parts();
        let upgrade = wanted_upgrade(&parts.headers);
        let client = parts.extensions.remove::<OnUpgrade>().filter(|_| upgrade.is_some());
        prepare(&mut parts, upgrade.as_ref(), peer, &host, self.scheme);
        let tunnel = client.map(|client| (client, slot));
        Ok(self.pass_on(&to, parts, body, tunnel).await)
    }

    async fn pass_on(
        &self,
        to: &Host,
        parts: Parts,
        body: Incoming,
        tunnel: Option<(OnUpgrade, Slot)>,
    ) -> Response<Body> {
        let (host, own) = (to.full(&self.suffix), to.name.host(&self.suffix));
        // Without a body and an effect, a request can be sent again should the workload stop
        // between taking it and answering it.
        let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let repeatable = safe && body.is_end_stream();
        let mut body = Some(body.boxed_unsync());
        let mut tried: Option<Run> = None;
        let mut refused = true;
        for _ in 0..MAX_TRIES {
            let run = match route::read(&self.routes, &own) {
                Ok(Some(route)) => match route.leads(to) {
                    Some(run) if tried.as_ref() != Some(run) => run.clone(),
                    Some(_) => break,
                    // The preview is there, and has no such service: nothing is to be waited for.
                    None => return page::fate(&host, Fate::Unknown),
                },
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%host, %error, "a route could not be read");
                    break;
                }
            };
            let stream = match connect(run.port).await {
                Some(stream) => stream,
                None => {
                    tried = Some(run);
                    continue;
                }
            };
            refused = false;
            let body = match body.take() {
                Some(body) => body,
                None => Empty::new().map_err(|never| match never {}).boxed_unsync(),
            };
            let request = Request::from_parts(parts.clone(), body);
            match self.exchange(stream, request, &run, tunnel.clone()).await {
                Ok(response) => return response,
                Err(error) => tracing::debug!(%host, %error, "a workload did not answer"),
            }
            if !repeatable {
                break;
            }
            tried = Some(run);
        }
        if refused { page::fate(&host, self.book.fate(&to.name).await) } else { page::broken() }
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        request: Request<Body>,
        run: &Run,
        tunnel: Option<(OnUpgrade, Slot)>,
    ) -> Result<Response<Body>, hyper::Error> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        let mut response = sender.send_request(request).await?;
        let upgrade = response.headers().get(UPGRADE).cloned();
        let headers = response.headers().clone();
        strip(response.headers_mut(), &headers);
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some((client, slot)) = tunnel else { return Ok(page::broken()) };
            let workload = hyper::upgrade::on(&mut response);
            let stop = self.door.stop.clone();
            self.door.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = join(client, workload) => {}
                }
                drop(slot);
            });
            insert_upgrade(response.headers_mut(), upgrade.as_ref());
        }
        let (robots, noindex) = page::ROBOTS;
        response.headers_mut().insert(robots, noindex);
        let commit = HeaderValue::from_str(run.revision.commit.as_str());
        let commit = commit.expect("a commit is hexadecimal digits");
        response.headers_mut().insert(HeaderName::from_static("x-preview-commit"), commit);
        Ok(response.map(|body| body.boxed_unsync()))
    }
}

/// Makes a client's request one to the workload.
fn prepare(
    parts: &mut Parts,
    upgrade: Option<&HeaderValue>,
    peer: SocketAddr,
    host: &str,
    scheme: &'static str,
) {
    let before = parts.headers.clone();
    strip(&mut parts.headers, &before);
    insert_upgrade(&mut parts.headers, upgrade);
    // What a client claims about itself is not passed on.
    for claim in ["forwarded", "x-real-ip", "x-forwarded-port", "x-forwarded-server"] {
        parts.headers.remove(claim);
    }
    let forwarded = [
        ("x-forwarded-for", peer.ip().to_string()),
        ("x-forwarded-host", host.to_owned()),
        ("x-forwarded-proto", scheme.to_owned()),
        (HOST.as_str(), host.to_owned()),
    ];
    for (name, value) in forwarded {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::try_from(value)) {
            parts.headers.insert(name, value);
        }
    }
    let path = parts.uri.path_and_query().cloned();
    parts.uri = path.map_or(Uri::from_static("/"), Uri::from);
    parts.version = Version::HTTP_11;
}

/// The protocol that the client wants to go on with, if any.
fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = named_by_connection(headers).any(|name| name.eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| asks).cloned()
}

fn insert_upgrade(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade.clone());
    }
}

/// Removes what is about one connection only, as `before` says.
fn strip(headers: &mut HeaderMap, before: &HeaderMap) {
    for name in named_by_connection(before).chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn named_by_connection(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

async fn connect(port: u16) -> Option<TcpStream> {
    let connecting = TcpStream::connect(("127.0.0.1", port));
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.ok()?.ok()?;
    let _ = stream.set_nodelay(true);
    Some(stream)
}

/// Copies both ways until both sides are done.
async fn join(client: OnUpgrade, workload: OnUpgrade) {
    if let (Ok(client), Ok(workload)) = tokio::join!(client, workload) {
        let (mut client, mut workload) = (TokioIo::new(client), TokioIo::new(workload));
        let _ = tokio::io::copy_bidirectional(&mut client, &mut workload).await;
    }
}
