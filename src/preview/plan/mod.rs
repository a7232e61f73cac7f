//! What to do next: a pure function of what should be and what was seen.
//!
//! A step is planned only when everything that it stands on was *seen* in place, or is put there by an
//! earlier step of the same pass that is done when it is done. Refuses to act on [`Seen::Unknown`] or
//! on what stands on it, and refuses to remove anything that the forge has not confirmed where the
//! reason is the forge's.

mod down;
mod migrate;
mod up;

use super::desired::Desired;
use super::facts::CommitSha;
use super::notice::{Notice, Told};
use super::observed::{Observed, Seen};
use super::step::Step;

pub use self::up::failure;

/// What one pass will do, and how things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Steps in order. Those after a failed one are not tried in this pass, and none is before the
    /// steps that it [stands on](Step::stands_on) are done.
    pub steps: Vec<Step>,
    /// How things stand before the steps.
    pub outlook: Outlook,
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// The goal was seen to hold. Nothing to do until something changes.
    Settled,
    /// There are steps to do; look again at once.
    Acting,
    /// Nothing to do but wait for the world; the text says for what.
    Waiting(String),
    /// Somebody else's thing is in the way; a person must decide.
    Blocked(String),
}

/// Plans one pass.
pub fn plan(desired: &Desired, seen: &Observed, head: &CommitSha) -> Plan {
    match desired {
        Desired::Up(spec) => up::up(spec, seen),
        Desired::Down(reason) => down::down(*reason, seen, head),
    }
}

/// A plan in the making.
#[derive(Default)]
struct Draft {
    steps: Vec<Step>,
    waits: Vec<String>,
    /// Whether a step is more than asking once more for a removal that is on its way.
    acts: bool,
}

/// Whether something may be stood upon in this pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ground {
    /// It may not.
    Missing,
    /// When the steps before it are done.
    Planned,
    /// It was seen in place.
    Seen,
}

impl Ground {
    /// Of what was seen in place, or was not.
    fn seen(is_there: bool) -> Self {
        if is_there { Self::Seen } else { Self::Missing }
    }

    /// For what may not stand on what is only planned.
    fn if_seen(self) -> Self {
        Self::seen(self.is_seen())
    }

    fn is_seen(self) -> bool {
        self == Self::Seen
    }
}

impl Draft {
    fn act(&mut self, step: Step) {
        self.steps.push(step);
        self.acts = true;
    }

    /// Notes what is waited for, which is not there.
    fn wait<T>(&mut self, part: &str, seen: &Seen<T>) -> Ground {
        if let Seen::Unknown(why) | Seen::Leaving(why) = seen {
            self.waits.push(format!("{part}: {why}"));
        }
        Ground::Missing
    }

    /// Plans a step that makes what others stand on, and is done only when that is there.
    fn lay(&mut self, step: Step) -> Ground {
        self.act(step);
        Ground::Planned
    }

    /// Plans a step where its ground is there by then. What comes of it has to be seen before anything
    /// stands on it.
    fn ensure(&mut self, ground: Ground, step: Step) -> Ground {
        if ground > Ground::Missing {
            self.act(step);
        }
        Ground::Missing
    }

    /// Removes what is there. What is leaving is asked to leave again, since nobody else may be
    /// seeing to it, but that is no news to act upon.
    fn remove<T>(&mut self, part: &str, seen: &Seen<T>, allowed: bool, step: Step) {
        match seen {
            Seen::Present(_) if allowed => self.act(step),
            Seen::Leaving(_) if allowed => self.steps.push(step),
            _ => {}
        }
        self.wait(part, seen);
    }

    fn say(&mut self, seen: &Observed, notice: Notice) {
        if seen.told != Told::Said(notice.clone()) {
            self.act(Step::Publish(notice));
        }
    }

    fn finish(self, settled: bool) -> Plan {
        let outlook = match (self.acts, settled) {
            (true, _) => Outlook::Acting,
            (false, true) => Outlook::Settled,
            (false, false) => Outlook::Waiting(self.waits.join("; ")),
        };
        Plan { steps: self.steps, outlook }
    }
}
