//! Previews' databases on a PostgreSQL server.
//!
//! One template per seed, built once; each preview gets a clone of it, made in advance where there is one,
//! and a role that may use that clone and nothing else. Ownership marks are atomic with creation: a database is ours when the
//! owner role owns it, a role is ours when it is a member of the app role.
//!
//! Refuses to let a preview's role own its database, and to touch what is not marked.

mod admin;
mod baseline;
mod begin;
mod catalogue;
mod clone;
mod demand;
mod history;
mod lock;
mod logins;
mod look;
mod prepare;
mod rehearse;
mod remove;
mod script;
mod spare;
mod template;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Mutex, OnceCell, Semaphore, mpsc, oneshot};

use super::catalogue::Catalogue;
use super::{DatabaseOrder, Databases, DatabasesSeen, Password, Seed};
use crate::clock::Clock;
use crate::fault::{Disposition, Fault, Progress};
use crate::preview::{ComponentName, PreviewName, Seen};
use admin::Admin;

/// How long a call waits for its own background work before it says "underway".
const GRACE: Duration = Duration::from_millis(1500);

/// How to reach the server, and its bounds.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// The administrator's URL; its database is the one for maintenance.
    pub admin_url: SecretString,
    /// The file that the URL came from: read again when a login is refused.
    pub admin_url_file: Option<PathBuf>,
    /// `host:port` under which previews reach the server, where it differs from ours.
    pub public_address: Option<(String, u16)>,
    /// How previews use TLS.
    pub public_sslmode: SslMode,
    /// The installation's name: the owner role is `<instance>_owner`, the app role
    /// `<instance>_app`, templates are `<instance>_seed_<digest>`.
    pub instance: String,
    /// How many clones run at once; the others queue.
    pub clones_at_once: usize,
    /// How many sessions one preview may have.
    pub connection_limit: u32,
    /// How long a seed may take.
    pub seed_timeout: Duration,
    /// How large a seeded database may be, in bytes.
    pub seed_max_bytes: i64,
    /// How much of the disk databases that are cloned in advance may take, in bytes.
    pub spare_bytes: i64,
}

/// How a preview's connection uses TLS: libpq's `sslmode`, as far as it makes sense here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Not at all.
    Disable,
    /// Where the server offers it: what clients do when a URL says nothing.
    #[default]
    Prefer,
    /// Always, with whoever answers.
    Require,
    /// Always, and the server's certificate has to fit: the workload needs its CA.
    VerifyFull,
}

impl SslMode {
    /// Reads libpq's word.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Disable, Self::Prefer, Self::Require, Self::VerifyFull];
        all.into_iter().find(|mode| mode.as_str() == word)
    }

    /// libpq's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// The adapter; clones share one set of connections.
#[derive(Clone)]
pub struct PostgresDatabases {
    inner: Arc<Inner>,
}

struct Inner {
    admin: Admin,
    config: PostgresConfig,
    clock: Arc<dyn Clock>,
    changes: mpsc::Sender<PreviewName>,
    /// How many previews may be worked on or queued; each holds a connection and its lock.
    slots: Arc<Semaphore>,
    /// How many clones run at once.
    clones: Semaphore,
    /// Why the last build of each template failed, so that it is not tried at full speed.
    failed: Mutex<HashMap<String, template::FailedBuild>>,
    /// The digests of the seeds in use.
    keep: BTreeSet<String>,
    /// Whether the server was seen to be fit, and made ready for previews.
    prepared: OnceCell<()>,
    /// Catalogues of templates, by their oid, the oldest first.
    baselines: Mutex<Vec<(u32, Arc<Catalogue>)>>,
    /// The migrations that are or were watched.
    runs: rehearse::Runs,
    /// Clones that are made in advance.
    spares: spare::Spares,
}

impl Inner {
    /// Makes the server ready for previews, once; tried again until it was.
    async fn prepare(&self) -> Result<(), Fault> {
        let preparing = async || {
            prepare::prepare(&self.admin).await?;
            if let Err(fault) = template::retire(self, &self.keep).await {
                tracing::warn!(%fault, "templates of seeds not in use were left until the next start");
            }
            Ok(())
        };
        self.prepared.get_or_try_init(preparing).await?;
        Ok(())
    }

    fn url(&self, name: &PreviewName, password: &Password, database: &str) -> String {
        let (host, port) = match &self.config.public_address {
            Some((host, port)) => (host.clone(), *port),
            None => self.admin.address(),
        };
        let (role, secret) = (password.login().role(name), password.reveal());
        let tls = match self.config.public_sslmode {
            SslMode::Prefer => String::new(),
            mode => format!("?sslmode={}", mode.as_str()),
        };
        format!("postgres://{role}:{secret}@{host}:{port}/{database}{tls}")
    }
}

