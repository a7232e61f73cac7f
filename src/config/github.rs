//! The configuration's section about GitHub: how it is written, and what is meant.
//!
//! Refuses two ways to log in, and secrets in the file.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use super::ConfigError;
use super::check::at_least;
use super::values::{read_secret, secret, time};
use crate::forge::github::gate::Limits;
use crate::forge::github::{Auth, GitHubConfig};
use crate::forge::signature::WebhookSecrets;

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct GitHubPart {
    pub(super) api_url: Option<String>,
    pub(super) token: Option<SecretString>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) app: Option<AppPart>,
    pub(super) webhook_secret: Option<SecretString>,
    pub(super) webhook_secret_file: Option<PathBuf>,
    pub(super) webhook_secret_previous: Option<SecretString>,
    pub(super) webhook_secret_previous_file: Option<PathBuf>,
    pub(super) timeout: Option<String>,
    pub(super) redeliver: Option<bool>,
    #[serde(default)]
    pub(super) limits: LimitsPart,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsPart {
    pub(super) calls_at_once: Option<usize>,
    pub(super) points_per_minute: Option<u32>,
    pub(super) writes_per_minute: Option<u32>,
    pub(super) writes_per_hour: Option<u32>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct AppPart {
    pub(super) id: u64,
    pub(super) installation_id: u64,
    pub(super) private_key_file: PathBuf,
}

pub(super) fn github(instance: &str, part: &GitHubPart) -> Result<GitHubConfig, ConfigError> {
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
    let at_most = Limits::default();
    let given = &part.limits;
    let number = |key: &str, given: Option<u32>, least, default| {
        at_least(&format!("github.limits.{key}"), given, least, default)
    };
    let limits = Limits {
        calls_at_once: at_least(
            "github.limits.calls_at_once",
            given.calls_at_once,
            1,
            at_most.calls_at_once,
        )?,
        // A write costs five of them.
        points_per_minute: number(
            "points_per_minute",
            given.points_per_minute,
            5,
            at_most.points_per_minute,
        )?,
        writes_per_minute: number(
            "writes_per_minute",
            given.writes_per_minute,
            1,
            at_most.writes_per_minute,
        )?,
        writes_per_hour: number(
            "writes_per_hour",
            given.writes_per_hour,
            1,
            at_most.writes_per_hour,
        )?,
    };
    let is_app = matches!(auth, Auth::App { .. });
    Ok(GitHubConfig {
        api_url,
        auth,
        limits,
        redeliver: part.redeliver.unwrap_or(is_app),
        instance: instance.to_owned(),
        timeout: time("github.timeout", part.timeout.as_deref(), "10s")?,
    })
}

pub(super) fn webhook_secrets(part: &GitHubPart) -> Result<WebhookSecrets, ConfigError> {
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
