//! A registry written for the tests: as the specification has it, or as rude as a test wants it.
//!
//! Refuses to be asked for anything but manifests and tokens, and remembers what it was shown.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use data_encoding::{BASE64, HEXLOWER};
use mayfly::workload::{Image, ImageTag};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::task::AbortHandle;

use super::PASSWORD;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Anybody may ask.
    Open,
    /// Name and password.
    Basic,
    /// A token of its own token server.
    Token,
    /// Leaves out the optional header with the digest.
    NoDigest,
    /// Knows no HEAD.
    NoHead,
    /// Says no media type beside a HEAD.
    NoTypeForHead,
    /// A digest that is not the content's, and only beside a GET.
    WrongDigest,
    /// A page for people, with 200.
    Page,
    /// JSON that is no manifest, as one.
    NoManifest,
    /// Never answers.
    Silent,
    /// A body that does not end.
    Endless,
    /// This status, with nothing beside it.
    Status(u16),
    /// Leads there.
    Redirect(&'static str),
    /// Leads to the same, once.
    RedirectHome,
    /// Leads to itself, always.
    RedirectForEver,
    /// A token server that is there.
    Realm(&'static str),
    /// Wants what no registry wants.
    Strange,
}

const KIND: &str = "application/vnd.oci.image.manifest.v1+json";

struct Inner {
    mood: Mood,
    host: String,
    scheme: &'static str,
    password: String,
    manifests: BTreeMap<(String, String), Vec<u8>>,
    /// Tokens that are good, and how many were given out.
    tokens: Vec<String>,
    given: usize,
    life_seconds: i64,
    /// What each request showed, and what it asked for.
    asked: Vec<(String, Option<String>)>,
}

/// The registry; it stops when it is dropped.
pub struct StandIn {
    pub host: String,
    inner: Arc<Mutex<Inner>>,
    server: Option<AbortHandle>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

impl StandIn {
    /// On plain HTTP.
    pub async fn start(mood: Mood) -> Self {
        let socket = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut stand_in = Self::at(&socket.local_addr().unwrap().to_string(), "http", mood);
        let router = stand_in.router();
        let server = tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        stand_in.server = Some(server.abort_handle());
        stand_in
    }

    /// For whoever serves its router.
    pub fn at(host: &str, scheme: &'static str, mood: Mood) -> Self {
        let inner = Inner {
            mood,
            scheme,
            host: host.to_owned(),
            password: PASSWORD.to_owned(),
            manifests: BTreeMap::new(),
            tokens: Vec::new(),
            given: 0,
            life_seconds: 300,
            asked: Vec::new(),
        };
        Self { host: host.to_owned(), inner: Arc::new(Mutex::new(inner)), server: None }
    }

    pub fn router(&self) -> Router {
        Router::new()
            .route("/v2/{*path}", any(manifest))
            .route("/token", any(token))
            .with_state(self.inner.clone())
    }

    /// Makes a tag name an image of this number.
    pub fn push(&self, tag: &ImageTag, n: u8) -> Image {
        let manifest = manifest_of(n);
        let image = Image::pin(tag, &digest(&manifest)).unwrap();
        let at = (tag.name().repository().to_owned(), tag.tag().to_owned());
        self.inner.lock().unwrap().manifests.insert(at, manifest);
        image
    }

    pub fn be(&self, mood: Mood) {
        self.inner.lock().unwrap().mood = mood;
    }

    pub fn set_password(&self, password: &str) {
        self.inner.lock().unwrap().password = password.to_owned();
    }

    pub fn set_life(&self, seconds: i64) {
        self.inner.lock().unwrap().life_seconds = seconds;
    }

    /// Takes back every token.
    pub fn revoke(&self) {
        self.inner.lock().unwrap().tokens.clear();
    }

    /// How many tokens were given out.
    pub fn given(&self) -> usize {
        self.inner.lock().unwrap().given
    }

    /// Every request so far: method and path, and what was shown.
    pub fn asked(&self) -> Vec<(String, Option<String>)> {
        self.inner.lock().unwrap().asked.clone()
    }
}

/// An image's manifest, which differs by its number.
pub fn manifest_of(n: u8) -> Vec<u8> {
    let blob = |digit: u8| {
        let digest = format!("sha256:{}", digit.to_string().repeat(64));
        json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "size": 2,
                "digest": digest })
    };
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": KIND, "config": blob(n), "layers": [] });
    serde_json::to_vec(&manifest).unwrap()
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(bytes)))
}

