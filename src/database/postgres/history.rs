//! Reading the tables in which migration tools keep what they have applied.
//!
//! As the preview's own role: a preview can put a view that runs anything under such a name.
//! Refuses to read more than a bound.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::admin::{Admin, fault, ident, run};
use super::catalogue::HARMLESS;
use crate::database::Password;
use crate::database::history::{Entry, History, Tool};
use crate::fault::Fault;
use crate::preview::PreviewName;

/// How many migrations of one tool are read.
const ENTRIES_MAX: usize = 10_000;

/// How many tables of tools are read.
const TABLES_MAX: i64 = 20;

/// How long all of it may take.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Tables with a name that a tool gives, and whether there is a column `dirty`.
const FIND: &str = "
    SELECT n.nspname::text, c.relname::text,
           EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'dirty')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relname = ANY ($1) AND n.nspname !~ '^pg_'
    ORDER BY 1, 2 LIMIT $2";

const NAMES: [&str; 10] = [
    "_sqlx_migrations",
    "__diesel_schema_migrations",
    "flyway_schema_history",
    "databasechangelog",
    "schema_migrations",
    "alembic_version",
    "django_migrations",
    "_prisma_migrations",
    "knex_migrations",
    "goose_db_version",
];

/// Whose table it is.
fn tool(table: &str, has_dirty: bool) -> Option<Tool> {
    Some(match table {
        "_sqlx_migrations" => Tool::Sqlx,
        "__diesel_schema_migrations" => Tool::Diesel,
        "flyway_schema_history" => Tool::Flyway,
        "databasechangelog" => Tool::Liquibase,
        "schema_migrations" if has_dirty => Tool::GolangMigrate,
        "schema_migrations" => Tool::Rails,
        "alembic_version" => Tool::Alembic,
        "django_migrations" => Tool::Django,
        "_prisma_migrations" => Tool::Prisma,
        "knex_migrations" => Tool::Knex,
        "goose_db_version" => Tool::Goose,
        _ => return None,
    })
}

/// Id, checksum and whether it finished, from `{}`, in the order in which the tool counts. The order
/// is the table's columns', never the output's: as texts, version 10 comes before 9.
fn query(tool: Tool) -> &'static str {
    match tool {
        Tool::Sqlx => {
            "version::text, encode(checksum, 'hex'), success FROM {} m ORDER BY m.version"
        }
        Tool::Diesel | Tool::Rails => {
            "version::text, NULL::text, true FROM {} m ORDER BY m.version"
        }
        // Repeatable ones have no version, and run again whenever they change.
        Tool::Flyway => {
            "version::text, checksum::text, success FROM {} m WHERE version IS NOT NULL
             ORDER BY m.installed_rank"
        }
        Tool::Liquibase => {
            "concat_ws('::', filename, id, author), md5sum::text, true FROM {} m
             ORDER BY m.orderexecuted"
        }
        Tool::GolangMigrate => "version::text, NULL::text, NOT dirty FROM {} m ORDER BY m.version",
        Tool::Alembic => "version_num::text, NULL::text, true FROM {} m ORDER BY m.version_num",
        Tool::Django => "concat(app, '.', name), NULL::text, true FROM {} m ORDER BY m.id",
        Tool::Prisma => {
            "migration_name::text, checksum::text, finished_at IS NOT NULL FROM {} m
             WHERE rolled_back_at IS NULL ORDER BY m.migration_name, m.started_at"
        }
        Tool::Knex => "name::text, NULL::text, true FROM {} m ORDER BY m.id",
        // Down is another row, or none, as the version of goose likes; row 0 is its own.
        Tool::Goose => {
            "version_id::text, NULL::text, true
             FROM (SELECT DISTINCT ON (version_id) version_id, is_applied FROM {}
                   ORDER BY version_id, id DESC) latest
             WHERE is_applied AND version_id > 0 ORDER BY latest.version_id"
        }
    }
}

pub(super) async fn read(
    admin: &Admin,
    name: &PreviewName,
    password: &Password,
) -> Result<Vec<History>, Fault> {
    let doing = || format!("reading the migration history of database {}", name.database());
    let reading = async {
        let (database, role) = (name.database(), password.login().role(name));
        let mut session = admin
            .connect_as(&database, &role, password.reveal())
            .await
            .map_err(|fault| Fault::transient(doing(), fault.why))?;
        let histories = read_session(&mut session, &doing()).await;
        let _ = session.close().await;
        histories
    };
    let read = tokio::time::timeout(READ_TIMEOUT, reading).await;
    read.map_err(|_| Fault::transient(doing(), "it took too long"))?
}

async fn read_session(session: &mut PgConnection, doing: &str) -> Result<Vec<History>, Fault> {
    let fail = |error: sqlx::Error| fault(doing, &error);
    run(session, HARMLESS).await.map_err(fail)?;
    let tables: Vec<(String, String, bool)> = sqlx::query_as(FIND)
        .bind(NAMES.as_slice())
        .bind(TABLES_MAX)
        .fetch_all(&mut *session)
        .await
        .map_err(fail)?;
    let mut histories = Vec::new();
    for (schema, relation, has_dirty) in tables {
        let Some(tool) = tool(&relation, has_dirty) else { continue };
        let table = format!("{}.{}", ident(&schema), ident(&relation));
        let sql = query(tool).replace("{}", &table);
        let sql = format!("SELECT {sql} LIMIT {}", ENTRIES_MAX + 1);
        let rows: Vec<(String, Option<String>, bool)> =
            sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut *session).await.map_err(fail)?;
        if rows.len() > ENTRIES_MAX {
            let why = format!("{table} has more than {ENTRIES_MAX} rows");
            return Err(Fault::permanent(doing, why));
        }
        let entry = |(id, checksum, finished)| Entry { id, checksum, finished };
        histories.push(History { tool, table, entries: rows.into_iter().map(entry).collect() });
    }
    Ok(histories)
}
