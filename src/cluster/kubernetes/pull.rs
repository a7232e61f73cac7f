//! With which login the cluster pulls previews' images: a copy of one Secret of the template namespace,
//! named by the identity of every pod.
//!
//! Refuses to start a namespace without it where one is configured, and to copy anything else of it.

use serde_json::{Value, json};

use super::KubernetesCluster;
use super::fences::ONE;
use super::kinds::Kind;
use super::marks::{PULL, labels};
use crate::fault::Fault;
use crate::preview::PreviewName;

/// The copy in a preview's namespace.
pub(super) const PULL_SECRET: &str = "mayfly-pull";

/// The type, and the key, of logins for registries.
/// <https://kubernetes.io/docs/concepts/configuration/secret/#docker-config-secrets>
const LOGINS: &str = "kubernetes.io/dockerconfigjson";
const LOGINS_KEY: &str = ".dockerconfigjson";

impl KubernetesCluster {
    /// The login as it is in the template namespace; `None` where none is configured.
    pub(super) async fn pull_login(&self, doing: &str) -> Result<Option<Value>, Fault> {
        let config = &self.config;
        let (Some(from), Some(name)) = (&config.template_namespace, &config.image_pull_secret)
        else {
            return Ok(None);
        };
        let found = self.calls.get(doing, Kind::Secret, Some(from), name).await?;
        let fit = |it: &Value| it["type"] == LOGINS && it["data"][LOGINS_KEY].is_string();
        found.filter(fit).map(Some).ok_or_else(|| {
            let why = format!(
                "there is no Secret {from}/{name} of the type {LOGINS}; create it (kubectl create \
                 secret docker-registry), or change cluster.kubernetes.image_pull_secret"
            );
            Fault::permanent(doing, why)
        })
    }

    /// Brings a copy along.
    pub(super) async fn bring_login(
        &self,
        doing: &str,
        name: &PreviewName,
        original: &Value,
    ) -> Result<(), Fault> {
        let copy = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": PULL_SECRET, "labels": labels(&self.config.instance, name) },
            "type": LOGINS,
            "data": { LOGINS_KEY: original["data"][LOGINS_KEY] },
        });
        self.calls.apply(doing, Kind::Secret, Some(&name.namespace()), &copy).await
    }
}

/// Has the fences' identity pull with this version of the login.
pub(super) fn with_login(
    mut fences: Vec<(Kind, Value)>,
    original: Option<&Value>,
) -> Vec<(Kind, Value)> {
    let Some(original) = original else { return fences };
    let is_identity = |(kind, it): &&mut (Kind, Value)| {
        *kind == Kind::ServiceAccount && it["metadata"]["name"] == ONE
    };
    if let Some((_, identity)) = fences.iter_mut().find(is_identity) {
        identity["imagePullSecrets"] = json!([{ "name": PULL_SECRET }]);
        let version = &original["metadata"]["resourceVersion"];
        identity["metadata"]["annotations"][PULL] = version.clone();
    }
    fences
}
