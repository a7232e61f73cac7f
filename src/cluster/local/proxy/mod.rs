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

use async_trait::async_trait;
use hyper::service::service_fn;
use tokio::net::TcpListener;

use self::forward::Forwarder;
use crate::door::Door;
use crate::fault::Fault;
use crate::preview::{PreviewName, Site};

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
    door: Door,
}

impl Proxy {
    /// Listens, and serves the routes below the data directory. Must be called within a Tokio
    /// runtime.
    pub fn start(
        listen: SocketAddr,
        data_dir: &Path,
        site: &Site,
        book: Arc<dyn HostBook>,
    ) -> Result<Self, Fault> {
        let doing = format!("listening on {listen} for previews");
        let fail = |error: std::io::Error| Fault::permanent(&doing, error);
        let listener = StdListener::bind(listen).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let listener = TcpListener::from_std(listener).map_err(fail)?;
        let local_addr = listener.local_addr().map_err(fail)?;
        let door = Door::default();
        let forwarder = Arc::new(Forwarder {
            routes: data_dir.join("routes"),
            suffix: site.suffix.clone(),
            scheme: if site.https { "https" } else { "http" },
            book,
            door: door.clone(),
        });
        let serving = door.clone().serve(listener, move |peer, slot| {
            let forwarder = forwarder.clone();
            service_fn(move |request| {
                let (forwarder, slot) = (forwarder.clone(), slot.clone());
                async move { forwarder.answer(request, peer, slot).await }
            })
        });
        door.tasks.spawn(serving);
        Ok(Self { local_addr, door })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no more connections, lets answers that are on their way finish, within limits, and
    /// ends tunnels.
    pub async fn shutdown(self) {
        self.door.close().await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.door.stop.cancel();
    }
}
