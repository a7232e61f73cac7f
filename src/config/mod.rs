//! The configuration: parsed once, checked whole, and never asked for again.
//!
//! Every number that someone may tune is here, with its default. Refuses to start on a key that it
//! does not know, and names the key and the cure.

pub mod duration;
mod file;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};

use crate::database::Seed;
use crate::database::postgres::PostgresConfig;
use crate::forge::RepositoryRef;
use crate::forge::github::{Auth, GitHubConfig};
use crate::forge::signature::WebhookSecrets;
use crate::preview::name::Prefix;
use crate::preview::{Policy, RepositoryId, Site, Suffix};
use crate::reconcile::{Limits, Pacing};
use crate::repository::{Repositories, Repository};
use crate::telemetry::LogFormat;
use crate::workload::Shape;
use file::{File, PolicyPart, RepositoryPart};

/// A key that is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct ConfigError {
    /// The key's path, or the variable.
    pub key: String,
    /// What is wrong, and the cure.
    pub why: String,
}

impl ConfigError {
    fn new(key: &str, why: impl Into<String>) -> Self {
        Self { key: key.to_owned(), why: why.into() }
    }
}

/// How often the sweeps run.
#[derive(Clone, Copy, Debug)]
pub struct SweepConfig {
    /// Open pull requests against rows.
    pub pull_requests_every: TimeDelta,
    /// Stamped things against rows.
    pub orphans_every: TimeDelta,
    /// Active deployments on the forge against rows.
    pub deployments_every: TimeDelta,
    /// How long deliveries are kept.
    pub deliveries_kept: TimeDelta,
}

/// The embedded cluster.
#[derive(Clone, Debug)]
pub struct LocalClusterConfig {
    /// Where namespaces and routes are kept.
    pub data_dir: PathBuf,
    /// Where the reverse proxy listens.
    pub proxy_listen: SocketAddr,
    /// How long a process has between SIGTERM and SIGKILL.
    pub grace: Duration,
}

/// The embedded DNS server.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedDnsConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The address that every preview's host resolves to.
    pub target: IpAddr,
}

/// A whole configuration, checked.
#[derive(Debug)]
pub struct Config {
    /// This installation's name, in every stamp.
    pub instance: String,
    /// Where webhooks, API and dashboard are served.
    pub listen: SocketAddr,
    /// Where liveness, readiness and metrics are served.
    pub operations_listen: SocketAddr,
    /// How logs look.
    pub log_format: LogFormat,
    /// The ledger's URL.
    pub ledger_url: SecretString,
    /// The ledger's connections.
    pub ledger_connections: u32,
    /// Where previews are reached.
    pub site: Site,
    /// GitHub.
    pub github: GitHubConfig,
    /// What webhooks are signed with.
    pub webhook_secrets: WebhookSecrets,
    /// The cluster.
    pub cluster: LocalClusterConfig,
    /// DNS.
    pub dns: EmbeddedDnsConfig,
    /// The previews' database server.
    pub databases: PostgresConfig,
    /// The loop's bounds.
    pub limits: Limits,
    /// The loop's delays.
    pub pacing: Pacing,
    /// The sweeps.
    pub sweep: SweepConfig,
    /// The repositories.
    pub repositories: Repositories,
}

impl Config {
    /// Reads a configuration file, with the process's environment over it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError::new(&path.display().to_string(), format!("cannot be read: {error}"))
        })?;
        Self::parse(&text, std::env::vars())
    }

    /// Reads a configuration from its text, with these variables over it.
    pub fn parse(
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        check(file::read(text, environment)?)
    }
}

