//! A registry that gives images only to whoever brings a token of its token server, which wants a login:
//! as hosted registries do (<https://distribution.github.io/distribution/spec/auth/token/>).
//!
//! It stands before the node's own registry and passes on what it lets through. Refuses to push.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use data_encoding::BASE64;
use futures_util::stream;
use serde_json::{Value, json};

pub const USER: &str = "ada";
pub const PASSWORD: &str = "of-the-private-registry";
const TOKEN: &str = "a-token-of-the-tests";

/// A running one.
#[derive(Clone)]
pub struct Private {
    pub address: SocketAddr,
    behind: String,
    http: reqwest::Client,
    /// Who was given a token, by their `User-Agent`.
    given: Arc<Mutex<Vec<String>>>,
}

impl Private {
    /// Starts it on this address of the machine, before that registry.
    pub async fn start(machine: Ipv4Addr, behind: &str) -> Self {
        let listener = tokio::net::TcpListener::bind((machine, 0)).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let address = listener.local_addr().unwrap();
        let this = Self { address, behind: behind.to_owned(), http, given: Arc::default() };
        let router =
            Router::new().route("/token", get(token)).fallback(registry).with_state(this.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        this
    }

    /// Lets the node speak plain HTTP with it: containerd reads this directory at each pull.
    pub fn introduce(&self, clusters: &Path) {
        let mut runs = std::fs::read_dir(clusters).unwrap().map(|entry| entry.unwrap().path());
        let hosts = runs.find_map(|run| Some(run.join("registries")).filter(|it| it.exists()));
        let directory = hosts.expect("the node's registries").join(self.address.to_string());
        std::fs::create_dir_all(&directory).unwrap();
        let host = format!("http://{}", self.address);
        let text = format!("server = \"{host}\"\n[host.\"{host}\"]\n");
        std::fs::write(directory.join("hosts.toml"), text).unwrap();
    }

    /// What a Secret of the type `kubernetes.io/dockerconfigjson` holds.
    pub fn login(&self) -> String {
        let auth = BASE64.encode(format!("{USER}:{PASSWORD}").as_bytes());
        json!({ "auths": { self.address.to_string(): { "auth": auth } } }).to_string()
    }

    /// Whether somebody who calls itself so was given a token.
    pub fn has_given(&self, agent: &str) -> bool {
        self.given.lock().unwrap().iter().any(|it| it.starts_with(agent))
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The token server.
async fn token(
    State(this): State<Private>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    let login = format!("Basic {}", BASE64.encode(format!("{USER}:{PASSWORD}").as_bytes()));
    let is_to_pull = query.unwrap_or_default().contains("pull");
    if text(&headers, header::AUTHORIZATION) != login || !is_to_pull {
        return Err(StatusCode::UNAUTHORIZED);
    }
    this.given.lock().unwrap().push(text(&headers, header::USER_AGENT).to_owned());
    Ok(Json(json!({ "token": TOKEN, "access_token": TOKEN, "expires_in": 60 })))
}

/// The registry: reads, for whoever has a token.
async fn registry(State(this): State<Private>, request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if !matches!(method, Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    if text(request.headers(), header::AUTHORIZATION) != format!("Bearer {TOKEN}") {
        let of = path.strip_prefix("/v2/").and_then(|it| it.split("/manifests/").next());
        let of = of.and_then(|it| it.split("/blobs/").next()).unwrap_or_default();
        let wanted = format!(
            "Bearer realm=\"http://{}/token\",service=\"private\",scope=\"repository:{of}:pull\"",
            this.address
        );
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, wanted)]).into_response();
    }
    let asked = this.http.request(method, format!("http://{}{path}", this.behind));
    let accept = request.headers().get_all(header::ACCEPT).iter();
    let asked = accept.fold(asked, |asked, value| asked.header(header::ACCEPT, value));
    let Ok(answer) = asked.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    for (name, value) in answer.headers() {
        let about_a_connection = [header::CONNECTION, header::TRANSFER_ENCODING].contains(name);
        if !about_a_connection {
            response.headers_mut().insert(name, value.clone());
        }
    }
    *response.body_mut() = Body::from_stream(stream::unfold(answer, |mut answer| async move {
        let piece = answer.chunk().await.transpose()?;
        Some((piece, answer))
    }));
    response
}
