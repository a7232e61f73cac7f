//! The ledger's schema: from nothing to the newest, step by step over rows of every table, by two
//! at once, and under a program that is older than it.

mod samples;

use std::time::Duration;

use mayfly::ledger::{Ledger, LedgerError, migrator};
use sqlx::migrate::Migrate;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::world::postgres::empty_database;
use crate::world::wait::until;

async fn connect() -> Ledger {
    Ledger::connect(&empty_database().await, 4).await.unwrap()
}

async fn run(ledger: &Ledger, sql: &str) -> Result<u64, sqlx::Error> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(ledger.pool()).await?;
    Ok(done.rows_affected())
}

/// The tables of the ledger that are there, without the migrator's own.
async fn tables(session: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT tablename::text FROM pg_tables
         WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations' ORDER BY 1",
    )
    .fetch_all(session)
    .await
    .unwrap()
}

async fn count(session: &mut PgConnection, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(session).await.unwrap()
}

#[tokio::test]
async fn an_empty_database_becomes_the_newest_schema_and_says_so() {
    let ledger = connect().await;
    assert!(!ledger.is_migrated().await.unwrap(), "nothing is there yet");
    ledger.migrate().await.unwrap();
    assert!(ledger.is_migrated().await.unwrap());
    assert!(
        ledger.brake().await.unwrap().engaged_at.is_none(),
        "the one row of the brake is there"
    );
}

#[tokio::test]
async fn migrating_again_changes_nothing_that_is_there() {
    let ledger = connect().await;
    ledger.migrate().await.unwrap();
    ledger
        .engage_brake(mayfly::clock::Clock::now(&mayfly::clock::ServerClock::default()))
        .await
        .unwrap();
    let before = ledger.brake().await.unwrap();
    ledger.migrate().await.unwrap();
    assert_eq!(ledger.brake().await.unwrap(), before);
    assert!(ledger.is_migrated().await.unwrap());
}

#[tokio::test]
async fn replicas_that_migrate_at_once_all_succeed() {
    let url = empty_database().await;
    let replica = async || {
        let ledger = Ledger::connect(&url, 2).await.unwrap();
        ledger.migrate().await.unwrap();
        ledger.is_migrated().await.unwrap()
    };
    let (a, b, c) = tokio::join!(replica(), replica(), replica());
    assert!(a && b && c);
}

#[tokio::test]
async fn every_migration_is_applied_over_rows_in_every_table_that_was_there_before() {
    let mut session = PgConnection::connect(&empty_database().await).await.unwrap();
    let migrator = migrator();
    let table = &migrator.table_name;
    session.ensure_migrations_table(table).await.unwrap();
    let mut kept: Vec<(String, i64)> = Vec::new();
    for migration in migrator.iter() {
        let version = migration.version;
        session.apply(table, migration).await.unwrap();
        for (name, before) in &kept {
            let after = count(&mut session, name).await;
            assert!(after >= *before, "migration {version} lost rows of {name}");
        }
        let sample = samples::after(version)
            .unwrap_or_else(|| panic!("migration {version} has no sample rows: add them"));
        sqlx::raw_sql(sample).execute(&mut session).await.unwrap();
        kept.clear();
        for name in tables(&mut session).await {
            let rows = count(&mut session, &name).await;
            assert!(rows > 0, "after migration {version}, {name} has no sample row: add one");
            kept.push((name, rows));
        }
    }
    assert!(!kept.is_empty());
}

#[tokio::test]
async fn the_sample_rows_of_every_step_can_be_read_by_this_version() {
    let ledger = connect().await;
    ledger.migrate().await.unwrap();
    for migration in migrator().iter() {
        run(&ledger, samples::after(migration.version).unwrap()).await.unwrap();
    }
    let filter = mayfly::ledger::Filter { limit: 100, ..Default::default() };
    let previews = ledger.previews(&filter).await.unwrap();
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM previews").fetch_one(ledger.pool()).await.unwrap();
    assert_eq!(previews.len() as i64, rows);
}

#[tokio::test]
async fn a_schema_that_is_newer_than_the_program_is_served_all_the_same() {
    let ledger = connect().await;
    ledger.migrate().await.unwrap();
    run(
        &ledger,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'of the next version', true, '\\x00', 1);
         ALTER TABLE previews ADD COLUMN of_the_next_version text NOT NULL DEFAULT 'new'",
    )
    .await
    .unwrap();
    assert!(ledger.is_migrated().await.unwrap());
    ledger.migrate().await.unwrap();
    let world = crate::world::World::with(mayfly::reconcile::Limits::default(), ledger).await;
    world.open(7, 'a').await;
    world.settle().await;
    assert!(world.serves(7, 'a'));
}

