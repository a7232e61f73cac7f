//! What becomes of rows that were read, each written once, however much was said of it.
//!
//! Pure. Refuses to write: that is `remember`.

use std::borrow::Cow;
use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::LedgerError;
use super::births::birth;
use super::leases::Term;
use super::lesson::{Heard, Learned};
use super::previews::Preview;
use super::remember::{News, Remembered, Said};
use super::rows::read;
use super::shapes::storable;
use crate::forge::RepositoryRef;
use crate::preview::{Memory, PullKey};

/// Of several rows.
pub(super) struct Changes {
    all: Vec<Change>,
    /// Where each is in that.
    of: HashMap<PullKey, usize>,
    pause: TimeDelta,
}

struct Change {
    preview: Preview,
    version: Option<String>,
    /// Until when somebody has it.
    leased_until: Option<DateTime<Utc>>,
    repository: RepositoryRef,
    /// What was Ready is so no longer.
    rechosen: bool,
    at: DateTime<Utc>,
}

impl Change {
    fn remembered(&self, pause: TimeDelta) -> Remembered<'_> {
        Remembered {
            preview: &self.preview,
            version: self.version.as_deref(),
            repository: &self.repository,
            rechosen: self.rechosen,
            at: self.at,
            pause,
            is_leased: false,
        }
    }

    fn hear(&mut self, one: &Heard) {
        let hint = &one.hint;
        // One that was left behind is no news of the past.
        let at = one.at.max(self.preview.memory.hinted_at).max(self.at);
        let memory = &mut self.preview.memory;
        let chosen = |memory: &Memory| -> Vec<bool> {
            hint.choosing.iter().map(|it| memory.facts.labels.contains(it)).collect()
        };
        let before = chosen(memory);
        memory.hear(hint.facts.clone(), at);
        self.rechosen |= chosen(memory) != before;
        (self.repository, self.at) = (hint.repository.clone(), at);
    }
}

impl Changes {
    /// None yet; a row rests this long before a hint makes it due.
    pub(super) fn new(pause: TimeDelta) -> Self {
        Self { all: Vec::new(), of: HashMap::new(), pause }
    }

    /// Whether this one begins, or changes.
    pub(super) fn has(&self, key: PullKey) -> bool {
        self.of.contains_key(&key)
    }

    /// A row that was read hears this.
    pub(super) fn hear(&mut self, row: &PgRow, one: &Heard) -> Result<Learned, LedgerError> {
        let key = one.hint.facts.key;
        if !self.has(key) {
            self.add(
                key,
                Change {
                    preview: read(row)?,
                    version: row.try_get("version")?,
                    leased_until: row.try_get("lease_until")?,
                    repository: one.hint.repository.clone(),
                    rechosen: false,
                    at: one.at,
                },
            );
        }
        let change = &mut self.all[self.of[&key]];
        change.hear(one);
        let (id, is_sooner) = (change.preview.id, change.remembered(self.pause).hastens());
        Ok(if is_sooner { Learned::Known(id) } else { Learned::Awaited(id) })
    }

    /// One of which there is no row hears this: it begins, if it has not just done so.
    pub(super) fn begin(&mut self, one: &Heard) -> Learned {
        let key = one.hint.facts.key;
        if let Some(&known) = self.of.get(&key) {
            let change = &mut self.all[known];
            change.hear(one);
            return Learned::Awaited(change.preview.id);
        }
        let preview = birth(one);
        let id = preview.id;
        let repository = one.hint.repository.clone();
        self.add(
            key,
            Change {
                preview,
                version: None,
                leased_until: None,
                repository,
                rechosen: false,
                at: one.at,
            },
        );
        Learned::New(id)
    }

    fn add(&mut self, key: PullKey, change: Change) {
        self.of.insert(key, self.all.len());
        self.all.push(change);
    }

    /// All of it, with what the journal is to say of what was said, and what is leased by it.
    pub(super) fn news<'a>(
        &'a self,
        said: impl Iterator<Item = (Uuid, &'a Heard)>,
        learned: Vec<(&'a str, Option<Uuid>)>,
        term: Option<Term>,
    ) -> News<'a> {
        let (mut rows, mut room, mut is_due) = (Vec::new(), term.map_or(0, |it| it.most), false);
        for change in &self.all {
            let mut row = change.remembered(self.pause);
            row.is_leased = term.is_some_and(|it| {
                let is_free = change.leased_until.is_none_or(|until| until <= it.now);
                room > 0 && is_free && row.due_at() <= it.now
            });
            room -= usize::from(row.is_leased);
            is_due |= row.hastens() && !row.is_leased;
            rows.push(row);
        }
        let lease = term.map(|it| (it.owner, it.until));
        News { rows, journal: noted(said), learned, lease, is_due }
    }
}

/// The same that was said of one preview several times at once is one entry, where it was said last.
fn noted<'a>(said: impl Iterator<Item = (Uuid, &'a Heard)>) -> Vec<Said<'a>> {
    let (mut noted, mut places) = (Vec::<(Uuid, &Heard, usize)>::new(), HashMap::new());
    for (preview, one) in said {
        let what = (preview, one.hint.source, &one.hint.what);
        let place = *places.entry(what).or_insert(noted.len());
        match noted.get_mut(place) {
            Some((_, last, times)) => (*last, *times) = (one, *times + 1),
            None => noted.push((preview, one, 1)),
        }
    }
    noted.sort_by_key(|(_, last, _)| last.at);
    let entry = |(preview, last, times): (Uuid, &'a Heard, usize)| {
        let what = storable(&last.hint.what);
        Said {
            at: last.at,
            preview,
            actor: last.hint.source,
            action: "learned",
            reason: if times == 1 { what } else { Cow::from(format!("{what}, {times} times")) },
            delivery: last.delivery.as_deref(),
        }
    };
    noted.into_iter().map(entry).collect()
}
