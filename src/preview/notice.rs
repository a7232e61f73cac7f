//! What the pull request is told, as data. The words are `forge::notice`'s.
//!
//! Refuses to carry anything that changes without meaning for a reader: equal notices are not
//! sent twice, so a field here is a write to the forge each time that it changes.

use chrono::{DateTime, Utc};

use super::choice::Choice;
use super::desired::Reason;
use super::facts::CommitSha;
use super::revision::Revision;

/// One state of a preview that is worth a person's attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The first revision of this life is being prepared.
    Preparing {
        /// What will be served.
        commit: CommitSha,
    },
    /// The URL serves this revision.
    Ready {
        /// What is served.
        revision: Revision,
        /// What the labels chose of it.
        choice: Choice,
        /// When it expires unless somebody pushes or extends.
        expires_at: DateTime<Utc>,
        /// Whether the expiry is near enough to warn.
        expiring: bool,
    },
    /// This commit cannot be served until a person changes something.
    Failing {
        /// What should be served.
        commit: CommitSha,
        /// What is wrong, and the cure.
        why: String,
        /// What the URL serves meanwhile, if anything.
        serves: Option<CommitSha>,
    },
    /// Something that is not ours is in the way; the text says what to do.
    Blocked {
        /// What holds which name.
        conflict: String,
    },
    /// A fork's commit waits for a person's approval.
    AwaitingApproval {
        /// The commit to approve.
        commit: CommitSha,
    },
    /// It is being removed.
    Stopping {
        /// Why.
        reason: Reason,
    },
    /// It was removed, and every backend was asked again.
    Gone {
        /// Why.
        reason: Reason,
    },
}

/// What we know of the last thing said on the pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing was ever said, nor tried.
    Never,
    /// Something was tried and its success not recorded: say it again.
    Unsure,
    /// This was said and the forge accepted it.
    Said(Notice),
}