fn check(file: File) -> Result<Config, ConfigError> {
    let instance = file.instance.unwrap_or_else(|| "mayfly".to_owned());
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if instance.is_empty() || instance.len() > 30 || !instance.chars().all(plain) {
        return Err(ConfigError::new(
            "instance",
            format!("{instance:?} must be 1 to 30 lower-case letters, digits or underscores"),
        ));
    }
    let log_format = match file.log_format.as_deref() {
        None | Some("json") => LogFormat::Json,
        Some("text") => LogFormat::Text,
        Some(other) => {
            return Err(ConfigError::new(
                "log_format",
                format!("{other:?} is neither json nor text"),
            ));
        }
    };
    let suffix = Suffix::parse(&file.previews.suffix)
        .map_err(|error| ConfigError::new("previews.suffix", error.to_string()))?;
    let site = Site { suffix, https: file.previews.https, port: file.previews.port };
    let loopback = |key, address: SocketAddr| {
        if address.port() == 0 {
            return Err(ConfigError::new(key, "port 0 would change with each start; name one"));
        }
        Ok(address)
    };
    let databases = file.databases;
    let public_address = match (databases.public_host, databases.public_port) {
        (None, None) => None,
        (Some(host), port) => Some((host, port.unwrap_or(5432))),
        (None, Some(_)) => {
            let why = "is needed where databases.public_port is set";
            return Err(ConfigError::new("databases.public_host", why));
        }
    };
    let local = file.cluster.local;
    let github = github(&instance, &file.github)?;
    let webhook_secrets = webhook_secrets(&file.github)?;
    let (limits, pacing) = reconcile(&file.reconcile)?;
    Ok(Config {
        listen: loopback("listen", file.listen.unwrap_or_else(|| local_address(8081)))?,
        operations_listen: loopback(
            "operations_listen",
            file.operations_listen.unwrap_or_else(|| local_address(9090)),
        )?,
        log_format,
        ledger_url: secret(&["ledger", "url"], file.ledger.url, file.ledger.url_file.as_deref())?,
        ledger_connections: file.ledger.max_connections.unwrap_or(10).max(3),
        site,
        github,
        webhook_secrets,
        cluster: LocalClusterConfig {
            data_dir: absolute("cluster.local.data_dir", local.data_dir)?,
            proxy_listen: local.proxy_listen,
            grace: time("cluster.local.grace", local.grace.as_deref(), "2s")?,
        },
        dns: EmbeddedDnsConfig {
            listen: loopback("dns.embedded.listen", file.dns.embedded.listen)?,
            target: file.dns.embedded.target,
        },
        databases: PostgresConfig {
            admin_url: secret(
                &["databases", "admin_url"],
                databases.admin_url,
                databases.admin_url_file.as_deref(),
            )?
            .expose_secret()
            .to_owned(),
            public_address,
            instance: instance.clone(),
            clones_at_once: databases.clones_at_once.unwrap_or(2),
            connection_limit: databases.connection_limit.unwrap_or(20),
            seed_timeout: time("databases.seed_timeout", databases.seed_timeout.as_deref(), "10m")?,
            seed_max_bytes: i64::from(databases.seed_max_megabytes.unwrap_or(10_240)) * 1024 * 1024,
        },
        limits,
        pacing,
        sweep: SweepConfig {
            pull_requests_every: delta(
                "sweep.pull_requests_every",
                file.sweep.pull_requests_every.as_deref(),
                "5m",
            )?,
            orphans_every: delta(
                "sweep.orphans_every",
                file.sweep.orphans_every.as_deref(),
                "10m",
            )?,
            deployments_every: delta(
                "sweep.deployments_every",
                file.sweep.deployments_every.as_deref(),
                "6h",
            )?,
            deliveries_kept: delta(
                "sweep.deliveries_kept",
                file.sweep.deliveries_kept.as_deref(),
                "30d",
            )?,
        },
        repositories: repositories(&file.policy, file.repositories)?,
        instance,
    })
}

