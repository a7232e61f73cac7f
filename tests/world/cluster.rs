//! A cluster in memory that behaves as a real one does: things take a while, and go wrong.
//!
//! Refuses to be kinder than a cluster: a removed namespace lingers, a workload is not ready at
//! once, and what is not ours is there to be respected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mayfly::cluster::{Cluster, ClusterSeen};
use mayfly::fault::{Fault, Progress};
use mayfly::preview::observed::{Health, NamespaceSeen, RouteSeen, Standing, WorkloadSeen};
use mayfly::preview::{Ended, MigrationSeen, MigrationState, PreviewName, Revision, Seen};
use mayfly::workload::{DatabaseUrls, Service, Shape, WorkloadOrder};

use super::faults::Faults;

/// A removal that finishes by itself does so at this look.
const LOOKS_TO_LEAVE: u32 = 2;

#[derive(Clone)]
struct Workload {
    order: WorkloadOrder,
    /// The looks since each service was started, by its name.
    started: BTreeMap<String, u32>,
    crashed: bool,
}

#[derive(Clone)]
struct Migration {
    order: WorkloadOrder,
    looks: u32,
}

/// What becomes of migrations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They are done at this look.
    DoneAfter(u32),
    /// They do not end.
    Hang,
    /// They cannot begin.
    Stuck(String),
    /// They fail.
    Fail(String),
}

#[derive(Clone, Default)]
struct Namespace {
    migration: Option<Migration>,
    workload: Option<Workload>,
    /// What was ready before the workload was asked for, and is there until it is taken away.
    others: Vec<Revision>,
    /// Looks since its removal began.
    leaving: Option<u32>,
}

struct Inner {
    namespaces: BTreeMap<PreviewName, Namespace>,
    routes: BTreeMap<PreviewName, Revision>,
    foreign: BTreeSet<PreviewName>,
    orders: Vec<(PreviewName, WorkloadOrder)>,
    migrated: Vec<(PreviewName, WorkloadOrder)>,
    fate: Fate,
    auto: bool,
    ready_after: u32,
    never_ready: Option<String>,
    failing: Option<String>,
    standing: Standing,
    kubernetes: Seen<String>,
}

/// The cluster; clones share it.
#[derive(Clone)]
pub struct FakeCluster {
    faults: Faults,
    inner: Arc<Mutex<Inner>>,
}

impl FakeCluster {
    /// An empty cluster whose calls go wrong as told.
    pub fn new(faults: Faults) -> Self {
        let inner = Inner {
            namespaces: BTreeMap::new(),
            routes: BTreeMap::new(),
            foreign: BTreeSet::new(),
            orders: Vec::new(),
            migrated: Vec::new(),
            fate: Fate::DoneAfter(2),
            auto: true,
            ready_after: 1,
            never_ready: None,
            failing: None,
            standing: Standing::Served,
            kubernetes: Seen::Absent,
        };
        Self { faults, inner: Arc::new(Mutex::new(inner)) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap())
    }

    /// Whether removals finish by themselves, at the second look. They do, unless told.
    pub fn auto(&self, auto: bool) {
        self.with(|it| it.auto = auto);
    }

    /// How many looks a workload takes to be ready; one, unless told.
    pub fn ready_after(&self, looks: u32) {
        self.with(|it| it.ready_after = looks);
    }

    /// No workload becomes ready, for this reason.
    pub fn never_ready(&self, reason: &str) {
        self.with(|it| it.never_ready = Some(reason.to_owned()));
    }

    /// No workload becomes ready, and a person has to change something.
    pub fn failing(&self, why: &str) {
        self.with(|it| it.failing = Some(why.to_owned()));
    }

    /// How every route stands from now on.
    pub fn stand(&self, standing: Standing) {
        self.with(|it| it.standing = standing);
    }

    /// It is a Kubernetes of this version.
    pub fn be_kubernetes(&self, version: Seen<String>) {
        self.with(|it| it.kubernetes = version);
    }

    /// Workloads become ready again.
    pub fn ready_again(&self) {
        self.with(|it| {
            it.never_ready = None;
            it.failing = None;
        });
    }

    /// Every namespace of ours that is there, leaving or not.
    pub fn namespaces(&self) -> Vec<PreviewName> {
        self.with(|it| it.namespaces.keys().cloned().collect())
    }

