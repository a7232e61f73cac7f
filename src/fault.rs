//! Why an outside call did not do what was asked, and what the loop should make of it.
//!
//! One type for the four seams, since the loop treats them alike. Refuses to carry a library's
//! error type, or a secret: `why` is shown to people.

/// What to do about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Try again later, with back-off.
    Transient,
    /// Trying again is unlikely to help until a person changes something; tried again slowly.
    Permanent,
    /// The thing is somebody else's; nothing was touched.
    NotOurs,
}

/// An outside call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {why}")]
pub struct Fault {
    /// What this layer was doing, as a gerund: "creating database pr_7".
    pub doing: String,
    /// What went wrong, and where possible what to do about it.
    pub why: String,
    /// What to make of it.
    pub disposition: Disposition,
}

impl Fault {
    /// A fault that may pass by itself.
    pub fn transient(doing: impl Into<String>, why: impl ToString) -> Self {
        Self::new(doing, why, Disposition::Transient)
    }

    /// A fault that a person has to mend.
    pub fn permanent(doing: impl Into<String>, why: impl ToString) -> Self {
        Self::new(doing, why, Disposition::Permanent)
    }

    /// Something of that name is not ours.
    pub fn not_ours(doing: impl Into<String>, why: impl ToString) -> Self {
        Self::new(doing, why, Disposition::NotOurs)
    }

    fn new(doing: impl Into<String>, why: impl ToString, disposition: Disposition) -> Self {
        Self { doing: doing.into(), why: why.to_string(), disposition }
    }
}

/// What an `ensure_*` call that returned without a fault has achieved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is done.
    Done,
    /// It goes on in the background; the text says what. The next look will tell.
    Underway(String),
}
