//! The reverse proxy in front of local previews: one listener, a preview per host.
//!
//! Refuses to remember routes (the file is read for each request, so a route holds from the
//! moment when it is written), to buffer bodies, and to take more connections than it can serve.

mod forward;
mod host;
mod page;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::forward::Forwarder;
use crate::fault::Fault;
use crate::preview::{PreviewName, Suffix};

const MAX_CONNECTIONS: usize = 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// How long a shutdown waits for answers that are on their way.
const DRAIN: Duration = Duration::from_secs(5);

/// What becomes of a preview that cannot be reached right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There is no such preview, and there was none.
    Unknown,
    /// It is on its way; the text says how far it is.
    Starting {
        /// For people; escaped before it is shown.
        detail: String,
    },
    /// It was there, and will not come back by itself.
    Gone,
}

/// Knows the fate of previews.
#[async_trait]
pub trait HostBook: Send + Sync {
    /// Asked only when a preview has no route or does not answer.
    async fn fate(&self, name: &PreviewName) -> Fate;
}

/// A running proxy. Dropping it stops it without waiting.
pub struct Proxy {
    local_addr: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Proxy {
    /// Listens, and serves the routes below the data directory. Must be called within a Tokio
    /// runtime.
    pub fn start(
        listen: SocketAddr,
        data_dir: &Path,
        suffix: Suffix,
        book: Arc<dyn HostBook>,
    ) -> Result<Self, Fault> {
        let doing = format!("listening on {listen} for previews");
        let fail = |error: std::io::Error| Fault::permanent(&doing, error);
        let listener = StdListener::bind(listen).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let listener = TcpListener::from_std(listener).map_err(fail)?;
        let local_addr = listener.local_addr().map_err(fail)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let forwarder = Arc::new(Forwarder {
            routes: data_dir.join("routes"),
            suffix,
            book,
            stop: stop.clone(),
            tasks: tasks.clone(),
        });
        tasks.spawn(accept(listener, forwarder));
        Ok(Self { local_addr, stop, tasks })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no more connections, lets answers that are on their way finish, within limits, and
    /// ends tunnels.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(DRAIN, self.tasks.wait()).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, forwarder: Arc<Forwarder>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            // The slot first: what we cannot serve waits in the kernel's queue.
            let slot = slots.clone().acquire_owned().await;
            (slot.expect("nobody closes this semaphore"), listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = forwarder.stop.cancelled() => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) => {
                forwarder.tasks.spawn(serve(stream, peer, slot, forwarder.clone()));
            }
            // Out of descriptors, most likely; a pause lets some connections end.
            Err(error) => {
                tracing::warn!(%error, "the proxy could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    slot: OwnedSemaphorePermit,
    forwarder: Arc<Forwarder>,
) {
    let _ = stream.set_nodelay(true);
    let stop = forwarder.stop.clone();
    // Shared with the tunnel that the connection may become.
    let slot = Arc::new(slot);
    let service = service_fn(move |request| {
        let (forwarder, slot) = (forwarder.clone(), slot.clone());
        async move { forwarder.answer(request, peer, slot).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the proxy ended early");
    }
}
