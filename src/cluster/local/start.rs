//! Starts one process for a run: a port, a clean environment, and the marks to find it by.
//!
//! Refuses to hand the controller's environment on, which holds the forge's key and the database
//! administrator's password.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::files::{self, Layout};
use super::processes;
use super::record::{Record, Run};
use super::route::Route;
use crate::workload::WorkloadOrder;

/// What of the controller's own environment a workload gets.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];

/// Starts the program; it runs when this returns. What has no port listens nowhere.
pub(super) fn spawn(
    namespace: &Path,
    order: &WorkloadOrder,
    program: &[String],
    run: Option<&Run>,
    log: File,
) -> std::io::Result<Child> {
    let Some((program, arguments)) = program.split_first() else {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "no command is set"));
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command.envs(INHERITED.iter().filter_map(|key| Some((key, std::env::var_os(key)?))));
    command.envs(order.shape.env.iter().cloned()).envs(order.env.iter().cloned());
    if let Some(run) = run {
        command.env("PORT", run.port.to_string());
    }
    command
        .env(processes::NAMESPACE, namespace)
        .env(processes::REVISION, order.revision.to_string())
        .env(processes::PORT, run.map_or(0, |it| it.port).to_string())
        .env(processes::START, run.map_or(0, |it| it.start).to_string());
    if let Some(directory) = &order.shape.directory {
        command.current_dir(directory);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    command.spawn()
}

/// A port that is free now and that no workload or route is recorded for. A crashed preview's
/// route must never lead to another preview's workload.
pub(super) fn free_port(layout: &Layout) -> std::io::Result<u16> {
    let recorded = recorded_ports(layout)?;
    // Held until one is found, so that the same one is not offered again.
    let mut refused = Vec::new();
    while refused.len() < 1000 {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        if !recorded.contains(&port) {
            return Ok(port);
        }
        refused.push(listener);
    }
    Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, "no port is free"))
}

fn recorded_ports(layout: &Layout) -> std::io::Result<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for entry in fs::read_dir(layout.namespaces())? {
        // A record that cannot be read reserves nothing; its own preview reports it.
        for record in Record::all(&entry?.path()).unwrap_or_default().values() {
            ports.insert(record.run.port);
            ports.extend(record.leaders.iter().map(|leader| leader.run.port));
        }
    }
    for entry in fs::read_dir(layout.routes())? {
        let text = files::read(&entry?.path()).ok().flatten().unwrap_or_default();
        if let Ok(route) = serde_json::from_str::<Route>(&text) {
            ports.extend(route.runs().map(|run| run.port));
        }
    }
    Ok(ports)
}
