//! The one PostgreSQL server of a test run, and a fresh ledger in it for each test.

use std::sync::atomic::{AtomicU32, Ordering};

use mayfly::demo::postgres::Postgres;
use mayfly::ledger::Ledger;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;

static SERVER: OnceCell<Postgres> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);

/// The server; it stops by itself when this process ends.
pub async fn server() -> &'static Postgres {
    SERVER.get_or_init(|| async { Postgres::start(&std::env::temp_dir()).await.unwrap() }).await
}

/// A number that no other test of this run has.
pub fn unique() -> u32 {
    COUNT.fetch_add(1, Ordering::Relaxed) + 1
}

/// A new, empty database, by its URL.
pub async fn empty_database() -> String {
    let server = server().await;
    let name = format!("test_{}", unique());
    let mut session = PgConnection::connect(&server.url("postgres")).await.unwrap();
    let create = format!("CREATE DATABASE {name} STRATEGY file_copy");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut session).await.unwrap();
    session.close().await.unwrap();
    server.url(&name)
}

/// A new ledger with its schema.
pub async fn ledger() -> Ledger {
    let ledger = Ledger::connect(&empty_database().await, 8).await.unwrap();
    ledger.migrate().await.unwrap();
    ledger
}
