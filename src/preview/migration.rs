//! A revision's migrations: how far they are, how they ended, and when their data is not what they made.
//!
//! Pure. Refuses to call ended what only stopped being seen: what is remembered of an end outlives the
//! run that came to it.

use super::observed::{Observed, Seen};
use super::rehearsal::Report;
use super::revision::Revision;

/// How the migrations of a revision ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All of them were applied, or there was nothing to apply.
    Done,
    /// They came to no good end, and are not tried again by themselves: half-done is for people to
    /// judge.
    Failed {
        /// What went wrong and what to do about it, in words that stay the same.
        why: String,
        /// The last lines that they wrote; may be empty.
        log: String,
    },
}

/// How far a run of migrations is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MigrationState {
    /// On its way; the text says what it waits for, or that it runs.
    Running(String),
    /// It does not begin, and most likely will not until a person changes something; it may yet.
    Stuck(String),
    /// It is over.
    Ended(Ended),
}

/// The run of migrations that was last asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationSeen {
    /// Whose migrations.
    pub revision: Revision,
    /// How far they are.
    pub state: MigrationState,
}

/// What is known of the migrations of a preview that has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationsSeen {
    /// The run, as the cluster sees it.
    pub run: Seen<MigrationSeen>,
    /// How those of the wanted revision ended, once that was written down with their report.
    pub remembered: Option<Ended>,
    /// Whether any migrations, of whichever commit, began on the data that is wanted now.
    pub begun: bool,
}

/// What is kept of the migrations of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    /// How they ended.
    pub ended: Ended,
    /// What they did.
    pub report: Report,
}

/// Why the data has to be cloned anew, where what stands on it is there and it is not: a database that
/// was dropped by hand, and made again, has not had the migrations that are known to have run.
pub fn lost_data(want: &Revision, seen: &Observed) -> Option<String> {
    let migrations = seen.migrations.as_ref()?;
    let of_want = |revision: &Revision| revision == want;
    let stands = migrations.begun
        || migrations.run.present().is_some_and(|run| of_want(&run.revision))
        || seen.workload.present().is_some_and(|workload| of_want(&workload.revision));
    (stands && seen.database.is_absent())
        .then(|| "the database that migrations ran on is gone".to_owned())
}
