//! Row 4: how soon after its 202 a delivery is worked on.
//!
//! First one after the other, each when the one before has come to rest; the baseline is one small commit, the
//! least that anything costs that lasts. Then two hundred a second, of as many pull requests.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mayfly::clock::fresh_id;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::intake::Sender;
use super::report::{Goal, Row, Spread, milliseconds};
use super::stage::{PULLS, Stage};

const PATIENCE: Duration = Duration::from_secs(30);

/// How long a row rests after a pass before the next hint makes it due.
const REST: Duration = Duration::from_millis(600);

/// The rate of the second half, in deliveries a second, and how many connections bring them.
const RATE: u32 = 200;
const CONNECTIONS: u32 = 8;

pub async fn measure(stage: &Stage, quick: bool) -> Result<Vec<Row>> {
    let turns = if quick { 1 } else { 3 };
    let mut session = PgConnection::connect(&stage.ledger.url(stage.name.database)).await?;
    sqlx::raw_sql("CREATE TABLE bench_commits (at timestamptz)").execute(&mut session).await?;
    let (mut commits, mut picked, mut flood) = (Vec::new(), Vec::new(), Vec::new());
    // Nobody has heard of any yet.
    steady(stage, &mut session).await?;
    sleep(REST).await;
    for _ in 0..turns {
        quiet(stage, &mut session, &mut commits, &mut picked).await?;
    }
    sleep(REST).await;
    for _ in 0..4 * turns {
        flood.extend(steady(stage, &mut session).await?);
    }
    sqlx::raw_sql("DROP TABLE bench_commits").execute(&mut session).await?;
    for list in [&mut commits, &mut picked, &mut flood] {
        list.sort_by(f64::total_cmp);
    }
    let of = |list: &[f64], hundredth: usize| list[(list.len() - 1) * hundredth / 100];
    let commit = format!("{:.2} ms a commit", of(&commits, 50));
    let ms = |of: f64| format!("{of:.2} ms");
    Ok(vec![
        Row::new(
            "4",
            "202 → its row is leased: p50 ÷ a small commit's",
            Goal::AtMost(1.8),
            (commit, ms(of(&picked, 50))),
            Spread::of(vec![of(&picked, 50) / of(&commits, 50)]),
        ),
        Row::new(
            "4",
            "202 → its row is leased, at 200 a second: p99, in ms",
            Goal::AtMost(5.0),
            (format!("{} at p50", ms(of(&flood, 50))), ms(of(&flood, 99))),
            Spread::of(vec![of(&flood, 99)]),
        ),
    ])
}

/// One delivery for each pull request, when the loop is at rest: milliseconds of a commit, and from the 202
/// to the lease.
async fn quiet(
    stage: &Stage,
    session: &mut PgConnection,
    commits: &mut Vec<f64>,
    picked: &mut Vec<f64>,
) -> Result<()> {
    let deliveries = stage.deliveries(22_000);
    let mut sender = Sender::connect(stage.main).await?;
    for (number, delivery) in (1..=PULLS).zip(&deliveries) {
        let before = epochs(session).await?.get(&number).copied().unwrap_or(0);
        let begun = Instant::now();
        sqlx::query("INSERT INTO bench_commits VALUES (now())").execute(&mut *session).await?;
        commits.push(milliseconds(begun.elapsed()));
        ensure!(sender.send(delivery, &fresh_id().to_string()).await?, "a delivery was not taken");
        let answered = Instant::now();
        let epoch = "SELECT epoch FROM previews WHERE number = $1";
        loop {
            let now = sqlx::query_scalar(epoch).bind(i64::from(number));
            let now: Option<i64> = now.fetch_optional(&mut *session).await?;
            if now.unwrap_or(0) != before {
                break;
            }
            ensure!(answered.elapsed() < PATIENCE, "nobody worked on a delivery in {PATIENCE:?}");
        }
        picked.push(milliseconds(answered.elapsed()));
        let busy = "SELECT EXISTS (SELECT FROM previews WHERE lease_until IS NOT NULL
                    OR wake_at < now() + interval '1 s')";
        while sqlx::query_scalar(busy).fetch_one(&mut *session).await? {
            ensure!(answered.elapsed() < PATIENCE, "the loop is not at rest in {PATIENCE:?}");
            sleep(Duration::from_millis(1)).await;
        }
    }
    Ok(())
}

/// A delivery for each pull request, at a steady rate: milliseconds from each 202 to its lease.
async fn steady(stage: &Stage, session: &mut PgConnection) -> Result<Vec<f64>> {
    let before = epochs(session).await?;
    let deliveries = stage.deliveries(22_000);
    let mut sending = JoinSet::new();
    for lane in 0..CONNECTIONS {
        let mut sender = Sender::connect(stage.main).await?;
        let of_lane: Vec<_> = (1..=PULLS).zip(deliveries.iter().cloned()).collect();
        let pace = Duration::from_secs(1) * CONNECTIONS / RATE;
        sending.spawn(async move {
            sleep(pace * lane / CONNECTIONS).await;
            let mut pace = interval(pace);
            let mut answered = Vec::new();
            for (number, delivery) in of_lane {
                if number % CONNECTIONS != lane {
                    continue;
                }
                pace.tick().await;
                let taken = sender.send(&delivery, &fresh_id().to_string()).await?;
                ensure!(taken, "a delivery was not taken");
                answered.push((number, Instant::now()));
            }
            Ok(answered)
        });
    }
    let (begun, mut leased) = (Instant::now(), HashMap::new());
    while leased.len() < PULLS as usize {
        ensure!(begun.elapsed() < PATIENCE, "{} were worked on in {PATIENCE:?}", leased.len());
        for (number, epoch) in epochs(session).await? {
            if before.get(&number).copied().unwrap_or(0) != epoch {
                leased.entry(number).or_insert_with(Instant::now);
            }
        }
        sleep(Duration::from_millis(1)).await;
    }
    let mut took = Vec::new();
    for lane in sending.join_all().await {
        took.extend(lane?.into_iter().map(|(number, answered)| {
            milliseconds(leased[&number].saturating_duration_since(answered))
        }));
    }
    Ok(took)
}

/// How often each preview was leased.
async fn epochs(session: &mut PgConnection) -> Result<HashMap<u32, i64>> {
    let all = sqlx::query_as("SELECT number, epoch FROM previews");
    let all: Vec<(i64, i64)> = all.fetch_all(session).await?;
    all.into_iter().map(|(number, epoch)| Ok((u32::try_from(number)?, epoch))).collect()
}
