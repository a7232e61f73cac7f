//! `registries`: the image registries that may be asked, and nothing else may.
//!
//! Refuses passwords in the file, plain HTTP to the internet, and addresses that no registry may
//! have.

use std::path::PathBuf;

use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;

use super::values::{absolute, secret};
use super::{ClusterConfig, ConfigError};
use crate::address::{LOOPBACK, METADATA, PRIVATE, Reach, ranges};
use crate::image::{Login, Registry};
use crate::workload::{ImageTemplate, is_registry};

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistryPart {
    host: String,
    username: Option<String>,
    password: Option<SecretString>,
    password_file: Option<PathBuf>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    addresses: Vec<IpNet>,
    ca_file: Option<PathBuf>,
}

pub(super) fn registries(
    parts: Vec<RegistryPart>,
    cluster: &ClusterConfig,
) -> Result<Vec<Registry>, ConfigError> {
    let mut list: Vec<Registry> = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let key = format!("registries[{index}]");
        let wrong = |field: &str, why: String| ConfigError::new(&format!("{key}.{field}"), why);
        let host = part.host.clone();
        if !is_registry(&host) {
            let why =
                "is not a registry as images' names have it, such as ghcr.io or 10.0.0.7:5000";
            return Err(wrong("host", format!("{host:?} {why}")));
        }
        if list.iter().any(|other| other.host == host) {
            return Err(wrong("host", format!("{host} is there twice; remove one of them")));
        }
        let reach = reach(&key, &part, cluster)?;
        let ca_pem = part.ca_file.as_ref().map(std::fs::read).transpose();
        let ca_pem =
            ca_pem.map_err(|error| wrong("ca_file", format!("cannot be read: {error}")))?;
        let insecure = part.insecure;
        list.push(Registry {
            host,
            login: login(&key, index, part)?,
            insecure,
            reach,
            ca_pem,
            key,
        });
    }
    Ok(list)
}

/// An image is in one of the registries, whether it is asked for or pinned.
pub(super) fn is_listed(
    image: &ImageTemplate,
    registries: &[Registry],
    key: &str,
) -> Result<(), ConfigError> {
    let host = image.name().registry();
    if registries.iter().any(|registry| registry.host == host) {
        return Ok(());
    }
    let why = format!("is in {host}, which is none of registries; add `- host: {host}` there");
    Err(ConfigError::new(key, why))
}

fn reach(key: &str, part: &RegistryPart, cluster: &ClusterConfig) -> Result<Reach, ConfigError> {
    let wrong = |why: String| Err(ConfigError::new(&format!("{key}.addresses"), why));
    let addresses: Vec<_> = part.addresses.iter().map(IpNet::trunc).collect();
    let within = |list: &[IpNet], it: &IpNet| list.iter().any(|range| range.contains(it));
    let metadata = ranges(&METADATA);
    if let Some(it) = addresses.iter().find(|it| within(&metadata, it)) {
        return wrong(format!(
            "{it} is where metadata services are; no registry is ever asked there"
        ));
    }
    if !part.insecure {
        let forbidden: &[IpNet] = match cluster {
            ClusterConfig::Kubernetes(kubernetes) => &kubernetes.network.forbidden,
            ClusterConfig::Local(_) => &[],
        };
        return Ok(Reach::internet_and(addresses, forbidden));
    }
    let near = [ranges(&LOOPBACK), ranges(&PRIVATE)].concat();
    match addresses.iter().find(|it| !within(&near, it)) {
        _ if addresses.is_empty() => {
            wrong("is empty; say where a registry without TLS is, such as [10.0.0.7/32]".to_owned())
        }
        Some(it) => {
            wrong(format!("{it} is not a private network; use TLS there, without insecure"))
        }
        None => Ok(Reach::only(addresses)),
    }
}

fn login(key: &str, index: usize, part: RegistryPart) -> Result<Option<Login>, ConfigError> {
    let has_password = part.password.is_some() || part.password_file.is_some();
    let Some(username) = part.username else {
        let why = "is missing; a password needs a name to go with it";
        return match has_password {
            true => Err(ConfigError::new(&format!("{key}.username"), why)),
            false => Ok(None),
        };
    };
    // A colon would end it (RFC 7617 §2).
    if username.is_empty() || username.contains(':') || username.contains(char::is_control) {
        let why = format!("{username:?} is empty, or has a colon or a control character");
        return Err(ConfigError::new(&format!("{key}.username"), why));
    }
    let file = part.password_file.map(|path| absolute(&format!("{key}.password_file"), path));
    let file = file.transpose()?;
    let path = ["registries", &index.to_string(), "password"];
    // A value goes before its file, and then the file is none to read again.
    let password_file = file.clone().filter(|_| part.password.is_none());
    let password = secret(&path, part.password, file.as_deref())?;
    Ok(Some(Login { username, password, password_file }))
}
