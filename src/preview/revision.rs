//! What runs: a commit, and how often its start was asked for again.
//!
//! Two equal revisions are the same thing to run. Refuses to order them: only the forge knows which
//! commit is newer.

use std::fmt;

use super::facts::CommitSha;

/// What runs in a preview: a commit, and how often its start was asked for again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision {
    /// The commit that is served.
    pub commit: CommitSha,
    /// Goes up with each redeploy, reset of the data and rotation of the password; what labels choose is added to it, see
    /// [`super::choice::Choice::restarts`].
    pub restart: u32,
}

impl Revision {
    /// Reads back what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (commit, restart) = text.split_once('.')?;
        Some(Self { commit: CommitSha::parse(commit)?, restart: restart.parse().ok()? })
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.commit, self.restart)
    }
}
