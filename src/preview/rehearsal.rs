//! The rehearsal report: what a pull request's migrations did to its preview's database.
//!
//! Refuses to claim more than was seen. What was sampled says how often, and what could not be
//! looked at is an `Err` with the reason, never an empty list.

use std::time::Duration;

use super::revision::Revision;

/// A relation lock of PostgreSQL, weakest first: the order of the manual's table of conflicting
/// lock modes (PostgreSQL, "Explicit Locking", 13.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LockMode {
    /// `SELECT`.
    AccessShare,
    /// `SELECT … FOR UPDATE`.
    RowShare,
    /// `INSERT`, `UPDATE`, `DELETE`.
    RowExclusive,
    /// `VACUUM`, `ANALYZE`, `CREATE INDEX CONCURRENTLY`, `VALIDATE CONSTRAINT`.
    ShareUpdateExclusive,
    /// `CREATE INDEX`.
    Share,
    /// `CREATE TRIGGER`, `ADD FOREIGN KEY`.
    ShareRowExclusive,
    /// `REFRESH MATERIALIZED VIEW CONCURRENTLY`.
    Exclusive,
    /// Most of `ALTER TABLE`, `DROP`, `TRUNCATE`, `VACUUM FULL`.
    AccessExclusive,
}

impl LockMode {
    /// Every mode, weakest first.
    pub const ALL: [Self; 8] = [
        Self::AccessShare,
        Self::RowShare,
        Self::RowExclusive,
        Self::ShareUpdateExclusive,
        Self::Share,
        Self::ShareRowExclusive,
        Self::Exclusive,
        Self::AccessExclusive,
    ];

    /// The word of `pg_locks.mode`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessShare => "AccessShareLock",
            Self::RowShare => "RowShareLock",
            Self::RowExclusive => "RowExclusiveLock",
            Self::ShareUpdateExclusive => "ShareUpdateExclusiveLock",
            Self::Share => "ShareLock",
            Self::ShareRowExclusive => "ShareRowExclusiveLock",
            Self::Exclusive => "ExclusiveLock",
            Self::AccessExclusive => "AccessExclusiveLock",
        }
    }

    /// Reads that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == word)
    }

    /// Whether others cannot write while it is held: it conflicts with `RowExclusive`.
    pub fn stops_writes(self) -> bool {
        self >= Self::Share
    }

    /// Whether others cannot even read while it is held: it conflicts with `AccessShare`.
    pub fn stops_reads(self) -> bool {
        self == Self::AccessExclusive
    }
}

/// How long something took, by the database server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// Its end was seen.
    Exactly(Duration),
    /// Its end was not seen: it was still running when it was last looked at.
    AtLeast(Duration),
}

impl Took {
    /// The duration, exact or not.
    pub fn duration(self) -> Duration {
        match self {
            Self::Exactly(duration) | Self::AtLeast(duration) => duration,
        }
    }
}

/// A lock that a statement was seen to hold, or to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The table or index, with its schema.
    pub relation: String,
    /// How strong.
    pub mode: LockMode,
}

/// One message that the migrations sent to the server. A tool that sends a whole file in one
/// message has one of these for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its text, cut to a bound, without the contents of its literals.
    pub text: String,
    /// How often it was seen in a row in one session: the same text again is the same line.
    pub times: u32,
    /// How long it took, all times together.
    pub took: Took,
    /// How long it was seen to wait for a lock.
    pub waited: Duration,
    /// The strongest lock that it was first seen with on each relation that was there before the
    /// migrations, strongest first. Locks last until the transaction ends.
    pub locks: Vec<Lock>,
    /// The strongest lock that it was seen to wait for and was not yet given.
    pub waits_for: Option<Lock>,
}

impl Statement {
    /// The strongest lock that it was seen with, and on what.
    pub fn strongest(&self) -> Option<&Lock> {
        self.locks.first()
    }
}

/// How closely the migrations were watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// How many times was looked.
    pub samples: u32,
    /// How far apart at best: what was shorter may have been missed.
    pub period: Duration,
    /// How many statements are not listed, since there were too many.
    pub left_out: u32,
    /// Why nobody looked for some or all of the time.
    pub gap: Option<String>,
}

/// Since when changes of storage are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The start of these migrations.
    Start,
    /// The clone of the seed: earlier migrations of this preview count too.
    Clone,
}

/// What has new files on disk, by exact comparison (`pg_class.relfilenode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrites {
    /// Since when.
    pub since: Since,
    /// Tables that were rewritten, or truncated or clustered, which looks the same.
    pub tables: Vec<String>,
    /// Indexes that were built again; those of a rewritten table are among them.
    pub indexes: Vec<String>,
}

/// What kind of thing a schema has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// An extension.
    Extension,
    /// A schema.
    Schema,
    /// An enum, domain, composite or range type.
    Type,
    /// A sequence that is not an identity column's.
    Sequence,
    /// A table.
    Table,
    /// A table's column.
    Column,
    /// A constraint of a table or domain.
    Constraint,
    /// An index that is no constraint's.
    Index,
    /// A view or materialized view.
    View,
    /// A function, procedure or aggregate.
    Function,
    /// A trigger.
    Trigger,
    /// A row security policy.
    Policy,
}

impl ObjectKind {
    /// Every kind, in the order of a diff.
    pub const ALL: [Self; 12] = [
        Self::Extension,
        Self::Schema,
        Self::Type,
        Self::Sequence,
        Self::Table,
        Self::Column,
        Self::Constraint,
        Self::Index,
        Self::View,
        Self::Function,
        Self::Trigger,
        Self::Policy,
    ];

    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Extension => "extension",
            Self::Schema => "schema",
            Self::Type => "type",
            Self::Sequence => "sequence",
            Self::Table => "table",
            Self::Column => "column",
            Self::Constraint => "constraint",
            Self::Index => "index",
            Self::View => "view",
            Self::Function => "function",
            Self::Trigger => "trigger",
            Self::Policy => "policy",
        }
    }

    /// Reads that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What became of an object's definition, as PostgreSQL writes it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added(String),
    /// It is gone.
    Removed(String),
    /// It is another.
    Altered {
        /// The seed's.
        from: String,
        /// The preview's.
        to: String,
    },
}

/// One difference between the seed's schema and the preview's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaChange {
    /// Of what kind of object.
    pub kind: ObjectKind,
    /// Its name with its schema, and its table's where it has one.
    pub name: String,
    /// What became of it.
    pub change: Change,
}

/// What the preview's schema has otherwise than its seed's, ordered by kind and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaDiff {
    /// The changes.
    pub changes: Vec<SchemaChange>,
    /// How many more there are than are listed.
    pub left_out: usize,
}

/// What the migrations of one revision did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose migrations.
    pub revision: Revision,
    /// How closely they were watched.
    pub watch: Watch,
    /// What they sent, in the order in which it was first seen.
    pub statements: Vec<Statement>,
    /// What was rewritten, or why that is not known.
    pub rewrites: Result<Rewrites, String>,
    /// What the schema has otherwise than the seed's, or why that is not known.
    pub schema: Result<SchemaDiff, String>,
}

impl Report {
    /// Whether something is missing that could have been seen. Even a whole report may lack
    /// statements that were shorter than [`Watch::period`].
    pub fn is_partial(&self) -> bool {
        let cut = self.watch.left_out > 0 || self.watch.gap.is_some();
        let cut_diff = self.schema.as_ref().is_ok_and(|diff| diff.left_out > 0);
        cut || cut_diff || self.rewrites.is_err() || self.schema.is_err()
    }
}
