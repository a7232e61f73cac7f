//! Running a SQL file: statements, and `COPY … FROM stdin` blocks as `pg_dump` writes them.
//!
//! Refuses psql's backslash commands, which reach outside the database.

use sqlx::{AssertSqlSafe, PgConnection};

/// A part of a file that is sent in one piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Statements.
    Sql(String),
    /// A COPY statement, and the lines that follow it.
    Copy { statement: String, data: String },
}

/// Why a file was refused or failed, with its line (from 1) where that is known.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScriptError {
    #[error("line {0}: psql commands are not run here; only SQL and COPY … FROM stdin blocks")]
    Backslash(usize),
    #[error("line {0}: the COPY block is not ended by a line with \\.")]
    Unended(usize),
    #[error("in {statement}: {source}")]
    Failed { statement: String, source: sqlx::Error },
}

/// Cuts a file into chunks.
pub(super) fn chunks(text: &str) -> Result<Vec<Chunk>, ScriptError> {
    let mut chunks = Vec::new();
    let mut sql = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        // pg_dump since 15.14 fences its output with these two; they concern psql alone.
        if line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ") {
            continue;
        }
        if line.starts_with('\\') {
            return Err(ScriptError::Backslash(index + 1));
        }
        if !is_copy(line) {
            sql.push_str(line);
            sql.push('\n');
            continue;
        }
        flush(&mut sql, &mut chunks);
        let mut data = String::new();
        loop {
            match lines.next() {
                Some((_, "\\.")) => break,
                Some((_, line)) => {
                    data.push_str(line);
                    data.push('\n');
                }
                None => return Err(ScriptError::Unended(index + 1)),
            }
        }
        chunks.push(Chunk::Copy { statement: line.to_owned(), data });
    }
    flush(&mut sql, &mut chunks);
    Ok(chunks)
}

fn flush(sql: &mut String, chunks: &mut Vec<Chunk>) {
    if !sql.trim().is_empty() {
        chunks.push(Chunk::Sql(std::mem::take(sql)));
    }
    sql.clear();
}

fn is_copy(line: &str) -> bool {
    let line = line.trim_end().to_ascii_lowercase();
    line.starts_with("copy ") && line.ends_with(';') && line.contains(" from stdin")
}

/// Runs a file on a session.
pub(super) async fn run_file(session: &mut PgConnection, text: &str) -> Result<(), ScriptError> {
    for chunk in chunks(text)? {
        let (statement, outcome) = match chunk {
            Chunk::Sql(sql) => {
                let outcome =
                    sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut *session).await;
                (first_line(&sql), outcome.map(|_| ()))
            }
            Chunk::Copy { statement, data } => {
                (first_line(&statement), copy(session, &statement, data.into_bytes()).await)
            }
        };
        outcome.map_err(|source| ScriptError::Failed { statement, source })?;
    }
    Ok(())
}

async fn copy(
    session: &mut PgConnection,
    statement: &str,
    data: Vec<u8>,
) -> Result<(), sqlx::Error> {
    let mut writer = session.copy_in_raw(statement).await?;
    writer.send(data).await?;
    writer.finish().await.map(|_| ())
}

fn first_line(sql: &str) -> String {
    let fits = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("--");
    sql.lines().find(fits).unwrap_or_default().chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::{Chunk, ScriptError, chunks};

    #[test]
    fn a_dump_is_cut_at_its_copy_blocks() {
        let dump = "CREATE TABLE t (a int);\nCOPY t (a) FROM stdin;\n1\n2\n\\.\nSELECT 1;\n";
        let expected = vec![
            Chunk::Sql("CREATE TABLE t (a int);\n".to_owned()),
            Chunk::Copy {
                statement: "COPY t (a) FROM stdin;".to_owned(),
                data: "1\n2\n".to_owned(),
            },
            Chunk::Sql("SELECT 1;\n".to_owned()),
        ];
        assert_eq!(chunks(dump).unwrap(), expected);
    }

    #[test]
    fn commands_that_reach_outside_the_database_are_refused() {
        assert!(matches!(chunks("SELECT 1;\n\\! id\n"), Err(ScriptError::Backslash(2))));
        assert!(chunks("\\restrict abc\nSELECT 1;\n\\unrestrict abc\n").is_ok());
    }

    #[test]
    fn a_block_without_its_end_is_refused() {
        assert!(matches!(chunks("COPY t FROM stdin;\n1\n"), Err(ScriptError::Unended(1))));
    }
}
