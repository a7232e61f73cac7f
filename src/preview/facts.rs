//! What the forge said about a pull request, already parsed.
//!
//! Refuses to hold anything that would need escaping to be used as a name: a commit is
//! hexadecimal, a number is a number. Free text (title, branch, author) is kept for people only.

use std::fmt;

use chrono::{DateTime, Utc};

/// The forge's numeric id of a repository: it survives renames and transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryId(pub i64);

/// A pull request's number within its repository, 1 to 4,294,967,295.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PullNumber(u32);

impl PullNumber {
    /// The largest number that there can be.
    pub const MAX: Self = Self(u32::MAX);

    /// Takes a number as the forge gives it; `None` when it is not one that we can name.
    pub fn new(number: i64) -> Option<Self> {
        u32::try_from(number).ok().filter(|n| *n > 0).map(Self)
    }

    /// Reads decimal digits, without sign or leading zero.
    pub fn parse(digits: &str) -> Option<Self> {
        if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok().and_then(Self::new)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for PullNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which pull request: repository and number. Two repositories may both have a number 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PullKey {
    /// The repository.
    pub repository: RepositoryId,
    /// The number in it.
    pub number: PullNumber,
}

/// A full commit id: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitSha(String);

impl CommitSha {
    /// Parses a full commit id; abbreviated ones are refused, since they can become ambiguous.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (hex && matches!(text.len(), 40 | 64)).then(|| Self(text.to_owned()))
    }

    /// All digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first seven digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

impl fmt::Display for CommitSha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the pull request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PullState {
    /// Open, draft or not.
    Open,
    /// Closed without a merge.
    Closed,
    /// Merged.
    Merged,
}

/// One reading of a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullFacts {
    /// Which pull request.
    pub key: PullKey,
    /// Open, closed or merged.
    pub state: PullState,
    /// The commit at the tip of its branch.
    pub head: CommitSha,
    /// Whether the branch lives in another repository, whose owner we do not know. Also true
    /// when that repository is gone.
    pub fork: bool,
    /// Whether the author may write to the base repository: the forge was asked, or the branch is
    /// in it. An event about a fork never says so.
    pub trusted_author: bool,
    /// Whether the pull request is a draft.
    pub draft: bool,
    /// Its labels.
    pub labels: Vec<String>,
    /// The author's login, for people.
    pub author: String,
    /// The title, for people.
    pub title: String,
    /// When the forge last changed it; orders two readings of the same pull request.
    pub updated_at: DateTime<Utc>,
}
