//! Rows 3 and 6: what a clone costs that nobody made in advance, and what it costs those who wait for a 202.
//!
//! The ledger and the previews have servers of their own, as in production, and here one disk and the same
//! processors. Refuses to choose the method by hand: what is measured is what the adapter chose.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use mayfly::demo::postgres::Postgres;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::process::Command;

use super::data::Site;
use super::intake::deliver;
use super::report::{Goal, Row, Spread};
use super::stage::Stage;

/// How many clones run while deliveries come in.
const CLONES: u32 = 32;

/// How many connections deliver meanwhile.
const CONNECTIONS: usize = 4;

/// Row 6: a cold clone beside both methods, and beside a copy of the files.
pub async fn cold(server: &Postgres, quick: bool) -> Result<Vec<Row>> {
    let (rounds, sizes) = if quick { (3, [11, 100]) } else { (7, [11, 100]) };
    let mut rows = Vec::new();
    for megabytes in sizes {
        let mut site = Site::cold(server, megabytes).await?;
        let mut session = PgConnection::connect(&server.url("postgres")).await?;
        let template = site.template(&mut session).await?;
        let (mut regrets, mut beside, mut ours, mut best) = (vec![], vec![], vec![], vec![]);
        for _ in 0..rounds {
            let begun = Instant::now();
            let (name, _) = site.open().await?;
            let cloned = milliseconds(begun);
            site.drop(&name).await?;
            let mut methods = Vec::new();
            for strategy in ["wal_log", "file_copy"] {
                let begun = Instant::now();
                let create = format!(
                    "CREATE DATABASE bench_by_hand TEMPLATE \"{template}\" STRATEGY {strategy}"
                );
                sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut session).await?;
                methods.push(milliseconds(begun));
                sqlx::raw_sql("DROP DATABASE bench_by_hand").execute(&mut session).await?;
            }
            let better = methods[0].min(methods[1]);
            regrets.push(cloned / better);
            if megabytes >= 100 {
                beside.push(cloned / copy(&mut session, &template).await?);
            }
            ours.push(cloned);
            best.push(better);
        }
        let middle = |of: &[f64]| Spread::of(of.to_vec()).median;
        let said = (format!("{:.0} ms", middle(&best)), format!("{:.0} ms", middle(&ours)));
        rows.push(Row::new(
            "6",
            &format!(
                "cold clone with its role ÷ the better of the server's two methods; {megabytes} MB"
            ),
            Goal::AtMost(1.1),
            said.clone(),
            Spread::of(regrets),
        ));
        if !beside.is_empty() {
            let what = format!("the same ÷ cp and sync of its files; {megabytes} MB");
            rows.push(Row::new("6", &what, Goal::AtMost(1.3), said, Spread::of(beside)));
        }
    }
    Ok(rows)
}

/// Copies a database's files beside them, and flushes; in milliseconds.
async fn copy(session: &mut PgConnection, template: &str) -> Result<f64> {
    let (data, oid): (String, i64) = sqlx::query_as(
        "SELECT current_setting('data_directory'), oid::int8 FROM pg_database WHERE datname = $1",
    )
    .bind(template)
    .fetch_one(&mut *session)
    .await?;
    let from = PathBuf::from(&data).join("base").join(oid.to_string());
    let to = PathBuf::from(&data).join("bench-copy");
    let begun = Instant::now();
    let copied = Command::new("cp").arg("-r").arg(&from).arg(&to).status().await?;
    ensure!(copied.success(), "cp of {} failed", from.display());
    let synced = Command::new("sync").arg("-f").arg(&to).status().await?;
    ensure!(synced.success(), "sync failed");
    let took = milliseconds(begun);
    tokio::fs::remove_dir_all(&to).await?;
    Ok(took)
}

/// Row 3: how the 99th percentile of a 202 changes while clones run.
pub async fn beside(stage: &Stage, quick: bool) -> Result<Row> {
    let rounds = if quick { 1 } else { 3 };
    let deliveries = Arc::new(stage.deliveries(22_000));
    let server = &*stage.previews;
    let mut site = Site::cold(server, 12).await?;
    let mut session = PgConnection::connect(&server.url("postgres")).await?;
    let template = site.template(&mut session).await?;
    let (mut ratios, mut idle, mut busy) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let calm = deliver(stage.main, &deliveries, CONNECTIONS, Duration::from_secs(3)).await;
        // As many as are opened at once: the adapter has them wait for each other.
        let clones = async {
            let mut opened = Vec::new();
            for _ in 0..CLONES {
                opened.push(site.open().await?);
            }
            anyhow::Ok(opened)
        };
        let (storm, opened) = tokio::join!(
            deliver(stage.main, &deliveries, CONNECTIONS, Duration::from_secs(6)),
            clones
        );
        ensure!(calm.errors + storm.errors == 0, "deliveries were not taken");
        let [before, after] = [&calm, &storm].map(|it| it.percentile(99).as_secs_f64() * 1000.0);
        ratios.push(after / before);
        idle.push(before);
        busy.push(after);
        let opened = opened.with_context(|| format!("cloning {template}"))?;
        try_join_all(opened.iter().map(|(name, _)| site.drop(name))).await?;
    }
    let middle = |of: &[f64]| Spread::of(of.to_vec()).median;
    Ok(Row::new(
        "3",
        "202: p99 while 32 databases are cloned ÷ p99 without; 4 connections",
        Goal::AtMost(1.5),
        (format!("{:.1} ms", middle(&idle)), format!("{:.1} ms", middle(&busy))),
        Spread::of(ratios),
    ))
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
