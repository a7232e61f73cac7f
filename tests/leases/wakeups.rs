//! The real loop on the real clock: woken from inside, by NOTIFY, or by nothing but its poll; and
//! what it does when the ledger's server hangs up on it.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use mayfly::clock::{Clock, ServerClock};
use mayfly::ledger::Ledger;
use mayfly::preview::Phase;
use mayfly::reconcile::{Limits, Reconciler};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::leased;
use crate::world::faults::Mode;
use crate::world::postgres::server;
use crate::world::wait::{until, within};
use crate::world::{World, number};

/// Longer than any test waits: a loop with this poll was woken by something else.
const NEVER: Duration = Duration::from_secs(120);

/// A world whose loop runs by itself.
struct Live {
    world: World,
    stop: CancellationToken,
    running: Vec<(Arc<Reconciler>, JoinHandle<()>)>,
}

impl Live {
    async fn new() -> Self {
        Self { world: World::new().await, stop: CancellationToken::new(), running: Vec::new() }
    }

    /// Starts a replica with connections of its own, as another process would be.
    async fn start(&mut self, poll: Duration, listen: bool) -> Arc<Reconciler> {
        let limits = Limits {
            concurrent_passes: 4,
            lease: TimeDelta::seconds(3),
            pass_deadline: Duration::from_secs(2),
            poll,
            listen,
            ..Limits::default()
        };
        let ledger = Ledger::connect(&self.url().await, 6).await.unwrap();
        let seams = self.world.reconciler.seams.clone();
        let clock = Arc::new(ServerClock::default());
        let reconciler = self.world.replica_with(ledger, seams, clock, limits);
        let task = tokio::spawn(reconciler.clone().run(self.stop.clone()));
        self.running.push((reconciler.clone(), task));
        reconciler
    }

    fn database(&self) -> String {
        let options = self.world.ledger.pool().connect_options();
        options.get_database().unwrap().to_owned()
    }

    async fn url(&self) -> String {
        server().await.url(&self.database())
    }

    /// The test's own events happen now, and not when the hand clock says.
    fn tick(&self) {
        self.world.clock.set(ServerClock::default().now());
    }

    async fn open(&self, n: u32, digit: char) {
        self.tick();
        self.world.open(n, digit).await;
    }

    async fn becomes_ready(&self, n: u32, digit: char) {
        until(&format!("pr-{n} serves {digit}"), async || {
            self.world.serves(n, digit) && self.world.phase(n).await == Phase::Ready
        })
        .await;
    }

    /// Ends sessions of this world's database; how many there were.
    async fn hang_up(&self, which: &str) -> i64 {
        let mut session = admin().await;
        sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = $1 AND query LIKE $2",
        )
        .bind(self.database())
        .bind(which)
        .fetch_one(&mut session)
        .await
        .unwrap()
    }

    async fn listeners(&self) -> i64 {
        let mut session = admin().await;
        sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND query LIKE 'LISTEN%'",
        )
        .bind(self.database())
        .fetch_one(&mut session)
        .await
        .unwrap()
    }

    async fn end(self) {
        self.stop.cancel();
        for (_, task) in self.running {
            task.await.unwrap();
        }
        assert_eq!(leased(&self.world.ledger).await, 0, "no lease is left");
    }
}

async fn admin() -> PgConnection {
    PgConnection::connect(&server().await.url("postgres")).await.unwrap()
}

#[tokio::test]
async fn a_wake_from_inside_the_process_is_enough() {
    let mut live = Live::new().await;
    let replica = live.start(NEVER, false).await;
    live.open(1, 'a').await;
    replica.wake.notify_one();
    live.becomes_ready(1, 'a').await;
    live.end().await;
}

