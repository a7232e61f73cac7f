//! What every adapter of the databases seam keeps, and what a real PostgreSQL must not allow.

use std::sync::Arc;
use std::time::Duration;

use mayfly::clock::{ServerClock, fresh_bytes};
use mayfly::database::postgres::{PostgresConfig, PostgresDatabases, SslMode};
use mayfly::database::seed::SeedFile;
use mayfly::database::{DatabaseOrder, Databases, DatabasesSeen, Password, Seed};
use mayfly::demo::postgres::Postgres;
use mayfly::fault::{Disposition, Fault, Progress};
use mayfly::preview::{ComponentName, PreviewName, PullNumber, Seen};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::mpsc;

use crate::world::database::FakeDatabases;
use crate::world::faults::Faults;
use crate::world::postgres::{server, unique};
use crate::world::wait::{until, within};

pub fn pr(number: i64) -> PreviewName {
    PreviewName::new(None, PullNumber::new(number).unwrap())
}

pub fn password() -> Password {
    Password::from_bytes(fresh_bytes())
}

pub fn seed() -> Seed {
    let sql = "CREATE TABLE items (id int PRIMARY KEY, name text);
CREATE SEQUENCE numbers;
COPY items (id, name) FROM stdin;
1\tcrane fly
2\tlacewing
\\.
";
    let file = SeedFile { path: "001.sql".to_owned(), sql: sql.to_owned() };
    Seed::new(vec![file], &[]).unwrap()
}

/// As whom the server is administered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Administrator {
    Superuser,
    /// LOGIN CREATEDB CREATEROLE and nothing else, as managed servers give it.
    Creator,
}

/// Each promise is kept under both administrators.
macro_rules! under_both {
    ($($name:ident),* $(,)?) => {
        mod under_a_superuser {
            $(#[tokio::test] async fn $name() {
                super::$name(super::Administrator::Superuser).await;
            })*
        }
        mod under_a_role_that_may_only_create {
            $(#[tokio::test] async fn $name() {
                super::$name(super::Administrator::Creator).await;
            })*
        }
    };
}

under_both!(
    postgres_keeps_the_contract,
    a_component_has_its_own_seeded_rows_and_what_was_cut_off_is_finished,
    a_preview_finds_its_seeded_rows_and_may_change_all_of_them,
    a_preview_can_log_in_nowhere_but_at_home,
    a_preview_cannot_widen_its_rights,
    a_preview_cannot_take_more_than_its_sessions,
    a_preview_cannot_make_itself_or_its_database_undroppable,
    what_a_role_left_in_a_database_that_was_open_does_not_keep_it,
    a_database_with_open_sessions_is_dropped_all_the_same,
    a_database_or_role_without_our_mark_is_never_touched,
    an_interrupted_drop_is_seen_as_leaving_and_finished,
    a_clone_that_was_not_finished_is_not_ready_and_gets_finished,
    what_is_being_worked_on_is_unknown_and_not_absent,
    twenty_previews_at_once_all_get_their_database_from_one_template,
    a_seed_that_fails_says_where_and_leaves_no_role_behind,
    a_seed_can_do_nothing_outside_its_own_database,
    a_seed_that_grows_too_large_is_refused,
    a_seed_that_takes_too_long_is_refused,
    no_statement_that_the_server_could_log_holds_a_password,
    a_clone_whose_client_was_killed_is_never_taken_for_absent_while_it_is_made,
);

/// Makes a role that may make databases and roles, with a database of its own to connect to; the
/// URL. What such a role cannot do, an administrator did before.
pub async fn creator(server: &Postgres, unique: u32) -> String {
    let mut session = PgConnection::connect(&server.url("postgres")).await.unwrap();
    let (name, password) = (format!("creator_{unique}"), password());
    let (role, home) = (
        format!("CREATE ROLE {name} LOGIN CREATEDB CREATEROLE PASSWORD '{}'", password.reveal()),
        format!("CREATE DATABASE {name} OWNER {name} TEMPLATE template0 STRATEGY file_copy"),
    );
    for sql in [role, home] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut session).await.unwrap();
    }
    let close = "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC";
    // This fails only where another test does the same at this moment.
    let _ = sqlx::raw_sql(close).execute(&mut session).await;
    session.close().await.unwrap();
    let url = server.url(&name);
    let (_, address) = url.split_once('@').unwrap();
    format!("postgres://{name}:{}@{address}", password.reveal())
}

