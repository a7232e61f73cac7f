//! What a rehearsal of migrations tells, on a real server: locks, rewrites, the schema's changes,
//! and what it says where it could not see.

use std::time::Duration;

use chrono::{DateTime, Utc};
use mayfly::database::rehearsal::MIGRATION_APPLICATION;
use mayfly::database::seed::SeedFile;
use mayfly::database::{Databases, Password, Rehearsals, Seed};
use mayfly::preview::rehearsal::{
    Change, Lock, LockMode, ObjectKind, Report, Rewrites, Since, Statement, Took,
};
use mayfly::preview::{CommitSha, PreviewName, Revision};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::database::{Administrator, Place, connect, make, password, pr};
use crate::world::wait::until;

under_both!(
    migrations_are_reported_with_their_locks_rewrites_and_changes_of_the_schema,
    each_kind_of_object_is_compared,
    a_migration_that_fails_is_reported_and_left_nothing,
    a_migration_that_hangs_says_for_which_lock_it_waits,
    sessions_that_are_marked_as_migrations_are_the_only_ones_told,
    after_a_restart_the_report_is_partial_and_still_tells_what_the_database_knows,
    the_second_migrations_are_not_blamed_for_what_the_first_rewrote,
    a_database_that_is_dropped_meanwhile_makes_a_partial_report,
    a_template_that_was_left_open_is_closed_and_not_built_again,
);

fn seed() -> Seed {
    let sql = "CREATE TABLE items (id int PRIMARY KEY, name text, price int);
        INSERT INTO items SELECT n, 'item ' || n, n FROM generate_series(1, 5000) n;
        CREATE INDEX items_name ON items (name);
        CREATE TABLE notes (id int PRIMARY KEY, text text);
        INSERT INTO notes VALUES (1, 'a note');
        CREATE TYPE mood AS ENUM ('fine');
        CREATE VIEW cheap AS SELECT id FROM items;";
    let file = SeedFile { path: "001.sql".to_owned(), sql: sql.to_owned() };
    Seed::new(vec![file], &[]).unwrap()
}

fn revision(digit: char) -> Revision {
    let commit = CommitSha::parse(&digit.to_string().repeat(40)).unwrap();
    Revision { commit, restart: 0 }
}

/// A preview whose migrations are run by hand.
struct Stage {
    place: Place,
    name: PreviewName,
    secret: Password,
}

impl Stage {
    async fn new(admin: Administrator) -> Self {
        let place = Place::new(admin).await;
        let (name, secret) = (place.pr(1), password());
        make(&place.databases, &name, &seed(), 0, &secret).await.unwrap();
        Self { place, name, secret }
    }

    async fn log_in(&self) -> PgConnection {
        PgConnection::connect(&self.place.databases.url(&self.name, &self.secret)).await.unwrap()
    }

    async fn watch(&self, digit: char) {
        self.place.databases.watch(&self.name, &revision(digit)).await;
    }

    async fn report(&self, digit: char) -> Report {
        self.place.databases.report(&self.name, &revision(digit), &seed()).await
    }

    /// Runs statements as one transaction, each until it was looked at.
    async fn migrate(&self, statements: &[&str]) {
        let mut session = self.log_in().await;
        run(&mut session, "BEGIN").await.unwrap();
        for sql in statements {
            run(&mut session, sql).await.unwrap();
            self.looked().await;
        }
        run(&mut session, "COMMIT").await.unwrap();
        session.close().await.unwrap();
    }

    /// Waits until whoever samples now has begun another sample.
    async fn looked(&self) {
        let mut session = self.place.admin().await;
        let (now, pids): (DateTime<Utc>, Vec<i32>) = sqlx::query_as(
            "SELECT clock_timestamp(), coalesce(array_agg(pid), '{}') FROM pg_stat_activity
             WHERE application_name = 'mayfly' AND query LIKE '%held AS MATERIALIZED%'",
        )
        .fetch_one(&mut session)
        .await
        .unwrap();
        assert!(!pids.is_empty(), "nobody samples");
        until("another sample", async || {
            let behind: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY ($1) AND query_start <= $2",
            )
            .bind(&pids)
            .bind(now)
            .fetch_one(&mut session)
            .await
            .unwrap();
            behind == 0
        })
        .await;
    }
}

async fn run(session: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(session).await.map(|_| ())
}

fn lock(relation: &str, mode: LockMode) -> Lock {
    Lock { relation: relation.to_owned(), mode }
}

fn find<'a>(report: &'a Report, beginning: &str) -> &'a Statement {
    let found = report.statements.iter().find(|s| s.text.starts_with(beginning));
    found.unwrap_or_else(|| panic!("no {beginning} in {:?}", report.statements))
}

