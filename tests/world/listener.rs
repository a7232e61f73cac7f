//! The HTTP room on a real socket, and a client that holds every answer to what all must keep.
//!
//! Refuses an answer without `x-request-id`, one that shows a secret, and a refusal that is not a
//! problem document.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use hyper_util::service::TowerToHyperService;
use mayfly::clock::{Clock, fresh_id};
use mayfly::door::Door;
use mayfly::forge::signature::WebhookSecrets;
use mayfly::http::AppState;
use mayfly::reconcile::{Limits, Pacing, Reconciler};
use mayfly::repository::Repositories;
use mayfly::telemetry::Metrics;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::World;

/// The webhook secret in use.
pub const SECRET: &str = "a-webhook-secret-in-use";
/// The webhook secret that is being rotated out.
pub const OLD_SECRET: &str = "a-webhook-secret-of-yesterday";

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The body of a success.
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// The body of a refusal, which is a problem document of this status.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    fn hold(&self, secrets: &[String]) {
        assert!(!self.header("x-request-id").is_empty(), "no x-request-id: {self:?}");
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        let all = format!("{:?} {}", self.headers, self.text);
        for secret in secrets {
            assert!(!all.contains(secret.as_str()), "shows a secret: {all}");
        }
        if self.status >= 400 {
            assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
            let problem = self.json();
            for field in ["type", "title", "detail"] {
                let text = problem[field].as_str().unwrap_or_default();
                assert!(!text.is_empty(), "no {field}: {self:?}");
            }
            assert_eq!(problem["status"], self.status);
        }
        match self.status {
            401 => assert_eq!(self.header("www-authenticate"), "Bearer"),
            503 => assert!(self.header("retry-after").parse::<u32>().unwrap() > 0),
            _ => {}
        }
    }
}

/// A router on a loopback socket; it stops when it is dropped.
pub struct Listener {
    pub address: SocketAddr,
    pub client: Client,
    secrets: Vec<String>,
    server: AbortHandle,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Listener {
    pub async fn start(router: Router) -> Self {
        let socket = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let server = tokio::spawn(
            Door::default().serve(socket, move |_, _| TowerToHyperService::new(router.clone())),
        );
        let client = Client::builder().no_proxy().build().unwrap();
        let secrets = vec![SECRET.to_owned(), OLD_SECRET.to_owned()];
        Self { address, client, secrets, server: server.abort_handle() }
    }

    /// No answer may show this.
    pub fn conceal(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// Sends, and holds the answer to what every answer of the main listener keeps.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let answer = self.look(request).await;
        answer.hold(&self.secrets);
        answer
    }

    /// Sends, and takes the answer as it is.
    pub async fn look(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

pub fn state(reconciler: &Arc<Reconciler>) -> AppState {
    let secrets = [SECRET, OLD_SECRET].map(|secret| secret.to_owned().into()).to_vec();
    AppState {
        reconciler: reconciler.clone(),
        secrets: Arc::new(WebhookSecrets::new(secrets).unwrap()),
    }
}

/// A reconciler of this world with other repositories and another clock.
pub fn reconciler(
    world: &World,
    repositories: Repositories,
    clock: Arc<dyn Clock>,
) -> Arc<Reconciler> {
    Arc::new(Reconciler {
        ledger: world.ledger.clone(),
        seams: world.reconciler.seams.clone(),
        repositories,
        renderer: super::renderer(),
        site: super::site(),
        clock,
        pacing: Pacing::default(),
        limits: Limits::default(),
        metrics: Arc::new(Metrics::default()),
        wake: Arc::default(),
        recorded: Default::default(),
        room: Default::default(),
        replica: fresh_id(),
    })
}

/// A clock that is broken: whoever asks it panics.
pub struct BrokenClock;

impl Clock for BrokenClock {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        panic!("the clock is broken, as this test wants it")
    }
}
