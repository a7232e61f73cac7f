//! The pool of databases is cut off at each of its steps in turn: refill, hand-out and drain. Whoever comes
//! next finishes what was begun; nothing is lost, handed out twice, or left. Refuses to choose the steps: each
//! request that is made is one.

use std::sync::Arc;
use std::time::Duration;

use mayfly::clock::ServerClock;
use mayfly::database::postgres::{PostgresConfig, PostgresDatabases};
use mayfly::database::seed::SeedFile;
use mayfly::database::{DatabaseOrder, Databases, Seed};
use mayfly::fault::Progress;
use secrecy::ExposeSecret;
use tokio::sync::mpsc;

use super::database::{Administrator, Place, make, password, ready, seed};
use super::database_spares::{named, spares};
use crate::world::cut::{At, Cut};
use crate::world::wait::within;

/// More requests than any of it takes.
const MOST: usize = 200;

const PATIENCE: Duration = Duration::from_secs(60);

async fn connect(config: PostgresConfig, seed: &Seed) -> Option<PostgresDatabases> {
    let (changes, _) = mpsc::channel(16);
    let clock = Arc::new(ServerClock::default());
    PostgresDatabases::connect(config, &[seed], clock, changes).await.ok()
}

/// Nobody keeps spares in it yet.
async fn place(admin: Administrator) -> (Place, PostgresConfig) {
    let place = Place::with(admin, |config| config.spare_bytes = 0).await;
    let config = PostgresConfig { spare_bytes: 1 << 30, ..place.config.clone() };
    (place, config)
}

/// The same, by a way that is cut there.
async fn cut(config: &PostgresConfig, at: At) -> (PostgresConfig, Cut) {
    let mut config = config.clone();
    let url = config.admin_url.expose_secret().to_owned();
    let (login, rest) = url.split_once('@').unwrap();
    let (address, database) = rest.split_once('/').unwrap();
    let cut = Cut::start(address.parse().unwrap(), at).await;
    let url = format!("{login}@{}/{database}?sslmode=disable", cut.address);
    config.admin_url = url.into();
    (config, cut)
}

/// Each request in turn, heard by the server or not.
fn steps() -> impl Iterator<Item = At> {
    (0..MOST).flat_map(|number| [At::Before(number), At::After(number)])
}

/// What is there of spares, finished or not.
async fn all_spares(place: &Place) -> usize {
    named(place, "$_spare_").await.len()
}

#[tokio::test]
async fn a_pool_that_is_cut_off_at_any_step_of_hand_out_and_refill_goes_on() {
    let (place, config) = place(Administrator::Creator).await;
    let (secret, seed) = (password(), seed());
    let mut previews = Vec::new();
    for (number, at) in (1..).zip(steps()) {
        let name = place.pr(number);
        let (cut_short, way) = cut(&config, at).await;
        let order =
            DatabaseOrder { seed: &seed, generation: 0, password: &secret, components: &[] };
        if let Some(cut_off) = connect(cut_short, &seed).await {
            within(PATIENCE, "an end of it", async || {
                let done = cut_off.ensure_database(&name, &order).await;
                way.is_cut() || matches!(done, Ok(Progress::Done))
            })
            .await;
            within(PATIENCE, "another spare", async || {
                way.is_cut() || !spares(&place).await.is_empty()
            })
            .await;
        }
        let next = connect(config.clone(), &seed).await.unwrap();
        make(&next, &name, &seed, 0, &secret).await.unwrap();
        assert_eq!(ready(&next, &name, &secret).await, Some(0), "{at:?}");
        previews.push(name);
        within(PATIENCE, "one spare, and nothing that is half of one", async || {
            !spares(&place).await.is_empty()
                && all_spares(&place).await == spares(&place).await.len()
        })
        .await;
        let mut owned = next.owned().await.unwrap();
        owned.sort();
        previews.sort();
        assert_eq!(owned, previews, "{at:?}");
        if !way.is_cut() {
            assert!(number > 20, "{number} steps are not all of it");
            return;
        }
    }
    panic!("it takes more than {MOST} requests");
}

#[tokio::test]
async fn a_drain_that_is_cut_off_at_any_step_is_finished() {
    let (place, config) = place(Administrator::Superuser).await;
    let (secret, former) = (password(), seed());
    let file = SeedFile { path: "001.sql".to_owned(), sql: "CREATE TABLE other ();".to_owned() };
    let other = Seed::new(vec![file], &[]).unwrap();
    for (number, at) in (1..).zip(steps()) {
        let before = connect(config.clone(), &former).await.unwrap();
        make(&before, &place.pr(number), &former, 0, &secret).await.unwrap();
        within(PATIENCE, "a spare", async || !spares(&place).await.is_empty()).await;
        drop(before);
        let (cut_short, way) = cut(&config, at).await;
        let cut_off = connect(cut_short, &other).await;
        within(PATIENCE, "an end of the drain", async || {
            way.is_cut() || all_spares(&place).await == 0
        })
        .await;
        drop(cut_off);
        let _next = connect(config.clone(), &other).await.unwrap();
        within(PATIENCE, "nothing left", async || all_spares(&place).await == 0).await;
        if !way.is_cut() {
            assert!(number > 4, "{number} steps are not all of it");
            return;
        }
    }
    panic!("it takes more than {MOST} requests");
}
