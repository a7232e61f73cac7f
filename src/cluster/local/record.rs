//! What is written down about a namespace's workload, before it is started.
//!
//! Refuses to hold the workload's environment: the database password is in it.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::{self, Layout};
use super::processes::Identity;
use crate::preview::Revision;

const FILE: &str = "workload.json";

/// Shortest and longest wait before a workload that exited is started again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A start this long ago does not count towards the back-off any more.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// One start of a revision. The port tells two starts of the same revision apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// What was started.
    #[serde(with = "revision_text")]
    pub(super) revision: Revision,
    /// Where it was told to listen.
    pub(super) port: u16,
}

/// The first process of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leader {
    /// Which run.
    pub(super) run: Run,
    /// Which process.
    pub(super) process: Identity,
}

/// The workload that was last asked for.
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
}

impl Record {
    /// Reads the record of a namespace, if there is one.
    pub(super) fn read(namespace: &Path) -> io::Result<Option<Self>> {
        let Some(text) = files::read(&namespace.join(FILE))? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(io::Error::from)
    }

    /// Replaces the record.
    pub(super) fn write(&self, layout: &Layout, namespace: &Path) -> io::Result<()> {
        layout.write(&namespace.join(FILE), &serde_json::to_vec_pretty(self)?)
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
