//! One service of a workload: how it is doing, and starting it.
//!
//! Refuses to restart one faster than its back-off allows.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use super::files;
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

    /// The record of the next start of a service that is held, or is to be started again: where it listens.
    /// The caller holds the
    /// locks of the namespace and of the ports.
    pub(super) fn place(
        &self,
        record: &Record,
        service: &Service,
        found: &[Process],
    ) -> io::Result<Record> {
        let mut next = record.clone();
        if !std::mem::take(&mut next.is_held) {
            next.restarts = record.next_restarts();
            next.run.start += 1;
            let is_alone = service.component.is_none() && !service.shape.has_components();
            let port = next.run.port;
            let ours = found.iter().any(|it| it.run.as_ref().is_some_and(|run| run.port == port));
            // Its neighbours know it by its port; those of a port that somebody else took are told anew.
            if is_alone || !ours && TcpListener::bind(("127.0.0.1", port)).is_err() {
                next.run.port = start::free_port(&self.layout)?;
            }
        }
        Ok(next)
    }

    /// Starts a service. The caller holds the namespace's lock.
    pub(super) async fn start(
        self: &Arc<Self>,
        name: &PreviewName,
        service: &Service,
        order: &WorkloadOrder,
        mut next: Record,
        route: &mut Option<Route>,
        doing: &str,
    ) -> Result<(), Fault> {
        let fail = |error: io::Error| Fault::transient(doing, error);
        let (directory, key) = (self.directory(name), service.name());
        let (log, log_from) = log::open(&directory, key).map_err(fail)?;
        next.last_start_unix_ms = files::unix_ms();
        next.log_from = log_from;
        // The route follows a restart of the revision that it leads to.
        if let Some(route) = route.as_mut().filter(|it| it.run.revision == order.revision) {
            route.follow(key, &next.run);
            route::write(&self.layout, route).map_err(fail)?;
        }
        next.write(&self.layout, &directory, key).map_err(fail)?;
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
