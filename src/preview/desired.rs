//! Whether a preview should exist, in which revision, and until when. TTL lives here and nowhere
//! else.
//!
//! Refuses to look at the world: it is a function of what the forge said, what people said, the
//! policy, and the time. Its result is never stored.

use chrono::{DateTime, TimeDelta, Utc};

use super::choice::{Choice, Choices};
use super::facts::{CommitSha, PullFacts, PullState};
use super::revision::Revision;

/// What people asked for, on top of what the pull request says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Keep it at least until then (never past the maximum life).
    pub extended_until: Option<DateTime<Utc>>,
    /// No expiry by inactivity; the maximum life still holds.
    pub pinned: bool,
    /// Taken down by a person until started again.
    pub stopped: bool,
    /// Deleted by a person while this commit was the head; a newer commit brings it back.
    pub deleted_at: Option<CommitSha>,
    /// The commit of a fork that a person approved. Another commit needs another approval.
    pub approved: Option<CommitSha>,
    /// How often a person asked for a fresh start of the workload.
    pub redeploys: u32,
    /// How often a person asked for fresh data. Each value is a database of its own.
    pub data_generation: u32,
    /// How often a person asked for another password. The database's two logins take turns.
    pub rotations: u32,
    /// What a person went back to; a newer commit ends it.
    pub rolled_back: Option<RolledBack>,
}

/// A commit that a person went back to, and from which head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// The head that is not to be served; it holds for no other.
    pub from: CommitSha,
    /// What is served instead.
    pub to: CommitSha,
}

impl Overrides {
    /// The commit that is to run while this is the head.
    pub fn commit<'a>(&'a self, head: &'a CommitSha) -> &'a CommitSha {
        let rolled_back = self.rolled_back.as_ref().filter(|it| it.from == *head);
        rolled_back.map_or(head, |it| &it.to)
    }

    /// How often people asked for what takes a fresh start: see [`Revision::restart`].
    pub fn restarts(&self) -> u32 {
        self.redeploys.wrapping_add(self.data_generation).wrapping_add(self.rotations)
    }
}

/// The two instants that age a preview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When this life of the preview began: first seen, or reopened after it was gone.
    pub born_at: DateTime<Utc>,
    /// The last push, reopening, or start by a person.
    pub active_at: DateTime<Utc>,
}

/// What a repository's configuration says about lifetime and admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Expire after this long without a push or an extension.
    pub inactivity_ttl: TimeDelta,
    /// Expire after this long whatever happens, so that nothing lives for ever.
    pub max_life: TimeDelta,
    /// Say so on the pull request this long before expiry.
    pub warn_before: TimeDelta,
    /// Pull requests from forks by people without write access need an approval of their head.
    pub approve_forks: bool,
    /// Whether drafts get a preview.
    pub drafts: bool,
    /// Only pull requests with this label get a preview, when set.
    pub only_label: Option<String>,
    /// Pull requests with this label get none, when set.
    pub skip_label: Option<String>,
    /// What labels choose of a preview that there is.
    pub choices: Choices,
}

/// What should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// What runs.
    pub revision: Revision,
    /// Which database: see [`Overrides::data_generation`] and [`Choices::data_generation`].
    pub data_generation: u32,
    /// What the labels choose.
    pub choice: Choice,
    /// When it will expire if nobody does anything.
    pub expires_at: DateTime<Utc>,
    /// Whether the warning before expiry is due.
    pub expiring: bool,
}

/// Why nothing should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The pull request was closed.
    Closed,
    /// The pull request was merged.
    Merged,
    /// Nobody pushed or extended for the inactivity TTL.
    Idle,
    /// The maximum life is over.
    MaxLife,
    /// A person stopped it.
    Stopped,
    /// A person deleted it.
    Deleted,
    /// From a fork, and nobody approved this commit.
    AwaitingApproval,
    /// A draft, and drafts get none.
    Draft,
    /// Labels leave it out.
    NotSelected,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 9] = [
        Reason::Closed,
        Reason::Merged,
        Reason::Idle,
        Reason::MaxLife,
        Reason::Stopped,
        Reason::Deleted,
        Reason::AwaitingApproval,
        Reason::Draft,
        Reason::NotSelected,
    ];

    /// A word for logs, metrics and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Merged => "merged",
            Self::Idle => "idle",
            Self::MaxLife => "max_life",
            Self::Stopped => "stopped",
            Self::Deleted => "deleted",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Draft => "draft",
            Self::NotSelected => "not_selected",
        }
    }

    /// Reads [`Reason::as_str`] back.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// Whether the pull request must be re-read before anything is removed for this reason.
    /// A person's word and the maximum life stand on their own; everything else is hearsay until
    /// the forge has confirmed it.
    pub fn needs_confirmation(self) -> bool {
        !matches!(self, Self::Stopped | Self::Deleted | Self::MaxLife)
    }

    /// Whether the clock, and not a person or the forge, is the reason.
    pub fn is_expiry(self) -> bool {
        matches!(self, Self::Idle | Self::MaxLife)
    }
}

