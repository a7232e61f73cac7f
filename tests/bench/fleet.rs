//! Rows 11 and 13: what ten thousand previews cost that nobody touches, and how soon a restart knows them.
//!
//! Refuses to have any of them looked at meanwhile: until the process is there they are leased to somebody
//! else, and then none is due for a year.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use sqlx::{Connection, PgConnection};

use mayfly::clock::fresh_id;

use super::api_server::ApiServer;
use super::cluster::{FIRST as FIRST_OPENED, TRIP, there};
use super::growth::multiply;
use super::intake::Sender;
use super::machine::{processor_seconds, resident_mebibytes};
use super::plain::Plain;
use super::report::{Goal, Row, Spread, milliseconds};
use super::rounds::Rounds;
use super::stage::{CLUSTERED, Stage, open_pull, run};

/// How many previews there are.
const SIZE: u32 = 10_000;

/// Their numbers begin here.
const FIRST: u32 = 100_000;

/// A pull request that is to have no preview: to hear of it costs nothing more.
const UNSELECTED: u32 = 90_000;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a process has after its start before it counts as idle.
const SETTLING: Duration = Duration::from_secs(5);

const LEASED: &str = "UPDATE previews SET lease_owner = gen_random_uuid(),
    lease_until = now() + interval '1 day'";

const IDLE: &str = "UPDATE previews SET lease_owner = NULL, lease_until = NULL,
    wake_at = now() + interval '1 year'";

/// Measures both rows.
pub async fn measure(stage: &mut Stage, server: &ApiServer, quick: bool) -> Result<Vec<Row>> {
    let (rounds, window) = if quick { (1, 10) } else { (5, 20) };
    let number = first_of(stage, server).await?;
    stage.stop().await?;
    let begun = Instant::now();
    stage.start()?;
    stage.ready().await?;
    tokio::time::sleep(SETTLING).await;
    let alone = resident(stage)?;
    let watched: BTreeSet<_> = server.watched(begun).into_iter().map(|(it, _)| it).collect();
    ensure!(!watched.is_empty(), "nothing is watched");
    stage.stop().await?;
    fill(stage, server, number).await?;
    open_pull(&stage.github, UNSELECTED, &["no-preview"]);
    server.set_latency(TRIP);
    let (mut firsts, mut ratios, mut theirs, mut ours) = (vec![], vec![], vec![], vec![]);
    for round in 0..rounds {
        if round > 0 {
            stage.stop().await?;
        }
        // What this leaves behind in the table is not the restart's to clear away.
        run(&stage.ledger, stage.name.database, &[LEASED, "VACUUM previews"]).await?;
        let (first, synced) = restart(stage, server, &watched).await?;
        run(&stage.ledger, stage.name.database, &[IDLE]).await?;
        tokio::time::sleep(SETTLING).await;
        let listed = list(server, &watched).await?;
        firsts.push(milliseconds(first));
        ratios.push(milliseconds(synced) / milliseconds(listed));
        theirs.push(milliseconds(listed));
        ours.push(milliseconds(synced));
    }
    server.set_latency(Duration::ZERO);
    run(&stage.ledger, stage.name.database, &[IDLE]).await?;
    tokio::time::sleep(SETTLING).await;
    let middle = |of: &[f64]| Spread::of(of.to_vec()).median;
    let mut rows = idle(stage, server, alone, Duration::from_secs(window)).await?;
    rows.push(Row::new(
        "13",
        "restart with 10,000 previews: exec → first 202, in ms",
        Goal::AtMost(200.0),
        (String::new(), format!("{:.0} ms", middle(&firsts))),
        Spread::of(firsts),
    ));
    rows.push(Row::new(
        "13",
        "restart with 10,000 previews: exec → what is watched is listed ÷ a plain client's lists",
        Goal::AtMost(1.5),
        (format!("{:.0} ms", middle(&theirs)), format!("{:.0} ms", middle(&ours))),
        Spread::of(ratios),
    ));
    Ok(rows)
}

/// The preview that the others are copies of.
async fn first_of(stage: &Stage, server: &ApiServer) -> Result<u32> {
    let sight = |namespace: &str| there(server, namespace);
    let mut rounds = Rounds::new(stage, FIRST_OPENED + 1000, &sight).await?;
    let opened = rounds.open().await?;
    rounds.rest(&opened).await?;
    Ok(opened.number)
}