fn shown(headers: &HeaderMap) -> Option<String> {
    headers.get("authorization").map(|it| it.to_str().unwrap().to_owned())
}

fn basic(password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("ada:{password}").as_bytes()))
}

async fn manifest(
    State(inner): State<Arc<Mutex<Inner>>>,
    method: Method,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let mood = {
        let mut inner = inner.lock().unwrap();
        inner.asked.push((format!("{method} {path}"), shown(&headers)));
        inner.mood
    };
    if mood == Mood::Silent {
        return std::future::pending().await;
    }
    let inner = inner.lock().unwrap();
    let shown = shown(&headers);
    let wanted = |challenge: String| {
        (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response()
    };
    let realm = format!("{}://{}/token", inner.scheme, inner.host);
    let bearer = |realm: &str| {
        let scope = "repository:acme/shop:pull";
        wanted(format!(r#"Bearer realm="{realm}",service="stand-in",scope="{scope}""#))
    };
    let has_token = |it: &String| inner.tokens.iter().any(|token| *it == format!("Bearer {token}"));
    let home = || [("location", format!("/v2/{path}?again"))];
    match mood {
        Mood::Basic if shown != Some(basic(&inner.password)) => {
            return wanted("Basic realm=\"stand-in\"".to_owned());
        }
        Mood::Token if !shown.as_ref().is_some_and(has_token) => return bearer(&realm),
        Mood::Realm(realm) => return bearer(realm),
        Mood::Strange => return wanted("Negotiate".to_owned()),
        Mood::Status(status) => return StatusCode::from_u16(status).unwrap().into_response(),
        Mood::Redirect(there) => return (StatusCode::FOUND, [("location", there)]).into_response(),
        Mood::RedirectHome if query.is_none() => {
            return (StatusCode::TEMPORARY_REDIRECT, home()).into_response();
        }
        Mood::RedirectForEver => return (StatusCode::FOUND, home()).into_response(),
        // What is wrong with a body shows where there is one.
        Mood::NoHead | Mood::NoManifest | Mood::Endless if method == Method::HEAD => {
            return StatusCode::METHOD_NOT_ALLOWED.into_response();
        }
        Mood::Page => return ([("content-type", "text/html")], "<p>Log in</p>").into_response(),
        Mood::Endless => {
            let chunk = vec![b' '; 64 * 1024];
            let chunks = futures_util::stream::repeat_with(move || Ok::<_, String>(chunk.clone()));
            return ([("content-type", KIND)], Body::from_stream(chunks)).into_response();
        }
        _ => {}
    }
    let (repository, tag) = path.split_once("/manifests/").unwrap();
    let at = (repository.to_owned(), tag.to_owned());
    let Some(bytes) = inner.manifests.get(&at).cloned() else {
        let error = json!({ "errors": [{ "code": "MANIFEST_UNKNOWN" }] });
        return (StatusCode::NOT_FOUND, Json(error)).into_response();
    };
    let own = digest(&bytes);
    let (kind, digest, body) = match mood {
        Mood::NoDigest => (Some(KIND), None, bytes),
        Mood::NoTypeForHead if method == Method::HEAD => (None, Some(own), bytes),
        Mood::WrongDigest if method == Method::HEAD => (Some(KIND), None, bytes),
        Mood::WrongDigest => (Some(KIND), Some(digest(b"")), bytes),
        Mood::NoManifest => (Some(KIND), None, b"{\"schemaVersion\": 2}".to_vec()),
        _ => (Some(KIND), Some(own), bytes),
    };
    let mut answer =
        Response::new(if method == Method::HEAD { Body::empty() } else { body.into() });
    if let Some(kind) = kind {
        answer.headers_mut().insert("content-type", kind.parse().unwrap());
    }
    if let Some(digest) = digest {
        answer.headers_mut().insert("docker-content-digest", digest.parse().unwrap());
    }
    answer
}

async fn token(
    State(inner): State<Arc<Mutex<Inner>>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let mut inner = inner.lock().unwrap();
    inner.asked.push((format!("GET token?{}", query.unwrap_or_default()), shown(&headers)));
    if shown(&headers) != Some(basic(&inner.password)) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    inner.given += 1;
    let token = format!("hush-token-{}", inner.given);
    inner.tokens.push(token.clone());
    Json(json!({ "token": token, "expires_in": inner.life_seconds })).into_response()
}