    /// Every route of ours.
    pub fn routes(&self) -> Vec<(PreviewName, Revision)> {
        self.with(|it| it.routes.iter().map(|(name, to)| (name.clone(), to.clone())).collect())
    }

    /// The revision that was last started and runs.
    pub fn running(&self, name: &PreviewName) -> Option<Revision> {
        self.with(|it| {
            let workload = it.namespaces.get(name)?.workload.as_ref()?;
            (!workload.crashed).then(|| workload.order.revision.clone())
        })
    }

    /// What answers behind the route: the revision that it leads to, where that runs.
    pub fn serving(&self, name: &PreviewName) -> Option<Revision> {
        self.with(|it| {
            let to = it.routes.get(name)?.clone();
            let namespace = it.namespaces.get(name).filter(|it| it.leaving.is_none())?;
            let runs = |it: &Workload| !it.crashed && it.order.revision == to;
            let here = namespace.workload.as_ref().is_some_and(runs);
            (here || namespace.others.contains(&to)).then_some(to)
        })
    }

    /// What runs of other revisions than the one that was last asked for.
    pub fn others(&self, name: &PreviewName) -> Vec<Revision> {
        self.with(|it| it.namespaces.get(name).map_or(Vec::new(), |it| it.others.clone()))
    }

    /// Every order that started something, with its environment.
    pub fn orders(&self) -> Vec<(PreviewName, WorkloadOrder)> {
        self.with(|it| it.orders.clone())
    }

    /// What becomes of migrations from now on, those that run among them.
    pub fn fate(&self, fate: Fate) {
        self.with(|it| it.fate = fate);
    }

    /// Every order of migrations that started some.
    pub fn migrated(&self) -> Vec<(PreviewName, WorkloadOrder)> {
        self.with(|it| it.migrated.clone())
    }

    /// Somebody deletes the run of migrations by hand, with its log.
    pub fn forget_migration(&self, name: &PreviewName) {
        self.with(|it| {
            let namespace = it.namespaces.get_mut(name);
            namespace.into_iter().for_each(|it| it.migration = None);
        });
    }

    /// Somebody else's namespace takes the name.
    pub fn plant_foreign(&self, name: &PreviewName) {
        self.with(|it| it.foreign.insert(name.clone()));
    }

    /// Whether somebody else's namespace is still there.
    pub fn foreign_is_there(&self, name: &PreviewName) -> bool {
        self.with(|it| it.foreign.contains(name))
    }

    /// Somebody deletes everything of a preview by hand.
    pub fn destroy(&self, name: &PreviewName) {
        self.with(|it| {
            it.namespaces.remove(name);
            it.routes.remove(name);
        });
    }

    /// The workload exits.
    pub fn crash(&self, name: &PreviewName) {
        self.with(|it| {
            let workload = it.namespaces.get_mut(name).and_then(|it| it.workload.as_mut());
            workload.into_iter().for_each(|it| it.crashed = true);
        });
    }

    /// A removal that was begun finishes now.
    pub fn finish_removal(&self, name: &PreviewName) {
        self.with(|it| {
            if it.namespaces.get(name).is_some_and(|it| it.leaving.is_some()) {
                it.namespaces.remove(name);
            }
        });
    }
}

impl Inner {
    fn look(&mut self, name: &PreviewName) -> ClusterSeen {
        let foreign = self.foreign.contains(name);
        if let Some(namespace) = self.namespaces.get_mut(name)
            && let Some(looks) = namespace.leaving.as_mut()
        {
            *looks += 1;
            if self.auto && *looks >= LOOKS_TO_LEAVE {
                self.namespaces.remove(name);
            }
        }
        let route = match self.routes.get(name) {
            Some(revision) => Seen::Present(RouteSeen {
                revision: Some(revision.clone()),
                standing: self.standing.clone(),
            }),
            None => Seen::Absent,
        };
        let leaving = "1 process still running".to_owned();
        let fate = self.fate.clone();
        let mut migration = Seen::Absent;
        let (namespace, workload) = match self.namespaces.get_mut(name) {
            None if foreign => (Seen::Foreign("somebody else".to_owned()), Seen::Absent),
            None => (Seen::Absent, Seen::Absent),
            Some(namespace) if namespace.leaving.is_some() => {
                migration = Seen::Leaving(leaving.clone());
                (Seen::Leaving(leaving.clone()), Seen::Leaving(leaving))
            }
            Some(namespace) => {
                if let Some(it) = namespace.migration.as_mut() {
                    it.looks += 1;
                    let revision = it.order.revision.clone();
                    migration = Seen::Present(MigrationSeen { revision, state: it.state(&fate) });
                }
                let workload = match namespace.workload.as_mut() {
                    None => Seen::Absent,
                    Some(workload) => {
                        workload.started.values_mut().for_each(|looks| *looks += 1);
                        let health = match &self.failing {
                            Some(why) => Health::Failing { why: why.clone(), log: String::new() },
                            None => workload.health(self.ready_after, self.never_ready.as_ref()),
                        };
                        let revision = workload.order.revision.clone();
                        let others = !namespace.others.is_empty();
                        Seen::Present(WorkloadSeen { revision, health, others })
                    }
                };
                (Seen::Present(NamespaceSeen { fenced: true }), workload)
            }
        };
        ClusterSeen { namespace, migration, workload, route }
    }