/// Row 11.
async fn idle(stage: &Stage, server: &ApiServer, alone: f64, window: Duration) -> Result<Vec<Row>> {
    let pid = stage.mayfly.id().context("mayfly serve has ended")?;
    let size = f64::from(SIZE);
    let told = || stage.github.requests().values().sum::<u64>();
    let (begun, worked, heard) = (Instant::now(), processor_seconds(pid), told());
    tokio::time::sleep(window).await;
    let length = begun.elapsed().as_secs_f64();
    let share = (processor_seconds(pid) - worked) / length * 100.0;
    let asked = server.asked(begun, Instant::now()).len() as u64 + told() - heard;
    let full = resident(stage)?;
    let each = (full - alone) * 1_048_576.0 / size / 1000.0;
    let row = |what: &str, most: f64, said: (String, String), figure: f64| {
        Row::new("11", what, Goal::AtMost(most), said, Spread::of(vec![figure]))
    };
    let hourly = asked as f64 / size / (length / 3600.0);
    let none = String::new();
    Ok(vec![
        row(
            "memory of each of 10,000 idle previews, in kB",
            6.0,
            (format!("{alone:.1} MiB with one"), format!("{full:.1} MiB")),
            each,
        ),
        row(
            "10,000 idle previews: share of a core, in %",
            1.0,
            (none.clone(), format!("{share:.1} %")),
            share,
        ),
        row(
            "requests for each of them an hour, to API server and forge",
            0.0,
            (none, format!("{asked} in {length:.0} s")),
            hourly,
        ),
    ])
}

/// Gives the ledger and the cluster as many copies of this preview, all of it but its database.
async fn fill(stage: &Stage, server: &ApiServer, number: u32) -> Result<()> {
    let mut session = PgConnection::connect(&stage.ledger.url(stage.name.database)).await?;
    let numbers = (i64::from(FIRST), i64::from(FIRST + SIZE) - 1);
    multiply(&mut session, i64::from(number), numbers).await?;
    session.close().await?;
    let from = format!("pr-{number}");
    let mut objects = server.objects();
    let mut originals = Vec::new();
    for (key, _) in objects.of(&from) {
        let object = objects.get(&key).ok().context("one of its objects went")?;
        originals.push((key, object.to_string()));
    }
    for copy in FIRST..FIRST + SIZE {
        let to = format!("pr-{copy}");
        for ((resource, namespace, name), object) in &originals {
            let key = (resource.clone(), namespace.replace(&from, &to), name.replace(&from, &to));
            objects.seed(key, serde_json::from_str(&object.replace(&from, &to))?);
        }
    }
    Ok(())
}

/// Starts the process: how long until it takes a delivery, and until all is listed that it watches.
async fn restart(
    stage: &mut Stage,
    server: &ApiServer,
    watched: &BTreeSet<String>,
) -> Result<(Duration, Duration)> {
    let delivery = stage.delivery(UNSELECTED, "edited");
    let begun = Instant::now();
    stage.start()?;
    let first = loop {
        if let Ok(mut sender) = Sender::connect(stage.main).await
            && sender.send(&delivery, &fresh_id().to_string()).await.unwrap_or(false)
        {
            break begun.elapsed();
        }
        pause(begun, "a 202").await?;
    };
    loop {
        let now = server.watched(begun);
        let listed = |resource: &String| now.iter().find(|(it, _)| it == resource);
        let moments: Option<Vec<_>> = watched.iter().map(listed).collect();
        if let Some(last) = moments.and_then(|all| all.into_iter().map(|(_, at)| *at).max()) {
            return Ok((first, last - begun));
        }
        pause(begun, "its watches").await?;
    }
}

async fn pause(begun: Instant, what: &str) -> Result<()> {
    ensure!(begun.elapsed() < PATIENCE, "no {what} in {PATIENCE:?}");
    tokio::time::sleep(Duration::from_millis(1)).await;
    Ok(())
}

/// The same lists, by plain clients, all at once.
async fn list(server: &ApiServer, watched: &BTreeSet<String>) -> Result<Duration> {
    let label = format!("mayfly.dev/instance={}", CLUSTERED.instance);
    let begun = Instant::now();
    let counts = try_join_all(watched.iter().map(async |resource| {
        let mut client = Plain::connect(server.address).await?;
        client.list(resource, &label).await
    }));
    let counts = counts.await?;
    let took = begun.elapsed();
    ensure!(counts.iter().any(|count| *count >= SIZE as usize), "the fleet is not listed");
    Ok(took)
}

fn resident(stage: &Stage) -> Result<f64> {
    Ok(resident_mebibytes(stage.mayfly.id().context("mayfly serve has ended")?))
}