impl PostgresDatabases {
    /// Connects, creates the two marker roles if need be, and closes the maintenance databases to
    /// roles that have no business there. `keep` are the seeds in use; templates of others are
    /// dropped once they are a day old. Names that may have changed are sent to `changes`.
    ///
    /// A server that is down or in recovery is no fault: all this is done before the first database
    /// is made, once it answers. One that answers and does not let us do it is.
    pub async fn connect(
        config: PostgresConfig,
        keep: &[&Seed],
        clock: Arc<dyn Clock>,
        changes: mpsc::Sender<PreviewName>,
    ) -> Result<Self, Fault> {
        let url = config.admin_url.expose_secret();
        let admin = Admin::new(url, config.admin_url_file.clone(), &config.instance)?;
        let inner = Arc::new(Inner {
            admin,
            clock,
            changes,
            slots: Arc::new(Semaphore::new(16)),
            clones: Semaphore::new(config.clones_at_once.max(1)),
            failed: Mutex::default(),
            keep: keep.iter().map(|seed| seed.digest().to_owned()).collect(),
            prepared: OnceCell::new(),
            baselines: Mutex::default(),
            runs: rehearse::Runs::default(),
            spares: spare::Spares::default(),
            config,
        });
        match inner.prepare().await {
            Err(fault) if fault.disposition == Disposition::Transient => {
                tracing::warn!(%fault, "starting without the previews' databases; they are awaited");
            }
            other => other?,
        }
        tokio::spawn(spare::keep(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// Which server this is, whatever it is called; `None` where it does not tell.
    pub async fn server_identity(&self) -> Option<String> {
        let mut session = self.inner.admin.look().await.ok()?;
        sqlx::query_scalar(
            "SELECT concat(system_identifier, ' ', pg_postmaster_start_time())
             FROM pg_control_system()",
        )
        .fetch_one(&mut *session)
        .await
        .ok()
    }
}

#[async_trait]
impl Databases for PostgresDatabases {
    async fn observe(&self, name: &PreviewName, password: &Password) -> DatabasesSeen {
        look::observe(&self.inner.admin, name, password).await
    }

    async fn ensure_database(
        &self,
        name: &PreviewName,
        order: &DatabaseOrder<'_>,
    ) -> Result<Progress, Fault> {
        let queued = || Ok(Progress::Underway("database: waiting for its turn".to_owned()));
        let Ok(slot) = self.inner.slots.clone().try_acquire_owned() else { return queued() };
        self.inner.prepare().await?;
        // The lock is taken before anything is promised: from here on every replica sees that the
        // database is being worked on, and does not take it for absent.
        let Some(mut locked) = self.inner.admin.lock(&name.database()).await? else {
            return queued();
        };
        let inner = self.inner.clone();
        let (seed, password) = (order.seed.clone(), order.password.clone());
        let (generation, owned) = (order.generation, name.clone());
        let components = order.components.to_vec();
        let (tell, mut told) = oneshot::channel();
        let work = tokio::spawn(async move {
            let components = &components;
            let wanted =
                clone::Wanted { name: &owned, generation, password: &password, components };
            let done = clone::ensure(&inner, &mut locked.session, &seed, &wanted).await;
            inner.admin.release(locked).await;
            drop(slot);
            if tell.send(done).is_err() {
                // A full queue of changes loses nothing: the preview is looked at again anyway.
                let _ = inner.changes.try_send(owned);
            }
        });
        let underway = Progress::Underway("database: being seeded or cloned".to_owned());
        match tokio::time::timeout(GRACE, &mut told).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => {
                let why = work.await.err().map_or_else(String::new, |panic| panic.to_string());
                Err(Fault::permanent(format!("making database of {name}"), why))
            }
            Err(_) => {
                // From here on it pokes the preview, or is done already.
                told.close();
                told.try_recv().unwrap_or(Ok(underway))
            }
        }
    }

    async fn remove_database(&self, name: &PreviewName) -> Result<(), Fault> {
        remove::databases(&self.inner.admin, name).await
    }

    async fn remove_login(&self, name: &PreviewName, password: &Password) -> Result<(), Fault> {
        logins::lock(&self.inner, name, password).await
    }

    async fn remove_role(&self, name: &PreviewName) -> Result<(), Fault> {
        remove::roles(&self.inner.admin, name).await
    }

    async fn owned(&self) -> Result<Vec<PreviewName>, Fault> {
        look::owned(&self.inner.admin).await
    }

    fn major_version(&self) -> Seen<u32> {
        match u32::try_from(self.inner.admin.version.load(Ordering::Relaxed)) {
            Ok(version) if version > 0 => Seen::Present(version / 10_000),
            _ => Seen::Unknown("the server has not answered yet".to_owned()),
        }
    }

    fn url(&self, name: &PreviewName, password: &Password) -> String {
        self.inner.url(name, password, &name.database())
    }

    fn component_url(
        &self,
        name: &PreviewName,
        password: &Password,
        component: &ComponentName,
    ) -> String {
        self.inner.url(name, password, &component.database(name))
    }
}
