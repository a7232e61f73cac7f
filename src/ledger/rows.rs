//! A row of `previews`, read back into the domain.
//!
//! Refuses to guess: a row that does not have the shape that this version writes is an error of
//! that row, and of no other.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use super::previews::{Going, Preview};
use super::shapes::{ConditionShape, FactsShape, OverridesShape, ReceiptShape, bad, reason};
use super::told::ToldShape;
use super::{LedgerError, logins};
use crate::forge::RepositoryRef;
use crate::preview::desired::Life;
use crate::preview::phase::Phase;
use crate::preview::{
    ComponentName, Memory, Overrides, PreviewName, PullKey, PullNumber, RepositoryId,
};

/// The rows that can be read: one that cannot must not hide the others.
pub(super) fn readable(rows: &[PgRow]) -> Vec<Preview> {
    let logged =
        |error: LedgerError| tracing::error!(%error, "a preview's row cannot be read; left out");
    rows.iter().filter_map(|row| read(row).map_err(logged).ok()).collect()
}

/// Reads a row of `previews`; whatever is wrong with it is a [`LedgerError::Shape`], so that one
/// bad row is not taken for a ledger that does not answer.
pub(super) fn read(row: &PgRow) -> Result<Preview, LedgerError> {
    columns(row).map_err(|error| match error {
        LedgerError::Database(why) => LedgerError::Shape {
            what: row.try_get("name").unwrap_or_else(|_| "previews".to_owned()),
            why: why.to_string(),
        },
        other => other,
    })
}

fn columns(row: &PgRow) -> Result<Preview, LedgerError> {
    let name: String = row.try_get("name")?;
    let repository: String = row.try_get("repository")?;
    let number: i64 = row.try_get("number")?;
    let phase: String = row.try_get("phase")?;
    let (rotations, rotated) = (logins::count(row, "rotations")?, logins::count(row, "rotated")?);
    let key = PullKey {
        repository: RepositoryId(row.try_get("repository_id")?),
        number: PullNumber::new(number).ok_or_else(|| bad("number", &number.to_string()))?,
    };
    let Json(facts): Json<FactsShape> = row.try_get("facts")?;
    let Json(overrides): Json<OverridesShape> = row.try_get("overrides")?;
    let Json(conditions): Json<Vec<ConditionShape>> = row.try_get("conditions")?;
    let Json(told): Json<ToldShape> = row.try_get("told")?;
    let receipt: Option<Json<ReceiptShape>> = row.try_get("receipt")?;
    let going_since: Option<DateTime<Utc>> = row.try_get("going_since")?;
    let going_reason: Option<String> = row.try_get("going_reason")?;
    let going = match (going_since, going_reason) {
        (Some(since), Some(word)) => Some(Going { since, reason: reason(&word)? }),
        _ => None,
    };
    let gone_at: Option<DateTime<Utc>> = row.try_get("gone_at")?;
    let hosted: Vec<String> = row.try_get("hosted")?;
    let failures: i32 = row.try_get("failures")?;
    Ok(Preview {
        id: row.try_get("id")?,
        name: PreviewName::parse(&name).ok_or_else(|| bad("name", &name))?,
        repository: RepositoryRef::parse(&repository)
            .ok_or_else(|| bad("repository", &repository))?,
        memory: Memory {
            facts: facts.facts(key)?,
            life: Life { born_at: row.try_get("born_at")?, active_at: row.try_get("active_at")? },
            overrides: Overrides { rotations, ..overrides.overrides()? },
            hinted_at: row.try_get("hinted_at")?,
            confirmed_at: row.try_get("confirmed_at")?,
            gone: gone_at.is_some() || going_since.is_some(),
            rotated,
        },
        password: logins::password(row, rotations)?,
        wake_at: row.try_get("wake_at")?,
        pokes: row.try_get("pokes")?,
        hints: row.try_get("hints")?,
        failures: u32::try_from(failures).unwrap_or(0),
        phase: Phase::parse(&phase).ok_or_else(|| bad("phase", &phase))?,
        conditions: conditions.into_iter().filter_map(ConditionShape::condition).collect(),
        outlook: row.try_get("outlook")?,
        last_error: row.try_get("last_error")?,
        told: told.told()?,
        expires_at: row.try_get("expires_at")?,
        going,
        receipt: receipt.map(|Json(shape)| shape.receipt()),
        hosted: hosted.iter().filter_map(|name| ComponentName::parse(name).ok()).collect(),
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
