//! How domain values are written into `jsonb` columns, and read back.
//!
//! Refuses to let serde into the domain: these mirror it field by field, so that renaming a domain
//! field does not silently change what is stored. A new field has a default.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::LedgerError;
use crate::preview::condition::{Condition, Part, Status};
use crate::preview::receipt::{Receipt, ReceiptLine};
use crate::preview::{CommitSha, Overrides, PullFacts, PullKey, PullState, Reason, RolledBack};

/// Text as PostgreSQL can keep it: neither `text` nor `jsonb` takes a NUL, and one in a title or in
/// a workload's last words must not make a row that can never be written.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

#[derive(Serialize, Deserialize)]
pub(super) struct FactsShape {
    state: String,
    head: String,
    fork: bool,
    trusted_author: bool,
    draft: bool,
    labels: Vec<String>,
    author: String,
    title: String,
    updated_at: DateTime<Utc>,
}

impl FactsShape {
    pub(super) fn of(facts: &PullFacts) -> Self {
        let state = match facts.state {
            PullState::Open => "open",
            PullState::Closed => "closed",
            PullState::Merged => "merged",
        };
        Self {
            state: state.to_owned(),
            head: facts.head.to_string(),
            fork: facts.fork,
            trusted_author: facts.trusted_author,
            draft: facts.draft,
            labels: facts.labels.iter().map(|label| kept(label)).collect(),
            author: kept(&facts.author),
            title: kept(&facts.title),
            updated_at: facts.updated_at,
        }
    }

    pub(super) fn facts(self, key: PullKey) -> Result<PullFacts, LedgerError> {
        let state = match self.state.as_str() {
            "open" => PullState::Open,
            "closed" => PullState::Closed,
            "merged" => PullState::Merged,
            other => return Err(bad("facts.state", other)),
        };
        Ok(PullFacts {
            key,
            state,
            head: commit("facts.head", &self.head)?,
            fork: self.fork,
            trusted_author: self.trusted_author,
            draft: self.draft,
            labels: self.labels,
            author: self.author,
            title: self.title,
            updated_at: self.updated_at,
        })
    }
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
pub(super) struct OverridesShape {
    extended_until: Option<DateTime<Utc>>,
    pinned: bool,
    stopped: bool,
    deleted_at: Option<String>,
    approved: Option<String>,
    redeploys: u32,
    data_generation: u32,
    /// Not written by versions before it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rolled_back: Option<RolledBackShape>,
}

#[derive(Serialize, Deserialize)]
struct RolledBackShape {
    from: String,
    to: String,
}

impl OverridesShape {
    pub(super) fn of(overrides: &Overrides) -> Self {
        Self {
            extended_until: overrides.extended_until,
            pinned: overrides.pinned,
            stopped: overrides.stopped,
            deleted_at: overrides.deleted_at.as_ref().map(CommitSha::to_string),
            approved: overrides.approved.as_ref().map(CommitSha::to_string),
            redeploys: overrides.redeploys,
            data_generation: overrides.data_generation,
            rolled_back: overrides
                .rolled_back
                .as_ref()
                .map(|it| RolledBackShape { from: it.from.to_string(), to: it.to.to_string() }),
        }
    }

    pub(super) fn overrides(self) -> Result<Overrides, LedgerError> {
        let optional = |what, sha: Option<String>| sha.map(|sha| commit(what, &sha)).transpose();
        Ok(Overrides {
            extended_until: self.extended_until,
            pinned: self.pinned,
            stopped: self.stopped,
            deleted_at: optional("overrides.deleted_at", self.deleted_at)?,
            approved: optional("overrides.approved", self.approved)?,
            redeploys: self.redeploys,
            data_generation: self.data_generation,
            rolled_back: self
                .rolled_back
                .map(|it| {
                    Ok::<_, LedgerError>(RolledBack {
                        from: commit("overrides.rolled_back.from", &it.from)?,
                        to: commit("overrides.rolled_back.to", &it.to)?,
                    })
                })
                .transpose()?,
            // A column of its own, which the version before does not overwrite.
            rotations: 0,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ConditionShape {
    part: String,
    status: String,
    message: String,
    since: DateTime<Utc>,
}

impl ConditionShape {
    pub(super) fn of(condition: &Condition) -> Self {
        Self {
            part: condition.part.as_str().to_owned(),
            status: condition.status.as_str().to_owned(),
            message: kept(&condition.message),
            since: condition.since,
        }
    }

    /// `None` for a part or status that only another version knows.
    pub(super) fn condition(self) -> Option<Condition> {
        Some(Condition {
            part: Part::parse(&self.part)?,
            status: Status::parse(&self.status)?,
            message: self.message,
            since: self.since,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ReceiptShape {
    asked_at: DateTime<Utc>,
    lines: Vec<ReceiptLineShape>,
}

#[derive(Serialize, Deserialize)]
struct ReceiptLineShape {
    what: String,
    name: String,
    answer: String,
}

impl ReceiptShape {
    pub(super) fn of(receipt: &Receipt) -> Self {
        let line = |line: &ReceiptLine| ReceiptLineShape {
            what: kept(&line.what),
            name: kept(&line.name),
            answer: kept(&line.answer),
        };
        Self { asked_at: receipt.asked_at, lines: receipt.lines.iter().map(line).collect() }
    }

    pub(super) fn receipt(self) -> Receipt {
        let line = |line: ReceiptLineShape| ReceiptLine {
            what: line.what,
            name: line.name,
            answer: line.answer,
        };
        Receipt { asked_at: self.asked_at, lines: self.lines.into_iter().map(line).collect() }
    }
}

/// A reason, or an error of its row.
pub(super) fn reason(word: &str) -> Result<Reason, LedgerError> {
    Reason::parse(word).ok_or_else(|| bad("reason", word))
}

pub(super) fn bad(what: &str, why: &str) -> LedgerError {
    LedgerError::Shape { what: what.to_owned(), why: format!("unexpected {why:?}") }
}

/// Text that is kept as [`storable`] has it.
pub(super) fn kept(text: &str) -> String {
    storable(text).into_owned()
}

pub(super) fn commit(what: &str, text: &str) -> Result<CommitSha, LedgerError> {
    CommitSha::parse(text).ok_or_else(|| bad(what, text))
}
