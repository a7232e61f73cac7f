//! Row 1's other half: what was answered with 202 is there after Mayfly and PostgreSQL were killed.
//!
//! Both are killed amid the deliveries. Refuses to count what was not answered: that may be there or not.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mayfly::clock::fresh_id;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection};
use tokio::time::interval;

use super::intake::Sender;
use super::report::{Goal, Row, Spread};
use super::setup::Place;
use super::stage::Stage;

const CONNECTIONS: usize = 16;

/// How many are answered before both are killed.
const ANSWERED: usize = 2_000;

/// How long each of this may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn measure(directory: &Path, place: &Place<'_>) -> Result<Row> {
    let directory = directory.join("killed");
    std::fs::create_dir_all(&directory)?;
    super::open(&directory)?;
    let mut stage = Stage::set(&directory, place).await?;
    let deliveries = Arc::new(stage.deliveries(22_000));
    let answered: Arc<Mutex<Vec<String>>> = Arc::default();
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|at| {
            let (to, deliveries, answered) = (stage.main, deliveries.clone(), answered.clone());
            tokio::spawn(async move {
                let mut sender = Sender::connect(to).await?;
                for delivery in deliveries.iter().cycle().skip(at * 7) {
                    let id = fresh_id().to_string();
                    if sender.send(delivery, &id).await? {
                        answered.lock().unwrap_or_else(|it| it.into_inner()).push(id);
                    }
                }
                anyhow::Ok(())
            })
        })
        .collect();
    let count = || answered.lock().unwrap_or_else(|it| it.into_inner()).len();
    until("deliveries that are answered", async || Ok(count() >= ANSWERED)).await?;
    let url = stage.ledger.url("mayfly");
    let mut session = PgConnection::connect(&url).await?;
    let backend: i32 = sqlx::query_scalar(
        "SELECT pid FROM pg_stat_activity WHERE query LIKE 'WITH stored%' ORDER BY state LIMIT 1",
    )
    .fetch_one(&mut session)
    .await?;
    // One of its processes: the server ends all the others, and recovers from its log.
    kill_process(Pid::from_raw(backend).context("a process")?, Signal::KILL)?;
    stage.mayfly.kill().await?;
    for sender in senders {
        // It ends when the door is gone.
        let _ = sender.await?;
    }
    until("a server that has recovered", async || Ok(PgConnection::connect(&url).await.is_ok()))
        .await?;
    let mut session = PgConnection::connect(&url).await?;
    let answered = std::mem::take(&mut *answered.lock().unwrap_or_else(|it| it.into_inner()));
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM deliveries WHERE id = ANY($1)")
        .bind(&answered)
        .fetch_one(&mut session)
        .await?;
    stage.start()?;
    until("all that was left behind is learned from", async || {
        let left = sqlx::query_scalar("SELECT NOT EXISTS (SELECT FROM unlearned)");
        Ok(left.fetch_one(&mut session).await?)
    })
    .await?;
    // The same that was said at once is one entry, which says how often.
    let learned: i64 = sqlx::query_scalar(
        "SELECT sum(COALESCE(substring(reason FROM ', (\\d+) times$')::bigint, 1))::bigint
         FROM journal WHERE action = 'learned' AND delivery_id IS NOT NULL",
    )
    .fetch_one(&mut session)
    .await?;
    let stored: i64 =
        sqlx::query_scalar("SELECT count(*) FROM deliveries").fetch_one(&mut session).await?;
    ensure!(learned == stored, "{stored} are there, and {learned} were learned from");
    Ok(Row::new(
        "1",
        "after SIGKILL of Mayfly and of PostgreSQL amid row 1: 202s that are in the ledger ÷ 202s",
        Goal::AtLeast(1.0),
        (format!("{} answered", answered.len()), format!("{kept} there, and learned from")),
        Spread::of(vec![kept as f64 / answered.len() as f64]),
    ))
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let (begun, mut pace) = (Instant::now(), interval(Duration::from_millis(20)));
    while !holds().await? {
        ensure!(begun.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        pace.tick().await;
    }
    Ok(())
}
