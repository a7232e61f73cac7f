//! Migrations from a push to the report with nothing pretended between: the loop, this machine's cluster,
//! a real PostgreSQL, and a real program that migrates.

use std::sync::Arc;

use async_trait::async_trait;
use mayfly::clock::{Clock, ServerClock};
use mayfly::database::seed::SeedFile;
use mayfly::database::{Databases, Seed};
use mayfly::preview::rehearsal::{Change, LockMode, ObjectKind};
use mayfly::preview::{Notice, Phase};
use mayfly::reconcile::{Limits, Pacing, Reconciler, Seams};
use mayfly::visit::{Visit, Visitor};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::contracts::database::{Administrator, Place};
use crate::world::wait::within;
use crate::world::{World, number, repository, sha};

const PATIENCE: Duration = Duration::from_secs(90);

/// Whatever is led to is served: the proxy is another test's.
struct Believer;

#[async_trait]
impl Visitor for Believer {
    async fn observe(&self, _: Visit<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// What each commit migrates.
fn scripts(directory: &std::path::Path) {
    for (digit, sql) in [
        (
            'a',
            "ALTER TABLE items ADD COLUMN note text;
             ALTER TABLE items ALTER COLUMN price TYPE bigint;
             SELECT pg_sleep(0.3);",
        ),
        ('b', "ALTER TABLE items ADD COLUMN note text;"),
        ('c', "SELECT pg_sleep(600);"),
        ('d', "ALTER TABLE items DROP COLUMN note;"),
    ] {
        let commit = digit.to_string().repeat(40);
        std::fs::write(directory.join(format!("{commit}.sql")), sql).unwrap();
    }
}

#[tokio::test]
async fn migrations_of_each_push_run_on_a_real_database_and_the_last_good_commit_serves() {
    if std::process::Command::new("psql").arg("--version").output().is_err() {
        println!("skipped: psql is not on PATH");
        return;
    }
    let (machine, place) = (Machine::new(), Place::new(Administrator::Superuser).await);
    let sql = "CREATE TABLE items (id int PRIMARY KEY, price int);
               INSERT INTO items SELECT n, n FROM generate_series(1, 2000) n;";
    let directory = tempfile::tempdir().unwrap();
    scripts(directory.path());
    let mut repository = repository();
    repository.seed =
        Seed::new(vec![SeedFile { path: "001.sql".to_owned(), sql: sql.to_owned() }], &[]).unwrap();
    let scripts = directory.path().to_str().unwrap().to_owned();
    let psql = r#"psql -v ON_ERROR_STOP=1 "$DATABASE_URL" -f "$SCRIPTS/$COMMIT_SHA.sql""#;
    repository.shape = Shape {
        env: vec![("SCRIPTS".to_owned(), scripts)],
        pod: PodShape::default(),
        ..migrating(&["/bin/sh", "-c", psql])
    };
    repository.shape.migrations.as_mut().unwrap().timeout = Duration::from_secs(8);

    let mut world = World::new().await;
    world.configure(repository);
    world.clock.set(ServerClock::default().now());
    let databases = Arc::new(place.databases);
    let seams = Seams {
        cluster: Arc::new(machine.cluster.clone()),
        databases: databases.clone(),
        rehearsals: databases.clone(),
        visitor: Arc::new(Believer),
        ..world.reconciler.seams.clone()
    };
    let given = &world.reconciler;
    let reconciler = Arc::new(Reconciler {
        ledger: given.ledger.clone(),
        seams,
        repositories: given.repositories.clone(),
        renderer: crate::world::renderer(),
        site: given.site.clone(),
        clock: Arc::new(ServerClock::default()),
        pacing: Pacing { wait_max_milliseconds: 500, ..Pacing::default() },
        limits: Limits { poll: Duration::from_millis(100), ..Limits::default() },
        metrics: Default::default(),
        wake: Arc::default(),
        recorded: Default::default(),
        room: Default::default(),
        replica: given.replica,
    });
    let stop = CancellationToken::new();
    let running = tokio::spawn(reconciler.run(stop.clone()));

    let n = place_number(&place.config);
    let name = crate::world::pr(n);
    world.open(n, 'a').await;
    within(PATIENCE, "it is ready", async || world.phase(n).await == Phase::Ready).await;
    let preview = world.preview(n).await;
    let newest = async || world.ledger.newest_rehearsal(preview.id).await.unwrap().unwrap().1;
    let first = newest().await;
    assert_eq!(first.ended, Ended::Done);
    let report = &first.report;
    assert_eq!(report.revision.commit, sha('a'));
    assert!(!report.is_partial(), "{report:#?}");
    assert_eq!(report.rewrites.as_ref().unwrap().tables, ["public.items"]);
    let added = report.schema.as_ref().unwrap().changes.iter().any(|it| {
        it.kind == ObjectKind::Column
            && it.name == "public.items.note"
            && matches!(it.change, Change::Added(_))
    });
    assert!(added, "{report:#?}");
    let slept = report.statements.iter().find(|it| it.text.contains("pg_sleep")).expect("seen");
    // Its end may have been its session's, which is seen a look later or not at all.
    assert!(slept.took.duration() >= Duration::from_millis(100), "{slept:?}");
    let strongest = report.statements.iter().filter_map(|it| it.strongest()).map(|it| it.mode);
    assert!(strongest.max().is_none_or(|mode| mode == LockMode::AccessExclusive), "{report:#?}");

    // One that fails, and then one that hangs: the first commit serves on, and nothing is lost.
    for (digit, told, shown) in [
        ('b', "exit code 3", "column \"note\" of relation \"items\" already exists"),
        ('c', "did not end within 8s", "workload.migrations.timeout"),
    ] {
        world.push(n, digit).await;
        within(PATIENCE, "it is told that it fails", async || {
            let said = world.forge.comment(number(n)).unwrap().notice;
            matches!(said, Notice::Failing { commit, why, serves }
                if commit == sha(digit) && why.contains(told) && serves == Some(sha('a')))
        })
        .await;
        within(PATIENCE, "its condition says why", async || {
            let conditions = world.preview(n).await.conditions;
            conditions.iter().any(|it| it.message.contains(shown))
        })
        .await;
        assert_eq!(routed(&machine.cluster, &name).await.unwrap().commit, sha('a'));
        let Ended::Failed { why, .. } = newest().await.ended else { panic!("it failed") };
        assert!(why.contains(told), "{why}");
    }
    let url = databases.url(&name, &preview.password);
    let mut session = PgConnection::connect(&url).await.unwrap();
    let rows: i64 = sqlx::query_scalar("SELECT count(note IS NULL) FROM items")
        .fetch_one(&mut session)
        .await
        .unwrap();
    assert_eq!(rows, 2000);
    session.close().await.unwrap();

    // The push that mends it is served, and closing leaves nothing.
    world.push(n, 'd').await;
    within(PATIENCE, "the cure is served", async || {
        routed(&machine.cluster, &name).await.is_some_and(|it| it.commit == sha('d'))
    })
    .await;
    world.close(n, 'd').await;
    within(PATIENCE, "it is gone", async || world.phase(n).await == Phase::Gone).await;
    assert_eq!(machine.processes(&name), [0; 0]);
    stop.cancel();
    running.await.unwrap();
}

/// A number whose database no other test of the shared server has.
fn place_number(config: &mayfly::database::postgres::PostgresConfig) -> u32 {
    let unique: u32 = config.instance.trim_start_matches('t').parse().unwrap();
    unique * 1000 + 1
}
