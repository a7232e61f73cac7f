//! Single values: secrets, lengths of time, paths and addresses.
//!
//! Refuses an empty secret, and a length of nothing where something has to pass.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};

use super::{ConfigError, duration, file};

pub(super) fn secret(
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

pub(super) fn read_secret(key: &str, path: &Path) -> Result<SecretString, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError::new(key, format!("{} cannot be read: {error}", path.display()))
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned().into())
}

pub(super) fn delta(
    key: &str,
    text: Option<&str>,
    default: &str,
) -> Result<TimeDelta, ConfigError> {
    let length =
        duration::parse(text.unwrap_or(default)).map_err(|why| ConfigError::new(key, why))?;
    if length.is_zero() && !key.ends_with("warn_before") {
        return Err(ConfigError::new(key, "must be longer than nothing"));
    }
    Ok(length)
}

pub(super) fn time(key: &str, text: Option<&str>, default: &str) -> Result<Duration, ConfigError> {
    let length = delta(key, text, default)?;
    length.to_std().map_err(|error| ConfigError::new(key, error.to_string()))
}

pub(super) fn absolute(key: &str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    std::path::absolute(&path).map_err(|error| ConfigError::new(key, error.to_string()))
}

pub(super) fn local_address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A port that is the same after each start.
pub(super) fn fixed(key: &str, address: SocketAddr) -> Result<SocketAddr, ConfigError> {
    if address.port() == 0 {
        return Err(ConfigError::new(key, "port 0 would change with each start; name one"));
    }
    Ok(address)
}