    fn namespace(&mut self, name: &PreviewName, doing: &str) -> Result<&mut Namespace, Fault> {
        if self.foreign.contains(name) {
            return Err(Fault::not_ours(doing, "somebody else"));
        }
        match self.namespaces.get_mut(name) {
            Some(it) if it.leaving.is_none() => Ok(it),
            Some(_) => Err(Fault::transient(doing, "its namespace is being removed")),
            None => Err(Fault::transient(doing, "its namespace is not there")),
        }
    }
}

impl Migration {
    fn state(&self, fate: &Fate) -> MigrationState {
        match fate {
            Fate::DoneAfter(looks) if self.looks >= *looks => MigrationState::Ended(Ended::Done),
            Fate::DoneAfter(_) | Fate::Hang => MigrationState::Running("they run".to_owned()),
            Fate::Stuck(why) => MigrationState::Stuck(why.clone()),
            Fate::Fail(why) => {
                let log = "ERROR: column \"x\" exists".to_owned();
                MigrationState::Ended(Ended::Failed { why: why.clone(), log })
            }
        }
    }
}

impl Workload {
    fn health(&self, ready_after: u32, never_ready: Option<&String>) -> Health {
        if self.crashed {
            return Health::Dead("exited".to_owned());
        }
        let is_ready = |name: &str| {
            never_ready.is_none() && self.started.get(name).is_some_and(|it| *it >= ready_after)
        };
        let services = self.order.shape.services();
        let of = |service: &Service| match never_ready {
            _ if is_ready(service.name()) => Health::Ready,
            Some(why) => Health::Progressing(why.clone()),
            None if self.started.contains_key(service.name()) => {
                Health::Progressing("starting".to_owned())
            }
            None if service.awaits(is_ready).is_empty() => Health::Dead("not started".to_owned()),
            None => Health::Progressing("waits for another".to_owned()),
        };
        Health::together(services.iter().map(of))
    }

    /// Starts each service that is not, and that waits for none.
    fn start(&mut self, ready_after: u32) {
        for service in self.order.shape.services() {
            let is_ready = |name: &str| self.started.get(name).is_some_and(|it| *it >= ready_after);
            if service.awaits(is_ready).is_empty() {
                self.started.entry(service.name().to_owned()).or_default();
            }
        }
    }
}

#[async_trait]
impl Cluster for FakeCluster {
    async fn observe(&self, name: &PreviewName, _: &Shape) -> ClusterSeen {
        let look = || Ok(self.with(|it| it.look(name)));
        let seen = self.faults.run("cluster.observe", look);
        seen.unwrap_or_else(|fault| ClusterSeen::unknown(&fault.to_string()))
    }

    async fn ensure_namespace(
        &self,
        name: &PreviewName,
        _: &Shape,
        _: &DatabaseUrls,
    ) -> Result<(), Fault> {
        self.faults.run("cluster.ensure_namespace", || {
            self.with(|it| {
                if !it.foreign.contains(name) {
                    it.namespaces.entry(name.clone()).or_default();
                }
                it.namespace(name, "creating the namespace").map(|_| ())
            })
        })
    }

