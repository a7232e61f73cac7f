//! What was said of pull requests becomes what is remembered of their previews.
//!
//! One reading, and one writing of what was not changed in between, however much there is: learning from
//! what was said, making a row due and crossing the delivery off is one statement; so it is learned from
//! once, by whoever comes first. Refuses to decide anything: it remembers and pokes.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use super::births::known;
use super::changes::Changes;
use super::leases::{Lease, Term};
use super::remember::remember;
use super::rows::read;
use super::{Ledger, LedgerError, is_over};
use crate::forge::RepositoryRef;
use crate::preview::{PreviewName, PullFacts, PullKey, PullState};

/// How often it is tried where others have just written the same rows, or the session has ended.
const TRIES: usize = 8;

/// How many of these take no lock: reading and writing is all that it takes when nobody comes between.
const UNLOCKED: usize = 3;

/// SQLSTATE `deadlock_detected`.
const DEADLOCK: &str = "40P01";

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

impl Ledger {
    /// Learns from one hint.
    pub async fn learn(&self, heard: &Heard) -> Result<Learned, LedgerError> {
        let mut lesson = self.learn_all(std::slice::from_ref(heard), None).await?;
        lesson.outcomes.pop().unwrap_or(Ok(Learned::Ignored))
    }

    /// Learns from all of these, in their order, and leases what is due by that, as far as the term says.
    /// What is wrong with one of them is its own outcome, and leaves the others alone; its delivery is still
    /// to be learned from.
    pub async fn learn_all(
        &self,
        heard: &[Heard],
        term: Option<Term>,
    ) -> Result<Lesson, LedgerError> {
        let mut lesson = Learning { heard, term, ..Learning::default() };
        let mut left: Vec<usize> = (0..heard.len()).collect();
        for tried in 0..TRIES {
            left = match self.try_to_learn(&mut lesson, &left, tried >= UNLOCKED).await {
                Ok(left) => left,
                Err(LedgerError::Database(error)) if is_deadlock(&error) || is_over(&error) => left,
                Err(error) if lesson.outcomes.is_empty() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "some of what was heard is not learned from");
                    break;
                }
            };
            if left.is_empty() {
                break;
            }
        }
        Ok(lesson.done())
    }

    async fn try_to_learn(
        &self,
        lesson: &mut Learning<'_>,
        left: &[usize],
        lock: bool,
    ) -> Result<Vec<usize>, LedgerError> {
        let mut session = self.intake.acquire().await?;
        if !lock {
            return self.learn_from(lesson, left, (&mut session, lock)).await;
        }
        let leases = lesson.leases.len();
        let mut transaction = session.begin().await?;
        let left = self.learn_from(lesson, left, (&mut transaction, lock)).await?;
        // A lease that nobody gave is none.
        transaction.commit().await.inspect_err(|_| lesson.leases.truncate(leases))?;
        Ok(left)
    }

    /// Learns from those that are left; which of them still are, their rows having been written by others
    /// meanwhile.
    async fn learn_from(
        &self,
        lesson: &mut Learning<'_>,
        left: &[usize],
        (session, lock): (&mut PgConnection, bool),
    ) -> Result<Vec<usize>, LedgerError> {
        let heard = lesson.heard;
        let mut known = known(session, left.iter().map(|&at| &heard[at]), lock).await?;
        self.pause.set(known.rows.len());
        let mut changes = Changes::new(self.pause.get());
        let (mut said, mut learned) = (Vec::new(), Vec::new());
        for &at in left {
            let one = &heard[at];
            let key = one.hint.facts.key;
            let again = one.delivery.as_ref().is_some_and(|it| !known.unlearned.remove(it));
            let outcome = if again {
                Ok(Learned::Duplicate)
            } else if let Some(row) = known.rows.get(&key) {
                changes.hear(row, one)
            } else if !one.hint.begins() && !changes.has(key) {
                learned.extend(one.delivery.as_deref().map(|it| (it, None)));
                Ok(Learned::Ignored)
            } else if lesson.refused.contains(&key) {
                Err(LedgerError::NameTaken(one.hint.name.namespace()))
            } else {
                Ok(changes.begin(one))
            };
            match &outcome {
                Ok(outcome) if let Some(preview) = outcome.preview() => {
                    learned.extend(one.delivery.as_deref().map(|it| (it, Some(preview))));
                    said.push((at, preview, *outcome));
                }
                _ => drop(lesson.outcomes.insert(at, outcome)),
            }
        }
        let room = lesson.term.map(|it| Term { most: it.most - lesson.leases.len(), ..it });
        let of_said = said.iter().map(|&(at, preview, _)| (preview, &heard[at]));
        let news = changes.news(of_said, learned, room);
        let leased = news.rows.iter().filter(|it| it.is_leased).map(|it| it.preview.id);
        let leased: HashSet<_> = leased.collect();
        let mut written = HashSet::new();
        for row in remember(session, &news).await? {
            let id: Uuid = row.try_get("id")?;
            written.insert(id);
            if let (true, Some((owner, _))) = (leased.contains(&id), news.lease) {
                let (preview, epoch) = (read(&row)?, row.try_get("epoch")?);
                lesson.leases.push(Lease { preview, owner, epoch });
            }
        }
        lesson.is_due |= news.is_due;
        let mut left = Vec::new();
        for (at, preview, outcome) in said {
            if written.contains(&preview) {
                lesson.outcomes.insert(at, Ok(outcome));
                continue;
            }
            left.push(at);
            // Another one has the name, or was quicker: in that case there is a row now.
            if !known.rows.contains_key(&heard[at].hint.facts.key) {
                lesson.refused.insert(heard[at].hint.facts.key);
            }
        }
        Ok(left)
    }
}

/// What came of those that were tried so far.
#[derive(Default)]
struct Learning<'a> {
    heard: &'a [Heard],
    term: Option<Term>,
    outcomes: HashMap<usize, Result<Learned, LedgerError>>,
    leases: Vec<Lease>,
    is_due: bool,
    /// Those of which no row could be begun.
    refused: HashSet<PullKey>,
}

impl Learning<'_> {
    fn done(mut self) -> Lesson {
        let outcomes = (0..self.heard.len())
            .map(|at| self.outcomes.remove(&at).unwrap_or(Err(LedgerError::Contended)));
        Lesson { outcomes: outcomes.collect(), leases: self.leases, is_due: self.is_due }
    }
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|it| it.code()).is_some_and(|code| code == DEADLOCK)
}
