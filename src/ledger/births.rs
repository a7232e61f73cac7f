//! What the ledger knows of those that are spoken of, and what one is like that it does not know yet.
//!
//! Only reads. Refuses to say that it will stay so, unless a lock is asked for: whoever writes afterwards
//! says which version of a row was read.

use std::collections::{HashMap, HashSet};

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::LedgerError;
use super::lesson::Heard;
use super::previews::Preview;
use crate::clock::{fresh_id, fresh_password};
use crate::preview::phase::Phase;
use crate::preview::{Memory, PullKey, PullNumber, RepositoryId, Told};

/// What the ledger knows at one instant.
#[derive(Default)]
pub(super) struct Known {
    /// The rows of what is spoken of, each with its `version`.
    pub(super) rows: HashMap<PullKey, PgRow>,
    /// The deliveries that nobody has learned from.
    pub(super) unlearned: HashSet<String>,
}

/// Reads what is known of these pull requests and deliveries. A lock lasts as long as the session's
/// transaction.
pub(super) async fn known(
    session: &mut PgConnection,
    keys: &HashSet<PullKey>,
    deliveries: &[&str],
    lock: bool,
) -> Result<Known, LedgerError> {
    let repositories: Vec<_> = keys.iter().map(|it| it.repository.0).collect();
    let numbers: Vec<_> = keys.iter().map(|it| i64::from(it.number.get())).collect();
    if lock {
        // By itself, so that what was read is as new as what was locked; in the order in which whoever
        // writes does.
        sqlx::query(
            "SELECT id FROM previews
             WHERE (repository_id, number) IN (SELECT * FROM UNNEST($1::bigint[], $2::bigint[]))
             ORDER BY id FOR UPDATE",
        )
        .bind(&repositories)
        .bind(&numbers)
        .execute(&mut *session)
        .await?;
    }
    let rows = sqlx::query(
        "WITH waiting AS (
             SELECT array_agg(delivery_id) AS ids FROM unlearned WHERE delivery_id = ANY($3)),
         spoken_of AS (
             SELECT *, xmin::text AS version FROM previews
             WHERE (repository_id, number) IN (SELECT * FROM UNNEST($1::bigint[], $2::bigint[])))
         SELECT CASE WHEN row_number() OVER () = 1 THEN ids END AS unlearned, spoken_of.*
         FROM waiting LEFT JOIN spoken_of ON true",
    )
    .bind(repositories)
    .bind(numbers)
    .bind(deliveries)
    .fetch_all(session)
    .await?;
    let mut known = Known::default();
    for row in rows {
        // In one of them.
        let unlearned: Option<Vec<String>> = row.try_get("unlearned")?;
        known.unlearned.extend(unlearned.unwrap_or_default());
        // Of none of them there is a row.
        if row.try_get::<Option<uuid::Uuid>, _>("id")?.is_some() {
            known.rows.insert(key_of(&row)?, row);
        }
    }
    Ok(known)
}

fn key_of(row: &PgRow) -> Result<PullKey, LedgerError> {
    let number: i64 = row.try_get("number")?;
    let of =
        PullNumber::new(number).ok_or_else(|| super::shapes::bad("number", &number.to_string()));
    Ok(PullKey { repository: RepositoryId(row.try_get("repository_id")?), number: of? })
}

/// A preview that begins with this.
pub(super) fn birth(one: &Heard) -> Preview {
    let (hint, at) = (&one.hint, one.at);
    let mut memory = Memory::begin(hint.facts.clone(), at);
    let mut told = Told::Never;
    if hint.even_if_closed {
        // Something of it is there, made under a row that is lost: its pull request may have been
        // told, and its workload has a password that nobody knows any more.
        told = Told::Unsure;
        memory.overrides.redeploys = u32::try_from(at.timestamp()).unwrap_or(1);
    }
    Preview {
        id: fresh_id(),
        name: hint.name.clone(),
        repository: hint.repository.clone(),
        memory,
        password: fresh_password(),
        wake_at: Some(at),
        pokes: 0,
        hints: 0,
        failures: 0,
        phase: Phase::Pending,
        conditions: Vec::new(),
        outlook: String::new(),
        last_error: None,
        told,
        expires_at: None,
        going: None,
        receipt: None,
        hosted: Vec::new(),
        created_at: at,
        updated_at: at,
    }
}
