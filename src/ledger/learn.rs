//! What was said of pull requests becomes what is remembered of their previews.
//!
//! One reading, and one writing of what was not changed in between, however much there is: learning from
//! what was said, making a row due and crossing the delivery off is one statement; so it is learned from
//! once, by whoever comes first. Refuses to decide anything: it remembers and pokes.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use chrono::TimeDelta;
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use super::births::{Known, known};
use super::changes::Changes;
use super::leases::{Lease, Term};
use super::lesson::{Heard, Learned, Lesson};
use super::remember::remember;
use super::rows::read;
use super::{Ledger, LedgerError, is_over};
use crate::preview::PullKey;

/// How often it is tried where others have just written the same rows, or the session has ended.
const TRIES: usize = 8;

/// How many of these take no lock: reading and writing is all that it takes when nobody comes between.
const UNLOCKED: usize = 3;

/// Of how many previews one statement may be: what it does is nothing to wait for.
const AT_ONCE: usize = 256;

/// SQLSTATE `deadlock_detected`.
const DEADLOCK: &str = "40P01";

/// What was read of a pull request before the delivery that speaks of it was stored.
pub struct Ahead(Known);

impl Ledger {
    /// Reads ahead, for whoever learns from this as soon as it is stored; `None` where that failed.
    pub async fn read_ahead(&self, of: PullKey) -> Option<Ahead> {
        let mut session = self.intake.acquire().await.ok()?;
        let known = known(&mut session, &HashSet::from([of]), &[], false).await;
        known.ok().map(Ahead)
    }

    /// Learns from one hint.
    pub async fn learn(&self, heard: &Heard) -> Result<Learned, LedgerError> {
        let mut lesson = self.learn_all(std::slice::from_ref(heard), None, None).await?;
        lesson.outcomes.pop().unwrap_or(Ok(Learned::Ignored))
    }

    /// Learns from all of these, in their order, and leases what is due by that, as far as the term says.
    /// What was read ahead of all of them, which have just been stored, is not read again. What is wrong with
    /// one of them is its own outcome, and leaves the others alone; its delivery is still to be learned
    /// from.
    pub async fn learn_all(
        &self,
        heard: &[Heard],
        term: Option<Term>,
        ahead: Option<Ahead>,
    ) -> Result<Lesson, LedgerError> {
        let mut learning = Learning { heard, term, ahead, ..Learning::default() };
        for mut left in parts(heard) {
            for tried in 0..TRIES {
                left = match self.try_to_learn(&mut learning, &left, tried >= UNLOCKED).await {
                    Ok(left) => left,
                    Err(LedgerError::Database(error))
                        if is_deadlock(&error) && tried + 1 < TRIES =>
                    {
                        left
                    }
                    Err(LedgerError::Database(error)) if is_over(&error) && tried + 1 < TRIES => {
                        tracing::warn!(%error, "a session ended while it learned; what it did lease rests as long as a lease");
                        left
                    }
                    Err(error) if learning.outcomes.is_empty() => return Err(error),
                    Err(error) => {
                        tracing::warn!(%error, "some of what was heard is not learned from");
                        break;
                    }
                };
                if left.is_empty() {
                    break;
                }
                // Whoever leases does not wait for others.
                learning.term = None;
            }
        }
        Ok(learning.done())
    }

    async fn try_to_learn(
        &self,
        learning: &mut Learning<'_>,
        left: &[usize],
        lock: bool,
    ) -> Result<Vec<usize>, LedgerError> {
        let begun = Instant::now();
        let mut session = self.intake.acquire().await?;
        // Of the time that it took to get a session, nobody who has the lease is to be short.
        let waited = TimeDelta::from_std(begun.elapsed()).unwrap_or_default();
        learning.term = learning.term.map(|it| Term { until: it.until + waited, ..it });
        let tried = match lock {
            false => self.learn_from(learning, left, (&mut session, lock)).await?,
            true => {
                let mut transaction = session.begin().await?;
                let tried = self.learn_from(learning, left, (&mut transaction, lock)).await?;
                transaction.commit().await?;
                tried
            }
        };
        learning.outcomes.extend(tried.outcomes);
        learning.refused.extend(tried.refused);
        learning.is_due |= tried.is_due;
        if let Some(term) = &mut learning.term {
            term.most = term.most.saturating_sub(tried.leases.len());
        }
        learning.leases.extend(tried.leases);
        Ok(tried.left)
    }