pub fn config(admin_url: String, unique: u32) -> PostgresConfig {
    PostgresConfig {
        admin_url: admin_url.into(),
        admin_url_file: None,
        public_address: None,
        public_sslmode: SslMode::Prefer,
        instance: format!("t{unique}"),
        clones_at_once: 2,
        connection_limit: 5,
        seed_timeout: Duration::from_secs(30),
        seed_max_bytes: 1 << 30,
        spare_bytes: 0,
    }
}

pub async fn connect(config: PostgresConfig) -> Result<PostgresDatabases, Fault> {
    let (changes, _) = mpsc::channel(16);
    PostgresDatabases::connect(config, &[&seed()], Arc::new(ServerClock::default()), changes).await
}

/// A previews' server of its own for each test: another instance on the shared server, whose
/// numbers no other test uses.
pub struct Place {
    pub databases: PostgresDatabases,
    base: i64,
    pub instance: String,
    /// The role that administers.
    pub admin: String,
    /// The superuser's URL of the database that it connects to, where locks of names are seen.
    home: String,
    /// With which another replica connects.
    pub config: PostgresConfig,
}

impl Place {
    pub async fn new(admin: Administrator) -> Self {
        Self::with(admin, |_| {}).await
    }

    pub async fn with(admin: Administrator, change: impl FnOnce(&mut PostgresConfig)) -> Self {
        let (unique, server) = (unique(), server().await);
        let url = match admin {
            Administrator::Superuser => server.url("postgres"),
            Administrator::Creator => creator(server, unique).await,
        };
        let home = server.url(url.rsplit_once('/').unwrap().1);
        let admin = url["postgres://".len()..].split(':').next().unwrap().to_owned();
        let mut config = config(url, unique);
        change(&mut config);
        let instance = config.instance.clone();
        let databases = connect(config.clone()).await.unwrap();
        Self { databases, base: i64::from(unique) * 1000, instance, admin, home, config }
    }

    pub fn pr(&self, number: i64) -> PreviewName {
        pr(self.base + number)
    }

    pub async fn admin(&self) -> PgConnection {
        PgConnection::connect(&server().await.url("postgres")).await.unwrap()
    }

    pub async fn run(&self, sql: String) {
        let mut session = self.admin().await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut session).await.unwrap();
        session.close().await.unwrap();
    }

    pub async fn make(&self, name: &PreviewName, password: &Password) {
        make(&self.databases, name, &seed(), 0, password).await.unwrap();
    }

    /// Logs in with the preview's own credentials to any database.
    pub async fn log_in(
        &self,
        name: &PreviewName,
        password: &Password,
        database: &str,
    ) -> Result<PgConnection, sqlx::Error> {
        let url = self.databases.url(name, password);
        let (server, _) = url.rsplit_once('/').unwrap();
        PgConnection::connect(&format!("{server}/{database}")).await
    }
}

/// Ensures until it is done, or fails in a way that trying again does not mend; with a deadline.
pub async fn make(
    databases: &dyn Databases,
    name: &PreviewName,
    seed: &Seed,
    generation: u32,
    password: &Password,
) -> Result<(), Fault> {
    let order = DatabaseOrder { seed, generation, password, components: &[] };
    let mut outcome = Ok(Progress::Done);
    within(Duration::from_secs(120), "a database", async || {
        outcome = databases.ensure_database(name, &order).await;
        match &outcome {
            Ok(Progress::Done) => true,
            Ok(Progress::Underway(_)) => {
                // As the loop does: look, and act again once nobody works on it any more.
                let unknown = |seen: DatabasesSeen| matches!(seen.database, Seen::Unknown(_));
                let looked = async || !unknown(databases.observe(name, password).await);
                within(Duration::from_secs(120), "an end of the work", looked).await;
                false
            }
            Err(fault) => fault.disposition != Disposition::Transient,
        }
    })
    .await;
    outcome.map(|_| ())
}

pub async fn ready(
    databases: &dyn Databases,
    name: &PreviewName,
    password: &Password,
) -> Option<u32> {
    let seen = databases.observe(name, password).await;
    let database = seen.database.present()?;
    (database.ready && seen.role == Seen::Present(())).then_some(database.generation?)
}

