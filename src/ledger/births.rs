//! The rows that are spoken of: found and locked, or begun; and the deliveries, crossed off.
//!
//! Refuses to begin a second row for one pull request, and to give a name that another one has.

use std::collections::{HashMap, HashSet};

use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::LedgerError;
use super::learn::Heard;
use super::shapes::{FactsShape, OverridesShape, storable};
use super::told::ToldShape;
use crate::clock::{fresh_id, fresh_password};
use crate::preview::{Memory, PullKey, PullNumber, RepositoryId, Told};

/// What the ledger knows of those that are spoken of.
#[derive(Default)]
pub(super) struct Known {
    /// Their rows, locked; and, of those that began just now, which of the hints did that.
    pub(super) rows: HashMap<PullKey, (PgRow, Option<usize>)>,
    /// The deliveries that nobody had learned from, which are crossed off.
    pub(super) taken: HashSet<String>,
}

/// Finds and locks the rows of all that was heard, and begins those that are not there yet.
pub(super) async fn known(
    connection: &mut PgConnection,
    heard: &[Heard],
) -> Result<Known, LedgerError> {
    let mut known = Known::default();
    known.find(connection, heard).await?;
    let unknown = known.unknown(heard);
    if unknown.is_empty() {
        return Ok(known);
    }
    let begun = begin(connection, &unknown).await?;
    let all_begun = begun.len() == unknown.len();
    for row in begun {
        let key = key_of(&row)?;
        let born_of = unknown.iter().find(|(_, one)| one.hint.facts.key == key);
        known.rows.insert(key, (row, born_of.map(|(at, _)| *at)));
    }
    // Two first deliveries can race: the loser finds the winner's row.
    if !all_begun {
        known.find(connection, heard).await?;
    }
    Ok(known)
}

impl Known {
    /// Locks in the order of their ids, so that two that learn at once wait for each other and no more.
    async fn find(
        &mut self,
        connection: &mut PgConnection,
        heard: &[Heard],
    ) -> Result<(), LedgerError> {
        let of = heard.iter().map(|it| it.hint.facts.key);
        let keys: Vec<_> = of.filter(|key| !self.rows.contains_key(key)).collect();
        let rows = sqlx::query(
            "WITH taken AS (
                 DELETE FROM unlearned WHERE delivery_id = ANY($3) RETURNING delivery_id),
             spoken_of AS (
                 SELECT * FROM previews
                 WHERE (repository_id, number) IN (SELECT * FROM UNNEST($1::bigint[], $2::bigint[]))
                 ORDER BY id FOR UPDATE)
             SELECT spoken_of.*, taken FROM (SELECT array_agg(delivery_id) AS taken FROM taken) it
             LEFT JOIN spoken_of ON true",
        )
        .bind(keys.iter().map(|it| it.repository.0).collect::<Vec<_>>())
        .bind(keys.iter().map(|it| i64::from(it.number.get())).collect::<Vec<_>>())
        .bind(heard.iter().filter_map(|it| it.delivery.as_deref()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
        for (at, row) in rows.into_iter().enumerate() {
            if at == 0 {
                self.taken
                    .extend(row.try_get::<Option<Vec<String>>, _>("taken")?.unwrap_or_default());
            }
            // Of none of them there is a row.
            if row.try_get::<Option<uuid::Uuid>, _>("id")?.is_none() {
                continue;
            }
            self.rows.insert(key_of(&row)?, (row, None));
        }
        Ok(())
    }

    /// The first hint of each that is not known, and that makes a preview begin.
    fn unknown<'a>(&self, heard: &'a [Heard]) -> Vec<(usize, &'a Heard)> {
        let mut first: HashMap<PullKey, (usize, &Heard)> = HashMap::new();
        for (at, one) in heard.iter().enumerate() {
            let key = one.hint.facts.key;
            if one.hint.begins() && !self.rows.contains_key(&key) {
                first.entry(key).or_insert((at, one));
            }
        }
        let mut first: Vec<_> = first.into_values().collect();
        // Whoever begins the same ones at once meets us in the same order.
        first.sort_by_key(|(_, one)| {
            let key = one.hint.facts.key;
            (key.repository.0, key.number.get())
        });
        first
    }
}

fn key_of(row: &PgRow) -> Result<PullKey, LedgerError> {
    let number: i64 = row.try_get("number")?;
    let of =
        PullNumber::new(number).ok_or_else(|| super::shapes::bad("number", &number.to_string()));
    Ok(PullKey { repository: RepositoryId(row.try_get("repository_id")?), number: of? })
}

/// Begins rows; those that were begun.
async fn begin(
    connection: &mut PgConnection,
    unknown: &[(usize, &Heard)],
) -> Result<Vec<PgRow>, LedgerError> {
    let born: Vec<_> = unknown.iter().map(|(_, one)| (*one, birth(one))).collect();
    let rows = sqlx::query(
        "INSERT INTO previews (id, name, repository_id, repository, number, author, facts,
             overrides, hinted_at, born_at, active_at, database_password, wake_at, created_at,
             updated_at, told)
         SELECT id, name, repository_id, repository, number, author, facts, overrides, at, at, at,
             password, at, at, at, told
         FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[],
             $7::jsonb[], $8::jsonb[], $9::timestamptz[], $10::text[], $11::jsonb[])
             AS born(id, name, repository_id, repository, number, author, facts, overrides, at,
                     password, told)
         ON CONFLICT DO NOTHING RETURNING *",
    )
    .bind(born.iter().map(|_| fresh_id()).collect::<Vec<_>>())
    .bind(born.iter().map(|(one, _)| one.hint.name.namespace()).collect::<Vec<_>>())
    .bind(born.iter().map(|(one, _)| one.hint.facts.key.repository.0).collect::<Vec<_>>())
    .bind(born.iter().map(|(one, _)| one.hint.repository.full_name()).collect::<Vec<_>>())
    .bind(
        born.iter().map(|(one, _)| i64::from(one.hint.facts.key.number.get())).collect::<Vec<_>>(),
    )
    .bind(born.iter().map(|(one, _)| storable(&one.hint.facts.author)).collect::<Vec<_>>())
    .bind(
        born.iter().map(|(_, (memory, _))| Json(FactsShape::of(&memory.facts))).collect::<Vec<_>>(),
    )
    .bind(
        born.iter()
            .map(|(_, (memory, _))| Json(OverridesShape::of(&memory.overrides)))
            .collect::<Vec<_>>(),
    )
    .bind(born.iter().map(|(one, _)| one.at).collect::<Vec<_>>())
    .bind(born.iter().map(|_| fresh_password().reveal().to_owned()).collect::<Vec<_>>())
    .bind(born.iter().map(|(_, (_, told))| Json(ToldShape::of(told))).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// What is remembered of one that begins.
fn birth(one: &Heard) -> (Memory, Told) {
    let mut memory = Memory::begin(one.hint.facts.clone(), one.at);
    let mut told = Told::Never;
    if one.hint.even_if_closed {
        // Something of it is there, made under a row that is lost: its pull request may have been
        // told, and its workload has a password that nobody knows any more.
        told = Told::Unsure;
        memory.overrides.redeploys = u32::try_from(one.at.timestamp()).unwrap_or(1);
    }
    (memory, told)
}
