//! What is said of pull requests, and what came of it.
//!
//! Only says it. Refuses to know how it is kept.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::LedgerError;
use super::leases::Lease;
use crate::forge::RepositoryRef;
use crate::preview::{PreviewName, PullFacts, PullState};

/// What somebody says about a pull request.
#[derive(Clone, Debug)]
pub struct PullHint {
    /// What its preview is called.
    pub name: PreviewName,
    /// The repository as it is called now.
    pub repository: RepositoryRef,
    /// What was said.
    pub facts: PullFacts,
    /// Who said it, for the journal: `github`, `sweep`.
    pub source: &'static str,
    /// What happened, for the journal: `opened`.
    pub what: String,
    /// The labels that choose what runs: what was Ready is so no longer when one of them changes.
    pub choosing: Vec<String>,
    /// Something of it was found: remember it even when it is not open and was never heard of.
    pub even_if_closed: bool,
}

impl PullHint {
    /// Whether a preview begins with it.
    pub(super) fn begins(&self) -> bool {
        self.facts.state == PullState::Open || self.even_if_closed
    }
}

/// A hint, when it came, and the delivery that brought it, if one did.
#[derive(Clone, Debug)]
pub struct Heard {
    /// What was said.
    pub hint: PullHint,
    /// The id of what brought it, which was stored before.
    pub delivery: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// A preview that was not known before.
    New(Uuid),
    /// A known one, which is due now, or sooner than it was.
    Known(Uuid),
    /// A known one, which is looked at as soon anyway.
    Awaited(Uuid),
    /// Somebody has learned from this delivery before, or it was not stored.
    Duplicate,
    /// Nothing to remember.
    Ignored,
}

impl Learned {
    pub(super) fn preview(self) -> Option<Uuid> {
        match self {
            Self::New(id) | Self::Known(id) | Self::Awaited(id) => Some(id),
            Self::Duplicate | Self::Ignored => None,
        }
    }
}

/// What came of several.
#[derive(Debug, Default)]
pub struct Lesson {
    /// Of each, in their order.
    pub outcomes: Vec<Result<Learned, LedgerError>>,
    /// What is leased by this.
    pub leases: Vec<Lease>,
    /// Whether something is due that is not leased by this.
    pub is_due: bool,
}
