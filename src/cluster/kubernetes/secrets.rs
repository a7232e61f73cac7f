//! What a preview's environment has out of Secrets: copies of named keys, brought from the template
//! namespace, and what External Secrets Operator makes in the preview's own.
//!
//! Refuses to copy a key that is not named, and to let a value into anything but the one Secret: what
//! is remembered of an original is its version.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::KubernetesCluster;
use super::calls::brief;
use super::config::KubernetesConfig;
use super::drift::{drift, note};
use super::kinds::Kind;
use super::look::LOOKING;
use super::marks::labels;
use crate::fault::{Disposition, Fault};
use crate::preview::PreviewName;
use crate::preview::observed::Health;
use crate::workload::{CONFIG_SECRET, ExternalSecret, Shape, external_name};

/// The originals by name; `None` is not there.
pub(super) type Originals = BTreeMap<String, Option<Value>>;

impl KubernetesCluster {
    /// Reads the Secrets that variables are copied from.
    pub(super) async fn originals(&self, doing: &str, shape: &Shape) -> Result<Originals, Fault> {
        let Some(from) = &self.config.template_namespace else { return Ok(Originals::new()) };
        let mut names: Vec<_> = shape.secrets.iter().map(|it| it.secret.clone()).collect();
        names.sort();
        names.dedup();
        let reads = names.iter().map(|name| self.calls.get(doing, Kind::Secret, Some(from), name));
        let found = try_join_all(reads).await?;
        Ok(names.into_iter().zip(found).collect())
    }

    /// The version that pods should run with; `None` where there is nothing to bring, or where it
    /// cannot be told, which is no reason to touch what runs.
    pub(super) async fn wanted_version(&self, shape: &Shape) -> Option<String> {
        match self.originals(LOOKING, shape).await {
            Ok(originals) if copies(shape, &originals, "").is_ok() => version(shape, &originals),
            Ok(_) => None,
            Err(fault) => {
                tracing::debug!(%fault, "the originals of copied Secrets cannot be read");
                None
            }
        }
    }

    /// Brings everything that the environment refers to, before any pod does; its version.
    pub(super) async fn bring_secrets(
        &self,
        doing: &str,
        name: &PreviewName,
        shape: &Shape,
    ) -> Result<Option<String>, Fault> {
        let here = name.namespace();
        let originals = self.originals(doing, shape).await?;
        let from = self.config.template_namespace.as_deref().unwrap_or_default();
        let copies = copies(shape, &originals, from).map_err(|why| Fault::permanent(doing, why))?;
        if !copies.is_empty() {
            let secret = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": { "name": CONFIG_SECRET, "labels": labels(&self.config.instance, name) },
                "type": "Opaque",
                "data": copies,
            });
            self.calls.apply(doing, Kind::Secret, Some(&here), &secret).await?;
        }
        for (place, wanted) in shape.external_secrets.iter().enumerate() {
            let object = external(&self.config, name, place, wanted);
            let applied = self.calls.apply(doing, Kind::ExternalSecret, Some(&here), &object).await;
            applied.map_err(|fault| known(doing, fault))?;
        }
        Ok(version(shape, &originals))
    }

    /// What keeps a preview that is not ready from having its external Secrets, if anything does.
    pub(super) async fn external_complaint(
        &self,
        name: &PreviewName,
        shape: &Shape,
    ) -> Result<Option<Health>, Fault> {
        let here = name.namespace();
        for place in 0..shape.external_secrets.len() {
            let called = external_name(place);
            let found =
                self.calls.get_foreign(LOOKING, Kind::ExternalSecret, &here, &called).await?;
            if let Some(complaint) = complaint(found.as_ref(), &called, &here) {
                return Ok(Some(complaint));
            }
        }
        Ok(None)
    }
}

/// What is copied, in base64 as the originals have it; the error names what is missing, and the cure.
fn copies(shape: &Shape, originals: &Originals, from: &str) -> Result<Map<String, Value>, String> {
    let mut copies = Map::new();
    for copy in &shape.secrets {
        let secret = &copy.secret;
        let Some(Some(original)) = originals.get(secret) else {
            return Err(format!(
                "the Secret {from}/{secret} is not there; create it, or change workload.secrets"
            ));
        };
        for (variable, key) in &copy.keys {
            let Some(value) = original["data"].get(key).filter(|it| it.is_string()) else {
                return Err(format!(
                    "the Secret {from}/{secret} has no key {key:?}, which {variable} is to have; add \
                     it, or change workload.secrets"
                ));
            };
            copies.insert(variable.clone(), value.clone());
        }
    }
    Ok(copies)
}

