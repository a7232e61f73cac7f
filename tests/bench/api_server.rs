//! An API server to talk to: Kubernetes' protocol over plain HTTP, objects in memory, and for each answer
//! the same time, however many are asked for at once.
//!
//! Visitors of previews come in at the same address, by their host, as they do through an ingress
//! controller. Refuses to know a kind that no preview is made of, and to answer sooner than was said.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use mayfly::workload::COMMIT_HEADER;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::kinds::typed;
use super::objects::Objects;
use super::protocol::answer;

/// The IngressClass that is there.
pub const CLASS: &str = "bench";

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When it arrived.
    pub at: Instant,
    pub verb: &'static str,
    pub resource: String,
}

/// What the protocol and the bench's hand share.
pub struct Shared {
    objects: Mutex<Objects>,
    asked: Mutex<Vec<Asked>>,
    /// In microseconds.
    latency: AtomicU64,
    /// The last change.
    pub version: watch::Sender<u64>,
}

/// A running stand-in; it stops when it is dropped.
pub struct ApiServer {
    shared: Arc<Shared>,
    pub address: SocketAddr,
    server: AbortHandle,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl ApiServer {
    pub async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let listener = listener.tap_io(|stream| {
            // Only slower, where it fails.
            let _ = stream.set_nodelay(true);
        });
        let mut objects = Objects::default();
        let class = ("ingressclasses".to_owned(), String::new(), CLASS.to_owned());
        objects.seed(class, typed("ingressclasses", json!({ "spec": { "controller": CLASS } })));
        objects.ready_at_once = true;
        let shared = Arc::new(Shared {
            objects: Mutex::new(objects),
            asked: Mutex::default(),
            latency: AtomicU64::new(0),
            version: watch::Sender::new(0),
        });
        let app = Router::new().fallback(answer).with_state(shared.clone());
        let server = tokio::spawn(async move {
            // Serving ends with an error only when the listener is gone, and so are we then.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { shared, address, server: server.abort_handle() })
    }

    /// Each request takes so long from now on; it is done when half of that is over.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.latency.store(latency.as_micros() as u64, Ordering::Relaxed);
    }

    /// Writes a file that leads here.
    pub fn kubeconfig(&self, directory: &Path) -> Result<PathBuf> {
        let path = directory.join(format!("kubeconfig-{}", self.address.port()));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{ "name": "bench", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "bench", "user": {} }],
            "contexts": [{ "name": "bench", "context": { "cluster": "bench", "user": "bench" } }],
        });
        std::fs::write(&path, config.to_string())?;
        Ok(path)
    }

    pub fn objects(&self) -> MutexGuard<'_, Objects> {
        self.shared.objects()
    }

    /// What was asked for in that while, the begin of watches aside.
    pub fn asked(&self, begin: Instant, end: Instant) -> Vec<Asked> {
        let asked = self.shared.all_asked();
        let meant = |it: &&Asked| it.verb != "watch" && begin <= it.at && it.at <= end;
        asked.iter().filter(meant).cloned().collect()
    }

    /// The resources that were watched from since then, and when each watch began.
    pub fn watched(&self, since: Instant) -> Vec<(String, Instant)> {
        let asked = self.shared.all_asked();
        let meant = asked.iter().filter(|it| it.verb == "watch" && it.at >= since);
        meant.map(|it| (it.resource.clone(), it.at)).collect()
    }
}

impl Shared {
    pub fn latency(&self) -> Duration {
        Duration::from_micros(self.latency.load(Ordering::Relaxed))
    }

    /// Every request so far.
    pub fn all_asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an ingress controller does for a visitor: the app behind it says which commit it is.
    pub fn visit(&self, host: &str) -> Option<Response> {
        let (label, _) = host.split_once(".preview.localhost")?;
        let key = ("ingresses".to_owned(), label.to_owned(), "web".to_owned());
        let Ok(route) = self.objects().get(&key) else {
            return Some((StatusCode::NOT_FOUND, "no route").into_response());
        };
        let annotation = &route["metadata"]["annotations"]["mayfly.dev/revision"];
        let (commit, _) = annotation.as_str()?.rsplit_once('.')?;
        Some(([(COMMIT_HEADER, commit.to_owned())], "hello").into_response())
    }
}
