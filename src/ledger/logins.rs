//! The passwords of a preview's two logins, and whose turn it is.
//!
//! A password is written here before the server hears of it. Refuses to renew the one that is in use:
//! each rotation is the other login's turn.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::leases::{Lease, LeaseLost};
use super::shapes::bad;
use super::{Ledger, LedgerError};
use crate::clock::fresh_password;
use crate::database::{Login, Password};

/// Reads a count of rotations.
pub(super) fn count(row: &PgRow, column: &str) -> Result<u32, LedgerError> {
    let count: i32 = row.try_get(column)?;
    u32::try_from(count).map_err(|_| bad(column, &count.to_string()))
}

/// The password of the login whose turn it is.
pub(super) fn password(row: &PgRow, rotations: u32) -> Result<Password, LedgerError> {
    let login = Login::after(rotations);
    let column = column(login);
    let text: Option<String> = row.try_get(column)?;
    let password = text.as_deref().and_then(Password::parse);
    password.map(|it| it.of(login)).ok_or_else(|| bad(column, "password"))
}

/// Writes so many rotations, and a new password of the login whose turn it is then.
pub(super) async fn renew(
    connection: &mut sqlx::PgConnection,
    id: Uuid,
    rotations: u32,
) -> Result<(), LedgerError> {
    sqlx::query(
        "UPDATE previews SET rotations = $2,
             database_password = CASE WHEN $2 % 2 = 0 THEN $3 ELSE database_password END,
             second_password = CASE WHEN $2 % 2 = 1 THEN $3 ELSE second_password END
         WHERE id = $1",
    )
    .bind(id)
    .bind(i32::try_from(rotations).unwrap_or(i32::MAX))
    .bind(fresh_password().reveal())
    .execute(connection)
    .await?;
    Ok(())
}

fn column(login: Login) -> &'static str {
    match login {
        Login::First => "database_password",
        Login::Second => "second_password",
    }
}

impl Ledger {
    /// Writes that the login before the last rotation is locked. Its password is forgotten too, so that
    /// no other version of this program opens it again with the one that people may know.
    pub async fn login_removed(&self, lease: &Lease) -> Result<Result<(), LeaseLost>, LedgerError> {
        let rotations = lease.preview.memory.overrides.rotations;
        let written = sqlx::query(
            "UPDATE previews SET rotated = $4,
                 database_password = CASE WHEN $4 % 2 = 1 THEN $5 ELSE database_password END,
                 second_password = CASE WHEN $4 % 2 = 0 THEN NULL ELSE second_password END
             WHERE id = $1 AND lease_owner = $2 AND epoch = $3 AND rotations = $4",
        )
        .bind(lease.preview.id)
        .bind(lease.owner)
        .bind(lease.epoch)
        .bind(i32::try_from(rotations).unwrap_or(i32::MAX))
        .bind(fresh_password().reveal())
        .execute(&self.pool)
        .await?;
        Ok(if written.rows_affected() == 1 { Ok(()) } else { Err(LeaseLost) })
    }
}
