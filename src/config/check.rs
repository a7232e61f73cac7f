//! From what is written to what is meant: every section checked, every default filled in.
//!
//! Refuses to be lenient: what cannot work is refused here, at start, with the key and the cure.

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};

use super::cluster::cluster;
use super::dns::dns;
use super::file::{self, File};
use super::github::{github, webhook_secrets};
use super::registries::registries;
use super::repositories::repositories;
use super::telemetry::otlp;
use super::tools;
use super::values::{absolute, delta, fixed, local_address, secret, time};
use super::{ClusterConfig, Config, ConfigError, SweepConfig};
use crate::database::postgres::{PostgresConfig, SslMode};
use crate::preview::{Site, Suffix};
use crate::reconcile::{Limits, Pacing, Renderer};
use crate::telemetry::LogFormat;
use crate::visit::VisitConfig;

pub(super) fn check(file: File) -> Result<Config, ConfigError> {
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
    for (key, port) in [
        ("previews.port", file.previews.port),
        ("databases.public_port", file.databases.public_port),
    ] {
        if port == Some(0) {
            return Err(ConfigError::new(key, "port 0 leads nowhere; name the real one"));
        }
    }
    let site =
        Site { suffix: suffix.clone(), https: file.previews.https, port: file.previews.port };
    let databases = file.databases;
    let public_address = match (databases.public_host, databases.public_port) {
        (None, None) => None,
        (Some(host), port) => Some((host, port.unwrap_or(5432))),
        (None, Some(_)) => {
            let why = "is needed where databases.public_port is set";
            return Err(ConfigError::new("databases.public_host", why));
        }
    };
    let cluster = cluster(file.cluster, &instance, &suffix)?;
    let data_dir = match &cluster {
        ClusterConfig::Local(local) => Some(local.data_dir.as_path()),
        ClusterConfig::Kubernetes(_) => None,
    };
    let dns = dns(file.dns, &suffix, data_dir)?;
    let registries = registries(file.registries, &cluster)?;
    let github = github(&instance, &file.github)?;
    let webhook_secrets = webhook_secrets(&file.github)?;
    let proof = file.previews.proof;
    let patience = delta("previews.proof.patience", proof.patience.as_deref(), "60s")?;
    let (limits, pacing) = reconcile(&file.reconcile, patience)?;
    let repositories = repositories(&file.policy, file.repositories, &cluster, &registries)?;
    let renderer = Renderer {
        limits: tools::limits(&file.tools, limits.pass_deadline)?,
        tools: tools::tools(file.tools, &instance, &repositories)?,
        registries: registries.iter().map(|registry| registry.host.clone()).collect(),
    };
    let listen = file.listen.unwrap_or_else(|| local_address(8081));
    let operations = file.operations_listen.unwrap_or_else(|| local_address(9090));
    let proxy = match &cluster {
        ClusterConfig::Local(local) => Some(local.proxy_listen),
        ClusterConfig::Kubernetes(_) => None,
    };
    if listen == operations || Some(listen) == proxy || Some(operations) == proxy {
        let why = "listen, operations_listen and cluster.local.proxy_listen need an address each";
        return Err(ConfigError::new("listen", why));
    }
    Ok(Config {
        listen: fixed("listen", listen)?,
        operations_listen: fixed("operations_listen", operations)?,
        log_format,
        otlp: otlp(file.telemetry)?,
        ledger_url: postgres_url(
            "ledger.url",
            secret(&["ledger", "url"], file.ledger.url, file.ledger.url_file.as_deref())?,
        )?,
        ledger_connections: at_least("ledger.max_connections", file.ledger.max_connections, 3, 10)?,
        site,
        visits: VisitConfig {
            address: proof.address.map(|it| fixed("previews.proof.address", it)).transpose()?,
            ca_file: proof
                .ca_file
                .map(|path| absolute("previews.proof.ca_file", path))
                .transpose()?,
        },
        github,
        webhook_secrets,
        dns,
        databases: PostgresConfig {
            // A value goes before its file, and then the file is none to read again.
            admin_url_file: databases
                .admin_url_file
                .clone()
                .filter(|_| databases.admin_url.is_none()),
            admin_url: postgres_url(
                "databases.admin_url",
                secret(
                    &["databases", "admin_url"],
                    databases.admin_url,
                    databases.admin_url_file.as_deref(),
                )?,
            )?,
            public_address,
            public_sslmode: sslmode(databases.public_sslmode.as_deref())?,
            instance: instance.clone(),
            clones_at_once: at_least("databases.clones_at_once", databases.clones_at_once, 1, 2)?,
            connection_limit: at_least(
                "databases.connection_limit",
                databases.connection_limit,
                1,
                20,
            )?,
            seed_timeout: time("databases.seed_timeout", databases.seed_timeout.as_deref(), "10m")?,
            seed_max_bytes: i64::from(at_least(
                "databases.seed_max_megabytes",
                databases.seed_max_megabytes,
                1,
                10_240,
            )?) * 1024
                * 1024,
            spare_bytes: i64::from(databases.spare_megabytes.unwrap_or(10_240)) * 1024 * 1024,
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
            redelivery_every: delta(
                "sweep.redelivery_every",
                file.sweep.redelivery_every.as_deref(),
                "1h",
            )?,
            redelivery_window: delta(
                "sweep.redelivery_window",
                file.sweep.redelivery_window.as_deref(),
                "3d",
            )?,
        },
        renderer,
        repositories,
        registries,
        cluster,
        instance,
    })
}

fn reconcile(
    part: &file::ReconcilePart,
    serve_patience: TimeDelta,
) -> Result<(Limits, Pacing), ConfigError> {
    let limits = Limits {
        concurrent_passes: at_least("reconcile.concurrent_passes", part.concurrent_passes, 1, 16)?,
        lease: delta("reconcile.lease", part.lease.as_deref(), "60s")?,
        pass_deadline: time("reconcile.pass_deadline", part.pass_deadline.as_deref(), "45s")?,
        poll: time("reconcile.poll", part.poll.as_deref(), "1s")?,
        listen: part.listen.unwrap_or(true),
        serve_patience,
        image_patience: delta("reconcile.image_patience", part.image_patience.as_deref(), "30m")?,
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

fn sslmode(word: Option<&str>) -> Result<SslMode, ConfigError> {
    let Some(word) = word else { return Ok(SslMode::default()) };
    SslMode::parse(word).ok_or_else(|| {
        let why = format!("{word:?} is none of disable, prefer, require and verify-full");
        ConfigError::new("databases.public_sslmode", why)
    })
}

/// A number of things of which there have to be some.
pub(super) fn at_least<N: PartialOrd + std::fmt::Display>(
    key: &str,
    given: Option<N>,
    least: N,
    default: N,
) -> Result<N, ConfigError> {
    match given {
        Some(given) if given < least => {
            Err(ConfigError::new(key, format!("is {given}; it must be at least {least}")))
        }
        given => Ok(given.unwrap_or(default)),
    }
}

/// A URL of a PostgreSQL server; the URL itself is a secret, and is not repeated.
fn postgres_url(key: &str, url: SecretString) -> Result<SecretString, ConfigError> {
    let scheme = url.expose_secret().split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("postgres" | "postgresql") => Ok(url),
        _ => Err(ConfigError::new(key, "is not a URL such as postgres://user:password@host/name")),
    }
}