fn changes(report: &Report) -> Vec<(ObjectKind, &str, &Change)> {
    let diff = report.schema.as_ref().unwrap();
    diff.changes.iter().map(|change| (change.kind, change.name.as_str(), &change.change)).collect()
}

async fn migrations_are_reported_with_their_locks_rewrites_and_changes_of_the_schema(
    admin: Administrator,
) {
    let stage = Stage::new(admin).await;
    stage.watch('a').await;
    stage.watch('a').await;
    stage
        .migrate(&[
            "ALTER TABLE items ADD COLUMN token uuid DEFAULT gen_random_uuid()",
            "CREATE INDEX notes_text ON notes (text)",
            "ALTER TABLE items ALTER COLUMN price TYPE bigint",
            "UPDATE notes SET text = 'hunter2' FROM pg_sleep(0.05)",
            "CREATE TABLE more (id int PRIMARY KEY)",
        ])
        .await;
    let report = stage.report('a').await;
    assert!(!report.is_partial(), "{report:?}");
    assert!(report.watch.samples >= 5, "{:?}", report.watch);
    let items = lock("public.items", LockMode::AccessExclusive);
    assert_eq!(find(&report, "ALTER TABLE items ADD").strongest(), Some(&items));
    let notes = lock("public.notes", LockMode::Share);
    assert_eq!(find(&report, "CREATE INDEX").strongest(), Some(&notes));
    let update = find(&report, "UPDATE notes SET text = '…'");
    assert_eq!(update.strongest(), Some(&lock("public.notes", LockMode::RowExclusive)));
    let Took::Exactly(took) = update.took else { panic!("its end was seen: {update:?}") };
    assert!(took >= Duration::from_millis(50), "{update:?}");
    assert_eq!(find(&report, "CREATE TABLE").strongest(), None, "nobody else has it");
    assert!(!format!("{report:?}").contains("hunter2"));
    let Rewrites { since, tables, indexes } = report.rewrites.clone().unwrap();
    assert_eq!((since, tables), (Since::Start, vec!["public.items".to_owned()]));
    assert_eq!(indexes, ["public.items_name", "public.items_pkey"]);
    let added = |text: &str| Change::Added(text.to_owned());
    let price = Change::Altered { from: "integer".to_owned(), to: "bigint".to_owned() };
    assert_eq!(
        changes(&report),
        [
            (ObjectKind::Table, "public.more", &added("")),
            (ObjectKind::Column, "public.items.price", &price),
            (ObjectKind::Column, "public.items.token", &added("uuid DEFAULT gen_random_uuid()")),
            (ObjectKind::Column, "public.more.id", &added("integer NOT NULL")),
            (ObjectKind::Constraint, "public.more.more_pkey", &added("PRIMARY KEY (id)")),
            (
                ObjectKind::Index,
                "public.notes_text",
                &added("CREATE INDEX notes_text ON public.notes USING btree (text)")
            ),
        ]
    );
}

async fn each_kind_of_object_is_compared(admin: Administrator) {
    let stage = Stage::new(admin).await;
    let mut session = stage.log_in().await;
    for sql in [
        "CREATE TYPE pair AS (a int, b text)",
        "CREATE DOMAIN positive AS int DEFAULT 1 NOT NULL CHECK (VALUE > 0)",
        "CREATE TYPE span AS RANGE (subtype = int)",
        "ALTER TYPE mood ADD VALUE 'great'",
        "CREATE SEQUENCE numbers INCREMENT 5",
        "CREATE TABLE parts (id int GENERATED ALWAYS AS IDENTITY, twice int GENERATED ALWAYS AS (id * 2) STORED) PARTITION BY RANGE (id)",
        "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (10)",
        "CREATE MATERIALIZED VIEW dear AS SELECT id FROM items WHERE price > 100",
        "CREATE OR REPLACE VIEW cheap AS SELECT id FROM items WHERE price < 10",
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int, initcond = '0')",
        "CREATE TRIGGER touched BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION touch()",
        "CREATE POLICY mine ON notes FOR SELECT USING (id > 0)",
        "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
        "DROP INDEX items_name",
    ] {
        run(&mut session, sql).await.unwrap();
    }
    let report = stage.report('a').await;
    let kinds: Vec<_> = changes(&report)
        .into_iter()
        .map(|(kind, name, change)| {
            let sign = match change {
                Change::Added(_) => '+',
                Change::Removed(_) => '-',
                Change::Altered { .. } => '~',
            };
            format!("{sign}{} {name}", kind.as_str())
        })
        .collect();
    let expected = [
        "~type public.mood",
        "+type public.pair",
        "+type public.positive",
        "+type public.span",
        "+sequence public.numbers",
        "~table public.notes",
        "+table public.parts",
        "+table public.parts_1",
        "+column public.parts.id",
        "+column public.parts.twice",
        "+column public.parts_1.id",
        "+column public.parts_1.twice",
        "+constraint public.positive.positive_check",
        "-index public.items_name",
        "~view public.cheap",
        "+view public.dear",
        "+function public.total(integer)",
        "+function public.touch()",
        "+trigger public.notes.touched",
        "+policy public.notes.mine",
    ];
    assert_eq!(kinds, expected, "{report:?}");
}

