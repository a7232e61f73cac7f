//! The queue: who may look at which preview, what becomes of a pass that lost its right to, and
//! what comes in while a pass is under way.

mod claims;
mod learning;
mod passes;
mod wakeups;

use mayfly::ledger::{Findings, Lease, Ledger};
use sqlx::Row;

use crate::world::{World, pr};

/// Findings that say what was there before.
fn as_before(lease: &Lease) -> Findings {
    let preview = &lease.preview;
    Findings {
        memory: preview.memory.clone(),
        phase: preview.phase,
        conditions: preview.conditions.clone(),
        outlook: preview.outlook.clone(),
        error: None,
        told: None,
        deeds: Vec::new(),
        expires_at: preview.expires_at,
        going: None,
        receipt: None,
        wake_at: None,
        failures: 0,
    }
}

/// Everything that the ledger holds, as text.
async fn everything(ledger: &Ledger) -> String {
    let rows = sqlx::query(
        "SELECT to_jsonb(p)::text FROM previews p UNION ALL SELECT to_jsonb(j)::text FROM journal j
         UNION ALL SELECT to_jsonb(r)::text FROM resources r ORDER BY 1",
    )
    .fetch_all(ledger.pool())
    .await
    .unwrap();
    rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect()
}

/// How many rows are leased.
async fn leased(ledger: &Ledger) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM previews WHERE lease_owner IS NOT NULL")
        .fetch_one(ledger.pool())
        .await
        .unwrap()
}

/// Makes a row unreadable, as a version with other shapes might.
async fn corrupt(world: &World, n: u32) {
    sqlx::query("UPDATE previews SET facts = '{\"state\": 7}' WHERE name = $1")
        .bind(pr(n).namespace())
        .execute(world.ledger.pool())
        .await
        .unwrap();
}
