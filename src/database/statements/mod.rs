//! From samples of a server's sessions to the statements that they ran.
//!
//! Pure: takes what was seen, in the order in which it was seen. Refuses to hold more than a bound,
//! and to name a lock that it did not see.

mod entry;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::catalogue::Catalogue;
use super::mask::mask;
use super::rehearsal::MIGRATION_APPLICATION;
use crate::preview::rehearsal::{LockMode, Statement, Took};
use entry::Entry;

/// How many statements are kept; the rest is counted.
pub const STATEMENTS_MAX: usize = 300;

/// A session as one sample saw it. Times are the server's, in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its process, and when that began: process ids come again.
    pub session: (i32, i64),
    /// Its `application_name`.
    pub application: String,
    /// When its transaction began, if it is in one.
    pub transaction_us: Option<i64>,
    /// When its last statement began.
    pub begun_us: i64,
    /// When that ended, unless it runs.
    pub ended_us: Option<i64>,
    /// The statement.
    pub text: String,
    /// Its locks on relations, by oid, and whether it has them or waits for them.
    pub locks: Vec<(u32, LockMode, bool)>,
}

/// What one session is known to be doing.
#[derive(Debug, Default)]
struct Session {
    begun_us: Option<i64>,
    /// Where its statement is kept, unless there were too many.
    entry: Option<usize>,
    transaction_us: Option<i64>,
    /// The locks that earlier statements of the transaction were seen with.
    held: BTreeSet<(u32, LockMode)>,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Statements {
    sessions: BTreeMap<(i32, i64), Session>,
    entries: Vec<Entry>,
    samples: u32,
    left_out: u32,
    last_sample_us: Option<i64>,
}

impl Statements {
    /// Takes one sample.
    pub fn take(&mut self, at_us: i64, sightings: Vec<Sighting>) {
        let since_last = span(self.last_sample_us.unwrap_or(at_us), at_us);
        let there: BTreeSet<_> = sightings.iter().map(|sighting| sighting.session).collect();
        self.sessions.retain(|session, _| there.contains(session));
        for sighting in sightings {
            self.see(at_us, since_last, sighting);
        }
        self.samples = self.samples.saturating_add(1);
        self.last_sample_us = Some(at_us);
    }

    /// How many samples were taken.
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// How many statements were not kept.
    pub fn left_out(&self) -> u32 {
        self.left_out
    }

    fn see(&mut self, at_us: i64, since_last: Duration, seen: Sighting) {
        let session = self.sessions.entry(seen.session).or_default();
        if session.transaction_us != seen.transaction_us {
            session.transaction_us = seen.transaction_us;
            session.held.clear();
        }
        if session.begun_us != Some(seen.begun_us) {
            session.begun_us = Some(seen.begun_us);
            let text = mask(&seen.text);
            let entries = &mut self.entries;
            let same = session.entry.filter(|at| entries.get(*at).is_some_and(|e| e.text == text));
            session.entry = match same {
                Some(_) => same,
                None if entries.len() < STATEMENTS_MAX => {
                    entries.push(Entry::new(seen.application, text));
                    Some(entries.len() - 1)
                }
                None => None,
            };
            match session.entry.and_then(|at| entries.get_mut(at)) {
                Some(entry) => entry.again(),
                None => self.left_out = self.left_out.saturating_add(1),
            }
        }
        let Some(entry) = session.entry.and_then(|at| self.entries.get_mut(at)) else { return };
        entry.last = match seen.ended_us {
            Some(ended) => Took::Exactly(span(seen.begun_us, ended)),
            None => Took::AtLeast(span(seen.begun_us, at_us)),
        };
        for (relation, mode, granted) in seen.locks {
            if !granted {
                entry.waits(relation, mode, since_last.min(span(seen.begun_us, at_us)));
            } else if session.held.insert((relation, mode)) {
                entry.holds(relation, mode);
            }
        }
    }

