//! The composition root: the one place that knows every adapter, and starts and stops everything.
//!
//! Refuses to decide anything; it wires, and says what could not be started.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use chrono::TimeDelta;
use hyper_util::service::TowerToHyperService;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, ServerClock, fresh_id};
use crate::cluster::local::proxy::{Fate, HostBook, Proxy};
use crate::cluster::local::{LocalCluster, LocalConfig};
use crate::config::Config;
use crate::database::postgres::PostgresDatabases;
use crate::dns::embedded::EmbeddedDns;
use crate::door::Door;
use crate::fault::Fault;
use crate::forge::github::GitHub;
use crate::http::{self, AppState};
use crate::ledger::{Ledger, LedgerError, Preview};
use crate::preview::{Part, Phase, PreviewName, Status};
use crate::reconcile::{Reconciler, Seams};
use crate::sweep::Sweeper;
use crate::telemetry::Metrics;

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
    proxy: Proxy,
    dns: Arc<EmbeddedDns>,
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
        let suffix = config.site.suffix.clone();
        let local = LocalConfig {
            data_dir: config.cluster.data_dir.clone(),
            suffix: suffix.clone(),
            instance: config.instance.clone(),
            grace: config.cluster.grace,
        };
        let data_dir = &config.cluster.data_dir;
        std::fs::create_dir_all(data_dir).map_err(|error| {
            let doing = format!("making cluster.local.data_dir {}", data_dir.display());
            Fault::permanent(doing, error)
        })?;
        // The zone before the cluster: a second controller over the same data is turned away here,
        // before it touches anything.
        let dns = Arc::new(EmbeddedDns::start(
            config.dns.listen,
            suffix.clone(),
            config.instance.clone(),
            config.dns.target,
            config.cluster.data_dir.join("zone.json"),
        )?);
        let cluster = LocalCluster::new(local, changes.clone())?;
        let seeds: Vec<_> = config.repositories.iter().map(|r| &r.seed).collect();
        let databases =
            PostgresDatabases::connect(config.databases, &seeds, clock.clone(), changes).await?;
        warn_of_one_server(&ledger, &databases).await;
        let seams = Seams {
            cluster: Arc::new(cluster),
            databases: Arc::new(databases),
            dns: dns.clone(),
            forge: Arc::new(GitHub::new(config.github)?),
        };
        let wake: Arc<Notify> = Arc::default();
        let book = Arc::new(LedgerBook {
            ledger: ledger.clone(),
            clock: clock.clone(),
            wake: wake.clone(),
        });
        let proxy = Proxy::start(
            config.cluster.proxy_listen,
            &config.cluster.data_dir,
            &config.site,
            book,
        )?;
        let reconciler = Arc::new(Reconciler {
            ledger,
            seams,
            repositories: config.repositories,
            site: config.site,
            clock,
            pacing: config.pacing,
            limits: config.limits,
            metrics: Arc::new(Metrics::default()),
            wake,
            replica: fresh_id(),
        });
        first_look(&reconciler).await?;
        let state =
            AppState { reconciler: reconciler.clone(), secrets: Arc::new(config.webhook_secrets) };
        let mut tasks = JoinSet::new();
        let door = Door { stop: stop.clone(), ..Door::default() };
        tasks.spawn(serve(door.clone(), main, http::router(state.clone())));
        tasks.spawn(serve(door.clone(), operations, http::operations(state)));
        tasks.spawn(poke_changed(reconciler.clone(), changed, stop.clone()));
        tasks.spawn(Sweeper::new(reconciler.clone(), config.sweep).run(stop.clone()));
        tasks.spawn(reconciler.clone().run(stop.clone()));
        Ok(Self { reconciler, stop, door, tasks, proxy, dns })
    }

    /// Stops taking work, lets what runs end, and gives everything back. Previews stay as they
    /// are: the next start finds them.
    pub async fn stop(mut self) {
        self.stop.cancel();
        tokio::join!(self.proxy.shutdown(), self.door.close());
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task ended badly");
            }
        }
        self.dns.shutdown().await;
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

/// Two URLs can lead to one server, under two names: the servers themselves are asked.
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

/// Things may have changed while nobody looked; many previews are not all looked at at once.
async fn first_look(reconciler: &Reconciler) -> Result<(), LedgerError> {
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
    Ok(())
}

async fn poke_changed(
    reconciler: Arc<Reconciler>,
    mut changed: mpsc::Receiver<PreviewName>,
    stop: CancellationToken,
) {
    while let Some(Some(name)) = stop.run_until_cancelled(changed.recv()).await {
        match reconciler.ledger.poke_named(&name, reconciler.clock.now()).await {
            Ok(_) => reconciler.wake.notify_one(),
            Err(error) => tracing::warn!(preview = %name, %error, "a change could not be noted"),
        }
    }
}

/// What the ledger knows of a host that has no route.
struct LedgerBook {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
}

/// What is not there yet, in words that anybody may read: a condition's own message can quote a
/// workload's log.
fn missing(preview: &Preview) -> String {
    let parts = preview.conditions.iter().filter(|c| c.status != Status::True);
    let parts = parts.filter(|c| !matches!(c.part, Part::Notice | Part::PullRequest));
    let parts: Vec<_> = parts.map(|condition| condition.part.as_str()).collect();
    if parts.is_empty() { String::new() } else { format!("Still to come: {}.", parts.join(", ")) }
}

#[async_trait]
impl HostBook for LedgerBook {
    async fn fate(&self, name: &PreviewName) -> Fate {
        match self.ledger.preview_named(name).await {
            Ok(None) => Fate::Unknown,
            Ok(Some(preview)) if preview.phase.holds_nothing() => Fate::Gone,
            Ok(Some(preview)) => {
                // A visitor found nothing behind a preview that we hold for ready: look again.
                if preview.phase == Phase::Ready
                    && let Ok(true) = self.ledger.poke_named(name, self.clock.now()).await
                {
                    self.wake.notify_one();
                }
                Fate::Starting { detail: missing(&preview) }
            }
            Err(error) => {
                tracing::warn!(preview = %name, %error, "the ledger was asked for a host in vain");
                Fate::Starting { detail: String::new() }
            }
        }
    }
}