/// What the seam promises, whoever keeps it.
async fn databases_contract(databases: &dyn Databases, base: i64) {
    let (ours, other) = (pr(base + 1), pr(base + 2));
    let secret = password();
    let seen = databases.observe(&ours, &secret).await;
    assert_eq!((seen.database, seen.role), (Seen::Absent, Seen::Absent));
    databases.remove_database(&ours).await.expect("removing the absent succeeds");
    databases.remove_role(&ours).await.expect("removing the absent succeeds");
    for _ in 0..2 {
        make(databases, &ours, &seed(), 0, &secret).await.unwrap();
        assert_eq!(ready(databases, &ours, &secret).await, Some(0));
    }
    assert_eq!(databases.observe(&other, &secret).await.database, Seen::Absent);
    let fresh = password();
    assert_eq!(ready(databases, &ours, &fresh).await, None, "another password is not ready");
    make(databases, &ours, &seed(), 0, &fresh).await.unwrap();
    assert_eq!(ready(databases, &ours, &fresh).await, Some(0), "and becomes so");
    make(databases, &ours, &seed(), 0, &secret).await.unwrap();
    assert_eq!(databases.owned().await.unwrap(), vec![ours.clone()]);
    databases.remove_database(&ours).await.unwrap();
    let seen = databases.observe(&ours, &secret).await;
    assert_eq!((seen.database, seen.role), (Seen::Absent, Seen::Present(())));
    make(databases, &ours, &seed(), 3, &secret).await.unwrap();
    assert_eq!(ready(databases, &ours, &secret).await, Some(3), "another generation of the data");
    databases.remove_database(&ours).await.unwrap();
    databases.remove_role(&ours).await.unwrap();
    let seen = databases.observe(&ours, &secret).await;
    assert_eq!((seen.database, seen.role), (Seen::Absent, Seen::Absent));
    assert_eq!(databases.owned().await.unwrap(), vec![]);
}

/// A preview whose components have databases of their own.
async fn components_contract(databases: &dyn Databases, base: i64) {
    let (ours, other, secret) = (pr(base + 1), pr(base + 11), password());
    let name = |text: &str| ComponentName::parse(text).unwrap();
    let both = [name("api"), name("mail-worker")];
    let make = async |components: &[ComponentName], generation: u32| {
        within(Duration::from_secs(120), "the databases", async || {
            let (seed, password) = (&seed(), &secret);
            let order = DatabaseOrder { seed, generation, password, components };
            databases.ensure_database(&ours, &order).await == Ok(Progress::Done)
        })
        .await;
    };
    let ready = async |wanted: &[ComponentName]| {
        let seen = databases.observe(&ours, &secret).await.together(Some(wanted));
        seen.present().filter(|it| it.ready).and_then(|it| it.generation)
    };
    make(&[], 0).await;
    assert_eq!(ready(&[]).await, Some(0));
    assert_eq!(ready(&both).await, None, "theirs are not there");
    make(&both, 0).await;
    assert_eq!(ready(&both).await, Some(0));
    assert_eq!(databases.owned().await.unwrap(), vec![ours.clone()]);
    let seen = databases.observe(&other, &secret).await;
    assert!(seen.components.is_empty() && seen.database.is_absent(), "nobody else's: {seen:?}");
    assert!(databases.component_url(&ours, &secret, &both[1]).contains("__mail_worker"));
    // All of them go, whoever is wanted by now.
    databases.remove_database(&ours).await.unwrap();
    let seen = databases.observe(&ours, &secret).await;
    assert!(seen.together(None).is_absent(), "{seen:?}");
    make(&both, 4).await;
    assert_eq!(ready(&both).await, Some(4));
    databases.remove_database(&ours).await.unwrap();
    databases.remove_role(&ours).await.unwrap();
    assert_eq!(databases.owned().await.unwrap(), vec![]);
}

#[tokio::test]
async fn the_fake_keeps_the_contract() {
    databases_contract(&FakeDatabases::new(Faults::default()), 1).await;
    components_contract(&FakeDatabases::new(Faults::default()), 1).await;
}

async fn postgres_keeps_the_contract(admin: Administrator) {
    let place = Place::new(admin).await;
    databases_contract(&place.databases, place.base).await;
    components_contract(&place.databases, place.base).await;
}

