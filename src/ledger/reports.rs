//! How a rehearsal is written into `jsonb` columns, and read back.
//!
//! Refuses, as `shapes` does, to let serde into the domain. A word that only another version knows
//! costs its line and not the report.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LedgerError;
use super::shapes::{bad, kept};
use crate::preview::rehearsal::{
    Change, Lock, LockMode, ObjectKind, Report, Rewrites, SchemaChange, SchemaDiff, Since,
    Statement, Took, Watch,
};
use crate::preview::{Ended, Revision};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EndedShape {
    Done,
    Failed { why: String, log: String },
}

impl EndedShape {
    pub(super) fn of(ended: &Ended) -> Self {
        match ended {
            Ended::Done => Self::Done,
            Ended::Failed { why, log } => Self::Failed { why: kept(why), log: kept(log) },
        }
    }

    pub(super) fn ended(self) -> Ended {
        match self {
            Self::Done => Ended::Done,
            Self::Failed { why, log } => Ended::Failed { why, log },
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ReportShape {
    revision: String,
    samples: u32,
    period_micros: u64,
    statements_left_out: u32,
    gap: Option<String>,
    statements: Vec<StatementShape>,
    rewrites: Known<RewritesShape>,
    schema: Known<DiffShape>,
}

/// What is known, or why it is not.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Known<T> {
    Known(T),
    Unknown(String),
}

#[derive(Serialize, Deserialize)]
struct StatementShape {
    text: String,
    times: u32,
    micros: u64,
    ended: bool,
    waited_micros: u64,
    locks: Vec<LockShape>,
    waits_for: Option<LockShape>,
}

#[derive(Serialize, Deserialize)]
struct LockShape {
    relation: String,
    mode: String,
}

#[derive(Serialize, Deserialize)]
struct RewritesShape {
    since_start: bool,
    tables: Vec<String>,
    indexes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct DiffShape {
    changes: Vec<ChangeShape>,
    left_out: usize,
}

#[derive(Serialize, Deserialize)]
struct ChangeShape {
    kind: String,
    name: String,
    from: Option<String>,
    to: Option<String>,
}

impl ReportShape {
    pub(super) fn of(report: &Report) -> Self {
        let watch = &report.watch;
        let rewrites = |it: &Rewrites| RewritesShape {
            since_start: it.since == Since::Start,
            tables: it.tables.iter().map(|name| kept(name)).collect(),
            indexes: it.indexes.iter().map(|name| kept(name)).collect(),
        };
        let diff = |it: &SchemaDiff| DiffShape {
            changes: it.changes.iter().map(ChangeShape::of).collect(),
            left_out: it.left_out,
        };
        Self {
            revision: report.revision.to_string(),
            samples: watch.samples,
            period_micros: micros(watch.period),
            statements_left_out: watch.left_out,
            gap: watch.gap.as_deref().map(kept),
            statements: report.statements.iter().map(StatementShape::of).collect(),
            rewrites: Known::of(&report.rewrites, rewrites),
            schema: Known::of(&report.schema, diff),
        }
    }

    pub(super) fn report(self) -> Result<Report, LedgerError> {
        let rewrites = |it: RewritesShape| Rewrites {
            since: if it.since_start { Since::Start } else { Since::Clone },
            tables: it.tables,
            indexes: it.indexes,
        };
        let diff = |it: DiffShape| SchemaDiff {
            changes: it.changes.into_iter().filter_map(ChangeShape::change).collect(),
            left_out: it.left_out,
        };
        Ok(Report {
            revision: Revision::parse(&self.revision)
                .ok_or_else(|| bad("report.revision", &self.revision))?,
            watch: Watch {
                samples: self.samples,
                period: Duration::from_micros(self.period_micros),
                left_out: self.statements_left_out,
                gap: self.gap,
            },
            statements: self.statements.into_iter().map(StatementShape::statement).collect(),
            rewrites: self.rewrites.map(rewrites),
            schema: self.schema.map(diff),
        })
    }
}

impl<T> Known<T> {
    fn of<U>(result: &Result<U, String>, shape: impl Fn(&U) -> T) -> Self {
        match result {
            Ok(known) => Self::Known(shape(known)),
            Err(why) => Self::Unknown(kept(why)),
        }
    }

    fn map<U>(self, value: impl Fn(T) -> U) -> Result<U, String> {
        match self {
            Self::Known(known) => Ok(value(known)),
            Self::Unknown(why) => Err(why),
        }
    }
}

impl StatementShape {
    fn of(statement: &Statement) -> Self {
        Self {
            text: kept(&statement.text),
            times: statement.times,
            micros: micros(statement.took.duration()),
            ended: matches!(statement.took, Took::Exactly(_)),
            waited_micros: micros(statement.waited),
            locks: statement.locks.iter().map(LockShape::of).collect(),
            waits_for: statement.waits_for.as_ref().map(LockShape::of),
        }
    }

    fn statement(self) -> Statement {
        let took = Duration::from_micros(self.micros);
        Statement {
            text: self.text,
            times: self.times,
            took: if self.ended { Took::Exactly(took) } else { Took::AtLeast(took) },
            waited: Duration::from_micros(self.waited_micros),
            locks: self.locks.into_iter().filter_map(LockShape::lock).collect(),
            waits_for: self.waits_for.and_then(LockShape::lock),
        }
    }
}

impl LockShape {
    fn of(lock: &Lock) -> Self {
        Self { relation: kept(&lock.relation), mode: lock.mode.as_str().to_owned() }
    }

    fn lock(self) -> Option<Lock> {
        Some(Lock { relation: self.relation, mode: LockMode::parse(&self.mode)? })
    }
}

impl ChangeShape {
    fn of(change: &SchemaChange) -> Self {
        let (from, to) = match &change.change {
            Change::Added(to) => (None, Some(to)),
            Change::Removed(from) => (Some(from), None),
            Change::Altered { from, to } => (Some(from), Some(to)),
        };
        Self {
            kind: change.kind.as_str().to_owned(),
            name: kept(&change.name),
            from: from.map(|text| kept(text)),
            to: to.map(|text| kept(text)),
        }
    }

    fn change(self) -> Option<SchemaChange> {
        let change = match (self.from, self.to) {
            (None, Some(to)) => Change::Added(to),
            (Some(from), None) => Change::Removed(from),
            (Some(from), Some(to)) => Change::Altered { from, to },
            (None, None) => return None,
        };
        Some(SchemaChange { kind: ObjectKind::parse(&self.kind)?, name: self.name, change })
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
