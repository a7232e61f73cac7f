//! The configuration: parsed once, checked whole, and never asked for again.
//!
//! Every number that someone may tune is here, with its default. Refuses to start on a key that it
//! does not know, and names the key and the cure.

mod chart;
mod check;
mod cluster;
mod components;
mod dns;
pub mod duration;
mod file;
mod github;
mod migrations;
mod registries;
mod repositories;
mod secrets;
mod telemetry;
mod tiers;
mod tools;
mod tree;
mod values;
mod workload;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::SecretString;

use crate::cluster::kubernetes::config::KubernetesConfig;
use crate::database::postgres::PostgresConfig;
use crate::forge::github::GitHubConfig;
use crate::forge::signature::WebhookSecrets;
use crate::image::Registry;
use crate::preview::Site;
use crate::reconcile::{Limits, Pacing, Renderer};
use crate::repository::Repositories;
use crate::telemetry::{LogFormat, OtlpConfig};
use crate::visit::VisitConfig;

pub use self::dns::{DnsConfig, EmbeddedDnsConfig};

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
    /// Deliveries that failed, asked for again.
    pub redelivery_every: TimeDelta,
    /// How old such a delivery may be.
    pub redelivery_window: TimeDelta,
}

/// What runs previews.
#[derive(Clone, Debug)]
pub enum ClusterConfig {
    /// Processes of this machine.
    Local(LocalClusterConfig),
    /// A Kubernetes cluster.
    Kubernetes(Box<KubernetesConfig>),
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
    /// Where spans go, if anywhere.
    pub otlp: Option<OtlpConfig>,
    /// The ledger's URL.
    pub ledger_url: SecretString,
    /// The ledger's connections.
    pub ledger_connections: u32,
    /// Where previews are reached.
    pub site: Site,
    /// How their URLs are asked what they serve.
    pub visits: VisitConfig,
    /// GitHub.
    pub github: GitHubConfig,
    /// What webhooks are signed with.
    pub webhook_secrets: WebhookSecrets,
    /// The cluster.
    pub cluster: ClusterConfig,
    /// DNS.
    pub dns: DnsConfig,
    /// The previews' database server.
    pub databases: PostgresConfig,
    /// The loop's bounds.
    pub limits: Limits,
    /// The loop's delays.
    pub pacing: Pacing,
    /// The sweeps.
    pub sweep: SweepConfig,
    /// The image registries that may be asked, and whose images may run.
    pub registries: Vec<Registry>,
    /// What renders charts, and within which bounds.
    pub renderer: Renderer,
    /// The repositories.
    pub repositories: Repositories,
}

impl Config {
    /// Reads a configuration file, with the process's environment over it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError::new(&path.display().to_string(), format!("cannot be read: {error}"))
        })?;
        let mut environment = Vec::new();
        // `std::env::vars` panics on a variable that is not UTF-8, whosever it is.
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with("MAYFLY_")) else {
                continue;
            };
            let value = value.into_string().map_err(|_| ConfigError::new(name, "is not UTF-8"))?;
            environment.push((name.to_owned(), value));
        }
        Self::parse(&text, environment.into_iter())
    }

    /// Reads a configuration from its text, with these variables over it.
    pub fn parse(
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        check::check(file::read(text, environment)?)
    }
}
