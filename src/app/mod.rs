//! The composition root: the one place that knows every adapter, and starts and stops everything.
//!
//! Refuses to decide anything; it wires, and says what could not be started.

mod adapters;
mod book;
mod names;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use chrono::TimeDelta;
use hyper_util::service::TowerToHyperService;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::adapters::RouteNotes;
use self::book::LedgerBook;
use crate::clock::{Clock, ServerClock, fresh_id};
use crate::cluster::local::proxy::Proxy;
use crate::config::Config;
use crate::database::postgres::PostgresDatabases;
use crate::dns::embedded::EmbeddedDns;
use crate::door::Door;
use crate::fault::Fault;
use crate::forge::github::GitHub;
use crate::http::{self, AppState};
use crate::image::{self, oci::OciImages};
use crate::ledger::{Ledger, LedgerError};
use crate::preview::PreviewName;
use crate::reconcile::{Reconciler, Room, Seams};
use crate::sweep::Sweeper;
use crate::telemetry::Metrics;
use crate::visit::HttpVisitor;

/// How many names that may have changed wait to become pokes; more are found by the next look.
const CHANGES: usize = 1024;

/// After a start every live preview is looked at, this far apart.
const FIRST_LOOK_SPREAD_MILLISECONDS: i64 = 20;

/// Why Mayfly did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger's schema is older than this version.
    #[error("the ledger's schema is not up to date; run: mayfly migrate")]
    NotMigrated,
    /// An adapter.
    #[error(transparent)]
    Adapter(#[from] Fault),
    /// A listener.
    #[error("{key}: cannot listen on {address}: {source}")]
    Listen {
        /// The configuration's key.
        key: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// A running Mayfly.
pub struct App {
    /// The loop and what it needs.
    pub reconciler: Arc<Reconciler>,
    stop: CancellationToken,
    door: Door,
    tasks: JoinSet<()>,
    proxy: Option<Proxy>,
    embedded: Option<Arc<EmbeddedDns>>,
}

impl App {
    /// Starts everything that the configuration names.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let ledger_url = config.ledger_url.expose_secret();
        let ledger = Ledger::connect(ledger_url, config.ledger_connections).await?;
        if !ledger.is_migrated().await? {
            return Err(StartError::NotMigrated);
        }
        // Listeners before adapters: what cannot be served should not be begun.
        let main = listen("listen", config.listen).await?;
        let operations = listen("operations_listen", config.operations_listen).await?;
        let clock = Arc::new(ServerClock::default());
        clock.follow(ledger.server_time().await?);
        let (changes, changed) = mpsc::channel(CHANGES);
        let adapters::Places { cluster, dns, embedded, local, watched } =
            adapters::places(&config, clock.clone(), changes.clone()).await?;
        let seeds: Vec<_> = config.repositories.iter().flat_map(|it| it.seeds()).collect();
        let databases =
            PostgresDatabases::connect(config.databases, &seeds, clock.clone(), changes.clone());
        let databases = databases.await?;
        warn_of_one_server(&ledger, &databases).await;
        let github = GitHub::new(config.github)?;
        let mut metrics = Metrics::default();
        metrics.collect(Box::new(github.budget()));
        let databases = Arc::new(databases);
        let seams = Seams {
            cluster,
            rehearsals: databases.clone(),
            databases,
            dns,
            forge: Arc::new(github),
            images: Arc::new(OciImages::new(
                config.registries,
                image::oci::Limits::default(),
                clock.clone(),
            )?),
            visitor: Arc::new(HttpVisitor::new(config.site.clone(), &config.visits)?),
        };
        let wake: Arc<Notify> = Arc::default();
        let proxy = match local {
            Some(local) => {
                let book = LedgerBook::new(ledger.clone(), clock.clone(), wake.clone());
                let book = Arc::new(book);
                Some(Proxy::start(local.proxy_listen, &local.data_dir, &config.site, book)?)
            }
            None => None,
        };
        let reconciler = Arc::new(Reconciler {
            ledger,
            seams,
            repositories: config.repositories,
            renderer: config.renderer,
            site: config.site,
            clock,
            pacing: config.pacing,
            limits: config.limits,
            metrics: Arc::new(metrics),
            wake,
            recorded: Notify::new(),
            room: Room::default(),
            replica: fresh_id(),
        });
        let state =
            AppState { reconciler: reconciler.clone(), secrets: Arc::new(config.webhook_secrets) };
        let mut tasks = JoinSet::new();
        let door = Door { stop: stop.clone(), ..Door::default() };
        tasks.spawn(serve(door.clone(), main, http::router(state.clone())));
        tasks.spawn(serve(door.clone(), operations, http::operations(state)));
        // Listing what there is takes a while where it is much: nobody who asks waits for it.
        if let Some(cluster) = watched {
            cluster.watch(&changes, &stop);
        }
        tasks.spawn(poke_changed(reconciler.clone(), changed, stop.clone()));
        tasks.spawn(Sweeper::new(reconciler.clone(), config.sweep).run(stop.clone()));
        tasks.spawn(first_look(reconciler.clone(), stop.clone()));
        tasks.spawn(reconciler.clone().run(stop.clone()));
        Ok(Self { reconciler, stop, door, tasks, proxy, embedded })
    }

    /// Stops taking work, lets what runs end, and gives everything back. Previews stay as they
    /// are: the next start finds them.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let proxy = async {
            if let Some(proxy) = self.proxy {
                proxy.shutdown().await;
            }
        };
        tokio::join!(proxy, self.door.close());
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task ended badly");
            }
        }
        if let Some(dns) = self.embedded {
            dns.shutdown().await;
        }
        self.reconciler.ledger.close().await;
    }
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| StartError::Listen { key, address, source })
}

