//! What a route needs beside itself: somebody who serves it, and its certificate.
//!
//! Refuses to ask at every route for the class that they all have.

use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};

use super::KubernetesCluster;
use super::config::{Entry, KubernetesConfig, Tls};
use super::kinds::Kind;
use super::marks::labels;
use super::route::TLS_SECRET;
use crate::fault::Fault;
use crate::preview::PreviewName;

/// How long whoever serves routes is believed to be there, in milliseconds.
const KNOWN_MILLISECONDS: i64 = 60_000;

/// When whoever serves routes was last seen, in milliseconds of Unix time.
pub(super) struct Entrance(AtomicI64);

impl Default for Entrance {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Entrance {
    fn is_known(&self, now_milliseconds: i64) -> bool {
        let at = self.0.load(Ordering::Relaxed);
        (0..KNOWN_MILLISECONDS).contains(&now_milliseconds.saturating_sub(at))
    }
}

impl KubernetesCluster {
    /// Whether there is somebody to serve the route: an Ingress of an unknown class waits for ever.
    pub(super) async fn check_entry(&self, doing: &str) -> Result<(), Fault> {
        let now = self.now_milliseconds();
        if self.entrance.is_known(now) {
            return Ok(());
        }
        self.find_entry(doing).await?;
        self.entrance.0.store(now, Ordering::Relaxed);
        Ok(())
    }

    async fn find_entry(&self, doing: &str) -> Result<(), Fault> {
        match &self.config.entry {
            Entry::Ingress { class, .. } => {
                if self.calls.get(doing, Kind::IngressClass, None, class).await?.is_some() {
                    return Ok(());
                }
                let all = self.calls.list(doing, Kind::IngressClass, None, "").await?;
                let mut known: Vec<_> =
                    all.iter().filter_map(|it| it["metadata"]["name"].as_str()).collect();
                known.sort_unstable();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let why = format!(
                    "the cluster has no IngressClass {class:?} (it has: {known}); set \
                     cluster.kubernetes.ingress.class"
                );
                Err(Fault::permanent(doing, why))
            }
            Entry::Gateway { namespace, name, .. } => {
                let found = self.calls.get(doing, Kind::Gateway, Some(namespace), name).await?;
                let why = || {
                    format!(
                        "the cluster has no Gateway {namespace}/{name}; set \
                         cluster.kubernetes.gateway"
                    )
                };
                found.map(drop).ok_or_else(|| Fault::permanent(doing, why()))
            }
        }
    }

    /// The wildcard certificate, where one is configured and there.
    pub(super) async fn certificate(&self, doing: &str) -> Result<Option<Value>, Fault> {
        let Tls::Secret { namespace, name } = &self.config.tls else { return Ok(None) };
        let found = self.calls.get(doing, Kind::Secret, Some(namespace), name).await?;
        let part = |it: &Value, key: &str| it["data"][key].is_string();
        Ok(found.filter(|it| part(it, "tls.crt") && part(it, "tls.key")))
    }

    /// Copies the wildcard certificate to where an Ingress can use it.
    pub(super) async fn bring_certificate(
        &self,
        doing: &str,
        name: &PreviewName,
        original: Option<&Value>,
    ) -> Result<(), Fault> {
        let Tls::Secret { namespace, name: secret } = &self.config.tls else { return Ok(()) };
        let Some(original) = original else {
            let why = format!(
                "the TLS Secret {namespace}/{secret} is not there, or has no tls.crt and tls.key; \
                 create it, or set cluster.kubernetes.tls.secret"
            );
            return Err(Fault::permanent(doing, why));
        };
        let copy = copy_of(&self.config, name, original);
        self.calls.apply(doing, Kind::Secret, Some(&name.namespace()), &copy).await
    }
}

/// The copy of the wildcard certificate in the preview's namespace.
fn copy_of(config: &KubernetesConfig, name: &PreviewName, original: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": TLS_SECRET, "labels": labels(&config.instance, name) },
        "type": "kubernetes.io/tls",
        "data": {
            "tls.crt": original["data"]["tls.crt"],
            "tls.key": original["data"]["tls.key"],
        },
    })
}