/// What should be: never stored, always computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Desired {
    /// The preview, at this revision.
    Up(Spec),
    /// Nothing, for this reason.
    Down(Reason),
}

/// When a preview expires, and why then.
pub fn expiry(life: Life, overrides: &Overrides, policy: &Policy) -> (DateTime<Utc>, Reason) {
    let last = after(life.born_at, policy.max_life);
    if overrides.pinned {
        return (last, Reason::MaxLife);
    }
    let idle = after(life.active_at, policy.inactivity_ttl);
    let idle = overrides.extended_until.map_or(idle, |until| until.max(idle));
    if idle < last { (idle, Reason::Idle) } else { (last, Reason::MaxLife) }
}

/// What an extension by `by` from `now` gives: the new expiry, and whether the maximum life cut
/// it short.
pub fn extended(
    life: Life,
    overrides: &Overrides,
    policy: &Policy,
    by: TimeDelta,
    now: DateTime<Utc>,
) -> (DateTime<Utc>, bool) {
    let (current, _) = expiry(life, overrides, policy);
    let wanted = after(current.max(now), by);
    let last = after(life.born_at, policy.max_life);
    (wanted.min(last), wanted > last)
}

/// Decides whether the preview should exist.
pub fn desired(
    facts: &PullFacts,
    overrides: &Overrides,
    life: Life,
    policy: &Policy,
    now: DateTime<Utc>,
) -> Desired {
    let down = |reason| Desired::Down(reason);
    match facts.state {
        PullState::Merged => return down(Reason::Merged),
        PullState::Closed => return down(Reason::Closed),
        PullState::Open => {}
    }
    if overrides.stopped {
        return down(Reason::Stopped);
    }
    if overrides.deleted_at.as_ref() == Some(&facts.head) {
        return down(Reason::Deleted);
    }
    let has = |label: &Option<String>| label.as_ref().is_some_and(|l| facts.labels.contains(l));
    if has(&policy.skip_label) || (policy.only_label.is_some() && !has(&policy.only_label)) {
        return down(Reason::NotSelected);
    }
    if facts.draft && !policy.drafts {
        return down(Reason::Draft);
    }
    let stranger = facts.fork && !facts.trusted_author;
    if stranger && policy.approve_forks && overrides.approved.as_ref() != Some(&facts.head) {
        return down(Reason::AwaitingApproval);
    }
    let (expires_at, reason) = expiry(life, overrides, policy);
    if now >= expires_at {
        return down(reason);
    }
    let choice = policy.choices.choose(&facts.labels);
    let data = policy.choices.data_generation(&choice);
    Desired::Up(Spec {
        revision: revision(facts, overrides, &choice),
        data_generation: overrides.data_generation.wrapping_add(data),
        choice,
        expires_at,
        expiring: expires_at - now <= policy.warn_before,
    })
}

/// What runs, where anything should: another choice of the labels is another revision.
pub fn revision(facts: &PullFacts, overrides: &Overrides, choice: &Choice) -> Revision {
    let restart = overrides.restarts().wrapping_add(choice.restarts());
    Revision { commit: overrides.commit(&facts.head).clone(), restart }
}

/// The next instant at which [`desired`] may change by time alone, if there is one.
pub fn next_change(desired: &Desired, policy: &Policy) -> Option<DateTime<Utc>> {
    match desired {
        Desired::Down(_) => None,
        Desired::Up(spec) if spec.expiring => Some(spec.expires_at),
        Desired::Up(spec) => Some(spec.expires_at - policy.warn_before),
    }
}

fn after(start: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    start.checked_add_signed(by).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
