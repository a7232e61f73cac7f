//! Where those variables come from that a configuration must not hold: Secrets of the cluster.
//!
//! Names of Secrets and of keys in them. Refuses to hold a value.

use std::collections::BTreeMap;

/// The Secret, in a preview's own namespace, with what was copied for it.
pub const CONFIG_SECRET: &str = "mayfly-config";

/// Variables out of a Secret of the template namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretCopy {
    /// The Secret.
    pub secret: String,
    /// For each variable the key of the Secret that is its value; nothing else is copied.
    pub keys: BTreeMap<String, String>,
}

/// Variables out of a store of secrets, which External Secrets Operator asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalSecret {
    /// The store's name.
    pub store: String,
    /// The store's kind.
    pub kind: String,
    /// For each variable what the store calls it.
    pub keys: BTreeMap<String, RemoteKey>,
}

/// What a store calls a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteKey {
    /// Its path or name.
    pub key: String,
    /// The part of it, where it has parts.
    pub property: Option<String>,
}

/// The ExternalSecret of this place in the list, and the Secret that is made of it.
pub fn external_name(place: usize) -> String {
    format!("mayfly-external-{place}")
}
