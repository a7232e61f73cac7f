//! `repositories[].workload.migrations`: what migrates a preview's database before its workload starts.
//!
//! Refuses an empty command, since nothing is known of what an image does by itself, and a directory
//! that is not inside the repository.

use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, duration};
use crate::workload::Migrations;

/// How long migrations may take unless configured.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The longest that is taken: nobody waits a day for a preview.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct MigrationsPart {
    #[serde(default)]
    command: Vec<String>,
    timeout: Option<String>,
    directory: Option<String>,
}

/// Checks it; `has_image` is whether there is something to run it in.
pub(super) fn migrations(
    part: MigrationsPart,
    has_image: bool,
    key: impl Fn(&str) -> String,
) -> Result<Migrations, ConfigError> {
    let wrong = |field: &str, why: &str| Err(ConfigError::new(&key(field), why));
    if part.command.first().is_none_or(String::is_empty) {
        return wrong("command", "is empty; it says which program of the image migrates");
    }
    if !has_image {
        return wrong("command", "needs workload.image, from which it runs");
    }
    let timeout = match part.timeout {
        None => TIMEOUT,
        Some(text) => duration::parse(&text)
            .and_then(|it| it.to_std().map_err(|error| error.to_string()))
            .map_err(|why| ConfigError::new(&key("timeout"), why))?,
    };
    if timeout < Duration::from_secs(1) || timeout > MAX_TIMEOUT {
        return wrong("timeout", "must be from 1s to 24h");
    }
    let directory = part.directory.map(|text| text.trim_end_matches('/').to_owned());
    if directory.as_deref().is_some_and(|path| !is_inside(path)) {
        return wrong(
            "directory",
            "is a path within the repository, such as db/migrations, of letters, digits, '.', '_' \
             and '-'",
        );
    }
    Ok(Migrations { command: part.command, timeout, directory })
}

/// Whether a path can stand in a URL as it is, and stays inside.
fn is_inside(path: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let part =
        |part: &str| !part.is_empty() && !matches!(part, "." | "..") && part.chars().all(fine);
    path.len() <= 200 && path.split('/').all(part)
}