async fn serve(door: Door, listener: TcpListener, router: Router) {
    door.serve(listener, |_, _| TowerToHyperService::new(router.clone())).await;
}

/// Two URLs can lead to one server, under two names: the servers themselves are asked. Previews'
/// server that is down is not the ledger's, which answers.
async fn warn_of_one_server(ledger: &Ledger, databases: &PostgresDatabases) {
    let (one, other) = tokio::join!(ledger.server_identity(), databases.server_identity());
    if one.is_some() && one == other {
        tracing::warn!(
            "ledger.url and databases.admin_url lead to the same PostgreSQL server: previews that \
             fill its disk, or use up its connections, stop the controller too; give it one of its \
             own in production"
        );
    }
}

/// Things may have changed while nobody looked. Nobody who asks waits for it.
async fn first_look(reconciler: Arc<Reconciler>, stop: CancellationToken) {
    let looking = async {
        while let Err(error) = poke_all(&reconciler).await {
            tracing::warn!(%error, "the previews that are there could not be made due; trying again");
            tokio::time::sleep(reconciler.limits.poll).await;
        }
    };
    stop.run_until_cancelled(looking).await;
}

/// Many previews are not all looked at at once.
async fn poke_all(reconciler: &Reconciler) -> Result<(), LedgerError> {
    let live: i64 = reconciler
        .ledger
        .count_by_phase()
        .await?
        .into_iter()
        .filter(|(phase, _)| !phase.holds_nothing())
        .map(|(_, count)| count)
        .sum();
    let spread = TimeDelta::milliseconds(live.saturating_mul(FIRST_LOOK_SPREAD_MILLISECONDS));
    reconciler.ledger.poke_all(spread, reconciler.clock.now()).await?;
    reconciler.wake.notify_one();
    Ok(())
}

async fn poke_changed(
    reconciler: Arc<Reconciler>,
    mut changed: mpsc::Receiver<PreviewName>,
    stop: CancellationToken,
) {
    while let Some(Some(name)) = stop.run_until_cancelled(changed.recv()).await {
        let noting = async {
            loop {
                match reconciler.ledger.poke_named(&name, reconciler.clock.now()).await {
                    Ok(true) => return reconciler.wake.notify_one(),
                    Ok(false) => return,
                    Err(error) => {
                        tracing::warn!(preview = %name, %error, "a change could not be noted yet");
                    }
                }
                tokio::time::sleep(reconciler.limits.poll).await;
            }
        };
        stop.run_until_cancelled(noting).await;
    }
}
