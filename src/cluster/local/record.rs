//! What is written down about each service of a namespace's workload, before it is started.
//!
//! Refuses to hold the workload's environment: the database password is in it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::{self, Layout};
use super::processes::Identity;
use crate::preview::{ComponentName, Revision};
use crate::workload::{Service, Shape, WEB};

/// How every record's file begins and ends; a component's has its name between.
const FILE: (&str, &str) = ("workload", ".json");

/// Shortest and longest wait before a workload that exited is started again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A start this long ago does not count towards the back-off any more.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// One start of a revision of a service. Port and number tell two starts of the same revision apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// What was started.
    #[serde(with = "revision_text")]
    pub(super) revision: Revision,
    /// Where it was told to listen; no two services that are written down have the same.
    pub(super) port: u16,
    /// Which start at that port: a component keeps its port, by which its neighbours know it.
    #[serde(default)]
    pub(super) start: u32,
}

/// The first process of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leader {
    /// Which run.
    pub(super) run: Run,
    /// Which process.
    pub(super) process: Identity,
}

/// A service that was last asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its last start.
    #[serde(flatten)]
    pub(super) run: Run,
    /// How many starts of this revision came before, not counting those that lived long.
    pub(super) restarts: u32,
    /// When it was last started.
    pub(super) last_start_unix_ms: u64,
    /// What to ask it for.
    pub(super) probe_path: String,
    /// Where its part of the log begins.
    pub(super) log_from: u64,
    /// First processes of this and earlier runs, as far as they live.
    pub(super) leaders: Vec<Leader>,
    /// Whether it was not started yet, since what it needs was not ready.
    #[serde(default)]
    pub(super) is_held: bool,
    /// Where it was told, at its start, that each service of the preview listens; nothing where it is the
    /// only one.
    #[serde(default)]
    pub(super) told: BTreeMap<String, u16>,
}

/// The record of each service that is written down, by its name.
pub(super) type Records = BTreeMap<String, Record>;

/// Where each of a shape's services listens, as these say, for each of them to be told.
pub(super) fn places(records: &Records, shape: &Shape) -> BTreeMap<String, u16> {
    if !shape.has_components() {
        return BTreeMap::new();
    }
    let port = |it: &Service| Some((it.name().to_owned(), records.get(it.name())?.run.port));
    shape.services().iter().filter_map(port).collect()
}

impl Record {
    /// Reads the records of a namespace. One that is none, whoever wrote it, counts as missing: its service
    /// is started anew, and what it ran before is ended by the marks that it carries.
    pub(super) fn all(namespace: &Path) -> io::Result<Records> {
        let mut all = Records::new();
        let entries = match fs::read_dir(namespace) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Some(service) = entry.file_name().to_str().and_then(service) else { continue };
            let Some(text) = files::read(&entry.path())? else { continue };
            match serde_json::from_str(&text) {
                Ok(record) => drop(all.insert(service, record)),
                Err(error) => {
                    tracing::warn!(path = %entry.path().display(), %error, "this is no record");
                }
            }
        }
        Ok(all)
    }

    /// Replaces the record of a service.
    pub(super) fn write(&self, layout: &Layout, namespace: &Path, service: &str) -> io::Result<()> {
        layout.write(&namespace.join(file(service)), &serde_json::to_vec_pretty(self)?)
    }

    /// Removes the record of a service that is wanted no more.
    pub(super) fn forget(namespace: &Path, service: &str) -> io::Result<()> {
        files::remove(&namespace.join(file(service)))
    }

    /// The first process of the last start; `None` when the controller died before noting it.
    pub(super) fn leader(&self) -> Option<&Identity> {
        self.leaders.iter().find(|leader| leader.run == self.run).map(|leader| &leader.process)
    }

    /// How long a workload that exited waits for its next start, from its last one.
    pub(super) fn back_off(&self) -> Duration {
        let (shortest, longest) = BACK_OFF;
        shortest.saturating_mul(2_u32.saturating_pow(self.restarts)).min(longest)
    }

    /// How much of the back-off is left. Never more than all of it, should the clock jump back.
    pub(super) fn wait_left(&self) -> Duration {
        self.back_off().saturating_sub(self.age())
    }

    /// What the next start of the same revision counts as `restarts`.
    pub(super) fn next_restarts(&self) -> u32 {
        if self.age() > LONG_LIFE { 0 } else { self.restarts.saturating_add(1) }
    }

    fn age(&self) -> Duration {
        Duration::from_millis(files::unix_ms().saturating_sub(self.last_start_unix_ms))
    }
}

/// The file of a service's record: the preview's own has no name in it.
fn file(service: &str) -> String {
    let (begin, end) = FILE;
    if service == WEB { format!("{begin}{end}") } else { format!("{begin}-{service}{end}") }
}

/// The service whose record is in a file of this name, if one's is.
fn service(file: &str) -> Option<String> {
    let between = file.strip_prefix(FILE.0)?.strip_suffix(FILE.1)?;
    match between.strip_prefix('-') {
        Some(component) => Some(ComponentName::parse(component).ok()?.to_string()),
        None => between.is_empty().then(|| WEB.to_owned()),
    }
}

/// A revision as its text.
pub(super) mod revision_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::preview::Revision;

    pub(in super::super) fn serialize<S: Serializer>(
        it: &Revision,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(it)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Revision, D::Error> {
        let text = String::deserialize(from)?;
        Revision::parse(&text).ok_or_else(|| D::Error::custom(format!("not a revision: {text}")))
    }
}
