//! The workload of a namespace: how its services are doing, and which of them start next.
//!
//! Everything is written down before it is done: route, then record, then the process. Whatever
//! is found after a crash is therefore a start that did not happen, which is an exited service.
//! Refuses to start a service before those that it needs are ready.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::lock::Lock;
use super::processes::Process;
use super::record::{Record, Records, Run, places};
use super::route::{self, Component, Route};
use super::{Room, start};
use crate::fault::Fault;
use crate::preview::observed::{Health, WorkloadSeen};
use crate::preview::{PreviewName, Revision, Seen};
use crate::workload::{Service, Shape, WEB, WorkloadOrder};

impl Room {
    /// How the wanted workload is doing, given the namespace's processes.
    pub(super) async fn look_at_workload(
        &self,
        name: &PreviewName,
        shape: &Shape,
        found: &[Process],
    ) -> Seen<WorkloadSeen> {
        let records = match Record::all(&self.directory(name)) {
            Ok(records) => records,
            Err(error) => return Seen::Unknown(format!("reading its record: {error}")),
        };
        let Some(web) = records.get(WEB) else { return Seen::Absent };
        let revision = web.run.revision.clone();
        let healths = self.healths(name, shape, &records, &revision, found).await;
        let health = Health::together(healths.into_iter().map(|(_, health)| health));
        Seen::Present(WorkloadSeen { revision, health, others: false })
    }

    /// How each service is doing at a revision, each after those that it needs.
    async fn healths(
        &self,
        name: &PreviewName,
        shape: &Shape,
        records: &Records,
        revision: &Revision,
        found: &[Process],
    ) -> Vec<(Service, Health)> {
        let mut all: Vec<(Service, Health)> = Vec::new();
        let places = places(records, shape);
        for service in shape.services() {
            let record = records.get(service.name()).filter(|it| it.run.revision == *revision);
            let health = match record.filter(|it| !it.is_held) {
                Some(record) => match self.health(name, &service, record, found).await {
                    Health::Ready | Health::Progressing(_) if record.told != places => {
                        Health::Dead("another service is not where it was told".to_owned())
                    }
                    health => health,
                },
                None => Health::Dead("it was not started yet".to_owned()),
            };
            let awaits = service.awaits(|needed| {
                let of_it = |it: &&(Service, Health)| it.0.name() == needed;
                all.iter().find(of_it).is_some_and(|it| it.1 == Health::Ready)
            });
            let health = match health {
                Health::Dead(_) if !awaits.is_empty() => {
                    Health::Progressing(format!("waits for {}", awaits.join(", ")))
                }
                health => health,
            };
            let health = health.told(|why| service.tell(why));
            all.push((service, health));
        }
        all
    }

    pub(super) async fn ensure_workload(
        self: &Arc<Self>,
        name: &PreviewName,
        order: &WorkloadOrder,
    ) -> Result<(), Fault> {
        let doing = format!("starting {name} at {}", order.revision.commit.short());
        let fail = |error: io::Error| Fault::transient(&doing, error);
        let _lock = self.enter(name, &doing).await?;
        let directory = self.directory(name);
        let mut records = Record::all(&directory).map_err(fail)?;
        let mut route = self.own_route(name, &doing)?;
        let found = self.processes(name).await.map_err(fail)?;
        let (shape, wanted) = (&order.shape, &order.revision);
        let is_of_it = |it: &Record| it.run.revision == *wanted;
        // The branch went back to the commit that is still served: nothing has to start.
        let adopted = route.as_ref().filter(|route| {
            !shape.services().iter().all(|it| records.get(it.name()).is_some_and(is_of_it))
                && route.run.revision == *wanted
                && route.is_of(shape)
                && route.runs().all(|run| is_running(run, &found))
        });
        self.intend(name, order, adopted, &mut records, &doing).await?;
        let healths = self.healths(name, shape, &records, wanted, &found).await;
        for (service, health) in &healths {
            let (Health::Dead(_), Some(record)) = (health, records.get(service.name())) else {
                continue;
            };
            let ports = Lock::take(&self.layout.root().join("ports.lock"), &doing).await?;
            let mut next = self.place(record, service, &found).map_err(fail)?;
            records.insert(service.name().to_owned(), next.clone());
            next.told = places(&records, shape);
            next.write(&self.layout, &directory, service.name()).map_err(fail)?;
            drop(ports);
            let url =
                |(of, port): (&String, &u16)| (of.clone(), format!("http://127.0.0.1:{port}"));
            let urls: Vec<_> = next.told.iter().map(url).collect();
            let order = order.of(service, &urls);
            self.start(name, service, &order, next, &mut route, &doing).await?;
        }
        self.retire(name).await.map_err(fail)
    }

