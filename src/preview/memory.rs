//! What is remembered of one pull request, and how a new reading changes it.
//!
//! Webhooks are hints: they say that something changed, in no promised order. Refuses to call a
//! hint confirmed; only a reading of the pull request that began after the last hint does that.

use chrono::{DateTime, TimeDelta, Utc};

use super::choice::Choice;
use super::desired::{
    Desired, Life, Overrides, Policy, Reason, RolledBack, desired, expiry, extended, revision,
};
use super::facts::{CommitSha, PullFacts, PullState};
use super::revision::Revision;

/// For this long after a hint, a reading older than the hint is taken for a lagging replica of the
/// forge; after that the reading is believed, since a hint can be wrong for ever.
pub const LAG_SECONDS: i64 = 60;

/// Everything that decides what one preview should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The newest reading.
    pub facts: PullFacts,
    /// When this life began and was last active.
    pub life: Life,
    /// What people asked for.
    pub overrides: Overrides,
    /// When somebody last said that the pull request changed.
    pub hinted_at: DateTime<Utc>,
    /// When the last successful reading of it began; `None` once there was a hint since.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// Whether nothing is left of it, as a receipt says; a new life begins with the next push.
    pub gone: bool,
    /// How many rotations of the password have come to their end: the former login is locked.
    pub rotated: u32,
}

/// A reading that is older than what a hint already said: ask again later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the forge answered with an older state than its own event; asking again")]
pub struct StaleReading;

impl Memory {
    /// Remembers a pull request that was never heard of.
    pub fn begin(facts: PullFacts, now: DateTime<Utc>) -> Self {
        Self {
            facts,
            life: Life { born_at: now, active_at: now },
            overrides: Overrides::default(),
            hinted_at: now,
            confirmed_at: None,
            gone: false,
            rotated: 0,
        }
    }

    /// Takes a hint: the facts of an event, which may be old, repeated, or out of order.
    pub fn hear(&mut self, facts: PullFacts, now: DateTime<Utc>) {
        self.hinted_at = now;
        self.confirmed_at = None;
        if facts.updated_at > self.facts.updated_at {
            self.adopt(facts, now);
        }
    }

    /// Takes a reading of the pull request that began at `asked_at`.
    pub fn confirm(
        &mut self,
        facts: PullFacts,
        asked_at: DateTime<Utc>,
    ) -> Result<(), StaleReading> {
        let lag = TimeDelta::seconds(LAG_SECONDS);
        if facts.updated_at < self.facts.updated_at && asked_at - self.hinted_at < lag {
            return Err(StaleReading);
        }
        self.confirmed_at = Some(asked_at);
        self.adopt(facts, asked_at);
        Ok(())
    }

    /// Begins a new life where a push came after the old one's maximum; its age is counted from
    /// that push.
    pub fn renew(&mut self, policy: &Policy) {
        if self.life.active_at - self.life.born_at >= policy.max_life {
            self.life.born_at = self.life.active_at;
        }
    }

    /// What should be, given all this.
    pub fn desired(&self, policy: &Policy, now: DateTime<Utc>) -> Desired {
        desired(&self.facts, &self.overrides, self.life, policy, now)
    }

    /// The commit that is to run: the head, unless a person went back from it.
    pub fn commit(&self) -> &CommitSha {
        self.overrides.commit(&self.facts.head)
    }

    /// Goes back to this commit while the head stays; to the head itself ends it.
    pub fn roll_back(&mut self, to: CommitSha) {
        let from = self.facts.head.clone();
        self.overrides.rolled_back = (to != from).then_some(RolledBack { from, to });
    }

    /// Which database it is to have: see [`Overrides::data_generation`]; each data set has its own.
    pub fn data_generation(&self, policy: &Policy) -> u32 {
        let of_choice = policy.choices.data_generation(&self.choice(policy));
        self.overrides.data_generation.wrapping_add(of_choice)
    }

    /// What its labels choose.
    pub fn choice(&self, policy: &Policy) -> Choice {
        policy.choices.choose(&self.facts.labels)
    }

    /// What runs, where anything should.
    pub fn revision(&self, policy: &Policy) -> Revision {
        revision(&self.facts, &self.overrides, &self.choice(policy))
    }

    /// When it expires if nobody does anything.
    pub fn expires_at(&self, policy: &Policy) -> DateTime<Utc> {
        expiry(self.life, &self.overrides, policy).0
    }

    /// Whether the facts are what the forge said after the last hint; for an expiry, after the
    /// instant of expiry too, since a lost event may have been a push.
    pub fn is_confirmed(&self, desired: &Desired, policy: &Policy) -> bool {
        match (self.confirmed_at, desired) {
            (None, _) => false,
            (Some(at), Desired::Down(Reason::Idle)) => at >= self.expires_at(policy),
            (Some(_), _) => true,
        }
    }

    /// Extends the life by this much; the new expiry, and whether the maximum life cut it short.
    pub fn extend(
        &mut self,
        policy: &Policy,
        by: TimeDelta,
        now: DateTime<Utc>,
    ) -> (DateTime<Utc>, bool) {
        let (until, clamped) = extended(self.life, &self.overrides, policy, by, now);
        self.overrides.extended_until = Some(until);
        (until, clamped)
    }

    /// Starts it again after a person stopped or deleted it, or after it expired.
    pub fn start(&mut self, now: DateTime<Utc>) {
        self.overrides.stopped = false;
        self.overrides.deleted_at = None;
        self.life.active_at = now;
        self.revive(now);
    }

    /// Approves one commit of a fork.
    pub fn approve(&mut self, commit: CommitSha, now: DateTime<Utc>) {
        self.overrides.approved = Some(commit);
        self.life.active_at = now;
        self.revive(now);
    }

    /// Has the data cloned anew: whatever stands on it is begun anew too.
    pub fn renew_data(&mut self) {
        self.overrides.data_generation = self.overrides.data_generation.wrapping_add(1);
    }

    /// Whether the login before the last rotation may still be open.
    pub fn is_rotating(&self) -> bool {
        self.rotated != self.overrides.rotations
    }

    fn adopt(&mut self, facts: PullFacts, now: DateTime<Utc>) {
        let known = &self.facts;
        let reopened = facts.state == PullState::Open && known.state != PullState::Open;
        // A draft that became ready, or another label, is somebody at work as a push is.
        // What a person went back from is not to be gone back from again when the branch returns to it.
        if facts.head != known.head {
            self.overrides.rolled_back = None;
        }
        let active =
            facts.head != known.head || facts.draft != known.draft || facts.labels != known.labels;
        if reopened || active {
            self.life.active_at = now;
            self.revive(now);
        }
        if reopened {
            self.life.born_at = now;
        }
        self.facts = facts;
    }

    fn revive(&mut self, now: DateTime<Utc>) {
        if self.gone {
            self.life.born_at = now;
            self.overrides.extended_until = None;
            self.gone = false;
        }
    }
}
