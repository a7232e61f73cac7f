//! How a client gets to the API server: a kubeconfig of one cluster and one user.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::certificates::Identity;
use super::run::Run;

/// Writes `<name>.kubeconfig`. JSON is YAML, and every client reads it.
pub fn write(run: &Run, name: &str, server: &str, identity: &Identity) -> Result<PathBuf> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "test",
            "cluster": { "server": server, "certificate-authority": run.path("ca.crt") },
        }],
        "users": [{
            "name": name,
            "user": { "client-certificate": identity.certificate, "client-key": identity.key },
        }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": name } }],
        "current-context": "test",
    });
    run.write(&format!("{name}.kubeconfig"), serde_json::to_vec_pretty(&config)?)
}