async fn a_component_has_its_own_seeded_rows_and_what_was_cut_off_is_finished(
    admin: Administrator,
) {
    let place = Place::new(admin).await;
    let (name, secret) = (place.pr(1), password());
    let api = [ComponentName::parse("api").unwrap()];
    let make = async |generation: u32| {
        within(Duration::from_secs(120), "the databases", async || {
            let (seed, password) = (&seed(), &secret);
            let order = DatabaseOrder { seed, generation, password, components: &api };
            place.databases.ensure_database(&name, &order).await == Ok(Progress::Done)
        })
        .await;
    };
    make(0).await;
    let url = place.databases.component_url(&name, &secret, &api[0]);
    let mut there = PgConnection::connect(&url).await.unwrap();
    let count = "SELECT count(*) FROM items";
    let rows = async |session: &mut PgConnection| {
        sqlx::query_scalar::<_, i64>(count).fetch_one(session).await.unwrap()
    };
    let seeded = rows(&mut there).await;
    assert!(seeded > 0);
    sqlx::query("DELETE FROM items").execute(&mut there).await.unwrap();
    let mut own = PgConnection::connect(&place.databases.url(&name, &secret)).await.unwrap();
    assert_eq!(rows(&mut own).await, seeded, "each has its own");

    // The preview's own was dropped, and the controller killed before it came to make it again: what is
    // left of other data is no data of this generation.
    place.run(format!("DROP DATABASE {} WITH (FORCE)", name.database())).await;
    let seen = place.databases.observe(&name, &secret).await;
    assert!(seen.together(Some(&api)).is_absent() && !seen.together(None).is_gone(), "{seen:?}");
    make(1).await;
    let mut there = PgConnection::connect(&url).await.unwrap();
    assert_eq!(rows(&mut there).await, seeded, "a fresh clone");

    // Somebody else's is told, and left alone.
    let theirs = ComponentName::parse("theirs").unwrap();
    place.run(format!("CREATE DATABASE {}", theirs.database(&name))).await;
    let seen = place.databases.observe(&name, &secret).await;
    assert!(seen.together(Some(std::slice::from_ref(&theirs))).is_foreign(), "{seen:?}");
    assert!(seen.together(Some(&api)).present().is_some_and(|it| it.ready));
    place.databases.remove_database(&name).await.unwrap();
    let seen = place.databases.observe(&name, &secret).await;
    assert!(seen.together(None).is_gone() && seen.components.len() == 1, "{seen:?}");
    place.run(format!("DROP DATABASE {}", theirs.database(&name))).await;
}

async fn a_preview_finds_its_seeded_rows_and_may_change_all_of_them(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, secret) = (place.pr(1), password());
    place.make(&name, &secret).await;
    let mut session = PgConnection::connect(&place.databases.url(&name, &secret)).await.unwrap();
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM items ORDER BY id")
        .fetch_all(&mut session)
        .await
        .unwrap();
    assert_eq!(names, ["crane fly", "lacewing"]);
    for sql in [
        "INSERT INTO items VALUES (3, 'mayfly')",
        "SELECT nextval('numbers')",
        "ALTER TABLE items ADD COLUMN wings int",
        "CREATE TABLE more (id int)",
        "DROP TABLE items",
        "CREATE TEMPORARY TABLE scratch (id int)",
    ] {
        sqlx::raw_sql(sql).execute(&mut session).await.unwrap();
    }
}

async fn a_preview_can_log_in_nowhere_but_at_home(admin: Administrator) {
    let place = Place::new(admin).await;
    let secret = password();
    let all = [place.pr(1), place.pr(2), place.pr(3)];
    for name in &all {
        place.make(name, &secret).await;
    }
    let template: String =
        sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE starts_with(datname, $1)")
            .bind(format!("{}_seed_", place.instance))
            .fetch_one(&mut place.admin().await)
            .await
            .unwrap();
    for name in &all {
        for other in &all {
            let logged_in = place.log_in(name, &secret, &other.database()).await.is_ok();
            assert_eq!(logged_in, name == other, "{name} at {other}");
        }
        // The ledger's database, or the maintenance database of who is no superuser, is one of these.
        for elsewhere in ["postgres", "template1", "template0", &template, &place.admin] {
            let refused = place.log_in(name, &secret, elsewhere).await;
            assert!(refused.is_err(), "{name} at {elsewhere}");
        }
    }
    let wrong = place.log_in(&all[0], &password(), &all[0].database()).await;
    assert!(wrong.is_err(), "a wrong password");
}

