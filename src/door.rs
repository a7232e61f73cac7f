//! Accepting HTTP connections, within bounds that a stranger cannot stretch.
//!
//! Both the main listener and the previews' proxy come in through here. Refuses to take more
//! connections than it can serve, and to wait for headers that do not come (RFC 9112 has no limit
//! of its own).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const MAX_CONNECTIONS: usize = 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// How long a shutdown waits for answers that are on their way.
pub const DRAIN: Duration = Duration::from_secs(5);

/// A listener's connections.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// No more connections are taken once this is cancelled.
    pub stop: CancellationToken,
    /// Connections, and whatever they became.
    pub tasks: TaskTracker,
}

/// One connection's place among those that are served at once; dropping it gives it back.
pub type Slot = Arc<OwnedSemaphorePermit>;

impl Door {
    /// Accepts connections until told to stop. `service` makes the service of one connection, from
    /// its peer and its slot, which whatever the connection becomes has to hold on to.
    pub async fn serve<S, B>(
        self,
        listener: TcpListener,
        service: impl Fn(SocketAddr, Slot) -> S + Send + Sync,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let next = async {
                // The slot first: what we cannot serve waits in the kernel's queue.
                let slot = slots.clone().acquire_owned().await;
                (slot.expect("nobody closes this semaphore"), listener.accept().await)
            };
            let Some((slot, accepted)) = self.stop.run_until_cancelled(next).await else { return };
            match accepted {
                Ok((stream, peer)) => {
                    let slot = Arc::new(slot);
                    let service = service(peer, slot.clone());
                    self.tasks.spawn(connection(stream, service, slot, self.stop.clone()));
                }
                // Out of descriptors, most likely; a pause lets some connections end.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Takes no more connections, and lets answers that are on their way finish, within limits.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(DRAIN, self.tasks.wait()).await;
    }
}

async fn connection<S, B>(stream: TcpStream, service: S, slot: Slot, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _ = stream.set_nodelay(true);
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
        tracing::debug!(%error, "a connection ended early");
    }
    drop(slot);
}
