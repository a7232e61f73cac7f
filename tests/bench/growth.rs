//! Row 12: what becomes dearer with the number of previews, as the exponent of its growth.
//!
//! The library itself is called, on ledgers with 100 and with 10,000 previews in turn. Refuses to compare
//! a round of one with a round of the other that was not measured right beside it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::TimeDelta;
use mayfly::clock::{fresh_id, machine_time};
use mayfly::demo::postgres::Postgres;
use mayfly::forge::RepositoryRef;
use mayfly::ledger::{Filter, Heard, Ledger, PullHint};
use mayfly::preview::{
    CommitSha, PreviewName, PullFacts, PullKey, PullNumber, PullState, RepositoryId,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::data::Site;
use super::report::{Goal, Row, Spread};
use super::stage::{SHOP, SHOP_ID, durable, run};

/// How many previews a ledger has.
const FEW: i64 = 100;
const MANY: i64 = 10_000;

/// How many databases a server has: each costs a part of a second of a disk.
const DATABASES: (usize, usize) = (20, 200);
const QUICK_DATABASES: (usize, usize) = (10, 60);

/// What a page of the API asks the ledger for.
const PAGE: i64 = 51;

/// Fills a ledger up with copies of the preview that has this number, whatever columns there are: only the
/// id, the name and the number are each one's own.
pub async fn multiply(session: &mut PgConnection, of: i64, numbers: (i64, i64)) -> Result<()> {
    sqlx::query(
        "INSERT INTO previews
         SELECT (jsonb_populate_record(one, jsonb_build_object(
                    'id', gen_random_uuid(), 'name', 'pr-' || g, 'number', g))).*
         FROM previews one, generate_series($2::bigint, $3::bigint) g WHERE one.number = $1",
    )
    .bind(of)
    .bind(numbers.0)
    .bind(numbers.1)
    .execute(&mut *session)
    .await?;
    sqlx::raw_sql("VACUUM ANALYZE previews").execute(session).await?;
    Ok(())
}

/// A ledger of settled previews, and a session that moves them.
struct Fleet {
    ledger: Ledger,
    session: PgConnection,
}

impl Fleet {
    async fn new(server: &Postgres, size: i64) -> Result<Self> {
        let database = format!("fleet_{size}");
        let mut postgres = PgConnection::connect(&server.url("postgres")).await?;
        let create = AssertSqlSafe(format!("CREATE DATABASE {database}"));
        sqlx::raw_sql(create).execute(&mut postgres).await?;
        let ledger = Ledger::connect(&server.url(&database), 2).await?;
        ledger.migrate().await?;
        ledger.learn(&opened()?).await?;
        let mut session = PgConnection::connect(&server.url(&database)).await?;
        let settled = "UPDATE previews SET phase = 'Ready', wake_at = now() + interval '1 year'";
        sqlx::raw_sql(settled).execute(&mut session).await?;
        multiply(&mut session, 1, (2, size)).await?;
        Ok(Self { ledger, session })
    }

    /// Makes one of them due, leases it, and lets it settle again.
    async fn claim(&mut self) -> Result<f64> {
        let due = "UPDATE previews SET wake_at = now() - interval '1 minute' WHERE number = 50";
        sqlx::raw_sql(due).execute(&mut self.session).await?;
        let begun = Instant::now();
        let lease = TimeDelta::seconds(60);
        let leases = self.ledger.claim(fresh_id(), 16, lease, machine_time()).await?;
        let took = microseconds(begun);
        anyhow::ensure!(leases.len() == 1, "{} were due", leases.len());
        let settled = "UPDATE previews SET wake_at = now() + interval '1 year', lease_owner = NULL,
                           lease_until = NULL WHERE number = 50";
        sqlx::raw_sql(settled).execute(&mut self.session).await?;
        Ok(took)
    }

    async fn next_due(&self) -> Result<f64> {
        let begun = Instant::now();
        self.ledger.next_due().await?.context("nothing waits")?;
        Ok(microseconds(begun))
    }

    async fn page(&self) -> Result<f64> {
        let filter = Filter { limit: PAGE, ..Filter::default() };
        let begun = Instant::now();
        let page = self.ledger.previews(&filter).await?;
        let took = microseconds(begun);
        anyhow::ensure!(page.len() == PAGE as usize, "{} on a page", page.len());
        Ok(took)
    }
}

/// What a webhook says of a pull request that was opened.
fn opened() -> Result<Heard> {
    let (number, now) = (PullNumber::new(1).context("a number")?, machine_time());
    let head = CommitSha::parse(&"a".repeat(40)).context("a commit")?;
    let hint = PullHint {
        name: PreviewName::new(None, number),
        repository: RepositoryRef::parse(SHOP).context("a repository")?,
        facts: PullFacts {
            key: PullKey { repository: RepositoryId(SHOP_ID), number },
            state: PullState::Open,
            head,
            fork: false,
            trusted_author: true,
            draft: false,
            labels: Vec::new(),
            author: "octavia".to_owned(),
            title: "A change".to_owned(),
            updated_at: now,
        },
        source: "github",
        what: "opened".to_owned(),
        choosing: Vec::new(),
        even_if_closed: false,
    };
    Ok(Heard { hint, delivery: None, at: now })
}

/// Measures the row.
pub async fn measure(server: &Postgres, directory: &Path, quick: bool) -> Result<Vec<Row>> {
    let calls = if quick { 200 } else { 1000 };
    let (mut few, mut many) = (Fleet::new(server, FEW).await?, Fleet::new(server, MANY).await?);
    let mut took: [[Vec<f64>; 2]; 3] = Default::default();
    for call in 0..calls + 20 {
        for (at, fleet) in [&mut few, &mut many].into_iter().enumerate() {
            let each = [fleet.claim().await?, fleet.next_due().await?, fleet.page().await?];
            // The first ones prepare their statements.
            if call >= 20 {
                took.iter_mut().zip(each).for_each(|(of, it)| of[at].push(it));
            }
        }
    }
    let names = ["claim", "next due, which is the sweep of lifetimes", "page 1 of the list"];
    let size = MANY as f64 / FEW as f64;
    let mut rows: Vec<_> = names
        .into_iter()
        .zip(&took)
        .map(|(what, of)| grown(&format!("{what}: 100 → 10,000 previews"), of, size))
        .collect();
    rows.extend(databases(directory, quick).await?);
    Ok(rows)
}

/// A hand-out and a drop, on a server with few databases and on one with many.
async fn databases(directory: &Path, quick: bool) -> Result<Vec<Row>> {
    let (rounds, counts) = if quick { (10, QUICK_DATABASES) } else { (50, DATABASES) };
    let servers = (durable(directory).await?, durable(directory).await?);
    let (mut few, mut many) = (Site::new(&servers.0, 1).await?, Site::new(&servers.1, 1).await?);
    for (site, count) in [(&mut few, counts.0), (&mut many, counts.1)] {
        for _ in 0..count {
            site.open().await?;
        }
    }
    for server in [&servers.0, &servers.1] {
        run(server, "postgres", &["CHECKPOINT"]).await?;
    }
    let mut took: [[Vec<f64>; 2]; 2] = Default::default();
    for _ in 0..rounds {
        for (at, site) in [&mut few, &mut many].into_iter().enumerate() {
            site.spare().await?;
            let begun = Instant::now();
            let (name, _) = site.open().await?;
            took[0][at].push(microseconds(begun));
            let begun = Instant::now();
            site.drop(&name).await?;
            took[1][at].push(microseconds(begun));
        }
    }
    let size = counts.1 as f64 / counts.0 as f64;
    let named = |what: &str| format!("{what}: {} → {} databases", counts.0, counts.1);
    let row = |what: &str, of| grown(&named(what), of, size);
    Ok(vec![row("hand-out", &took[0]), row("drop", &took[1])])
}

/// The exponent of the growth, of each fifth of the rounds.
fn grown(what: &str, [few, many]: &[Vec<f64>; 2], size: f64) -> Row {
    let middle = |of: &[f64]| Spread::of(of.to_vec()).median;
    let said = |of: &[f64]| format!("{:.2} ms", middle(of) / 1000.0);
    let fifth = few.len().div_ceil(5);
    let exponents = few
        .chunks(fifth)
        .zip(many.chunks(fifth))
        .map(|(few, many)| (middle(many) / middle(few)).ln() / size.ln());
    let figure = Spread::of(exponents.collect());
    Row::new(
        "12",
        &format!("growth of {what}"),
        Goal::AtMost(0.10),
        (said(few), said(many)),
        figure,
    )
}

fn microseconds(since: Instant) -> f64 {
    since.elapsed().max(Duration::from_nanos(1)).as_secs_f64() * 1e6
}
