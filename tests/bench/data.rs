//! Rows 5 and 7: how soon a preview has its data, and how soon that is gone again.
//!
//! Through the adapter that production uses, on a server that flushes to disk. The baseline of a hand-out is
//! what nobody can go below: to connect, and to ask once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use mayfly::clock::{ServerClock, fresh_bytes};
use mayfly::database::postgres::{PostgresConfig, PostgresDatabases, SslMode};
use mayfly::database::seed::SeedFile;
use mayfly::database::{DatabaseOrder, Databases, Password, Seed};
use mayfly::demo::postgres::Postgres;
use mayfly::fault::Progress;
use mayfly::preview::{PreviewName, PullNumber};
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc;

use super::report::{Goal, Row, Spread};

/// How long a spare, or the first seeding, may take.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Site<'a> {
    server: &'a Postgres,
    databases: PostgresDatabases,
    seed: Seed,
    instance: String,
    next: i64,
}

impl<'a> Site<'a> {
    /// A site of its own on the server, with a seed of about this size, and a first preview.
    pub async fn new(server: &'a Postgres, megabytes: u32) -> Result<Self> {
        Self::with(server, megabytes, 1 << 40).await
    }

    /// The same without any clone in advance.
    pub async fn cold(server: &'a Postgres, megabytes: u32) -> Result<Self> {
        Self::with(server, megabytes, 0).await
    }

    async fn with(server: &'a Postgres, megabytes: u32, spare_bytes: i64) -> Result<Self> {
        // Rows of some 2 kB that do not compress to nothing.
        let sql = format!(
            "CREATE TABLE items (id bigint PRIMARY KEY, text text);
             INSERT INTO items SELECT g, (SELECT string_agg(md5((g * 64 + n)::text), '')
                                          FROM generate_series(1, 56) n)
                 FROM generate_series(1, {}) g;",
            i64::from(megabytes) * 500
        );
        let seed = Seed::new(vec![SeedFile { path: "items.sql".to_owned(), sql }], &[])?;
        let instance = format!("bench{megabytes}");
        let config = PostgresConfig {
            admin_url: server.url("postgres").into(),
            admin_url_file: None,
            public_address: None,
            public_sslmode: SslMode::Prefer,
            instance: instance.clone(),
            clones_at_once: 2,
            connection_limit: 20,
            seed_timeout: PATIENCE,
            seed_max_bytes: 1 << 40,
            spare_bytes,
        };
        let (changes, _) = mpsc::channel(16);
        let clock = Arc::new(ServerClock::default());
        let databases = PostgresDatabases::connect(config, &[&seed], clock, changes).await?;
        let next = i64::from(megabytes) * 1000;
        let mut site = Self { server, databases, seed, instance, next };
        site.open().await?;
        Ok(site)
    }

    /// Makes the database of another preview.
    pub async fn open(&mut self) -> Result<(PreviewName, Password)> {
        let Some(number) = PullNumber::new(self.next) else { bail!("no such number") };
        self.next += 1;
        let (name, password) =
            (PreviewName::new(None, number), Password::from_bytes(fresh_bytes()));
        let (seed, begun) = (&self.seed, Instant::now());
        let order = DatabaseOrder { seed, generation: 0, password: &password, components: &[] };
        while self.databases.ensure_database(&name, &order).await? != Progress::Done {
            pause(begun, "database").await?;
        }
        Ok((name, password))
    }

    /// The name of its template.
    pub async fn template(&self, session: &mut PgConnection) -> Result<String> {
        let named = "SELECT datname::text FROM pg_database WHERE starts_with(datname, $1)";
        let begin = format!("{}_seed_", self.instance);
        Ok(sqlx::query_scalar(named).bind(begin).fetch_one(session).await?)
    }

    pub async fn spare(&self) -> Result<()> {
        spare(self.server, &self.instance).await
    }

    pub async fn drop(&self, name: &PreviewName) -> Result<()> {
        self.databases.remove_database(name).await?;
        Ok(self.databases.remove_role(name).await?)
    }

    /// Connects as the preview does, and asks once.
    async fn visit(&self, (name, password): &(PreviewName, Password)) -> Result<PgConnection> {
        let mut session = PgConnection::connect(&self.databases.url(name, password)).await?;
        sqlx::query("SELECT 1").execute(&mut session).await?;
        Ok(session)
    }

