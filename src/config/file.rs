//! The configuration as it is written: one YAML file, and environment variables over it.
//!
//! Each key can be set by `MAYFLY_` and its path in upper case, joined by two underscores:
//! `previews.suffix` is `MAYFLY_PREVIEWS__SUFFIX`, and an entry of a list is named by its place. Refuses
//! unknown keys, and secrets in the file.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::ConfigError;
use super::cluster::ClusterPart;
use super::dns::DnsPart;
use super::github::GitHubPart;
use super::registries::RegistryPart;
use super::tiers::{FlagPart, TierPart};
use super::tree::{Path, is_named, keys, set, written};
use super::workload::WorkloadPart;

/// Keys that may come from the environment or from the file named by `<key>_file`, never from the
/// configuration itself. A `*` is the place of an entry in a list.
pub(super) const SECRETS: [&[&str]; 7] = [
    &["ledger", "url"],
    &["databases", "admin_url"],
    &["github", "token"],
    &["github", "webhook_secret"],
    &["github", "webhook_secret_previous"],
    &["dns", "rfc2136", "secret"],
    &["registries", "*", "password"],
];

/// Variables that belong to the program and not to its configuration.
const RESERVED: [&str; 3] = ["MAYFLY_LOG", "MAYFLY_CONFIG", "MAYFLY_TOKEN"];

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) instance: Option<String>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) operations_listen: Option<SocketAddr>,
    pub(super) log_format: Option<String>,
    pub(super) ledger: LedgerPart,
    pub(super) previews: PreviewsPart,
    pub(super) github: GitHubPart,
    pub(super) cluster: ClusterPart,
    pub(super) dns: DnsPart,
    pub(super) databases: DatabasesPart,
    #[serde(default)]
    pub(super) telemetry: super::telemetry::TelemetryPart,
    #[serde(default)]
    pub(super) reconcile: ReconcilePart,
    #[serde(default)]
    pub(super) sweep: SweepPart,
    #[serde(default)]
    pub(super) policy: PolicyPart,
    #[serde(default)]
    pub(super) registries: Vec<RegistryPart>,
    #[serde(default)]
    pub(super) tools: super::tools::ToolsPart,
    pub(super) repositories: Vec<RepositoryPart>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct LedgerPart {
    pub(super) url: Option<SecretString>,
    pub(super) url_file: Option<PathBuf>,
    pub(super) max_connections: Option<u32>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewsPart {
    pub(super) suffix: String,
    #[serde(default)]
    pub(super) https: bool,
    pub(super) port: Option<u16>,
    #[serde(default)]
    pub(super) proof: ProofPart,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProofPart {
    pub(super) address: Option<SocketAddr>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) patience: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct DatabasesPart {
    pub(super) admin_url: Option<SecretString>,
    pub(super) admin_url_file: Option<PathBuf>,
    pub(super) public_host: Option<String>,
    pub(super) public_port: Option<u16>,
    pub(super) public_sslmode: Option<String>,
    pub(super) clones_at_once: Option<usize>,
    pub(super) connection_limit: Option<u32>,
    pub(super) seed_timeout: Option<String>,
    pub(super) seed_max_megabytes: Option<u32>,
    pub(super) spare_megabytes: Option<u32>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReconcilePart {
    pub(super) concurrent_passes: Option<usize>,
    pub(super) lease: Option<String>,
    pub(super) pass_deadline: Option<String>,
    pub(super) poll: Option<String>,
    pub(super) listen: Option<bool>,
    pub(super) drift_check_every: Option<String>,
    pub(super) retry_at_most_every: Option<String>,
    pub(super) image_patience: Option<String>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SweepPart {
    pub(super) pull_requests_every: Option<String>,
    pub(super) orphans_every: Option<String>,
    pub(super) deployments_every: Option<String>,
    pub(super) deliveries_kept: Option<String>,
    pub(super) redelivery_every: Option<String>,
    pub(super) redelivery_window: Option<String>,
}

#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PolicyPart {
    pub(super) inactivity_ttl: Option<String>,
    pub(super) max_life: Option<String>,
    pub(super) warn_before: Option<String>,
    pub(super) approve_forks: Option<bool>,
    pub(super) drafts: Option<bool>,
    pub(super) only_label: Option<String>,
    pub(super) skip_label: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct RepositoryPart {
    pub(super) name: String,
    pub(super) id: Option<i64>,
    pub(super) prefix: Option<String>,
    pub(super) workload: WorkloadPart,
    pub(super) seed: SeedPart,
    #[serde(default)]
    pub(super) policy: PolicyPart,
    #[serde(default)]
    pub(super) tiers: Vec<TierPart>,
    pub(super) default_tier: Option<String>,
    #[serde(default)]
    pub(super) flags: Vec<FlagPart>,
    #[serde(default)]
    pub(super) production: ProductionPart,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProductionPart {
    pub(super) postgres: Option<u32>,
    pub(super) kubernetes: Option<String>,
    pub(super) chart: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct SeedPart {
    pub(super) directories: Vec<PathBuf>,
    #[serde(default)]
    pub(super) extensions: Vec<String>,
}

/// What Kubernetes sets in every pod beside a Service that is called `mayfly`. No key of ours is
/// spelled like this.
fn is_service_link(name: &str) -> bool {
    name == "MAYFLY_PORT"
        || ["MAYFLY_PORT_", "MAYFLY_SERVICE_"].iter().any(|start| name.starts_with(start))
}

/// Reads the text of a configuration file and the environment over it.
pub(super) fn read(
    text: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<File, ConfigError> {
    // `no` is a word (a label, a country), and only `true` and `false` are booleans.
    let options = serde_saphyr::options! { strict_booleans: true };
    let mut tree: Value = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| ConfigError::new("the file", format!("is not YAML: {error}")))?;
    if tree.is_null() {
        tree = Value::Object(serde_json::Map::new());
    }
    for secret in SECRETS {
        if let Some(path) = written(&tree, secret) {
            let key = path.join(".");
            let variable = variable(&path.iter().map(String::as_str).collect::<Vec<_>>());
            return Err(ConfigError::new(
                &key,
                format!("is a secret; set {variable}, or {key}_file to a file that holds it"),
            ));
        }
    }
    let mut guessed: Vec<(Path, String)> = Vec::new();
    for (name, value) in environment {
        let Some(path) = name.strip_prefix("MAYFLY_") else { continue };
        if RESERVED.contains(&name.as_str()) || is_service_link(&name) {
            continue;
        }
        let path: Vec<_> = path.split("__").map(str::to_ascii_lowercase).collect();
        let secret = SECRETS.iter().any(|secret| is_named(&path, secret));
        let meant = if secret { Value::String(value.clone()) } else { scalar(&value) };
        let guess = !meant.is_string();
        set(&mut tree, &path, meant).map_err(|here| not_a_section(&here, &name))?;
        if guess {
            guessed.push((path, value));
        }
    }
    loop {
        let error: serde_path_to_error::Error<serde_json::Error> =
            match serde_path_to_error::deserialize(tree.clone()) {
                Ok(file) => return Ok(file),
                Err(error) => error,
            };
        // A variable is text: that it is a number or a boolean was a guess, and text is wanted.
        let path = error.path().to_string();
        let here = keys(&path);
        let Some(wrong) = guessed.iter().position(|(guess, _)| *guess == here) else {
            return Err(explain(&path, &error.inner().to_string()));
        };
        let (keys, text) = guessed.swap_remove(wrong);
        set(&mut tree, &keys, Value::String(text)).map_err(|here| not_a_section(&here, &path))?;
    }
}

fn explain(path: &str, why: &str) -> ConfigError {
    // The library's words would repeat what is written where a section belongs, and that may be a
    // URL with its password.
    let here = keys(path);
    let section = |secret: &[&str]| (1..secret.len()).any(|it| is_named(&here, &secret[..it]));
    if SECRETS.iter().any(|secret| section(secret)) && why.starts_with("invalid type") {
        return ConfigError::new(
            path,
            "is a section, or a list of them; set its keys, not the section",
        );
    }
    ConfigError::new(if path == "." { "the configuration" } else { path }, why)
}

/// The variable that sets a key.
pub(super) fn variable(path: &[&str]) -> String {
    format!("MAYFLY_{}", path.join("__").to_ascii_uppercase())
}

/// A variable's text as YAML would read it on one line.
fn scalar(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match text.parse::<i64>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::String(text.to_owned()),
        },
    }
}

fn not_a_section(path: &str, variable: &str) -> ConfigError {
    let key = if path.is_empty() { "the configuration" } else { path };
    let why = format!("is not a section with such a key, so {variable} sets nothing");
    ConfigError::new(key, why)
}
