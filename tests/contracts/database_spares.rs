//! Databases that are cloned in advance: handed out once, made again, and gone when nobody wants them.

use std::sync::Arc;
use std::time::Duration;

use mayfly::clock::ServerClock;
use mayfly::database::postgres::PostgresDatabases;
use mayfly::database::seed::SeedFile;
use mayfly::database::{Databases, Seed};
use sqlx::AssertSqlSafe;
use tokio::sync::mpsc;

use super::database::{Administrator, Place, connect, make, password, ready, seed};
use crate::world::wait::within;

under_both!(
    a_preview_gets_the_spare_itself_and_another_one_is_made,
    twenty_at_once_get_one_each,
    a_spare_that_a_crash_left_is_found_and_one_that_it_spoiled_is_not_handed_out,
    what_a_crash_cut_off_after_the_hand_out_is_finished,
    a_clone_in_advance_whose_session_was_ended_leaves_nothing,
    spares_go_when_the_seed_changes_and_when_they_have_no_room,
);

async fn place(admin: Administrator) -> Place {
    Place::with(admin, |config| config.spare_bytes = 1 << 30).await
}

/// The names and oids of databases that begin so.
pub async fn named(place: &Place, begin: &str) -> Vec<(String, i64)> {
    let begin = begin.replace("$", &place.instance);
    let sql = "SELECT datname::text, oid::int8 FROM pg_database WHERE starts_with(datname, $1)";
    sqlx::query_as(sql).bind(begin).fetch_all(&mut place.admin().await).await.unwrap()
}

pub async fn spares(place: &Place) -> Vec<(String, i64)> {
    let mut all = named(place, "$_spare_").await;
    all.retain(|(name, _)| !name.contains("_spare_new_"));
    all
}

async fn a_spare(place: &Place) -> (String, i64) {
    let within_time = Duration::from_secs(60);
    within(within_time, "a spare", async || !spares(place).await.is_empty()).await;
    spares(place).await.remove(0)
}

async fn oid(place: &Place, database: &str) -> i64 {
    named(place, database).await.into_iter().find(|(name, _)| name == database).unwrap().1
}

async fn a_preview_gets_the_spare_itself_and_another_one_is_made(admin: Administrator) {
    let place = place(admin).await;
    let (first, second, secret) = (place.pr(1), place.pr(2), password());
    place.make(&first, &secret).await;
    a_spare(&place).await;
    assert_eq!(place.databases.owned().await.unwrap(), [first], "a spare is nobody's");
    let before = spares(&place).await;
    place.make(&second, &secret).await;
    let got = oid(&place, &second.database()).await;
    assert!(before.iter().any(|(_, spare)| *spare == got), "{got} of {before:?}");
    assert_eq!(ready(&place.databases, &second, &secret).await, Some(0));
    let mut there = place.log_in(&second, &secret, &second.database()).await.unwrap();
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM items").fetch_one(&mut there).await.unwrap();
    assert_eq!(rows, 2);
    let another = async || spares(&place).await.iter().any(|it| !before.contains(it));
    within(Duration::from_secs(60), "another spare", another).await;
    // Nobody comes in where nobody lives.
    let refused = place.log_in(&second, &secret, &a_spare(&place).await.0).await.unwrap_err();
    assert!(refused.to_string().contains("not currently accepting"), "{refused}");
}

async fn twenty_at_once_get_one_each(admin: Administrator) {
    let place = place(admin).await;
    let secret = password();
    place.make(&place.pr(1), &secret).await;
    a_spare(&place).await;
    let another = connect(place.config.clone()).await.unwrap();
    let (names, seed): (Vec<_>, _) = ((2..=21).map(|n| place.pr(n)).collect(), seed());
    let all = names.iter().enumerate().map(|(at, name)| {
        let databases = if at % 2 == 0 { &place.databases } else { &another };
        make(databases, name, &seed, 0, &secret)
    });
    for outcome in futures_util::future::join_all(all).await {
        outcome.unwrap();
    }
    for name in &names {
        assert_eq!(ready(&place.databases, name, &secret).await, Some(0), "{name}");
    }
    assert_eq!(place.databases.owned().await.unwrap().len(), 21);
}

