//! Pull requests of one site, opened and closed one after the other, and what became of each.
//!
//! Refuses to go on before the preview has come to rest: what one left to do would be measured with the next.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sqlx::{Connection, PgConnection, Row as _};

use mayfly::clock::fresh_id;

use super::data::spare;
use super::intake::Sender;
use super::stage::{SHOP, SHOP_ID, Stage, open_pull};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often the ledger is asked for what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// When the last of a preview's objects was there, if all of them are, by its namespace.
pub type Sight<'a> = &'a (dyn Fn(&str) -> Option<Instant> + Sync);

/// The pull requests of one site, one after the other.
pub struct Rounds<'a> {
    stage: &'a Stage,
    sight: Sight<'a>,
    ledger: PgConnection,
    databases: PgConnection,
    sender: Sender,
    next: u32,
}

/// One that was opened, and has all that it is made of.
pub struct Opened {
    pub number: u32,
    /// Just before its delivery was sent.
    pub sent: Instant,
    /// When the last of its objects was there.
    pub there: Instant,
    /// How long until then, until its database had its name, and until its phase was another than that of
    /// what nobody looked at.
    pub declared: Duration,
}

impl Opened {
    /// How long until the last of its objects was there.
    pub fn objects(&self) -> Duration {
        self.there.saturating_duration_since(self.sent)
    }
}

impl<'a> Rounds<'a> {
    /// No other site on the same servers may have previews of the numbers from this one on.
    pub async fn new(stage: &'a Stage, first: u32, sight: Sight<'a>) -> Result<Self> {
        stage.github.set_remaining(1_000_000);
        Ok(Self {
            stage,
            sight,
            ledger: PgConnection::connect(&stage.ledger.url(stage.name.database)).await?,
            databases: PgConnection::connect(&stage.previews.url("postgres")).await?,
            sender: Sender::connect(stage.main).await?,
            next: first,
        })
    }

    /// The same, with a database in store: there is one as soon as the first preview has its own.
    pub async fn open_warm(&mut self) -> Result<Opened> {
        spare(&self.stage.previews, self.stage.name.instance).await?;
        self.open().await
    }

    /// Opens another pull request, and waits until its preview has all that it is made of.
    pub async fn open(&mut self) -> Result<Opened> {
        let number = self.next;
        self.next += 1;
        open_pull(&self.stage.github, number, &[]);
        let sent = self.tell(number, "opened").await?;
        let database = format!("pr_{number}");
        let named = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
        while !sqlx::query_scalar(named).bind(&database).fetch_one(&mut self.databases).await? {
            wait(sent, "its database").await?;
        }
        let named = sent.elapsed();
        while self.row(number).await?.is_none_or(|it| it.phase == "Pending") {
            wait(sent, "its phase").await?;
        }
        let declared = named.max(sent.elapsed());
        let there = loop {
            match (self.sight)(&format!("pr-{number}")) {
                Some(at) => break at,
                None => wait(sent, "its objects").await?,
            }
        };
        let declared = declared.max(there.saturating_duration_since(sent));
        Ok(Opened { number, sent, there, declared })
    }

    /// Waits until the preview is Ready and has come to rest; how long it took until it was Ready.
    pub async fn rest(&mut self, of: &Opened) -> Result<Duration> {
        let ready = self.until(of.sent, of.number, |it| it.phase == "Ready").await?;
        self.until(of.sent, of.number, |it| it.rests).await?;
        Ok(ready)
    }

    /// Opens so many pull requests at once, and waits until each preview has come to rest; how long
    /// each took until its objects were there, in order.
    pub async fn open_at_once(&mut self, count: u32) -> Result<Vec<Duration>> {
        let numbers = self.next..self.next + count;
        self.next += count;
        let (to, github) = (self.stage.main, &self.stage.github);
        let opening = numbers.clone().map(async |number| {
            open_pull(github, number, &[]);
            let (mut sender, delivery) =
                (Sender::connect(to).await?, self.stage.delivery(number, "opened"));
            let sent = Instant::now();
            let taken = sender.send(&delivery, &fresh_id().to_string()).await?;
            ensure!(taken, "a delivery was not taken");
            anyhow::Ok(sent)
        });
        let sent = futures_util::future::try_join_all(opening).await?;
        let mut took = Vec::new();
        for (number, sent) in numbers.clone().zip(sent) {
            let there = loop {
                match (self.sight)(&format!("pr-{number}")) {
                    Some(at) => break at,
                    None => wait(sent, "its objects").await?,
                }
            };
            took.push(there.saturating_duration_since(sent));
        }
        for number in numbers {
            self.until(Instant::now(), number, |it| it.phase == "Ready" && it.rests).await?;
        }
        took.sort_unstable();
        Ok(took)
    }

    /// Closes it; how long it took until nothing is left, and the receipt says so.
    pub async fn close(&mut self, number: u32) -> Result<Duration> {
        self.stage.github.close(SHOP, number, true);
        let sent = self.tell(number, "closed").await?;
        let gone = self.until(sent, number, |it| it.phase == "Gone" && it.proven).await?;
        self.until(sent, number, |it| it.rests).await?;
        Ok(gone)
    }

    /// Sends what GitHub would; when that was.
    async fn tell(&mut self, number: u32, action: &str) -> Result<Instant> {
        let delivery = self.stage.delivery(number, action);
        let sent = Instant::now();
        ensure!(
            self.sender.send(&delivery, &fresh_id().to_string()).await?,
            "a delivery was not taken"
        );
        Ok(sent)
    }

    async fn until(
        &mut self,
        since: Instant,
        number: u32,
        holds: impl Fn(&Stand) -> bool,
    ) -> Result<Duration> {
        loop {
            let stand = self.row(number).await?.context("no row of its own")?;
            if holds(&stand) {
                return Ok(since.elapsed());
            }
            wait(since, &stand.said).await?;
        }
    }

    async fn row(&mut self, number: u32) -> Result<Option<Stand>> {
        let row = sqlx::query(
            "SELECT phase, receipt IS NOT NULL AS proven, outlook || ' ' || COALESCE(last_error, '') AS said,
                 lease_until IS NULL AND (wake_at IS NULL OR wake_at > now() + interval '10 s') AS rests
             FROM previews WHERE repository_id = $1 AND number = $2",
        )
        .bind(SHOP_ID)
        .bind(i64::from(number))
        .fetch_optional(&mut self.ledger)
        .await?;
        let stand = |row: sqlx::postgres::PgRow| {
            Ok(Stand {
                phase: row.try_get("phase")?,
                proven: row.try_get("proven")?,
                said: row.try_get("said")?,
                rests: row.try_get("rests")?,
            })
        };
        row.map(stand).transpose()
    }
}

/// What the ledger has of a preview.
struct Stand {
    phase: String,
    proven: bool,
    rests: bool,
    /// What its last pass said, for whoever waits in vain.
    said: String,
}

async fn wait(since: Instant, what: &str) -> Result<()> {
    if since.elapsed() > PATIENCE {
        bail!("waited for {PATIENCE:?}: {what}");
    }
    tokio::time::sleep(LOOK_EVERY).await;
    Ok(())
}
