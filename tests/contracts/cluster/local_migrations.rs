//! What only the local adapter promises of migrations: they end, whoever dies meanwhile, and say how.

use std::fs;
use std::time::Instant;

use mayfly::cluster::local::LocalCluster;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection};

use super::*;
use crate::world::postgres::empty_database;
use crate::world::wait::soon;

/// An order whose migrations are this script.
fn script(digit: char, text: &str, timeout: Duration) -> WorkloadOrder {
    let mut order = migration(&revision(digit), migrating(&["/bin/sh", "-c", text]));
    order.shape.migrations.as_mut().unwrap().timeout = timeout;
    order
}

const LONG: Duration = Duration::from_secs(600);

/// Waits for the file `go` of the namespace.
const WAIT: &str = "while [ ! -e \"$MAYFLY_NAMESPACE/go\" ]; do sleep 0.02; done";

async fn begin(machine: &Machine, order: &WorkloadOrder) {
    machine.cluster.ensure_namespace(&name(7), &order.shape, &Default::default()).await.unwrap();
    migrate(&machine.cluster, &name(7), order).await;
}

async fn failed(cluster: &LocalCluster, order: &WorkloadOrder) -> (String, String) {
    match until_migrated(cluster, &name(7), order).await {
        Ended::Failed { why, log } => (why, log),
        Ended::Done => panic!("they did not fail"),
    }
}

#[tokio::test]
async fn migrations_that_fail_say_with_which_code_and_their_last_lines() {
    let mut machine = Machine::new();
    let text = "echo connecting to $DATABASE_URL; echo column exists >&2; exit 3";
    let mut order = script('a', text, LONG);
    order.env.push(("DATABASE_URL".to_owned(), "postgres://pr_7:hunter2@db/pr_7".to_owned()));
    begin(&machine, &order).await;
    assert_eq!(
        soon("a change is told", machine.changes.recv()).await,
        Some(name(7)),
        "an end asks for a look"
    );
    let (why, log) = failed(&machine.cluster, &order).await;
    let told = "its migrations failed: exit code 3; a new commit or a redeploy runs them again";
    assert_eq!(why, told);
    assert_eq!(log, "connecting to postgres://pr_7:***@db/pr_7\ncolumn exists");
    // Not again, until another revision is wanted.
    assert_eq!(machine.cluster.ensure_migration(&name(7), &order).await, Ok(Progress::Done));
    assert_eq!(failed(&machine.cluster, &order).await.0, told);
    let missing = migration(&revision('b'), migrating(&["/nowhere/to-be-found"]));
    begin(&machine, &missing).await;
    let (why, _) = failed(&machine.cluster, &missing).await;
    assert!(why.contains("exit code 127") && why.contains("migrations.command"), "{why}");
}

#[tokio::test]
async fn migrations_that_hang_are_ended_at_their_timeout_with_all_that_they_started() {
    let machine = Machine::new();
    let text = "echo waiting for a lock; trap '' TERM; setsid sleep 600 & sleep 600; wait";
    let order = script('a', text, Duration::from_secs(1));
    let begun = Instant::now();
    begin(&machine, &order).await;
    let (why, log) = failed(&machine.cluster, &order).await;
    assert!(why.contains("did not end within 1s (workload.migrations.timeout)"), "{why}");
    assert_eq!(log, "waiting for a lock");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    until("nothing of it runs", async || machine.processes(&name(7)).is_empty()).await;
}

#[tokio::test]
async fn a_controller_that_dies_meanwhile_leaves_an_answer_to_the_next() {
    for (text, ended) in [(WAIT.to_owned(), true), (format!("{WAIT}; exit 4"), false)] {
        let machine = Machine::new();
        let order = script('a', &text, LONG);
        begin(&machine, &order).await;
        let next = machine.another(LONG);
        let state = migrated(&next, &name(7), &order.shape).await.unwrap().1;
        assert!(matches!(state, MigrationState::Running(_)), "{state:?}");
        assert_eq!(next.ensure_migration(&name(7), &order).await, Ok(Progress::Done));
        fs::write(machine.directory(&name(7)).join("go"), "").unwrap();
        assert_eq!(until_migrated(&next, &name(7), &order).await == Ended::Done, ended);
    }
}

#[tokio::test]
async fn a_controller_that_is_started_again_ends_what_is_late() {
    let machine = Machine::new();
    let order = script('a', "sleep 600", LONG);
    begin(&machine, &order).await;
    let at = machine.directory(&name(7)).join("migration.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&at).unwrap()).unwrap();
    record["timeout_ms"] = 100.into();
    // As a controller that died before it noted the process.
    record["shell"] = serde_json::Value::Null;
    fs::write(&at, record.to_string()).unwrap();
    let next = machine.another(LONG);
    until("nothing of it runs", async || machine.processes(&name(7)).is_empty()).await;
    assert!(failed(&next, &order).await.0.contains("did not end within"));
}

#[tokio::test]
async fn a_start_that_did_not_happen_happens_and_a_run_that_was_killed_is_not_repeated() {
    let machine = Machine::new();
    let order = script('a', WAIT, LONG);
    begin(&machine, &order).await;
    let at = machine.directory(&name(7)).join("migration.json");
    // One that is looked at may have another child before it is killed.
    until("nothing of it runs", async || {
        let left = machine.processes(&name(7));
        for pid in &left {
            let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
        }
        left.is_empty()
    })
    .await;
    assert!(failed(&machine.cluster, &order).await.0.contains("were killed"));
    assert_eq!(machine.cluster.ensure_migration(&name(7), &order).await, Ok(Progress::Done));
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&at).unwrap()).unwrap();
    record["shell"] = serde_json::Value::Null;
    fs::write(&at, record.to_string()).unwrap();
    assert_eq!(migrated(&machine.cluster, &name(7), &order.shape).await, None);
    migrate(&machine.cluster, &name(7), &order).await;
    fs::write(machine.directory(&name(7)).join("go"), "").unwrap();
    assert_eq!(until_migrated(&machine.cluster, &name(7), &order).await, Ended::Done);
}

