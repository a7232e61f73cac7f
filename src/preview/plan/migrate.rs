//! What to do next about a revision's migrations: run them once, write down what they did, and only then
//! let anything stand on them.
//!
//! Refuses to run them again because their run is not there any more: what is remembered of how they
//! ended holds until another revision is wanted.

use super::super::desired::Spec;
use super::super::migration::{Ended, MigrationState};
use super::super::observed::{Observed, Seen};
use super::super::step::Step;
use super::{Draft, Ground};

/// What a workload may stand on. `ground` is what the migrations may, which wait until it was seen;
/// without migrations that is the same.
pub(super) fn migrated<'a>(
    spec: &Spec,
    seen: &'a Observed,
    ground: Ground,
    draft: &mut Draft,
    failing: &mut Option<&'a String>,
) -> Ground {
    let Some(migrations) = &seen.migrations else { return ground };
    let stands = ground.if_seen();
    let want = &spec.revision;
    let ended = match (&migrations.remembered, &migrations.run) {
        (Some(ended), _) => ended,
        (None, Seen::Present(run)) if run.revision == *want => match &run.state {
            MigrationState::Running(why) => {
                draft.waits.push(format!("migrations: {why}"));
                return Ground::Missing;
            }
            MigrationState::Stuck(why) => {
                draft.waits.push(format!("migrations: {why}"));
                *failing = failing.or(Some(why));
                return Ground::Missing;
            }
            // Written down before anything stands on it, so that nobody has to ask the run again.
            MigrationState::Ended(ended) => {
                let report = Step::EnsureReport { revision: want.clone(), ended: ended.clone() };
                return draft.ensure(Ground::Seen, report);
            }
        },
        (None, Seen::Absent | Seen::Present(_)) => {
            return draft.ensure(stands, Step::EnsureMigration(want.clone()));
        }
        (None, other) => return draft.wait("migrations", other),
    };
    match ended {
        Ended::Done => stands,
        Ended::Failed { why, .. } => {
            draft.waits.push(format!("migrations: {why}"));
            *failing = failing.or(Some(why));
            Ground::Missing
        }
    }
}