async fn a_spare_that_a_crash_left_is_found_and_one_that_it_spoiled_is_not_handed_out(
    admin: Administrator,
) {
    let place = place(admin).await;
    let secret = password();
    place.make(&place.pr(1), &secret).await;
    let (name, _) = a_spare(&place).await;
    // As a drop that was cut off leaves it; and nobody is there who would make another one.
    place.run(format!("UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{name}'")).await;
    place.make(&place.pr(2), &secret).await;
    assert_eq!(ready(&place.databases, &place.pr(2), &secret).await, Some(0));
    let gone = async || spares(&place).await.iter().all(|(it, _)| *it != name);
    within(Duration::from_secs(60), "an end of what was spoiled", gone).await;
    // As a clone is that was not made whole; somebody may have been in it.
    let (name, _) = a_spare(&place).await;
    let unfinished = format!("{}_spare_new_00000000", place.instance);
    place
        .run(format!(
            "ALTER DATABASE \"{name}\" RENAME TO \"{unfinished}\";
             ALTER DATABASE \"{unfinished}\" ALLOW_CONNECTIONS true"
        ))
        .await;
    place.make(&place.pr(4), &secret).await;
    let gone = async || named(&place, &unfinished).await.is_empty();
    within(Duration::from_secs(60), "an end of what was unfinished", gone).await;
    // Another process finds what this one made.
    a_spare(&place).await;
    let before = spares(&place).await;
    let restarted = connect(place.config.clone()).await.unwrap();
    let three = place.pr(3);
    make(&restarted, &three, &seed(), 0, &secret).await.unwrap();
    let got = oid(&place, &three.database()).await;
    assert!(before.iter().any(|(_, spare)| *spare == got), "{got} of {before:?}");
    assert_eq!(ready(&restarted, &three, &secret).await, Some(0));
}

async fn what_a_crash_cut_off_after_the_hand_out_is_finished(admin: Administrator) {
    let place = place(admin).await;
    let (name, secret) = (place.pr(2), password());
    place.make(&place.pr(1), &secret).await;
    let (spare, oid_of_spare) = a_spare(&place).await;
    // A version that renames and opens one after the other may stop in between.
    place.run(format!("ALTER DATABASE \"{spare}\" RENAME TO \"{}\"", name.database())).await;
    assert_eq!(ready(&place.databases, &name, &secret).await, None);
    assert!(place.databases.owned().await.unwrap().contains(&name), "it is not lost sight of");
    place.make(&name, &secret).await;
    assert_eq!(ready(&place.databases, &name, &secret).await, Some(0));
    assert_eq!(oid(&place, &name.database()).await, oid_of_spare);
}

async fn a_clone_in_advance_whose_session_was_ended_leaves_nothing(admin: Administrator) {
    let place = place(admin).await;
    let (secret, seed) = (password(), large());
    make(&place.databases, &place.pr(1), &seed, 0, &secret).await.unwrap();
    let restarted = || connect_for(&place, &seed);
    let databases = restarted().await;
    // Ends whatever makes a spare, as often as one is begun, a few times.
    let mut admin = place.admin().await;
    let mut ended = 0;
    within(Duration::from_secs(90), "three clones that were cut off", async || {
        let sql = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE query LIKE 'CREATE DATABASE \"{}_spare_new_%'",
            place.instance
        );
        let now: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut admin).await.unwrap();
        ended += now;
        // Has it tried again.
        make(&databases, &place.pr(2), &seed, 0, &secret).await.unwrap();
        databases.remove_database(&place.pr(2)).await.unwrap();
        ended >= 3
    })
    .await;
    let spoiled: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_database WHERE starts_with(datname, $1) AND datconnlimit = -2",
    )
    .bind(format!("{}_spare_", place.instance))
    .fetch_one(&mut admin)
    .await
    .unwrap();
    assert_eq!(spoiled, 0);
    make(&databases, &place.pr(2), &seed, 0, &secret).await.unwrap();
    assert_eq!(ready(&databases, &place.pr(2), &secret).await, Some(0));
}

async fn spares_go_when_the_seed_changes_and_when_they_have_no_room(admin: Administrator) {
    let place = place(admin).await;
    let secret = password();
    place.make(&place.pr(1), &secret).await;
    let (name, _) = a_spare(&place).await;
    let _with_another_seed = connect_for(&place, &large()).await;
    let gone = async || spares(&place).await.iter().all(|(it, _)| *it != name);
    within(Duration::from_secs(60), "an end of the former seed's spare", gone).await;
    let mut config = place.config.clone();
    config.spare_bytes = 0;
    place.make(&place.pr(2), &secret).await;
    a_spare(&place).await;
    let _without_room = connect(config).await.unwrap();
    let none = async || spares(&place).await.is_empty();
    within(Duration::from_secs(60), "an end of all spares", none).await;
    assert_eq!(ready(&place.databases, &place.pr(2), &secret).await, Some(0));
}

/// A seed that takes a while to clone.
fn large() -> Seed {
    let sql = "CREATE TABLE items AS SELECT g AS id, repeat(md5(g::text), 30) AS name
                   FROM generate_series(1, 20000) g;";
    let file = SeedFile { path: "001.sql".to_owned(), sql: sql.to_owned() };
    Seed::new(vec![file], &[]).unwrap()
}

async fn connect_for(place: &Place, seed: &Seed) -> PostgresDatabases {
    let (changes, _) = mpsc::channel(16);
    let clock = Arc::new(ServerClock::default());
    PostgresDatabases::connect(place.config.clone(), &[seed], clock, changes).await.unwrap()
}