    async fn ensure_migration(
        &self,
        name: &PreviewName,
        order: &WorkloadOrder,
    ) -> Result<Progress, Fault> {
        self.faults.run("cluster.ensure_migration", || {
            self.with(|it| {
                let fate = it.fate.clone();
                let namespace = it.namespace(name, "starting the migrations")?;
                if let Some(before) = &namespace.migration {
                    if before.order.revision == order.revision {
                        return Ok(Progress::Done);
                    }
                    let runs = !matches!(before.state(&fate), MigrationState::Ended(_));
                    namespace.migration = None;
                    if runs {
                        let what = "migrations: those of the commit before are being ended";
                        return Ok(Progress::Underway(what.to_owned()));
                    }
                }
                namespace.migration = Some(Migration { order: order.clone(), looks: 0 });
                it.migrated.push((name.clone(), order.clone()));
                Ok(Progress::Done)
            })
        })
    }

    async fn ensure_workload(
        &self,
        name: &PreviewName,
        order: &WorkloadOrder,
    ) -> Result<(), Fault> {
        self.faults.run("cluster.ensure_workload", || {
            self.with(|it| {
                let (routed, after) = (it.routes.get(name).cloned(), it.ready_after);
                let namespace = it.namespace(name, "starting the workload")?;
                let running = namespace.workload.as_ref().filter(|it| !it.crashed);
                if running.is_none_or(|it| it.order.revision != order.revision) {
                    // What is served stays beside it, and what nobody visits goes.
                    let before = running.map(|it| it.order.revision.clone());
                    namespace.others.extend(before);
                    namespace
                        .others
                        .retain(|it| Some(it) == routed.as_ref() && *it != order.revision);
                    let (ordered, started) = (order.clone(), BTreeMap::new());
                    let mut workload = Workload { order: ordered, started, crashed: false };
                    workload.start(after);
                    namespace.workload = Some(workload);
                    it.orders.push((name.clone(), order.clone()));
                } else if let Some(workload) = &mut namespace.workload {
                    workload.start(after);
                }
                Ok(())
            })
        })
    }

    async fn ensure_route(
        &self,
        name: &PreviewName,
        _: &Shape,
        revision: &Revision,
    ) -> Result<(), Fault> {
        self.faults.run("cluster.ensure_route", || {
            self.with(|it| {
                let doing = "leading the route";
                let (after, never) = (it.ready_after, it.never_ready.clone());
                let namespace = it.namespace(name, doing)?;
                let workload = namespace.workload.as_ref();
                let wanted = workload.filter(|it| it.order.revision == *revision);
                match wanted.map(|it| it.health(after, never.as_ref())) {
                    None => Err(Fault::transient(doing, "its workload is of another revision")),
                    Some(Health::Ready) => {
                        it.routes.insert(name.clone(), revision.clone());
                        Ok(())
                    }
                    Some(_) => Err(Fault::transient(doing, "its workload is not ready")),
                }
            })
        })
    }

    async fn remove_others(
        &self,
        name: &PreviewName,
        _: &Shape,
        revision: &Revision,
    ) -> Result<(), Fault> {
        self.faults.run("cluster.remove_others", || {
            self.with(|it| {
                let namespace = it.namespace(name, "retiring what was served")?;
                namespace.others.retain(|it| it == revision);
                Ok(())
            })
        })
    }

    async fn remove_route(&self, name: &PreviewName) -> Result<(), Fault> {
        self.faults.run("cluster.remove_route", || {
            self.with(|it| it.routes.remove(name));
            Ok(())
        })
    }

    async fn remove_namespace(&self, name: &PreviewName) -> Result<(), Fault> {
        self.faults.run("cluster.remove_namespace", || {
            self.with(|it| {
                if it.foreign.contains(name) {
                    return Err(Fault::not_ours("removing the namespace", "somebody else"));
                }
                if let Some(namespace) = it.namespaces.get_mut(name) {
                    namespace.leaving.get_or_insert(0);
                }
                Ok(())
            })
        })
    }

    async fn kubernetes(&self) -> Seen<String> {
        self.faults.run("cluster.kubernetes", || Ok(self.with(|it| it.kubernetes.clone()))).unwrap()
    }

    async fn owned(&self) -> Result<Vec<PreviewName>, Fault> {
        self.faults.run("cluster.owned", || {
            self.with(|it| {
                let mut owned: Vec<_> = it.namespaces.keys().chain(it.routes.keys()).collect();
                owned.sort();
                owned.dedup();
                Ok(owned.into_iter().cloned().collect())
            })
        })
    }
}