fn github(instance: &str, part: &file::GitHubPart) -> Result<GitHubConfig, ConfigError> {
    let has_token = part.token.is_some() || part.token_file.is_some();
    let auth = match (&part.app, has_token) {
        (Some(_), true) => {
            let why = "and github.token are two ways to log in; choose one";
            return Err(ConfigError::new("github.app", why));
        }
        (Some(app), false) => {
            let path = &app.private_key_file;
            let private_key_pem = read_secret("github.app.private_key_file", path)?;
            Auth::App { app_id: app.id, private_key_pem, installation_id: app.installation_id }
        }
        (None, _) => {
            let path = part.token_file.as_deref();
            Auth::Token(secret(&["github", "token"], part.token.clone(), path)?)
        }
    };
    let api_url = part.api_url.clone().unwrap_or_else(|| "https://api.github.com".to_owned());
    if !api_url.starts_with("https://") && !api_url.starts_with("http://") {
        let why = format!("{api_url:?} must begin with https://");
        return Err(ConfigError::new("github.api_url", why));
    }
    Ok(GitHubConfig {
        api_url,
        auth,
        instance: instance.to_owned(),
        timeout: time("github.timeout", part.timeout.as_deref(), "10s")?,
    })
}

fn webhook_secrets(part: &file::GitHubPart) -> Result<WebhookSecrets, ConfigError> {
    let path = part.webhook_secret_file.as_deref();
    let mut secrets =
        vec![secret(&["github", "webhook_secret"], part.webhook_secret.clone(), path)?];
    if part.webhook_secret_previous.is_some() || part.webhook_secret_previous_file.is_some() {
        secrets.push(secret(
            &["github", "webhook_secret_previous"],
            part.webhook_secret_previous.clone(),
            part.webhook_secret_previous_file.as_deref(),
        )?);
    }
    WebhookSecrets::new(secrets)
        .map_err(|error| ConfigError::new("github.webhook_secret", error.to_string()))
}

fn reconcile(part: &file::ReconcilePart) -> Result<(Limits, Pacing), ConfigError> {
    let limits = Limits {
        concurrent_passes: part.concurrent_passes.unwrap_or(16).max(1),
        lease: delta("reconcile.lease", part.lease.as_deref(), "60s")?,
        pass_deadline: time("reconcile.pass_deadline", part.pass_deadline.as_deref(), "45s")?,
        poll: time("reconcile.poll", part.poll.as_deref(), "1s")?,
        listen: part.listen.unwrap_or(true),
    };
    if limits.lease.to_std().unwrap_or_default() <= limits.pass_deadline {
        let why = "must be longer than reconcile.pass_deadline, or two passes could overlap";
        return Err(ConfigError::new("reconcile.lease", why));
    }
    let drift = delta("reconcile.drift_check_every", part.drift_check_every.as_deref(), "5m")?;
    let retry = delta("reconcile.retry_at_most_every", part.retry_at_most_every.as_deref(), "5m")?;
    let pacing = Pacing {
        drift_seconds: drift.num_seconds().max(1),
        retry_max_milliseconds: retry.num_milliseconds().max(100),
        ..Pacing::default()
    };
    Ok((limits, pacing))
}

