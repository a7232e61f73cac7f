//! `repositories[].workload.secrets` and `external_secrets`: variables out of Secrets of the cluster.
//!
//! Refuses both where no cluster has Secrets, a copy without a namespace to copy from, and a variable
//! that somebody else sets.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ClusterConfig, ConfigError};
use crate::workload::{ExternalSecret, RemoteKey, SecretCopy, Shape, is_own_variable};

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretCopyPart {
    secret: String,
    keys: BTreeMap<String, String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct ExternalSecretPart {
    store: String,
    kind: Option<String>,
    keys: BTreeMap<String, RemoteKeyPart>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct RemoteKeyPart {
    key: String,
    property: Option<String>,
}

/// The kind of store that a namespace which is made for each preview can use.
const STORE: &str = "ClusterSecretStore";

/// Checks both, and adds them to what runs.
pub(super) fn secrets(
    shape: &mut Shape,
    copies: Vec<SecretCopyPart>,
    external: Vec<ExternalSecretPart>,
    cluster: &ClusterConfig,
    key: impl Fn(&str) -> String,
) -> Result<(), ConfigError> {
    let wrong = |field: &str, why: &str| Err(ConfigError::new(&key(field), why));
    let from = match cluster {
        ClusterConfig::Kubernetes(config) => config.template_namespace.as_ref(),
        ClusterConfig::Local(_) => {
            for (field, is_empty) in
                [("secrets", copies.is_empty()), ("external_secrets", external.is_empty())]
            {
                if !is_empty {
                    let why = "needs cluster.kubernetes; the local cluster has no Secrets";
                    return wrong(field, why);
                }
            }
            return Ok(());
        }
    };
    if from.is_none() && !copies.is_empty() {
        let why = format!("is missing; {} is copied out of it", key("secrets"));
        return Err(ConfigError::new("cluster.kubernetes.template_namespace", why));
    }
    for (index, part) in copies.into_iter().enumerate() {
        let field = format!("secrets[{index}]");
        if !is_object_name(&part.secret) {
            return wrong(&format!("{field}.secret"), "is no name of a Secret");
        }
        check(&field, part.keys.keys(), shape, &key)?;
        for (variable, of) in &part.keys {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if of.is_empty() || !of.chars().all(plain) {
                return wrong(&format!("{field}.keys.{variable}"), "is no key of a Secret");
            }
        }
        shape.secrets.push(SecretCopy { secret: part.secret, keys: part.keys });
    }
    for (index, part) in external.into_iter().enumerate() {
        let field = format!("external_secrets[{index}]");
        if !is_object_name(&part.store) {
            return wrong(&format!("{field}.store"), "is no name of a store");
        }
        let kind = part.kind.unwrap_or_else(|| STORE.to_owned());
        if kind != STORE {
            let why = "must be ClusterSecretStore: any other is in one namespace, and each preview \
                       has a new one";
            return wrong(&format!("{field}.kind"), why);
        }
        check(&field, part.keys.keys(), shape, &key)?;
        let remote = |it: RemoteKeyPart| RemoteKey { key: it.key, property: it.property };
        let keys = part.keys.into_iter().map(|(name, it)| (name, remote(it))).collect();
        shape.external_secrets.push(ExternalSecret { store: part.store, kind, keys });
    }
    Ok(())
}

/// Refuses no variables at all, what is no variable, and what is set already.
fn check<'a>(
    field: &str,
    variables: impl Iterator<Item = &'a String>,
    shape: &Shape,
    key: impl Fn(&str) -> String,
) -> Result<(), ConfigError> {
    let mut count = 0;
    for variable in variables {
        count += 1;
        let key = key(&format!("{field}.keys.{variable}"));
        if !is_variable(variable) {
            return Err(ConfigError::new(&key, "is no name of a variable: letters, digits and _"));
        }
        if is_own_variable(variable) {
            return Err(ConfigError::new(&key, "is Mayfly's own in every preview; rename it"));
        }
        if shape.sets(variable) {
            let why = "is set already, by workload.env or another Secret; remove one of them";
            return Err(ConfigError::new(&key, why));
        }
    }
    if count == 0 {
        let why = "is empty; name the variables, since nothing else is copied";
        return Err(ConfigError::new(&key(&format!("{field}.keys")), why));
    }
    Ok(())
}

/// Whether this can be the name of a variable.
pub(super) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A DNS subdomain (RFC 1123), as objects of Kubernetes are called.
pub(super) fn is_object_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253 && name.chars().all(plain) && name.starts_with(ends) && name.ends_with(ends)
}
