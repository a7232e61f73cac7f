//! The workload of a namespace: how it is doing, starting it, and leading the route to it.
//!
//! Everything is written down before it is done: route, then record, then the process. Whatever
//! is found after a crash is therefore a start that did not happen, which is an exited workload.
//! Refuses to restart one faster than its back-off allows.

use std::io;
use std::sync::Arc;

use super::files;
use super::lock::Lock;
use super::processes::{Identity, Process};
use super::record::{Leader, Record, Run};
use super::route::{self, Route};
use super::{Room, log, probe, start};
use crate::fault::Fault;
use crate::preview::observed::{Health, WorkloadSeen};
use crate::preview::{PreviewName, Revision, Seen};
use crate::workload::WorkloadOrder;

/// So many starts that did not last are no accident.
const CRASH_LOOP: u32 = 3;

impl Room {
    /// How the wanted workload is doing, given the namespace's processes.
    pub(super) async fn look_at_workload(
        &self,
        name: &PreviewName,
        found: &[Process],
    ) -> Seen<WorkloadSeen> {
        match Record::read(&self.directory(name)) {
            Ok(None) => Seen::Absent,
            Ok(Some(record)) => {
                let health = self.health(name, &record, found).await;
                Seen::Present(WorkloadSeen { revision: record.run.revision, health, others: false })
            }
            Err(error) => Seen::Unknown(format!("reading its record: {error}")),
        }
    }

    async fn health(&self, name: &PreviewName, record: &Record, found: &[Process]) -> Health {
        if is_running(&record.run, found) {
            let (port, path) = (record.run.port, &record.probe_path);
            match probe::ready(port, &name.host(&self.suffix), path).await {
                Ok(()) => return Health::Ready,
                // A child that outlived its parent may serve on, but nothing else is hoped of it.
                Err(why) if record.leader().is_none_or(Identity::lives) => {
                    return Health::Progressing(format!(
                        "waiting for GET {path} on port {port}: {why}"
                    ));
                }
                Err(_) => {}
            }
        }
        let line = match log::last_line(&self.directory(name), record.log_from) {
            Some(line) => format!("last line of the log: {line}"),
            None => "it wrote nothing to its log".to_owned(),
        };
        match record.wait_left().as_millis().div_ceil(1000) {
            0 => Health::Dead(format!("exited; {line}")),
            seconds if record.restarts >= CRASH_LOOP => Health::Failing {
                why: "its process exits soon after each start; its log says why".to_owned(),
                log: format!("starts again in {seconds} s; {line}"),
            },
            seconds => Health::Progressing(format!("exited; starts again in {seconds} s; {line}")),
        }
    }

    pub(super) async fn ensure_workload(
        self: &Arc<Self>,
        name: &PreviewName,
        order: &WorkloadOrder,
    ) -> Result<(), Fault> {
        let doing = format!("starting {name} at {}", order.revision.commit.short());
        let fail = |error: io::Error| Fault::transient(&doing, error);
        let _lock = self.enter(name, &doing).await?;
        let record = Record::read(&self.directory(name)).map_err(fail)?;
        let route = self.own_route(name, &doing)?;
        let found = self.processes(name).await.map_err(fail)?;
        let same = record.as_ref().filter(|it| it.run.revision == order.revision);
        let restarts = match same {
            Some(record) => match self.health(name, record, &found).await {
                Health::Ready | Health::Progressing(_) | Health::Failing { .. } => {
                    return self.retire(name).await.map_err(fail);
                }
                Health::Dead(_) => record.next_restarts(),
            },
            None => 0,
        };
        let adopted = route.as_ref().filter(|route| {
            // The branch went back to the commit that is still served: nothing has to start.
            same.is_none() && route.run.revision == order.revision && is_running(&route.run, &found)
        });
        let leaders = record.as_ref().map_or(&[][..], |record| &record.leaders);
        let mut next = Record {
            run: Run { revision: order.revision.clone(), port: 0 },
            restarts,
            last_start_unix_ms: files::unix_ms(),
            probe_path: order.shape.probe_path.clone(),
            log_from: 0,
            leaders: leaders.iter().filter(|it| it.process.lives()).cloned().collect(),
        };
        if let Some(route) = adopted {
            next.run = route.run.clone();
            next.write(&self.layout, &self.directory(name)).map_err(fail)?;
            return self.retire(name).await.map_err(fail);
        }
        self.start(name, order, next, route, &doing).await
    }