    async fn learn_from(
        &self,
        learning: &mut Learning<'_>,
        left: &[usize],
        (session, lock): (&mut PgConnection, bool),
    ) -> Result<Tried, LedgerError> {
        let heard = learning.heard;
        let of_left = || left.iter().map(|&at| &heard[at]);
        let deliveries: Vec<&str> = of_left().filter_map(|it| it.delivery.as_deref()).collect();
        let ahead = learning.ahead.take();
        let is_ahead = ahead.is_some();
        let mut known = match ahead {
            Some(Ahead(mut known)) => {
                known.unlearned.extend(deliveries.iter().map(|&id| id.to_owned()));
                known
            }
            None => {
                let keys = of_left().map(|it| it.hint.facts.key).collect();
                known(session, &keys, &deliveries, lock).await?
            }
        };
        self.pause.set(known.rows.len());
        let mut changes = Changes::new(self.pause.get());
        let (mut said, mut learned, mut tried) = (Vec::new(), Vec::new(), Tried::default());
        for &at in left {
            let one = &heard[at];
            let key = one.hint.facts.key;
            let again = one.delivery.as_ref().is_some_and(|it| !known.unlearned.remove(it));
            let outcome = if again {
                Ok(Learned::Duplicate)
            } else if let Some(row) = known.rows.get(&key) {
                changes.hear(row, one)
            } else if is_ahead && !one.hint.begins() {
                // It may have begun since.
                tried.left.push(at);
                continue;
            } else if !one.hint.begins() && !changes.has(key) {
                learned.extend(one.delivery.as_deref().map(|it| (it, None)));
                Ok(Learned::Ignored)
            } else if learning.refused.contains(&key) {
                Err(LedgerError::NameTaken(one.hint.name.namespace()))
            } else {
                Ok(changes.begin(one))
            };
            match &outcome {
                Ok(outcome) if let Some(preview) = outcome.preview() => {
                    learned.extend(one.delivery.as_deref().map(|it| (it, Some(preview))));
                    said.push((at, preview, *outcome));
                }
                _ => tried.outcomes.push((at, outcome)),
            }
        }
        let of_said = said.iter().map(|&(at, preview, _)| (preview, &heard[at]));
        let news = changes.news(of_said, learned, learning.term);
        tried.is_due = news.is_due;
        let leased = news.rows.iter().filter(|it| it.is_leased).map(|it| it.preview.id);
        let leased: HashSet<_> = leased.collect();
        let mut written = HashSet::new();
        for row in remember(session, &news).await? {
            let id: Uuid = row.try_get("id")?;
            written.insert(id);
            if let (true, Some((owner, _))) = (leased.contains(&id), news.lease) {
                let (preview, epoch) = (read(&row)?, row.try_get("epoch")?);
                tried.leases.push(Lease { preview, owner, epoch });
            }
        }
        for (at, preview, outcome) in said {
            if written.contains(&preview) {
                tried.outcomes.push((at, Ok(outcome)));
                continue;
            }
            tried.left.push(at);
            let key = heard[at].hint.facts.key;
            // Another one has the name, or was quicker: in that case there is a row now.
            if !known.rows.contains_key(&key) {
                tried.refused.push(key);
            }
        }
        Ok(tried)
    }
}

/// What came of those that were learned from so far.
#[derive(Default)]
struct Learning<'a> {
    heard: &'a [Heard],
    term: Option<Term>,
    ahead: Option<Ahead>,
    outcomes: HashMap<usize, Result<Learned, LedgerError>>,
    leases: Vec<Lease>,
    is_due: bool,
    /// Those of which no row could be begun.
    refused: HashSet<PullKey>,
}

/// What came of one try.
#[derive(Default)]
struct Tried {
    outcomes: Vec<(usize, Result<Learned, LedgerError>)>,
    leases: Vec<Lease>,
    is_due: bool,
    refused: Vec<PullKey>,
    /// Those whose rows were written by others meanwhile.
    left: Vec<usize>,
}

impl Learning<'_> {
    fn done(mut self) -> Lesson {
        let outcomes = (0..self.heard.len())
            .map(|at| self.outcomes.remove(&at).unwrap_or(Err(LedgerError::Contended)));
        Lesson { outcomes: outcomes.collect(), leases: self.leases, is_due: self.is_due }
    }
}

/// Where those are that are learned from in one statement, all of one preview in the same.
fn parts(heard: &[Heard]) -> Vec<Vec<usize>> {
    let (mut parts, mut places) = (Vec::<Vec<usize>>::new(), HashMap::new());
    for (at, one) in heard.iter().enumerate() {
        let next = places.len();
        let place = *places.entry(one.hint.facts.key).or_insert(next) / AT_ONCE;
        if place == parts.len() {
            parts.push(Vec::new());
        }
        parts[place].push(at);
    }
    parts
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|it| it.code()).is_some_and(|code| code == DEADLOCK)
}
