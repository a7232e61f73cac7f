//! What to do next about a revision's migrations: run them once, write down what they did, and only then
//! let anything stand on them.
//!
//! Refuses to run them again because their run is not there any more: what is remembered of how they
//! ended holds until another revision is wanted.

use super::super::desired::Spec;
use super::super::migration::{Ended, MigrationState};
use super::super::observed::{Observed, Seen};
use super::super::step::Step;
use super::Draft;
use super::up::ensure;

/// Whether a workload may stand on what is there. `stands` is whether the migrations may; without
/// migrations that is the same.
pub(super) fn migrated<'a>(
    spec: &Spec,
    seen: &'a Observed,
    stands: bool,
    draft: &mut Draft,
    failing: &mut Option<&'a String>,
) -> bool {
    let Some(migrations) = &seen.migrations else { return stands };
    let want = &spec.revision;
    let ended = match (&migrations.remembered, &migrations.run) {
        (Some(ended), _) => ended,
        (None, Seen::Present(run)) if run.revision == *want => match &run.state {
            MigrationState::Running(why) => {
                draft.waits.push(format!("migrations: {why}"));
                return false;
            }
            MigrationState::Stuck(why) => {
                draft.waits.push(format!("migrations: {why}"));
                *failing = failing.or(Some(why));
                return false;
            }
            // Written down before anything stands on it, so that nobody has to ask the run again.
            MigrationState::Ended(ended) => {
                let report = Step::EnsureReport { revision: want.clone(), ended: ended.clone() };
                return ensure(draft, true, report);
            }
        },
        (None, Seen::Absent | Seen::Present(_)) => {
            return ensure(draft, stands, Step::EnsureMigration(want.clone()));
        }
        (None, other) => return draft.wait("migrations", other),
    };
    match ended {
        Ended::Done => stands,
        Ended::Failed { why, .. } => {
            draft.waits.push(format!("migrations: {why}"));
            *failing = failing.or(Some(why));
            false
        }
    }
}