#[tokio::test]
async fn those_of_a_newer_commit_wait_until_those_before_are_ended() {
    let machine = Machine::with_grace(Duration::from_secs(3));
    let stubborn = format!("trap '' TERM; touch \"$MAYFLY_NAMESPACE/deaf\"; {WAIT}");
    let a = script('a', &stubborn, LONG);
    let deaf = machine.directory(&name(7)).join("deaf");
    let is_deaf = async || until("SIGTERM does not end it", async || deaf.exists()).await;
    begin(&machine, &a).await;
    is_deaf().await;
    let before = machine.processes(&name(7));
    let b = script('b', "true", LONG);
    let answer = machine.cluster.ensure_migration(&name(7), &b).await.unwrap();
    assert!(matches!(answer, Progress::Underway(_)), "{answer:?}");
    migrate(&machine.cluster, &name(7), &b).await;
    assert!(machine.processes(&name(7)).iter().all(|pid| !before.contains(pid)));
    assert_eq!(until_migrated(&machine.cluster, &name(7), &b).await, Ended::Done);
    // Back and forth at once: those of before go first, though they are the same commit's.
    fs::remove_file(&deaf).unwrap();
    begin(&machine, &a).await;
    is_deaf().await;
    let before = machine.processes(&name(7));
    let answer = machine.cluster.ensure_migration(&name(7), &b).await.unwrap();
    assert!(matches!(answer, Progress::Underway(_)), "{answer:?}");
    migrate(&machine.cluster, &name(7), &a).await;
    assert!(machine.processes(&name(7)).iter().all(|pid| !before.contains(pid)));
    migrate(&machine.cluster, &name(7), &b).await;
    assert_eq!(until_migrated(&machine.cluster, &name(7), &b).await, Ended::Done);
}

#[tokio::test]
async fn migrations_run_beside_what_is_served_and_are_no_part_of_it() {
    let machine = Machine::with_grace(Duration::from_millis(100));
    serve(&machine.cluster, &name(7), &order(&revision('a'))).await;
    let b = script('b', WAIT, LONG);
    migrate(&machine.cluster, &name(7), &b).await;
    assert_eq!(routed(&machine.cluster, &name(7)).await, Some(revision('a')));
    // What retires old workloads leaves them alone.
    let at = machine.directory(&name(7)).join("migration.json");
    let record: serde_json::Value = serde_json::from_slice(&fs::read(&at).unwrap()).unwrap();
    let shell = i32::try_from(record["shell"]["pid"].as_i64().unwrap()).unwrap();
    machine.cluster.ensure_workload(&name(7), &order(&revision('a'))).await.unwrap();
    assert!(machine.processes(&name(7)).contains(&shell));
    fs::write(machine.directory(&name(7)).join("go"), "").unwrap();
    assert_eq!(until_migrated(&machine.cluster, &name(7), &b).await, Ended::Done);
    until_ready(&machine.cluster, &name(7), &revision('a')).await;
    machine.cluster.remove_namespace(&name(7)).await.unwrap();
    until_gone(&machine.cluster, &name(7)).await;
    assert_eq!(machine.processes(&name(7)), [0; 0]);
}

#[tokio::test]
async fn a_real_program_migrates_a_real_database_under_the_name_that_is_watched() {
    if std::process::Command::new("psql").arg("--version").output().is_err() {
        println!("skipped: psql is not on PATH");
        return;
    }
    let machine = Machine::new();
    let url = empty_database().await;
    let mut session = PgConnection::connect(&url).await.unwrap();
    let sql = "CREATE TABLE orders AS SELECT current_setting('application_name') AS name";
    let text = format!("psql -v ON_ERROR_STOP=1 \"$DATABASE_URL\" -c \"{sql}\"");
    let mut order = script('a', &text, LONG);
    order.env.push(("DATABASE_URL".to_owned(), url));
    order.env.push(("PGAPPNAME".to_owned(), "mayfly-migration".to_owned()));
    begin(&machine, &order).await;
    let ended = until_migrated(&machine.cluster, &name(7), &order).await;
    assert_eq!(ended, Ended::Done);
    let told: String =
        sqlx::query_scalar("SELECT name FROM orders").fetch_one(&mut session).await.unwrap();
    assert_eq!(told, "mayfly-migration");
    // The same again fails, and says what the server said.
    let again = script('b', &text, LONG);
    let again = WorkloadOrder { env: order.env.clone(), ..again };
    begin(&machine, &again).await;
    let (why, log) = failed(&machine.cluster, &again).await;
    assert!(why.contains("exit code 1"), "{why}");
    assert!(log.contains("relation \"orders\" already exists"), "{log}");
}