    /// The statements, with locks on what `known` has: the catalogue from before the migrations,
    /// since nobody else can wait for a relation that they made.
    pub fn statements(&self, known: &Catalogue) -> Vec<Statement> {
        let marked = |entry: &&Entry| entry.application == MIGRATION_APPLICATION;
        let any_marked = self.entries.iter().any(|entry| marked(&entry));
        let ours = self.entries.iter().filter(|entry| !any_marked || marked(entry));
        ours.map(|entry| entry.statement(known)).collect()
    }
}

fn span(from_us: i64, to_us: i64) -> Duration {
    Duration::from_micros(u64::try_from(to_us.saturating_sub(from_us)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use LockMode::{AccessExclusive, RowExclusive, Share};

    use super::*;
    use crate::database::catalogue::Stored;
    use crate::preview::rehearsal::Lock;

    const MS: i64 = 1_000;

    fn seen(text: &str, begun_us: i64, ended_us: Option<i64>) -> Sighting {
        Sighting {
            session: (7, 0),
            application: String::new(),
            transaction_us: Some(0),
            begun_us,
            ended_us,
            text: text.to_owned(),
            locks: Vec::new(),
        }
    }

    fn known() -> Catalogue {
        let items = Stored { name: "public.items".to_owned(), index: false, file: 1 };
        Catalogue { stored: [(1, items)].into(), ..Catalogue::default() }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_duration_is_exact_once_the_end_was_seen() {
        let mut all = Statements::default();
        all.take(20 * MS, vec![seen("A", 0, None)]);
        assert_eq!(all.statements(&known())[0].took, Took::AtLeast(ms(20)));
        all.take(40 * MS, vec![seen("A", 0, Some(23 * MS))]);
        all.take(60 * MS, vec![seen("A", 0, Some(23 * MS))]);
        let statements = all.statements(&known());
        assert_eq!(statements.len(), 1);
        assert_eq!((statements[0].took, statements[0].times), (Took::Exactly(ms(23)), 1));
    }

    #[test]
    fn the_same_text_again_is_the_same_line_and_exact_only_if_each_end_was_seen() {
        let mut all = Statements::default();
        all.take(10 * MS, vec![seen("A", 0, Some(5 * MS))]);
        all.take(30 * MS, vec![seen("A", 20 * MS, Some(26 * MS))]);
        assert_eq!(all.statements(&known())[0].took, Took::Exactly(ms(11)));
        all.take(50 * MS, vec![seen("A", 40 * MS, None)]);
        all.take(70 * MS, vec![seen("A", 60 * MS, Some(61 * MS))]);
        let statements = all.statements(&known());
        assert_eq!((statements[0].took, statements[0].times), (Took::AtLeast(ms(22)), 4));
    }

    #[test]
    fn a_lock_is_the_first_statements_that_was_seen_with_it_until_the_transaction_ends() {
        let mut all = Statements::default();
        let with = |text: &str, begun, transaction, locks: &[(u32, LockMode, bool)]| Sighting {
            transaction_us: Some(transaction),
            locks: locks.to_vec(),
            ..seen(text, begun, None)
        };
        // Relation 2 was not there before: nobody else can wait for it.
        let first = [(1, RowExclusive, true), (2, AccessExclusive, true)];
        all.take(1, vec![with("A", 1, 0, &first)]);
        let both = [(1, RowExclusive, true), (1, Share, true)];
        all.take(2, vec![with("B", 2, 0, &both)]);
        all.take(3, vec![with("C", 3, 0, &both)]);
        all.take(4, vec![with("D", 4, 4, &first)]);
        let modes: Vec<_> = all
            .statements(&known())
            .iter()
            .map(|statement| statement.locks.iter().map(|lock| lock.mode).collect::<Vec<_>>())
            .collect();
        assert_eq!(modes, [vec![RowExclusive], vec![Share], vec![], vec![RowExclusive]]);
    }

    #[test]
    fn a_wait_is_counted_and_forgotten_as_a_wait_once_the_lock_is_given() {
        let mut all = Statements::default();
        let with = |granted| Sighting {
            locks: vec![(1, AccessExclusive, granted)],
            ..seen("ALTER", 0, None)
        };
        for at in [0, 20, 40] {
            all.take(at * MS, vec![with(false)]);
        }
        let waiting = all.statements(&known()).remove(0);
        let lock = Lock { relation: "public.items".to_owned(), mode: AccessExclusive };
        assert_eq!((waiting.waited, waiting.waits_for), (ms(40), Some(lock.clone())));
        all.take(60 * MS, vec![with(true)]);
        let given = all.statements(&known()).remove(0);
        assert_eq!((given.waits_for.as_ref(), given.strongest()), (None, Some(&lock)));
    }

    #[test]
    fn what_the_last_good_revision_runs_is_no_migrations_where_those_are_marked() {
        let mut all = Statements::default();
        let marked = Sighting {
            session: (8, 0),
            application: MIGRATION_APPLICATION.to_owned(),
            ..seen("ALTER", 0, None)
        };
        all.take(1, vec![seen("SELECT", 0, None)]);
        assert_eq!(all.statements(&known()).len(), 1);
        all.take(2, vec![seen("SELECT", 0, None), marked]);
        let statements = all.statements(&known());
        assert_eq!((statements.len(), statements[0].text.as_str()), (1, "ALTER"));
    }

    #[test]
    fn too_many_statements_are_counted_and_not_kept() {
        let mut all = Statements::default();
        for at in 0..i64::try_from(STATEMENTS_MAX).unwrap() + 5 {
            all.take(at, vec![seen(&format!("A{at}"), at + 1, None)]);
        }
        assert_eq!((all.statements(&known()).len(), all.left_out()), (STATEMENTS_MAX, 5));
    }
}
