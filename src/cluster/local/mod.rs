//! Previews as processes of this machine (Linux): the cluster of the embedded mode.
//!
//! A namespace is a directory, a workload is a process group, a route is a file that the proxy
//! reads. All truth is on disk and in `/proc`: the controller may be killed at any instruction,
//! and the next one, or a second one over the same directory, sees the same. What is kept in
//! memory only spares repeated signals. Refuses to isolate: workloads run as the controller's own
//! user, with its view of the file system and the network. For code that is not trusted, use a
//! cluster that fences.

mod files;
mod lock;
mod log;
mod migration;
mod namespace;
mod probe;
mod processes;
pub mod proxy;
mod record;
mod route;
mod service;
mod start;
mod stop;
mod workload;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::Sender;

use self::files::Layout;
use self::lock::Lock;
use self::migration::Attempt;
use self::namespace::Stand;
use self::processes::{Identity, Process, Walks};
use self::record::Record;
use super::{Cluster, ClusterSeen};
use crate::fault::{Fault, Progress};
use crate::preview::observed::{NamespaceSeen, RouteSeen, Standing};
use crate::preview::{PreviewName, Revision, Seen, Stamp, Suffix};
use crate::workload::{DatabaseUrls, Shape, WorkloadOrder};

/// What [`LocalConfig::grace`] should be unless configured.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(2);

/// How the adapter is set up.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// Where namespaces and routes are kept; made when missing.
    pub data_dir: PathBuf,
    /// The DNS name under which previews are served.
    pub suffix: Suffix,
    /// This installation's name, for its stamp.
    pub instance: String,
    /// How long a process may take to end after SIGTERM before it gets SIGKILL.
    pub grace: Duration,
}

/// Runs previews as local processes. Clones are the same adapter.
#[derive(Clone)]
pub struct LocalCluster(Arc<Room>);

struct Room {
    layout: Layout,
    suffix: Suffix,
    instance: String,
    grace: Duration,
    changes: Sender<PreviewName>,
    walks: Walks,
    /// Processes that were asked to end, so that they are asked once.
    asked: Mutex<HashSet<Identity>>,
    /// Previews whose removal a task of this process carries through.
    seen_off: Mutex<HashSet<PreviewName>>,
}

impl LocalCluster {
    /// Opens the data directory, makes it if need be, and resumes what a controller that was
    /// killed left undone. Names are sent to `changes` when a look at them is due. Must be called
    /// within a Tokio runtime.
    pub fn new(config: LocalConfig, changes: Sender<PreviewName>) -> Result<Self, Fault> {
        let doing = format!("opening {}", config.data_dir.display());
        let layout = Layout::create(&config.data_dir).map_err(|e| Fault::permanent(&doing, e))?;
        layout.empty_trash().map_err(|e| Fault::permanent(&doing, e))?;
        let room = Arc::new(Room {
            layout,
            suffix: config.suffix,
            instance: config.instance,
            grace: config.grace,
            changes,
            walks: Walks::default(),
            asked: Mutex::default(),
            seen_off: Mutex::default(),
        });
        for name in room.owned_names().map_err(|e| Fault::permanent(&doing, e))? {
            let room = room.clone();
            tokio::spawn(async move { room.resume(&name).await });
        }
        Ok(Self(room))
    }
}

impl Room {
    fn stamp(&self, name: &PreviewName) -> Stamp {
        Stamp::new(&self.instance, name)
    }

    fn directory(&self, name: &PreviewName) -> PathBuf {
        self.layout.namespace(name)
    }

    fn stand(&self, name: &PreviewName) -> io::Result<Stand> {
        namespace::look(&self.directory(name), &self.stamp(name))
    }

    /// Every living process of a namespace; reads files, so not on the runtime's own threads.
    async fn processes(&self, name: &PreviewName) -> io::Result<Vec<Process>> {
        let directory = self.directory(name);
        let of = directory.clone();
        let leaders = move || {
            let directory = of;
            // A record that cannot be read must not hide the processes that carry our marks.
            let records = Record::all(&directory).unwrap_or_default();
            let mut leaders: Vec<_> = records.into_values().flat_map(|it| it.leaders).collect();
            leaders.extend(Attempt::read(&directory).ok().flatten().and_then(Attempt::leader));
            leaders.retain(|leader| leader.process.lives());
            leaders
        };
        let leaders = tokio::task::spawn_blocking(leaders).await.map_err(io::Error::other)?;
        Ok(self.walks.census().await?.of(&directory, &leaders))
    }

    /// Takes the namespace's lock, if the namespace is there and stays.
    async fn enter(&self, name: &PreviewName, doing: &str) -> Result<Lock, Fault> {
        self.must_stay(name, doing)?;
        let lock = Lock::take(&self.directory(name).join("lock"), doing).await?;
        self.must_stay(name, doing)?;
        Ok(lock)
    }

    fn must_stay(&self, name: &PreviewName, doing: &str) -> Result<(), Fault> {
        match self.stand(name).map_err(|e| Fault::transient(doing, e))? {
            Stand::Present => Ok(()),
            Stand::Absent => Err(Fault::transient(doing, "its namespace is not there")),
            Stand::Leaving(_) => Err(Fault::transient(doing, "its namespace is being removed")),
            Stand::Foreign(whose) => Err(Fault::not_ours(doing, whose)),
        }
    }

