//! The two logins of a preview on a real PostgreSQL: somebody who knows the former password and the next
//! one is let in at every moment of a rotation.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mayfly::database::{DatabaseOrder, Databases, Login, Password};
use mayfly::fault::{Disposition, Progress};
use mayfly::preview::{ComponentName, Seen};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::database::{Administrator, Place, password, ready, seed};
use crate::world::wait::{until, within};

/// The passwords that a visitor knows, and how often one of them worked.
struct Visitor {
    known: Mutex<Vec<Password>>,
    let_in: Mutex<u32>,
    ends: AtomicBool,
}

impl Visitor {
    /// Logs in again and again, each time with whatever of the known works.
    async fn visit(&self, place: &Place, name: &mayfly::preview::PreviewName) {
        while !self.ends.load(Ordering::Relaxed) {
            let known = self.known.lock().unwrap().clone();
            let mut refusals = Vec::new();
            for password in &known {
                match place.log_in(name, password, &name.database()).await {
                    Ok(mut session) => {
                        let count: Result<i64, _> =
                            sqlx::query_scalar("SELECT count(*) FROM items")
                                .fetch_one(&mut session)
                                .await;
                        let _ = session.close().await;
                        match count {
                            Ok(_) => break,
                            // It was let in, and its session was ended as that of a former login.
                            Err(error) => refusals.push(error.to_string()),
                        }
                    }
                    Err(error) => refusals.push(error.to_string()),
                }
            }
            assert!(refusals.len() < known.len(), "neither works: {refusals:?}");
            *self.let_in.lock().unwrap() += 1;
        }
    }

    async fn was_let_in_again(&self) {
        let before = *self.let_in.lock().unwrap();
        until("the visitor comes again", async || *self.let_in.lock().unwrap() > before + 2).await;
    }
}

async fn one_of_two_passwords_works_at_every_moment(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, mut current) = (place.pr(1), password());
    place.make(&name, &current).await;
    let visitor = Visitor {
        known: Mutex::new(vec![current.clone()]),
        let_in: Mutex::default(),
        ends: AtomicBool::new(false),
    };
    let rotations = async {
        for rotation in 1..=4 {
            let next = password().of(Login::after(rotation));
            *visitor.known.lock().unwrap() = vec![next.clone(), current.clone()];
            visitor.was_let_in_again().await;
            // Twice each, as after a crash.
            for _ in 0..2 {
                place.make(&name, &next).await;
            }
            visitor.was_let_in_again().await;
            let mut held = place.log_in(&name, &current, &name.database()).await.unwrap();
            place.log_in(&name, &next, &name.database()).await.unwrap();
            let seen = place.databases.observe(&name, &next).await.database;
            assert!(seen.present().is_some_and(|it| it.ready && it.stale_login), "{seen:?}");
            for _ in 0..2 {
                place.databases.remove_login(&name, &next).await.unwrap();
            }
            let seen = place.databases.observe(&name, &next).await.database;
            assert!(seen.present().is_some_and(|it| it.ready && !it.stale_login), "{seen:?}");
            let ended = sqlx::raw_sql("SELECT 1").execute(&mut held).await;
            assert!(ended.is_err(), "a session of the former login goes on");
            assert!(place.log_in(&name, &current, &name.database()).await.is_err());
            visitor.was_let_in_again().await;
            current = next;
        }
        visitor.ends.store(true, Ordering::Relaxed);
    };
    tokio::join!(rotations, visitor.visit(&place, &name));
    assert!(*visitor.let_in.lock().unwrap() > 20);
}