    /// Milliseconds of one hand-out with its first visit, and of a visit of one that is there.
    async fn round(&mut self, there: &(PreviewName, Password)) -> Result<(f64, f64)> {
        self.spare().await?;
        let begun = Instant::now();
        self.visit(there).await?.close().await?;
        let visit = begun.elapsed().as_secs_f64() * 1000.0;
        let begun = Instant::now();
        let fresh = self.open().await?;
        self.visit(&fresh).await?.close().await?;
        let handed = begun.elapsed().as_secs_f64() * 1000.0;
        self.drop(&fresh.0).await?;
        Ok((handed, visit))
    }
}

/// Waits until an installation has a spare.
pub async fn spare(server: &Postgres, instance: &str) -> Result<()> {
    let begun = Instant::now();
    let mut session = PgConnection::connect(&server.url("postgres")).await?;
    loop {
        let spares: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname ~ $1")
            .bind(format!("^{instance}_spare_(?!new_)"))
            .fetch_one(&mut session)
            .await?;
        if spares > 0 {
            session.close().await?;
            return Ok(());
        }
        pause(begun, "spare").await?;
    }
}

/// Waits a little longer for something, outside of what is measured.
async fn pause(begun: Instant, what: &str) -> Result<()> {
    ensure!(begun.elapsed() < PATIENCE, "no {what} in {PATIENCE:?}");
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(())
}

/// Measures both rows.
pub async fn measure(server: &Postgres, quick: bool) -> Result<Vec<Row>> {
    let (rounds, large) = if quick { (5, 50) } else { (25, 1000) };
    let mut rows = Vec::new();
    let mut small = Site::new(server, 10).await?;
    let there = small.open().await?;
    let (mut ratios, mut handed, mut visits) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (ours, theirs) = small.round(&there).await?;
        ratios.push(ours / theirs);
        handed.push(ours);
        visits.push(theirs);
    }
    let middle = |of: &[f64]| Spread::of(of.to_vec()).median;
    rows.push(Row::new(
        "5",
        "hand-out, connect, first query ÷ connect, first query; 10 MB",
        Goal::AtMost(1.5),
        (format!("{:.1} ms", middle(&visits)), format!("{:.1} ms", middle(&handed))),
        Spread::of(ratios),
    ));
    let mut site = Site::new(server, large).await?;
    let there_large = site.open().await?;
    let (mut ratios, mut of_large, mut of_small) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds.min(7) {
        let (large, _) = site.round(&there_large).await?;
        let (small, _) = small.round(&there).await?;
        ratios.push(large / small);
        of_large.push(large);
        of_small.push(small);
    }
    rows.push(Row::new(
        "5",
        &format!("the same, {large} MB ÷ 10 MB"),
        Goal::AtMost(1.3),
        (format!("{:.1} ms", middle(&of_small)), format!("{:.1} ms", middle(&of_large))),
        Spread::of(ratios),
    ));
    rows.extend(drops(&mut small, rounds).await?);
    Ok(rows)
}

/// Drops with four sessions that are at work, and without any.
async fn drops(site: &mut Site<'_>, rounds: usize) -> Result<Vec<Row>> {
    let (mut ratios, mut with, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut took = VecDeque::new();
        for sessions in [0, 4] {
            let fresh = site.open().await?;
            let mut at_work = Vec::new();
            for _ in 0..sessions {
                let mut session = site.visit(&fresh).await?;
                at_work.push(tokio::spawn(async move {
                    // It is ended, which is what this is for.
                    let _ = sqlx::query("SELECT pg_sleep(60)").execute(&mut session).await;
                }));
            }
            let begun = Instant::now();
            site.databases.remove_database(&fresh.0).await?;
            took.push_back(begun.elapsed().as_secs_f64() * 1000.0);
            for session in at_work {
                session.await?;
            }
            site.databases.remove_role(&fresh.0).await?;
        }
        let (alone, busy) = (took[0], took[1]);
        ratios.push(busy / alone);
        without.push(alone);
        with.push(busy);
    }
    let middle = |of: &[f64]| Spread::of(of.to_vec()).median;
    let said = (format!("{:.1} ms", middle(&without)), format!("{:.1} ms", middle(&with)));
    Ok(vec![
        Row::new(
            "7",
            "drop with live sessions ÷ without",
            Goal::AtMost(2.5),
            said.clone(),
            Spread::of(ratios),
        ),
        Row::new("7", "drop with live sessions, in ms", Goal::AtMost(50.0), said, Spread::of(with)),
    ])
}