#[tokio::test]
async fn a_notification_from_another_process_is_enough() {
    let mut live = Live::new().await;
    live.start(NEVER, true).await;
    // At once, while the loop may not listen yet, and when it does.
    live.open(1, 'a').await;
    live.becomes_ready(1, 'a').await;
    live.open(2, 'a').await;
    live.becomes_ready(2, 'a').await;
    live.end().await;
}

#[tokio::test]
async fn the_poll_alone_finds_what_is_due() {
    let mut live = Live::new().await;
    live.start(Duration::from_millis(50), false).await;
    live.open(1, 'a').await;
    live.becomes_ready(1, 'a').await;
    live.end().await;
}

#[tokio::test]
async fn a_listener_whose_connection_was_killed_hears_again_before_the_next_poll() {
    let mut live = Live::new().await;
    live.start(NEVER, true).await;
    until("it listens", async || live.listeners().await == 1).await;
    for n in 1..=2 {
        assert_eq!(live.hang_up("LISTEN%").await, 1);
        live.open(n, 'a').await;
        live.becomes_ready(n, 'a').await;
        until("it listens again", async || live.listeners().await == 1).await;
    }
    live.end().await;
}

#[tokio::test]
async fn a_server_that_hangs_up_on_every_session_does_not_stop_the_loop() {
    let mut live = Live::new().await;
    for _ in 0..2 {
        live.start(Duration::from_millis(100), true).await;
    }
    for n in 1..=5 {
        live.open(n, 'a').await;
        live.hang_up("%").await;
    }
    for n in 1..=5 {
        live.becomes_ready(n, 'a').await;
    }
    live.end().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_for_a_while_is_heard_again_before_the_next_poll() {
    let mut live = Live::new().await;
    live.start(NEVER, true).await;
    live.open(1, 'a').await;
    live.becomes_ready(1, 'a').await;
    let allow = async |allowed: bool| {
        let sql = format!("ALTER DATABASE {} ALLOW_CONNECTIONS {allowed}", live.database());
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut admin().await).await.unwrap();
    };
    allow(false).await;
    live.hang_up("%").await;
    let url = live.url().await;
    until("nobody is connected", async || live.hang_up("%").await == 0).await;
    assert!(PgConnection::connect(&url).await.is_err(), "nobody gets in");
    assert!(live.running.iter().all(|(_, task)| !task.is_finished()));
    allow(true).await;
    // Said before anybody may listen again.
    live.open(2, 'a').await;
    live.becomes_ready(2, 'a').await;
    live.end().await;
}

#[tokio::test]
async fn two_deaf_replicas_and_some_bad_luck_still_lead_a_whole_life() {
    let mut live = Live::new().await;
    let faults = live.world.faults.clone();
    for (call, nth, mode) in [
        ("cluster.ensure_namespace", 1, Mode::FailAfter),
        ("databases.ensure_database", 2, Mode::FailBefore),
        ("forge.pull", 2, Mode::FailBefore),
        ("dns.ensure_record", 1, Mode::Repeat),
        ("forge.publish", 3, Mode::FailAfter),
        ("cluster.remove_namespace", 1, Mode::FailAfter),
        ("databases.remove_role", 1, Mode::FailBefore),
    ] {
        faults.plan(call, nth, mode);
    }
    for _ in 0..2 {
        live.start(Duration::from_millis(30), false).await;
    }
    for n in 1..=3 {
        live.open(n, 'a').await;
    }
    for n in 1..=3 {
        live.becomes_ready(n, 'a').await;
        live.tick();
        live.world.push(n, 'b').await;
    }
    for n in 1..=3 {
        live.becomes_ready(n, 'b').await;
        live.tick();
        live.world.close(n, 'b').await;
    }
    for n in 1..=3 {
        let gone = async || live.world.phase(n).await == Phase::Gone;
        within(Duration::from_secs(40), &format!("pr-{n} is gone"), gone).await;
        assert_eq!(live.world.forge.comments(number(n)), 1);
    }
    assert_eq!(live.world.leftovers(), Vec::<String>::new());
    live.end().await;
}