    /// Writes down every service of this revision that is not, with a port: the preview's own last,
    /// whose record says which revision is wanted.
    async fn intend(
        &self,
        name: &PreviewName,
        order: &WorkloadOrder,
        adopted: Option<&Route>,
        records: &mut Records,
        doing: &str,
    ) -> Result<(), Fault> {
        let fail = |error: io::Error| Fault::transient(doing, error);
        let directory = self.directory(name);
        let mut services = order.shape.services();
        services.sort_by_key(|it| it.component.is_none());
        // What is adopted was told where the rest of it is.
        let told: BTreeMap<_, _> = match adopted.filter(|_| order.shape.has_components()) {
            Some(route) => services
                .iter()
                .filter_map(|it| Some((it.name().to_owned(), route.run_of(it.name())?.port)))
                .collect(),
            None => BTreeMap::new(),
        };
        for service in &services {
            let key = service.name();
            let before = records.get(key);
            if before.is_some_and(|it| it.run.revision == order.revision) {
                continue;
            }
            let leaders = before.map_or(&[][..], |record| &record.leaders);
            let _ports = Lock::take(&self.layout.root().join("ports.lock"), doing).await?;
            let run = match adopted.and_then(|route| route.run_of(key)) {
                Some(run) => run.clone(),
                None => Run {
                    revision: order.revision.clone(),
                    port: start::free_port(&self.layout).map_err(fail)?,
                    start: 0,
                },
            };
            let next = Record {
                run,
                restarts: 0,
                last_start_unix_ms: 0,
                probe_path: service.shape.probe_path.clone(),
                log_from: 0,
                leaders: leaders.iter().filter(|it| it.process.lives()).cloned().collect(),
                is_held: adopted.is_none(),
                told: told.clone(),
            };
            next.write(&self.layout, &directory, key).map_err(fail)?;
            records.insert(key.to_owned(), next);
        }
        let is_wanted = |name: &str| services.iter().any(|it| it.name() == name);
        let unwanted: Vec<_> = records.extract_if(.., |name, _| !is_wanted(name)).collect();
        if let (false, Some(web)) = (unwanted.is_empty(), records.get_mut(WEB)) {
            // A program that has overwritten its own marks is found by what is written of it alone.
            let leaders = unwanted.iter().flat_map(|(_, record)| record.leaders.iter().cloned());
            web.leaders.extend(leaders.filter(|leader| leader.process.lives()));
            web.write(&self.layout, &directory, WEB).map_err(fail)?;
        }
        for (name, _) in unwanted {
            Record::forget(&directory, &name).map_err(fail)?;
        }
        Ok(())
    }

    pub(super) async fn ensure_route(
        self: &Arc<Self>,
        name: &PreviewName,
        shape: &Shape,
        revision: &Revision,
    ) -> Result<(), Fault> {
        let doing = format!("leading the route of {name} to {}", revision.commit.short());
        let fail = |error: io::Error| Fault::transient(&doing, error);
        let _lock = self.enter(name, &doing).await?;
        let route = self.own_route(name, &doing)?;
        let records = Record::all(&self.directory(name)).map_err(fail)?;
        let Some(web) = records.get(WEB).filter(|record| record.run.revision == *revision) else {
            return Err(Fault::transient(&doing, "its workload is of another revision"));
        };
        let found = self.processes(name).await.map_err(fail)?;
        let healths = self.healths(name, shape, &records, revision, &found).await;
        let beside = |(service, _): &(Service, Health)| {
            let component = service.component.as_ref()?.to_string();
            let run = records.get(&component)?.run.clone();
            Some((component, Component { run, is_public: service.is_public }))
        };
        let components = healths.iter().filter_map(beside).collect();
        match Health::together(healths.into_iter().map(|(_, health)| health)) {
            Health::Ready => {}
            Health::Progressing(why) | Health::Failing { why, .. } | Health::Dead(why) => {
                return Err(Fault::transient(&doing, format!("its workload is not ready: {why}")));
            }
        }
        let host = name.host(&self.suffix);
        let (stamp, run) = (self.stamp(name).line(), web.run.clone());
        let next = Route { stamp, host, run, components };
        if route.is_none_or(|route| route != next) {
            route::write(&self.layout, &next).map_err(fail)?;
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

pub(super) fn is_running(run: &Run, found: &[Process]) -> bool {
    found.iter().any(|process| process.run.as_ref() == Some(run))
}