async fn whatever_either_login_makes_belongs_to_the_preview_and_goes_with_it(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, first) = (place.pr(1), password());
    place.make(&name, &first).await;
    let run = async |secret: &Password, sql: &str| {
        let mut session = place.log_in(&name, secret, &name.database()).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut session).await.unwrap();
        session.close().await.unwrap();
    };
    run(&first, "CREATE TABLE by_first (id int)").await;
    let second = password().of(Login::Second);
    place.make(&name, &second).await;
    run(&second, "ALTER TABLE by_first ADD COLUMN more int; CREATE TABLE by_second (id int)").await;
    // A pooler that resets a session leaves it as the login itself.
    run(&second, "SET SESSION AUTHORIZATION DEFAULT; CREATE TABLE by_itself (id int)").await;
    run(&second, "SET ROLE NONE; CREATE TABLE by_none (id int)").await;
    place.databases.remove_login(&name, &second).await.unwrap();
    let third = password();
    place.make(&name, &third).await;
    place.databases.remove_login(&name, &third).await.unwrap();
    run(&third, "DROP TABLE by_first, by_second, by_itself, by_none").await;
    assert_eq!(ready(&place.databases, &name, &third).await, Some(0));
    assert_eq!(place.databases.owned().await.unwrap(), vec![name.clone()]);

    place.databases.remove_database(&name).await.unwrap();
    place.run(format!("DROP ROLE {}", name.role())).await;
    let left = place.databases.observe(&name, &third).await.role;
    assert_eq!(left, Seen::Present(()), "the other role is something that is left");
    assert_eq!(place.databases.owned().await.unwrap(), vec![name.clone()], "and is found");
    for _ in 0..2 {
        place.databases.remove_role(&name).await.unwrap();
    }
    assert_eq!(place.databases.observe(&name, &third).await.role, Seen::Absent);
    assert_eq!(place.databases.owned().await.unwrap(), vec![]);
}

async fn a_components_database_takes_part_and_one_that_was_never_finished_holds_nothing_up(
    admin: Administrator,
) {
    let place = Place::new(admin).await;
    let (name, first) = (place.pr(1), password());
    let api = [ComponentName::parse("api").unwrap()];
    let both = [api[0].clone(), ComponentName::parse("closed").unwrap()];
    let make = async |secret: &Password, components: &[ComponentName]| {
        within(Duration::from_secs(120), "the databases", async || {
            let (seed, password) = (&seed(), secret);
            let order = DatabaseOrder { seed, generation: 0, password, components };
            place.databases.ensure_database(&name, &order).await == Ok(Progress::Done)
        })
        .await;
    };
    make(&first, &both).await;
    let second = password().of(Login::Second);
    make(&second, &api).await;
    let run = async |secret: &Password, sql: &str| {
        let mut session = place.log_in(&name, secret, &api[0].database(&name)).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut session).await.unwrap();
        session.close().await.unwrap();
    };
    run(&second, "SET ROLE NONE; CREATE TABLE by_second (id int)").await;
    place.databases.remove_login(&name, &second).await.unwrap();
    let third = password();
    make(&third, &api).await;
    // As if a controller had been killed before it opened this one, which nobody wants any more.
    place.run(format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", both[1].database(&name))).await;
    place.databases.remove_login(&name, &third).await.unwrap();
    run(&third, "DROP TABLE by_second").await;
    place.databases.remove_database(&name).await.unwrap();
    place.databases.remove_role(&name).await.unwrap();
    assert_eq!(place.databases.owned().await.unwrap(), vec![]);
}

async fn the_last_login_that_is_open_is_never_locked(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, first) = (place.pr(1), password());
    place.make(&name, &first).await;
    let unmade = password().of(Login::Second);
    let refused = place.databases.remove_login(&name, &unmade).await.unwrap_err();
    assert_eq!(refused.disposition, Disposition::Transient, "{refused}");
    place.log_in(&name, &first, &name.database()).await.expect("the first is open");
    place.databases.remove_login(&name, &first).await.expect("there is no second to lock");
    place.log_in(&name, &first, &name.database()).await.expect("and still is");
}

async fn a_second_role_without_our_mark_is_never_touched(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, first) = (place.pr(1), password());
    place.make(&name, &first).await;
    place.run(format!("CREATE ROLE {} LOGIN", name.second_role())).await;
    let seen = place.databases.observe(&name, &first).await;
    assert!(seen.role.is_foreign(), "{seen:?}");
    let refused = [
        place.databases.remove_login(&name, &first).await,
        place.databases.remove_role(&name).await,
    ];
    for outcome in refused {
        assert_eq!(outcome.unwrap_err().disposition, Disposition::NotOurs);
    }
    let mut session: PgConnection = place.admin().await;
    let open: bool = sqlx::query_scalar("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1")
        .bind(name.second_role())
        .fetch_one(&mut session)
        .await
        .unwrap();
    assert!(open);
    place.run(format!("DROP ROLE {}", name.second_role())).await;
}

under_both!(
    one_of_two_passwords_works_at_every_moment,
    whatever_either_login_makes_belongs_to_the_preview_and_goes_with_it,
    a_components_database_takes_part_and_one_that_was_never_finished_holds_nothing_up,
    the_last_login_that_is_open_is_never_locked,
    a_second_role_without_our_mark_is_never_touched,
);