    fn owned_names(&self) -> io::Result<Vec<PreviewName>> {
        let mut owned = namespace::owned(&self.layout, &self.instance)?;
        owned.extend(route::owned(&self.layout.routes(), &self.instance)?);
        owned.sort();
        owned.dedup();
        Ok(owned)
    }

    /// Asks for a look. A full queue is fine: the loop looks at everything from time to time.
    fn changed(&self, name: &PreviewName) {
        let _ = self.changes.try_send(name.clone());
    }

    async fn look(self: &Arc<Self>, name: &PreviewName, shape: &Shape) -> io::Result<ClusterSeen> {
        let found = self.processes(name).await?;
        let host = name.host(&self.suffix);
        let route = match route::look(&self.layout.routes(), &host, &self.stamp(name)) {
            Seen::Present(it) => {
                let revision = Some(&it.run.revision).filter(|_| it.is_of(shape)).cloned();
                Seen::Present(RouteSeen { revision, standing: Standing::Served })
            }
            Seen::Absent => Seen::Absent,
            Seen::Leaving(why) => Seen::Leaving(why),
            Seen::Foreign(whose) => Seen::Foreign(whose),
            Seen::Unknown(why) => Seen::Unknown(why),
        };
        let running = || match found.len() {
            0 => "its directory is being deleted".to_owned(),
            1 => "1 process still running".to_owned(),
            many => format!("{many} processes still running"),
        };
        let (namespace, migration, workload) = match self.stand(name)? {
            Stand::Present => {
                let namespace = NamespaceSeen { fenced: true };
                let migration = self.look_at_migration(name, &found);
                let workload = self.look_at_workload(name, shape, &found).await;
                (Seen::Present(namespace), migration, workload)
            }
            Stand::Foreign(whose) => (Seen::Foreign(whose), Seen::Absent, Seen::Absent),
            Stand::Absent if found.is_empty() => (Seen::Absent, Seen::Absent, Seen::Absent),
            // Somebody deleted the directory by hand, and its processes run on.
            Stand::Absent | Stand::Leaving(_) => {
                (Seen::Leaving(running()), Seen::Leaving(running()), Seen::Leaving(running()))
            }
        };
        Ok(ClusterSeen { namespace, migration, workload, route })
    }
}

#[async_trait]
impl Cluster for LocalCluster {
    async fn observe(&self, name: &PreviewName, shape: &Shape) -> ClusterSeen {
        let seen = self.0.look(name, shape).await;
        seen.unwrap_or_else(|error| ClusterSeen::unknown(&error.to_string()))
    }

    async fn ensure_namespace(
        &self,
        name: &PreviewName,
        _: &Shape,
        _: &DatabaseUrls,
    ) -> Result<(), Fault> {
        let room = &self.0;
        let doing = format!("creating namespace {name}");
        let stand = room.stand(name).map_err(|e| Fault::transient(&doing, e))?;
        if stand == Stand::Absent {
            let made = namespace::create(&room.layout, &room.directory(name), &room.stamp(name));
            match made {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Fault::transient(&doing, error));
                }
                _ => {}
            }
        }
        room.must_stay(name, &doing)
    }

    async fn ensure_migration(
        &self,
        name: &PreviewName,
        order: &WorkloadOrder,
    ) -> Result<Progress, Fault> {
        self.0.ensure_migration(name, order).await
    }

    async fn ensure_workload(
        &self,
        name: &PreviewName,
        order: &WorkloadOrder,
    ) -> Result<(), Fault> {
        self.0.ensure_workload(name, order).await
    }

    async fn ensure_route(
        &self,
        name: &PreviewName,
        shape: &Shape,
        revision: &Revision,
    ) -> Result<(), Fault> {
        self.0.ensure_route(name, shape, revision).await
    }

    /// Nothing: the proxy reads the route for each request, so that moving it retired them.
    async fn remove_others(&self, _: &PreviewName, _: &Shape, _: &Revision) -> Result<(), Fault> {
        Ok(())
    }

    async fn is_alone(&self, name: &PreviewName, revision: &Revision) -> Result<bool, Fault> {
        let doing = format!("looking for what {name} ran before");
        let found = self.0.processes(name).await.map_err(|e| Fault::transient(doing, e))?;
        let of_another = |it: &Process| it.run.as_ref().is_some_and(|it| it.revision != *revision);
        Ok(!found.iter().any(of_another))
    }

    async fn remove_route(&self, name: &PreviewName) -> Result<(), Fault> {
        let room = &self.0;
        let doing = format!("removing the route of {name}");
        // Without a namespace nobody else can be writing a route.
        let _lock = match room.stand(name) {
            Ok(Stand::Present) => Some(room.enter(name, &doing).await?),
            _ => None,
        };
        let routes = room.layout.routes();
        let host = name.host(&room.suffix);
        match route::look(&routes, &host, &room.stamp(name)) {
            Seen::Absent => Ok(()),
            Seen::Foreign(whose) => Err(Fault::not_ours(doing, whose)),
            Seen::Unknown(why) | Seen::Leaving(why) => Err(Fault::transient(doing, why)),
            Seen::Present(_) => match std::fs::remove_file(route::path(&routes, &host)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(Fault::transient(doing, error))
                }
                _ => Ok(()),
            },
        }
    }

    async fn remove_namespace(&self, name: &PreviewName) -> Result<(), Fault> {
        self.0.remove_namespace(name).await
    }

    async fn owned(&self) -> Result<Vec<PreviewName>, Fault> {
        self.0.owned_names().map_err(|e| Fault::transient("listing what runs here", e))
    }
}
