//! Row 4: how soon after its 202 a delivery is worked on.
//!
//! One after the other, each of a pull request that has come to rest. The baseline is one small commit, the
//! least that anything costs that lasts.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mayfly::clock::fresh_id;
use sqlx::{Connection, PgConnection};

use super::intake::Sender;
use super::report::{Goal, Row, Spread};
use super::stage::{PULLS, Stage};

const PATIENCE: Duration = Duration::from_secs(30);

pub async fn measure(stage: &Stage, quick: bool) -> Result<Vec<Row>> {
    // Each pull request is spoken of so rarely that its row does not rest because of it.
    let count = if quick { PULLS } else { 3 * PULLS };
    let deliveries = stage.deliveries(22_000);
    let mut session = PgConnection::connect(&stage.ledger.url("mayfly")).await?;
    sqlx::raw_sql("CREATE TABLE bench_commits (at timestamptz)").execute(&mut session).await?;
    let mut sender = Sender::connect(stage.main).await?;
    let (mut commits, mut picked) = (Vec::new(), Vec::new());
    for turn in 0..count {
        let number = turn % PULLS;
        let before = epoch(&mut session, number + 1).await?;
        let begun = Instant::now();
        sqlx::query("INSERT INTO bench_commits VALUES (now())").execute(&mut session).await?;
        commits.push(begun.elapsed().as_secs_f64() * 1000.0);
        let delivery = &deliveries[number as usize];
        ensure!(sender.send(delivery, &fresh_id().to_string()).await?, "a delivery was not taken");
        let answered = Instant::now();
        while epoch(&mut session, number + 1).await? == before {
            ensure!(answered.elapsed() < PATIENCE, "nobody worked on a delivery in {PATIENCE:?}");
        }
        picked.push(answered.elapsed().as_secs_f64() * 1000.0);
    }
    sqlx::raw_sql("DROP TABLE bench_commits").execute(&mut session).await?;
    for list in [&mut commits, &mut picked] {
        list.sort_by(f64::total_cmp);
    }
    let of = |list: &[f64], hundredth: usize| list[(list.len() - 1) * hundredth / 100];
    let commit = format!("{:.2} ms a commit", of(&commits, 50));
    let ours = |hundredth| format!("{:.2} ms", of(&picked, hundredth));
    Ok(vec![
        Row::new(
            "4",
            "202 → its row is leased: p50 ÷ a small commit's",
            Goal::AtMost(1.8),
            (commit, ours(50)),
            Spread::of(vec![of(&picked, 50) / of(&commits, 50)]),
        ),
        Row::new(
            "4",
            "202 → its row is leased: p99, in ms",
            Goal::AtMost(5.0),
            (String::new(), ours(99)),
            Spread::of(vec![of(&picked, 99)]),
        ),
    ])
}

/// How often a preview was leased; 0 before anybody knew of it.
async fn epoch(session: &mut PgConnection, number: u32) -> Result<i64> {
    let epoch = sqlx::query_scalar("SELECT epoch FROM previews WHERE number = $1");
    Ok(epoch.bind(i64::from(number)).fetch_optional(session).await?.unwrap_or(0))
}
