//! What to do next: a pure function of what should be and what was seen.
//!
//! A step is planned only when everything that it stands on was *seen* in place. Refuses to act
//! on [`Seen::Unknown`] or on what stands on it, and refuses to remove anything that the forge has
//! not confirmed where the reason is the forge's.

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
    /// Steps in order. Those after a failed one are not tried in this pass.
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

impl Draft {
    fn act(&mut self, step: Step) {
        self.steps.push(step);
        self.acts = true;
    }

    /// Notes what is waited for; `false`, since it is not there.
    fn wait<T>(&mut self, part: &str, seen: &Seen<T>) -> bool {
        if let Seen::Unknown(why) | Seen::Leaving(why) = seen {
            self.waits.push(format!("{part}: {why}"));
        }
        false
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
