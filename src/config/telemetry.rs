//! What the process says about itself, and to whom.
//!
//! Refuses a collector's address that no request can be made of.

use serde::Deserialize;

use super::ConfigError;
use crate::telemetry::OtlpConfig;

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TelemetryPart {
    pub(super) otlp: Option<OtlpPart>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct OtlpPart {
    pub(super) endpoint: String,
    pub(super) service_name: Option<String>,
}

pub(super) fn otlp(part: TelemetryPart) -> Result<Option<OtlpConfig>, ConfigError> {
    let Some(part) = part.otlp else { return Ok(None) };
    let key = "telemetry.otlp.endpoint";
    let url: axum::http::Uri = part
        .endpoint
        .parse()
        .map_err(|error| ConfigError::new(key, format!("{:?}: {error}", part.endpoint)))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
        let why = format!("{:?} is not a URL such as http://collector:4318", part.endpoint);
        return Err(ConfigError::new(key, why));
    }
    let service_name = part.service_name.unwrap_or_else(|| "mayfly".to_owned());
    Ok(Some(OtlpConfig { endpoint: part.endpoint, service_name }))
}