async fn a_preview_cannot_widen_its_rights(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, secret) = (place.pr(1), password());
    place.make(&name, &secret).await;
    let (db, role) = (name.database(), name.role());
    let instance = &place.instance;
    let url = place.databases.url(&name, &secret);
    for sql in [
        format!("GRANT CONNECT ON DATABASE {db} TO PUBLIC"),
        format!("ALTER DATABASE {db} CONNECTION LIMIT 500"),
        format!("ALTER DATABASE {db} ALLOW_CONNECTIONS false"),
        format!("ALTER DATABASE {db} OWNER TO {role}"),
        format!("DROP DATABASE {db}"),
        "CREATE SCHEMA mine".to_owned(),
        format!("ALTER ROLE {role} CONNECTION LIMIT -1"),
        format!("ALTER ROLE {role} SUPERUSER"),
        format!("ALTER ROLE {role} CREATEDB"),
        "CREATE ROLE another".to_owned(),
        format!("SET ROLE {instance}_owner"),
        "SET ROLE postgres".to_owned(),
        format!("SET ROLE {}", place.admin),
        format!("GRANT {} TO {role}", place.admin),
        format!("GRANT {} TO {role} WITH ADMIN OPTION", place.instance.clone() + "_app"),
        format!("GRANT {instance}_owner TO {role}"),
        "SET temp_file_limit = -1".to_owned(),
        "COPY items TO '/tmp/out'".to_owned(),
        "COPY items FROM PROGRAM 'id'".to_owned(),
        "CREATE EXTENSION dblink".to_owned(),
        format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE usename IN ('postgres', '{}')",
            place.admin
        ),
    ] {
        let mut session = PgConnection::connect(&url).await.unwrap();
        let outcome = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut session).await;
        // Some of these are warnings that grant nothing; what counts is what holds afterwards.
        if outcome.is_ok() {
            assert!(sql.starts_with("GRANT CONNECT"), "{sql} succeeded");
        }
    }
    let (open, limit): (bool, i32) = sqlx::query_as(
        "SELECT has_database_privilege('public', oid, 'CONNECT'), datconnlimit
         FROM pg_database WHERE datname = $1",
    )
    .bind(&db)
    .fetch_one(&mut place.admin().await)
    .await
    .unwrap();
    assert_eq!((open, limit), (false, -1));
}

async fn a_preview_cannot_take_more_than_its_sessions(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, secret) = (place.pr(1), password());
    place.make(&name, &secret).await;
    let url = place.databases.url(&name, &secret);
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(PgConnection::connect(&url).await.unwrap());
    }
    assert!(PgConnection::connect(&url).await.is_err(), "the sixth session of five");
}

async fn a_preview_cannot_make_itself_or_its_database_undroppable(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, other, secret) = (place.pr(1), place.pr(2), password());
    place.make(&name, &secret).await;
    place.make(&other, &secret).await;
    let url = place.databases.url(&name, &secret);
    let mut session = PgConnection::connect(&url).await.unwrap();
    for sql in [
        "SELECT lo_create(0)".to_owned(),
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC".to_owned(),
        "CREATE TABLE mine (id int)".to_owned(),
        format!("GRANT ALL ON mine TO {}", other.role()),
        format!("GRANT {} TO {}", name.role(), other.role()),
        "BEGIN; LOCK TABLE mine; PREPARE TRANSACTION 'stuck'".to_owned(),
        "BEGIN; LOCK TABLE mine".to_owned(),
    ] {
        // What the server refuses does no harm either.
        let _ = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut session).await;
    }
    place.databases.remove_database(&name).await.unwrap();
    place.databases.remove_role(&name).await.unwrap();
    assert_eq!(place.databases.owned().await.unwrap(), vec![other]);
}

async fn what_a_role_left_in_a_database_that_was_open_does_not_keep_it(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, secret) = (place.pr(1), password());
    place.make(&name, &secret).await;
    let open = format!("open_{}", place.instance);
    place.run(format!("CREATE DATABASE {open} TEMPLATE template0 STRATEGY file_copy")).await;
    let mut session = place.log_in(&name, &secret, &open).await.expect("PUBLIC may connect");
    sqlx::raw_sql("SELECT lo_create(0)").execute(&mut session).await.unwrap();
    session.close().await.unwrap();
    place.databases.remove_database(&name).await.unwrap();
    place.databases.remove_role(&name).await.unwrap();
    assert_eq!(place.databases.observe(&name, &secret).await.role, Seen::Absent);
    place.run(format!("DROP DATABASE {open}")).await;
}