    /// Starts a new run. The caller holds the namespace's lock.
    async fn start(
        self: &Arc<Self>,
        name: &PreviewName,
        order: &WorkloadOrder,
        mut next: Record,
        route: Option<Route>,
        doing: &str,
    ) -> Result<(), Fault> {
        let fail = |error: io::Error| Fault::transient(doing, error);
        let directory = self.directory(name);
        let (log, log_from) = log::open(&directory).map_err(fail)?;
        next.log_from = log_from;
        {
            let _ports = Lock::take(&self.layout.root().join("ports.lock"), doing).await?;
            next.run.port = start::free_port(&self.layout).map_err(fail)?;
            // The route follows a restart of the revision that it leads to.
            if let Some(mut route) = route.filter(|it| it.run.revision == order.revision) {
                route.run = next.run.clone();
                route::write(&self.layout, &route).map_err(fail)?;
            }
            next.write(&self.layout, &directory).map_err(fail)?;
        }
        self.retire(name).await.map_err(fail)?;
        let child = start::spawn(&directory, order, &order.shape.command, Some(next.run.port), log);
        let mut child = child.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput => Fault::permanent(doing, error),
            _ => fail(error),
        })?;
        if let Some(process) = child.id().and_then(Identity::of) {
            next.leaders.push(Leader { run: next.run.clone(), process });
        }
        let (room, name, back_off) = (self.clone(), name.clone(), next.back_off());
        tokio::spawn(async move {
            let _ = child.wait().await;
            room.changed(&name);
            tokio::time::sleep(back_off).await;
            room.changed(&name);
        });
        next.write(&self.layout, &directory).map_err(fail)
    }

    pub(super) async fn ensure_route(
        self: &Arc<Self>,
        name: &PreviewName,
        revision: &Revision,
    ) -> Result<(), Fault> {
        let doing = format!("leading the route of {name} to {}", revision.commit.short());
        let fail = |error: io::Error| Fault::transient(&doing, error);
        let _lock = self.enter(name, &doing).await?;
        let route = self.own_route(name, &doing)?;
        let record = Record::read(&self.directory(name)).map_err(fail)?;
        let Some(record) = record.filter(|record| record.run.revision == *revision) else {
            return Err(Fault::transient(&doing, "its workload is of another revision"));
        };
        let found = self.processes(name).await.map_err(fail)?;
        match self.health(name, &record, &found).await {
            Health::Ready => {}
            Health::Progressing(why) | Health::Failing { why, .. } | Health::Dead(why) => {
                return Err(Fault::transient(&doing, format!("its workload is not ready: {why}")));
            }
        }
        if route.is_none_or(|route| route.run != record.run) {
            let host = name.host(&self.suffix);
            let route = Route { stamp: self.stamp(name).line(), host, run: record.run };
            route::write(&self.layout, &route).map_err(fail)?;
        }
        self.retire(name).await.map_err(fail)
    }

    /// The route if there is one; a fault when it is not ours.
    fn own_route(&self, name: &PreviewName, doing: &str) -> Result<Option<Route>, Fault> {
        let host = name.host(&self.suffix);
        match route::look(&self.layout.routes(), &host, &self.stamp(name)) {
            Seen::Absent => Ok(None),
            Seen::Present(route) => Ok(Some(route)),
            Seen::Foreign(whose) => Err(Fault::not_ours(doing, whose)),
            Seen::Leaving(why) | Seen::Unknown(why) => Err(Fault::transient(doing, why)),
        }
    }
}

fn is_running(run: &Run, found: &[Process]) -> bool {
    found.iter().any(|process| process.run.as_ref() == Some(run))
}