async fn a_migration_that_fails_is_reported_and_left_nothing(admin: Administrator) {
    let stage = Stage::new(admin).await;
    stage.watch('a').await;
    let mut session = stage.log_in().await;
    run(&mut session, "BEGIN").await.unwrap();
    let rewrite = "ALTER TABLE items ALTER COLUMN price TYPE bigint";
    run(&mut session, rewrite).await.unwrap();
    stage.looked().await;
    run(&mut session, "ALTER TABLE missing ADD COLUMN a int").await.unwrap_err();
    stage.looked().await;
    drop(session);
    let report = stage.report('a').await;
    assert!(!report.is_partial(), "{report:?}");
    let items = lock("public.items", LockMode::AccessExclusive);
    assert_eq!(find(&report, rewrite).strongest(), Some(&items));
    assert!(matches!(find(&report, "ALTER TABLE missing").took, Took::Exactly(_)));
    assert_eq!(report.rewrites.as_ref().unwrap().tables, Vec::<String>::new());
    assert_eq!(changes(&report), []);
}

async fn a_migration_that_hangs_says_for_which_lock_it_waits(admin: Administrator) {
    let stage = Stage::new(admin).await;
    // The last good revision, which serves meanwhile.
    let mut serving = stage.log_in().await;
    run(&mut serving, "BEGIN; SELECT count(*) FROM items").await.unwrap();
    stage.watch('a').await;
    let mut migrating = stage.log_in().await;
    let hangs =
        tokio::spawn(
            async move { run(&mut migrating, "ALTER TABLE items DROP COLUMN price").await },
        );
    let mut session = stage.place.admin().await;
    until("a wait for a lock", async || {
        let waits: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                            WHERE NOT l.granted AND d.datname = $1)",
        )
        .bind(stage.name.database())
        .fetch_one(&mut session)
        .await
        .unwrap();
        waits
    })
    .await;
    for _ in 0..3 {
        stage.looked().await;
    }
    let report = stage.report('a').await;
    let statement = find(&report, "ALTER TABLE items DROP");
    let items = lock("public.items", LockMode::AccessExclusive);
    assert_eq!((statement.waits_for.as_ref(), statement.strongest()), (Some(&items), None));
    assert!(statement.waited > Duration::ZERO && matches!(statement.took, Took::AtLeast(_)));
    assert_eq!(report.statements.len(), 1, "what serves is no migration: {report:?}");
    run(&mut serving, "COMMIT").await.unwrap();
    hangs.await.unwrap().expect("the watch and the report held nothing");
}

async fn sessions_that_are_marked_as_migrations_are_the_only_ones_told(admin: Administrator) {
    let stage = Stage::new(admin).await;
    stage.watch('a').await;
    let mut serving = stage.log_in().await;
    run(&mut serving, "SELECT 1").await.unwrap();
    stage.looked().await;
    let url = stage.place.databases.url(&stage.name, &stage.secret);
    let url = format!("{url}?application_name={MIGRATION_APPLICATION}");
    let mut migrating = PgConnection::connect(&url).await.unwrap();
    run(&mut migrating, "ALTER TABLE notes ADD COLUMN a int").await.unwrap();
    stage.looked().await;
    let report = stage.report('a').await;
    let texts: Vec<_> = report.statements.iter().map(|s| s.text.as_str()).collect();
    assert_eq!(texts, ["ALTER TABLE notes ADD COLUMN a int"]);
}

async fn after_a_restart_the_report_is_partial_and_still_tells_what_the_database_knows(
    admin: Administrator,
) {
    let stage = Stage::new(admin).await;
    stage.watch('a').await;
    stage.migrate(&["ALTER TABLE items ALTER COLUMN price TYPE bigint"]).await;
    let restarted = connect(stage.place.config.clone()).await.unwrap();
    let report = restarted.report(&stage.name, &revision('a'), &seed()).await;
    assert!(report.is_partial() && report.watch.gap.is_some() && report.statements.is_empty());
    let rewrites = report.rewrites.clone().unwrap();
    assert_eq!((rewrites.since, rewrites.tables), (Since::Clone, vec!["public.items".to_owned()]));
    assert_eq!(changes(&report).len(), 1);
}