async fn a_database_with_open_sessions_is_dropped_all_the_same(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, secret) = (place.pr(1), password());
    place.make(&name, &secret).await;
    let mut session = PgConnection::connect(&place.databases.url(&name, &secret)).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE items").execute(&mut session).await.unwrap();
    place.databases.remove_database(&name).await.unwrap();
    assert_eq!(place.databases.observe(&name, &secret).await.database, Seen::Absent);
}

async fn a_database_or_role_without_our_mark_is_never_touched(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, secret) = (place.pr(1), password());
    place.run(format!("CREATE DATABASE {}", name.database())).await;
    place.run(format!("CREATE ROLE {} LOGIN", name.role())).await;
    let seen = place.databases.observe(&name, &secret).await;
    assert!(seen.database.is_foreign() && seen.role.is_foreign(), "{seen:?}");
    let order = DatabaseOrder { seed: &seed(), generation: 0, password: &secret, components: &[] };
    let refused = [
        place.databases.ensure_database(&name, &order).await.map(|_| ()),
        place.databases.remove_database(&name).await,
        place.databases.remove_role(&name).await,
    ];
    for outcome in refused {
        assert_eq!(outcome.unwrap_err().disposition, Disposition::NotOurs);
    }
    assert_eq!(place.databases.owned().await.unwrap(), vec![]);
    place.run(format!("DROP DATABASE {}", name.database())).await;
    place.run(format!("DROP ROLE {}", name.role())).await;
}

async fn an_interrupted_drop_is_seen_as_leaving_and_finished(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, secret) = (place.pr(1), password());
    place.make(&name, &secret).await;
    let database = name.database();
    place
        .run(format!("UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{database}'"))
        .await;
    assert!(matches!(place.databases.observe(&name, &secret).await.database, Seen::Leaving(_)));
    place.databases.remove_database(&name).await.unwrap();
    assert_eq!(place.databases.observe(&name, &secret).await.database, Seen::Absent);
}

async fn a_clone_that_was_not_finished_is_not_ready_and_gets_finished(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, secret) = (place.pr(1), password());
    place
        .run(format!(
            "CREATE DATABASE {} OWNER {}_owner ALLOW_CONNECTIONS false",
            name.database(),
            place.instance
        ))
        .await;
    let seen = place.databases.observe(&name, &secret).await;
    let half = seen.database.present().expect("it is ours");
    assert!(!half.ready && half.generation.is_none(), "{half:?}");
    place.make(&name, &secret).await;
    assert_eq!(ready(&place.databases, &name, &secret).await, Some(0));
}

async fn what_is_being_worked_on_is_unknown_and_not_absent(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, secret) = (place.pr(1), password());
    let mut elsewhere = PgConnection::connect(&place.home).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 0))")
        .bind(name.database())
        .execute(&mut elsewhere)
        .await
        .unwrap();
    let seen = place.databases.observe(&name, &secret).await;
    assert!(matches!(seen.database, Seen::Unknown(_)), "{seen:?}");
    let refused = place.databases.remove_database(&name).await.unwrap_err();
    assert_eq!(refused.disposition, Disposition::Transient);
}

async fn twenty_previews_at_once_all_get_their_database_from_one_template(admin: Administrator) {
    let place = Place::new(admin).await;
    let secret = password();
    let names: Vec<_> = (1..=20).map(|n| place.pr(n)).collect();
    let seed = seed();
    let all = names.iter().map(|name| make(&place.databases, name, &seed, 0, &secret));
    for outcome in futures_util::future::join_all(all).await {
        outcome.unwrap();
    }
    assert_eq!(place.databases.owned().await.unwrap().len(), 20);
    let templates: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE starts_with(datname, $1)")
            .bind(format!("{}_seed_", place.instance))
            .fetch_one(&mut place.admin().await)
            .await
            .unwrap();
    assert_eq!(templates, 1);
}

