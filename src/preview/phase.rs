//! One word for a whole preview, for people, the API and metrics.
//!
//! A projection of what was seen. Refuses to be written by anyone: nothing reads a phase to decide
//! what to do, so no phase can be illegal.

use chrono::{DateTime, Utc};

use super::condition::{Status, conditions};
use super::desired::{Desired, Reason};
use super::notice::{Notice, Told};
use super::observed::Observed;
use super::plan::Outlook;

/// One word for the whole preview.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Known, and not looked at yet.
    Pending,
    /// On its way; nothing is served yet.
    Starting,
    /// The URL serves the wanted commit.
    Ready,
    /// It was ready, and serves an older commit or is being healed.
    Updating,
    /// Something that is not ours is in the way.
    Conflict,
    /// A fork's commit that nobody approved.
    AwaitingApproval,
    /// A draft, or left out by its labels.
    NotSelected,
    /// Being removed.
    Stopping,
    /// Stopped by a person; nothing is left, and it can be started again.
    Stopped,
    /// Nothing is left, and every backend said so.
    Gone,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 10] = [
        Phase::Pending,
        Phase::Starting,
        Phase::Ready,
        Phase::Updating,
        Phase::Conflict,
        Phase::AwaitingApproval,
        Phase::NotSelected,
        Phase::Stopping,
        Phase::Stopped,
        Phase::Gone,
    ];

    /// The phase's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Starting => "Starting",
            Self::Ready => "Ready",
            Self::Updating => "Updating",
            Self::Conflict => "Conflict",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::NotSelected => "NotSelected",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::Gone => "Gone",
        }
    }

    /// Reads [`Phase::as_str`] back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }

    /// Whether every backend was seen to hold nothing of this preview.
    pub fn holds_nothing(self) -> bool {
        matches!(self, Self::Gone | Self::Stopped | Self::AwaitingApproval | Self::NotSelected)
    }
}

/// The one word for what was seen.
pub fn phase(desired: &Desired, seen: &Observed, outlook: &Outlook) -> Phase {
    let settled = matches!(outlook, Outlook::Settled);
    match desired {
        Desired::Up(_) => match outlook {
            Outlook::Blocked(_) => Phase::Conflict,
            _ if settled || only_the_word_is_missing(desired, seen) => Phase::Ready,
            _ if matches!(seen.told, Told::Said(Notice::Ready { .. })) => Phase::Updating,
            _ => Phase::Starting,
        },
        Desired::Down(_) if !settled && !seen.holds_nothing() => Phase::Stopping,
        Desired::Down(Reason::AwaitingApproval) => Phase::AwaitingApproval,
        Desired::Down(Reason::Draft | Reason::NotSelected) => Phase::NotSelected,
        Desired::Down(Reason::Stopped) => Phase::Stopped,
        Desired::Down(_) => Phase::Gone,
    }
}

/// The URL serves the commit, and only the pull request has not heard of it yet.
fn only_the_word_is_missing(desired: &Desired, seen: &Observed) -> bool {
    conditions(desired, seen, DateTime::<Utc>::MIN_UTC, &[])
        .iter()
        .all(|c| c.status == Status::True || !c.part.is_of_ready())
}