/// Which originals, and which keys of them, an environment was made of. Names and versions, and
/// nothing of a value.
fn version(shape: &Shape, originals: &Originals) -> Option<String> {
    if shape.secrets.is_empty() && shape.external_secrets.is_empty() {
        return None;
    }
    let mut parts = vec![format!("{:?}{:?}", shape.secrets, shape.external_secrets)];
    parts.extend(originals.iter().map(|(name, original)| {
        let metadata = original.as_ref().map(|it| &it["metadata"]);
        let of = |key: &str| metadata.and_then(|it| it[key].as_str()).unwrap_or_default();
        format!("{name} {} {}", of("uid"), of("resourceVersion"))
    }));
    let digest = Sha256::digest(parts.join("\n").as_bytes());
    Some(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn external(
    config: &KubernetesConfig,
    name: &PreviewName,
    place: usize,
    wanted: &ExternalSecret,
) -> Value {
    let data = wanted.keys.iter().map(|(variable, remote)| {
        let mut reference = json!({ "key": remote.key });
        if let Some(property) = &remote.property {
            reference["property"] = json!(property);
        }
        json!({ "secretKey": variable, "remoteRef": reference })
    });
    let called = external_name(place);
    note(json!({
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": { "name": called, "labels": labels(&config.instance, name) },
        "spec": {
            "secretStoreRef": { "name": wanted.store, "kind": wanted.kind },
            "target": { "name": called },
            "data": data.collect::<Vec<_>>(),
        },
    }))
}

/// How an ExternalSecret stands (<https://external-secrets.io/latest/api/externalsecret/>); nothing
/// where its Secret is there.
fn complaint(found: Option<&Value>, called: &str, here: &str) -> Option<Health> {
    let Some(live) = found else {
        return Some(Health::Dead(format!("its ExternalSecret {called} is not there")));
    };
    if let Some(path) = drift(live) {
        let why = format!("somebody changed {path} of its ExternalSecret {called}");
        return Some(Health::Dead(why));
    }
    let look = format!("look: kubectl describe externalsecret {called} -n {here}");
    let conditions = live["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|it| it["type"] == "Ready");
    let text = |it: &Value, key: &str| brief(it[key].as_str().unwrap_or_default());
    match ready {
        Some(ready) if ready["status"] == "True" => None,
        Some(ready) if ready["status"] == "False" => Some(Health::Failing {
            why: format!(
                "its ExternalSecret {called} is not ready ({}); see the store and the key that it \
                 names; {look}",
                text(ready, "reason")
            ),
            log: text(ready, "message"),
        }),
        _ => Some(Health::Progressing(format!(
            "waiting for External Secrets Operator to take up ExternalSecret {called}; see that it \
             runs; {look}"
        ))),
    }
}

/// A cluster that has never heard of the kind answers 404 to an apply.
fn known(doing: &str, fault: Fault) -> Fault {
    let unknown = fault.disposition == Disposition::Transient && fault.why.contains("404")
        || fault.why.contains("could not find the requested resource");
    if !unknown {
        return fault;
    }
    let why = "the cluster does not know ExternalSecret (external-secrets.io/v1); install External \
               Secrets Operator 0.16 or newer, or remove workload.external_secrets";
    Fault::permanent(doing, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::SecretCopy;

    fn shape() -> Shape {
        let keys = [("STRIPE_KEY".to_owned(), "stripe".to_owned())].into();
        let secrets = vec![SecretCopy { secret: "shop".to_owned(), keys }];
        Shape { secrets, ..Shape::default() }
    }

    fn original(version: &str, data: Value) -> Originals {
        let metadata = json!({ "uid": "1", "resourceVersion": version });
        [("shop".to_owned(), Some(json!({ "metadata": metadata, "data": data })))].into()
    }

    #[test]
    fn only_named_keys_are_copied_and_what_is_missing_is_named_without_a_value() {
        let both = original("1", json!({ "stripe": "aHVzaA==", "other": "c2VjcmV0" }));
        let copied = copies(&shape(), &both, "templates").unwrap();
        assert_eq!(Value::Object(copied), json!({ "STRIPE_KEY": "aHVzaA==" }));
        let without = original("1", json!({ "other": "c2VjcmV0" }));
        let why = copies(&shape(), &without, "templates").unwrap_err();
        assert!(why.contains("templates/shop has no key \"stripe\"") && !why.contains("c2VjcmV0"));
        let why = copies(&shape(), &[("shop".to_owned(), None)].into(), "templates").unwrap_err();
        assert!(why.contains("templates/shop is not there"), "{why}");
    }

    #[test]
    fn another_version_of_an_original_or_another_key_is_another_version_of_the_copy() {
        let of = |shape: &Shape, at: &str| version(shape, &original(at, json!({}))).unwrap();
        let mut other = shape();
        other.secrets[0].keys.insert("STRIPE_KEY".to_owned(), "test".to_owned());
        assert_eq!(of(&shape(), "1"), of(&shape(), "1"));
        assert_ne!(of(&shape(), "1"), of(&shape(), "2"));
        assert_ne!(of(&shape(), "1"), of(&other, "1"));
        assert_eq!(version(&Shape::default(), &Originals::new()), None);
    }
}
