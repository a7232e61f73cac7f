//! API tokens: who may ask for what.
//!
//! Refuses to keep a token: only its SHA-256 is here, so that reading the ledger gives no access.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::shapes::bad;
use super::{Ledger, LedgerError};

/// What a token may do. Each role may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Viewer,
    /// Extend, pin, stop, start, redeploy, reset data, approve.
    Operator,
    /// Delete, release the brake.
    Admin,
}

impl Role {
    /// The role's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Reads [`Role::as_str`] back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|r| r.as_str() == text)
    }
}

/// Who a valid token belongs to.
#[derive(Clone, Debug)]
pub struct TokenInfo {
    /// The name under which its deeds are in the journal.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl Ledger {
    /// Keeps the hash of a new token.
    pub async fn add_token(
        &self,
        id: Uuid,
        name: &str,
        role: Role,
        token: &str,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        sqlx::query(
            "INSERT INTO tokens (id, name, role, hash, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id)
        .bind(name)
        .bind(role.as_str())
        .bind(hash(token).as_slice())
        .bind(now)
        .bind(expires_at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Who this token belongs to; `None` for one that is unknown, expired or revoked.
    pub async fn token(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<TokenInfo>, LedgerError> {
        let wanted = hash(token);
        let row: Option<(Vec<u8>, String, String)> = sqlx::query_as(
            "SELECT hash, name, role FROM tokens
             WHERE hash = $1 AND expires_at > $2 AND revoked_at IS NULL",
        )
        .bind(wanted.as_slice())
        .bind(now)
        .fetch_optional(&self.pool)
        .await?;
        let Some((kept, name, role)) = row else { return Ok(None) };
        if !bool::from(kept.as_slice().ct_eq(&wanted)) {
            return Ok(None);
        }
        let role = Role::parse(&role).ok_or_else(|| bad("role", &role))?;
        Ok(Some(TokenInfo { name, role }))
    }

    /// Revokes every token of this name; how many there were.
    pub async fn revoke_tokens(&self, name: &str, now: DateTime<Utc>) -> Result<u64, LedgerError> {
        let revoked =
            sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE name = $1 AND revoked_at IS NULL")
                .bind(name)
                .bind(now)
                .execute(&self.pool)
                .await?;
        Ok(revoked.rows_affected())
    }
}
