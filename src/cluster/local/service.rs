//! One service of a workload: how it is doing, and starting it.
//!
//! Refuses to restart one faster than its back-off allows.

use std::io;
use std::sync::Arc;

use super::files;
use super::lock::Lock;
use super::processes::{Identity, Process};
use super::record::{Leader, Record};
use super::route::{self, Route};
use super::workload::is_running;
use super::{Room, log, probe, start};
use crate::fault::Fault;
use crate::preview::PreviewName;
use crate::preview::observed::Health;
use crate::workload::{Service, WorkloadOrder};

/// So many starts that did not last are no accident.
const CRASH_LOOP: u32 = 3;

impl Room {
    /// How a service that was started is doing.
    pub(super) async fn health(
        &self,
        name: &PreviewName,
        service: &Service,
        record: &Record,
        found: &[Process],
    ) -> Health {
        if is_running(&record.run, found) {
            let (port, path) = (record.run.port, &record.probe_path);
            match probe::ready(port, &service.host(name).full(&self.suffix), path).await {
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
        let line = match log::last_line(&self.directory(name), service.name(), record.log_from) {
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

    /// Starts a service that is held, or has exited. The caller holds the namespace's lock.
    pub(super) async fn start(
        self: &Arc<Self>,
        name: &PreviewName,
        service: &Service,
        order: &WorkloadOrder,
        record: Record,
        route: &mut Option<Route>,
        doing: &str,
    ) -> Result<(), Fault> {
        let fail = |error: io::Error| Fault::transient(doing, error);
        let (directory, key) = (self.directory(name), service.name());
        let (log, log_from) = log::open(&directory, key).map_err(fail)?;
        let mut next = record;
        if !next.is_held {
            next.restarts = next.next_restarts();
        }
        let is_again = !std::mem::take(&mut next.is_held);
        next.last_start_unix_ms = files::unix_ms();
        next.log_from = log_from;
        {
            let _ports = Lock::take(&self.layout.root().join("ports.lock"), doing).await?;
            if is_again && (service.component.is_some() || service.shape.has_components()) {
                // Its neighbours know it by its port.
                next.run.start += 1;
            } else if is_again {
                next.run.port = start::free_port(&self.layout).map_err(fail)?;
            }
            // The route follows a restart of the revision that it leads to.
            if let Some(route) = route.as_mut().filter(|it| it.run.revision == order.revision) {
                route.follow(key, &next.run);
                route::write(&self.layout, route).map_err(fail)?;
            }
            next.write(&self.layout, &directory, key).map_err(fail)?;
        }
        self.retire(name).await.map_err(fail)?;
        let child = start::spawn(&directory, order, &order.shape.command, Some(&next.run), log);
        let mut child = child.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput => {
                Fault::permanent(doing, service.tell(&error.to_string()))
            }
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
        next.write(&self.layout, &directory, key).map_err(fail)
    }
}