#[tokio::test]
async fn a_schema_that_is_older_than_the_program_is_not_taken_for_migrated() {
    let ledger = connect().await;
    ledger.migrate().await.unwrap();
    let newest = migrator().iter().map(|migration| migration.version).max().unwrap();
    run(&ledger, &format!("DELETE FROM _sqlx_migrations WHERE version = {newest}")).await.unwrap();
    assert!(!ledger.is_migrated().await.unwrap());
    run(&ledger, "DELETE FROM _sqlx_migrations").await.unwrap();
    assert!(!ledger.is_migrated().await.unwrap());
}

#[tokio::test]
async fn a_migration_that_was_edited_after_it_was_applied_is_refused() {
    let ledger = connect().await;
    ledger.migrate().await.unwrap();
    run(&ledger, "UPDATE _sqlx_migrations SET checksum = '\\x00'").await.unwrap();
    let error = ledger.migrate().await.unwrap_err().to_string();
    assert!(error.contains("has been modified"), "{error}");
}

#[tokio::test]
async fn the_journal_can_be_written_and_never_rewritten() {
    let ledger = connect().await;
    ledger.migrate().await.unwrap();
    let now = mayfly::clock::Clock::now(&mayfly::clock::ServerClock::default());
    ledger.note(None, "ada", "release_brake", "", now).await.unwrap();
    for sql in [
        "UPDATE journal SET actor = 'somebody else'",
        "DELETE FROM journal",
        "DELETE FROM journal WHERE false",
        "TRUNCATE journal",
        "TRUNCATE previews CASCADE",
    ] {
        let error = run(&ledger, sql).await.expect_err(sql).to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    let mut session = ledger.pool().acquire().await.unwrap();
    assert_eq!(count(&mut session, "journal").await, 1);
}

#[tokio::test]
async fn a_migrator_that_hangs_elsewhere_is_waited_for_a_bounded_time_and_named() {
    let ledger = connect().await;
    let mut other = ledger.pool().acquire().await.unwrap();
    other.lock().await.unwrap();
    let error = ledger.migrate_within(Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, LedgerError::MigrationLocked(_)), "{error:?}");
    assert!(error.to_string().contains("another replica"), "{error}");
    other.unlock().await.unwrap();
    ledger.migrate_within(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_migrator_waits_for_another_one_and_then_goes_on() {
    let url = empty_database().await;
    let mut other = PgConnection::connect(&url).await.unwrap();
    other.lock().await.unwrap();
    let ledger = Ledger::connect(&url, 2).await.unwrap();
    let done = async {
        until("it waits for the lock", async || {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
                 WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()",
            )
            .fetch_one(&mut other)
            .await
            .unwrap();
            waiting == 1
        })
        .await;
        other.unlock().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(ledger.migrate(), done);
    outcome.unwrap();
    assert!(ledger.is_migrated().await.unwrap());
}

#[tokio::test]
async fn what_goes_wrong_when_connecting_shows_no_password() {
    for url in [
        "postgres://mayfly:hush@127.0.0.1:1/none",
        "postgres://mayfly:hush@127.0.0.1:port/none",
        "postgres://mayfly:hush@/none?sslmode=perhaps",
    ] {
        let connecting = Ledger::connect(url, 1);
        let outcome = tokio::time::timeout(Duration::from_secs(15), connecting).await.unwrap();
        let error = outcome.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
}

#[tokio::test]
async fn every_head_that_a_pull_request_ever_had_is_noted_whoever_writes_it() {
    let world = crate::world::World::new().await;
    world.open(7, 'a').await;
    let id = world.preview(7).await.id;
    for digit in ['b', 'c', 'a'] {
        world.push(7, digit).await;
    }
    // As the version before writes it.
    let sql = format!(
        "UPDATE previews SET facts = jsonb_set(facts, '{{head}}', '\"{}\"')",
        crate::world::sha('d')
    );
    run(&world.ledger, &sql).await.unwrap();
    for (digit, was) in [('a', true), ('b', true), ('c', true), ('d', true), ('e', false)] {
        let sha = crate::world::sha(digit);
        assert_eq!(world.ledger.was_head(id, &sha).await.unwrap(), was, "{digit}");
    }
}
