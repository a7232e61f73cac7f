//! Every outside thing that was ever intended, written before it is created.
//!
//! A crash between the two leaves a row that says where to look. Refuses to say whether a thing
//! exists: only the backend knows that.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::leases::{Lease, LeaseLost};
use super::{Ledger, LedgerError};
use crate::preview::{Host, PreviewName, Suffix};

/// A kind of outside thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A namespace and what is in it.
    Namespace,
    /// A database and its role.
    Database,
    /// A route.
    Route,
    /// A DNS record.
    Record,
    /// A comment and a deployment on the forge.
    Notice,
}

impl Kind {
    /// Every kind of what a preview is made of.
    pub const ALL: [Self; 5] =
        [Self::Namespace, Self::Database, Self::Route, Self::Record, Self::Notice];

    /// The kind's name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Database => "database",
            Self::Route => "route",
            Self::Record => "record",
            Self::Notice => "notice",
        }
    }

    /// What a preview's thing of this kind is called.
    pub fn name(self, preview: &PreviewName, suffix: &Suffix) -> String {
        match self {
            Self::Namespace | Self::Notice => preview.namespace(),
            Self::Database => preview.database(),
            Self::Route | Self::Record => preview.host(suffix),
        }
    }
}

/// The names of the components among these.
fn components(hosts: &[Host]) -> Vec<String> {
    hosts.iter().filter_map(|it| Some(it.component.as_ref()?.to_string())).collect()
}

impl Ledger {
    /// Writes the intent to create things, for a pass that still holds its lease: one commit for all.
    pub async fn intend(
        &self,
        lease: &Lease,
        kinds: &[Kind],
        suffix: &Suffix,
        now: DateTime<Utc>,
    ) -> Result<Result<(), LeaseLost>, LedgerError> {
        let name = |kind: &Kind| kind.name(&lease.preview.name, suffix);
        let written = sqlx::query(
            "INSERT INTO resources (preview_id, kind, name, intended_at)
             SELECT id, kind, thing, $5 FROM previews, UNNEST($4::text[], $6::text[]) AS it (kind, thing)
             WHERE id = $1 AND lease_owner = $2 AND epoch = $3
             ON CONFLICT (preview_id, kind) DO UPDATE
                 SET gone_at = NULL, intended_at = EXCLUDED.intended_at",
        )
        .bind(lease.preview.id)
        .bind(lease.owner)
        .bind(lease.epoch)
        .bind(kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>())
        .bind(now)
        .bind(kinds.iter().map(name).collect::<Vec<_>>())
        .execute(&self.pool)
        .await?;
        let all = written.rows_affected() == u64::try_from(kinds.len()).unwrap_or(u64::MAX);
        Ok(if all { Ok(()) } else { Err(LeaseLost) })
    }

    /// Writes down, before they have a record, the hosts of components among these.
    pub async fn intend_hosts(
        &self,
        lease: &Lease,
        hosts: &[Host],
    ) -> Result<Result<(), LeaseLost>, LedgerError> {
        let components = components(hosts);
        let known = |name: &String| lease.preview.hosted.iter().any(|it| it.as_str() == name);
        if components.iter().all(known) {
            return Ok(Ok(()));
        }
        let written = sqlx::query(
            "UPDATE previews SET hosted = ARRAY(SELECT DISTINCT unnest(hosted || $4))
             WHERE id = $1 AND lease_owner = $2 AND epoch = $3",
        )
        .bind(lease.preview.id)
        .bind(lease.owner)
        .bind(lease.epoch)
        .bind(components)
        .execute(&self.pool)
        .await?;
        Ok(if written.rows_affected() == 1 { Ok(()) } else { Err(LeaseLost) })
    }

    /// Writes down hosts of components that were found with a record; whether some were news.
    pub async fn found_hosts(
        &self,
        name: &PreviewName,
        hosts: &[Host],
    ) -> Result<bool, LedgerError> {
        let written = sqlx::query(
            "UPDATE previews SET hosted = ARRAY(SELECT DISTINCT unnest(hosted || $2))
             WHERE name = $1 AND NOT hosted @> $2",
        )
        .bind(name.namespace())
        .bind(components(hosts))
        .execute(&self.pool)
        .await?;
        Ok(written.rows_affected() > 0)
    }

    /// Whether nothing was ever intended for a preview.
    pub async fn intended_nothing(&self, preview_id: Uuid) -> Result<bool, LedgerError> {
        Ok(sqlx::query_scalar("SELECT NOT EXISTS (SELECT FROM resources WHERE preview_id = $1)")
            .bind(preview_id)
            .fetch_one(&self.pool)
            .await?)
    }

    /// What was intended for a preview and not yet seen to be gone, by kind.
    pub async fn intended(&self, preview_id: Uuid) -> Result<Vec<String>, LedgerError> {
        Ok(sqlx::query_scalar(
            "SELECT kind FROM resources WHERE preview_id = $1 AND gone_at IS NULL ORDER BY kind",
        )
        .bind(preview_id)
        .fetch_all(&self.pool)
        .await?)
    }
}
