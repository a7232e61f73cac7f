//! One line of what migrations sent, as it grows from sample to sample.
//!
//! Refuses to call a duration exact of which an end was not seen.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::database::catalogue::Catalogue;
use crate::preview::rehearsal::{Lock, LockMode, Statement, Took};

/// A statement, and how often it came in a row.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) application: String,
    pub(super) text: String,
    times: u32,
    /// How long its former times took, and whether the end of each was seen.
    before: Took,
    /// How long the last one has taken so far.
    pub(super) last: Took,
    waited: Duration,
    locks: BTreeMap<u32, LockMode>,
    waits_for: Option<(u32, LockMode)>,
}

impl Entry {
    pub(super) fn new(application: String, text: String) -> Self {
        Self {
            application,
            text,
            times: 0,
            before: Took::Exactly(Duration::ZERO),
            last: Took::Exactly(Duration::ZERO),
            waited: Duration::ZERO,
            locks: BTreeMap::new(),
            waits_for: None,
        }
    }

    /// It begins, for the first time or again.
    pub(super) fn again(&mut self) {
        self.times = self.times.saturating_add(1);
        self.before = sum(self.before, self.last);
        self.last = Took::AtLeast(Duration::ZERO);
    }

    /// It was seen to wait for a lock, since the last look.
    pub(super) fn waits(&mut self, relation: u32, mode: LockMode, since_last: Duration) {
        self.waited += since_last;
        if self.waits_for.is_none_or(|(_, waits)| waits < mode) {
            self.waits_for = Some((relation, mode));
        }
    }

    /// It was seen to hold a lock that no earlier statement of its transaction was seen with.
    pub(super) fn holds(&mut self, relation: u32, mode: LockMode) {
        let strongest = self.locks.entry(relation).or_insert(mode);
        *strongest = mode.max(*strongest);
        self.waits_for = self.waits_for.filter(|waits| *waits != (relation, mode));
    }

    /// What is told of it, with the relations that have a name in `known`.
    pub(super) fn statement(&self, known: &Catalogue) -> Statement {
        let named = |(relation, mode): (u32, LockMode)| {
            let stored = known.stored.get(&relation)?;
            Some(Lock { relation: stored.name.clone(), mode })
        };
        let mut locks: Vec<_> =
            self.locks.iter().filter_map(|(relation, mode)| named((*relation, *mode))).collect();
        locks.sort_by(|a, b| b.mode.cmp(&a.mode).then_with(|| a.relation.cmp(&b.relation)));
        Statement {
            text: self.text.clone(),
            times: self.times,
            took: sum(self.before, self.last),
            waited: self.waited,
            locks,
            waits_for: self.waits_for.and_then(named),
        }
    }
}

fn sum(one: Took, other: Took) -> Took {
    match (one, other) {
        (Took::Exactly(one), Took::Exactly(other)) => Took::Exactly(one + other),
        _ => Took::AtLeast(one.duration() + other.duration()),
    }
}