async fn a_seed_that_fails_says_where_and_leaves_no_role_behind(admin: Administrator) {
    let place = Place::new(admin).await;
    let file = |path: &str, sql: &str| SeedFile { path: path.to_owned(), sql: sql.to_owned() };
    let files = vec![file("1.sql", "CREATE TABLE a (id int);"), file("2.sql", "INSERT INTO b;")];
    let broken = Seed::new(files, &[]).unwrap();
    let secret = password();
    let fault = make(&place.databases, &place.pr(1), &broken, 0, &secret).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Permanent);
    assert!(fault.to_string().contains("2.sql"), "{fault}");
    place.make(&place.pr(2), &secret).await;
}

async fn a_seed_can_do_nothing_outside_its_own_database(admin: Administrator) {
    let place = Place::new(admin).await;
    let secret = password();
    for (n, sql) in [
        (1, "RESET ROLE; CREATE ROLE intruder;"),
        (2, "RESET ROLE; ALTER DATABASE postgres CONNECTION LIMIT 1;"),
        (3, "COPY (SELECT 1) TO PROGRAM 'id';"),
        (4, "\\! id"),
        (5, "SET SESSION AUTHORIZATION postgres;"),
    ] {
        let file = SeedFile { path: "evil.sql".to_owned(), sql: sql.to_owned() };
        let seed = Seed::new(vec![file], &[]).unwrap();
        let outcome = make(&place.databases, &place.pr(n), &seed, 0, &secret).await;
        assert!(outcome.is_err(), "{sql} succeeded");
    }
}

async fn a_seed_that_grows_too_large_is_refused(admin: Administrator) {
    let place = Place::with(admin, |config| config.seed_max_bytes = 1024).await;
    let fault = make(&place.databases, &place.pr(1), &seed(), 0, &password()).await.unwrap_err();
    assert!(fault.to_string().contains("are allowed"), "{fault}");
}

async fn a_seed_that_takes_too_long_is_refused(admin: Administrator) {
    let place = Place::with(admin, |config| config.seed_timeout = Duration::from_millis(300)).await;
    let file = SeedFile { path: "slow.sql".to_owned(), sql: "SELECT pg_sleep(60)".to_owned() };
    let slow = Seed::new(vec![file], &[]).unwrap();
    let fault = make(&place.databases, &place.pr(1), &slow, 0, &password()).await.unwrap_err();
    assert!(fault.to_string().contains("longer than"), "{fault}");
}

async fn no_statement_that_the_server_could_log_holds_a_password(admin: Administrator) {
    let place = Place::new(admin).await;
    let (name, secret) = (place.pr(1), password());
    place.make(&name, &secret).await;
    let stored: String = sqlx::query_scalar("SELECT rolpassword FROM pg_authid WHERE rolname = $1")
        .bind(name.role())
        .fetch_one(&mut place.admin().await)
        .await
        .unwrap();
    assert!(stored.starts_with("SCRAM-SHA-256$"), "sent as a verifier, kept as one");
    assert_eq!(format!("{secret:?}"), "Password(…)");
}

async fn a_clone_whose_client_was_killed_is_never_taken_for_absent_while_it_is_made(
    admin: Administrator,
) {
    let place = Place::new(admin).await;
    let (name, secret) = (place.pr(1), password());
    let mut session = PgConnection::connect(&place.home).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 0))")
        .bind(name.database())
        .execute(&mut session)
        .await
        .unwrap();
    let create = format!(
        "CREATE DATABASE {} TEMPLATE template0 OWNER {}_owner ALLOW_CONNECTIONS false \
         STRATEGY file_copy",
        name.database(),
        place.instance
    );
    let client = tokio::spawn(async move {
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut session).await.map(|_| ())
    });
    let mut watcher = place.admin().await;
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE $1";
    until("the server to begin", async || {
        let like = format!("CREATE DATABASE {} %", name.database());
        let count: i64 =
            sqlx::query_scalar(running).bind(like).fetch_one(&mut watcher).await.unwrap();
        count > 0 || client.is_finished()
    })
    .await;
    client.abort();
    let mut seen = place.databases.observe(&name, &secret).await;
    until("the server to end", async || {
        seen = place.databases.observe(&name, &secret).await;
        !matches!(seen.database, Seen::Unknown(_))
    })
    .await;
    // The first answer after "unknown" is the last word: nothing comes to be after it.
    let again = place.databases.observe(&name, &secret).await;
    assert_eq!(seen, again);
    place.databases.remove_database(&name).await.unwrap();
}