fn repositories(
    defaults: &PolicyPart,
    parts: Vec<RepositoryPart>,
) -> Result<Repositories, ConfigError> {
    if parts.is_empty() {
        return Err(ConfigError::new("repositories", "is empty; name at least one repository"));
    }
    let mut list: Vec<Repository> = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let key = |field: &str| format!("repositories[{index}].{field}");
        let reference = RepositoryRef::parse(&part.name).ok_or_else(|| {
            ConfigError::new(&key("name"), format!("{:?} is not owner/name", part.name))
        })?;
        let prefix = part.prefix.as_deref().map(Prefix::parse).transpose();
        let prefix = prefix.map_err(|e| ConfigError::new(&key("prefix"), e.to_string()))?;
        if list.iter().any(|other| other.prefix == prefix) {
            let why = "is not unique: two repositories would share names such as pr-1; give each \
                       but one a prefix of its own";
            return Err(ConfigError::new(&key("prefix"), why));
        }
        if list.iter().any(|other| other.reference == reference) {
            return Err(ConfigError::new(&key("name"), "is there twice"));
        }
        if part.workload.command.is_empty() {
            return Err(ConfigError::new(&key("workload.command"), "is empty"));
        }
        let probe_path = part.workload.probe_path.unwrap_or_else(|| "/".to_owned());
        if !probe_path.starts_with('/') {
            return Err(ConfigError::new(&key("workload.probe_path"), "must begin with /"));
        }
        let seed = Seed::read(&part.seed.directories, &part.seed.extensions)
            .map_err(|error| ConfigError::new(&key("seed"), error.to_string()))?;
        list.push(Repository {
            reference,
            id: part.id.map(RepositoryId),
            prefix,
            policy: policy(&key("policy"), &part.policy, defaults)?,
            shape: Shape {
                command: part.workload.command,
                directory: part.workload.directory,
                env: part.workload.env.into_iter().collect(),
                probe_path,
            },
            seed,
        });
    }
    Ok(Repositories::new(list))
}

fn policy(key: &str, own: &PolicyPart, defaults: &PolicyPart) -> Result<Policy, ConfigError> {
    let pick = |own: &Option<String>, default: &Option<String>| own.clone().or(default.clone());
    let length = |field: &str, own, default, fallback| {
        delta(&format!("{key}.{field}"), pick(own, default).as_deref(), fallback)
    };
    let policy = Policy {
        inactivity_ttl: length(
            "inactivity_ttl",
            &own.inactivity_ttl,
            &defaults.inactivity_ttl,
            "3d",
        )?,
        max_life: length("max_life", &own.max_life, &defaults.max_life, "30d")?,
        warn_before: length("warn_before", &own.warn_before, &defaults.warn_before, "4h")?,
        approve_forks: own.approve_forks.or(defaults.approve_forks).unwrap_or(true),
        drafts: own.drafts.or(defaults.drafts).unwrap_or(true),
        only_label: pick(&own.only_label, &defaults.only_label),
        skip_label: pick(&own.skip_label, &defaults.skip_label),
    };
    if policy.max_life < policy.inactivity_ttl {
        let why = "is shorter than inactivity_ttl, which would never be reached";
        return Err(ConfigError::new(&format!("{key}.max_life"), why));
    }
    Ok(policy)
}

fn secret(
    path: &[&str],
    value: Option<SecretString>,
    file: Option<&Path>,
) -> Result<SecretString, ConfigError> {
    let key = path.join(".");
    let cure = format!("set {}, or {key}_file to a file that holds it", file::variable(path));
    let secret = match (value, file) {
        (Some(value), _) => value,
        (None, Some(file)) => read_secret(&format!("{key}_file"), file)?,
        (None, None) => return Err(ConfigError::new(&key, format!("is missing; {cure}"))),
    };
    if secret.expose_secret().trim().is_empty() {
        return Err(ConfigError::new(&key, format!("is empty; {cure}")));
    }
    Ok(secret)
}

fn read_secret(key: &str, path: &Path) -> Result<SecretString, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError::new(key, format!("{} cannot be read: {error}", path.display()))
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned().into())
}

fn delta(key: &str, text: Option<&str>, default: &str) -> Result<TimeDelta, ConfigError> {
    let length =
        duration::parse(text.unwrap_or(default)).map_err(|why| ConfigError::new(key, why))?;
    if length.is_zero() && !key.ends_with("warn_before") {
        return Err(ConfigError::new(key, "must be longer than nothing"));
    }
    Ok(length)
}

fn time(key: &str, text: Option<&str>, default: &str) -> Result<Duration, ConfigError> {
    let length = delta(key, text, default)?;
    length.to_std().map_err(|error| ConfigError::new(key, error.to_string()))
}

fn absolute(key: &str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    std::path::absolute(&path).map_err(|error| ConfigError::new(key, error.to_string()))
}

fn local_address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
