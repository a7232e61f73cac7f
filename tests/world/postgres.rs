//! The one PostgreSQL server of a test run, and a fresh ledger in it for each test.

use std::sync::atomic::{AtomicU32, Ordering};

use mayfly::demo::postgres::Postgres;
use mayfly::ledger::Ledger;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;

static SERVER: OnceCell<Postgres> = OnceCell::const_new();
static MIGRATED: OnceCell<String> = OnceCell::const_new();
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
    create("template0").await
}

/// A new ledger with its schema.
pub async fn ledger() -> Ledger {
    // Migrated once, then cloned: most tests are not about migrations.
    let migrated = MIGRATED
        .get_or_init(|| async {
            let url = empty_database().await;
            let ledger = Ledger::connect(&url, 1).await.unwrap();
            ledger.migrate().await.unwrap();
            ledger.close().await;
            url.rsplit_once('/').unwrap().1.to_owned()
        })
        .await;
    Ledger::connect(&create(migrated).await, 8).await.unwrap()
}

async fn create(template: &str) -> String {
    let server = server().await;
    let name = format!("test_{}", unique());
    let mut session = PgConnection::connect(&server.url("postgres")).await.unwrap();
    let create = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut session).await.unwrap();
    session.close().await.unwrap();
    server.url(&name)
}