async fn the_second_migrations_are_not_blamed_for_what_the_first_rewrote(admin: Administrator) {
    let stage = Stage::new(admin).await;
    stage.watch('a').await;
    stage.migrate(&["ALTER TABLE items ALTER COLUMN price TYPE bigint"]).await;
    assert_eq!(stage.report('a').await.rewrites.unwrap().tables, ["public.items"]);
    stage.watch('b').await;
    stage.migrate(&["ALTER TABLE notes ADD COLUMN a int"]).await;
    let report = stage.report('b').await;
    assert_eq!(report.rewrites.as_ref().unwrap().tables, Vec::<String>::new());
    let texts: Vec<_> = report.statements.iter().map(|s| s.text.as_str()).collect();
    assert!(!texts.iter().any(|text| text.contains("price")), "{texts:?}");
    assert_eq!(changes(&report).len(), 2, "against the seed both count");
    let again = stage.report('b').await;
    assert_eq!(again, report, "what was watched is said again");
}

async fn a_database_that_is_dropped_meanwhile_makes_a_partial_report(admin: Administrator) {
    let stage = Stage::new(admin).await;
    stage.watch('a').await;
    stage.looked().await;
    stage.place.databases.remove_database(&stage.name).await.unwrap();
    let report = stage.report('a').await;
    assert!(report.watch.gap.as_ref().is_some_and(|gap| gap.contains("went away")), "{report:?}");
    assert!(report.rewrites.is_err() && report.schema.is_err());
}

async fn a_template_that_was_left_open_is_closed_and_not_built_again(admin: Administrator) {
    let stage = Stage::new(admin).await;
    stage.report('a').await;
    let template = async || -> (i64, String, bool) {
        sqlx::query_as(
            "SELECT oid::int8, datname::text, datallowconn FROM pg_database
             WHERE starts_with(datname, $1) AND datistemplate",
        )
        .bind(format!("{}_seed_{}", stage.place.instance, &seed().digest()[..16]))
        .fetch_one(&mut stage.place.admin().await)
        .await
        .unwrap()
    };
    let (oid, name, open) = template().await;
    assert!(!open, "a report closes what it opened");
    // As a crash between opening and closing leaves it.
    stage.place.run(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
    make(&stage.place.databases, &stage.place.pr(2), &seed(), 0, &password()).await.unwrap();
    assert_eq!(template().await, (oid, name, false));
}

/// Under the role that may only create, since its sessions are this test's alone.
#[tokio::test]
async fn a_lost_session_of_the_administrator_makes_a_gap_and_the_watch_goes_on() {
    let stage = Stage::new(Administrator::Creator).await;
    stage.watch('a').await;
    let samplers = "SELECT pid FROM pg_stat_activity
                    WHERE usename = $1 AND application_name = 'mayfly' AND query LIKE '%held AS MATERIALIZED%'";
    let mut session = stage.place.admin().await;
    let mut pids = async || -> Vec<i32> {
        let pids = sqlx::query_scalar(samplers).bind(&stage.place.admin);
        pids.fetch_all(&mut session).await.unwrap()
    };
    let mut ended = Vec::new();
    until("a sampler to end", async || {
        ended = pids().await;
        !ended.is_empty()
    })
    .await;
    let mut other = stage.place.admin().await;
    let end = sqlx::query("SELECT pg_terminate_backend(pid) FROM UNNEST($1::int[]) pid");
    end.bind(&ended).execute(&mut other).await.unwrap();
    // Those that were ended take a moment to go.
    until("the watch to go on", async || pids().await.iter().any(|it| !ended.contains(it))).await;
    stage.migrate(&["ALTER TABLE items ALTER COLUMN price TYPE bigint"]).await;
    let report = stage.report('a').await;
    assert!(report.is_partial() && report.watch.gap.is_some(), "{report:?}");
    let items = lock("public.items", LockMode::AccessExclusive);
    assert_eq!(find(&report, "ALTER TABLE items").strongest(), Some(&items));
    assert_eq!(report.rewrites.unwrap().tables, ["public.items"]);
}

#[tokio::test]
async fn a_preview_that_is_not_there_has_a_report_that_says_so() {
    let place = Place::new(Administrator::Creator).await;
    let report = place.databases.report(&pr(4_000_000), &revision('a'), &seed()).await;
    assert!(report.is_partial() && report.schema.is_err() && report.statements.is_empty());
}
