//! Labels and annotations: whose an object is, what it belongs to, and what was applied.
//!
//! Refuses to take a name for a mark: only the stamp says whose a namespace is, and only what is in
//! such a namespace is ours.

use serde_json::{Map, Value, json};

use crate::preview::{PreviewName, Revision, Seen, Stamp};

/// Whose: the installation's name.
pub(super) const INSTANCE: &str = "mayfly.dev/instance";
/// Which preview.
pub(super) const PREVIEW: &str = "mayfly.dev/preview";
/// Which revision.
pub(super) const REVISION: &str = "mayfly.dev/revision";
/// Which service of that revision: `web`, or a component.
pub(super) const COMPONENT: &str = "app.kubernetes.io/component";
/// Whose migrations: another key than a workload's, whose Service and Deployment select by theirs.
pub(super) const MIGRATION: &str = "mayfly.dev/migration";
/// The ownership mark, on the namespace.
pub(super) const STAMP: &str = "mayfly.dev/stamp";
/// What was applied, so that a look can tell whether it is still so.
pub(super) const APPLIED: &str = "mayfly.dev/applied";
/// Which version of the wildcard certificate was brought along.
pub(super) const CERTIFICATE: &str = "mayfly.dev/certificate";
/// Which version of the Secrets that its environment comes out of.
pub(super) const SECRETS: &str = "mayfly.dev/secrets";
/// Which version of the login for images was brought along.
pub(super) const PULL: &str = "mayfly.dev/pull";
/// When it was last asked for, in milliseconds of Unix time.
pub(super) const ORDERED: &str = "mayfly.dev/ordered";

/// The labels of everything of a preview.
pub(super) fn labels(instance: &str, name: &PreviewName) -> Map<String, Value> {
    let preview = name.namespace();
    [
        ("app.kubernetes.io/name", "preview".to_owned()),
        ("app.kubernetes.io/instance", preview.clone()),
        ("app.kubernetes.io/managed-by", "mayfly".to_owned()),
        ("app.kubernetes.io/part-of", "mayfly".to_owned()),
        (INSTANCE, instance.to_owned()),
        (PREVIEW, preview),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), Value::String(value)))
    .collect()
}

/// The labels of one service of one revision of it.
pub(super) fn revision_labels(
    instance: &str,
    name: &PreviewName,
    service: &str,
    revision: &Revision,
) -> Map<String, Value> {
    let mut all = labels(instance, name);
    all.insert(COMPONENT.to_owned(), json!(service));
    all.insert("app.kubernetes.io/version".to_owned(), json!(revision.commit.as_str()));
    all.insert(REVISION.to_owned(), json!(revision.to_string()));
    all
}

/// The labels of one revision's migrations.
pub(super) fn migration_labels(
    instance: &str,
    name: &PreviewName,
    revision: &Revision,
) -> Map<String, Value> {
    let mut all = labels(instance, name);
    all.insert(COMPONENT.to_owned(), json!("migration"));
    all.insert("app.kubernetes.io/version".to_owned(), json!(revision.commit.as_str()));
    all.insert(MIGRATION.to_owned(), json!(revision.to_string()));
    all
}

/// Whether an object is of this service of this revision.
pub(super) fn is_of(object: &Value, service: &str, revision: &Revision) -> bool {
    label(object, REVISION) == Some(&revision.to_string())
        && label(object, COMPONENT) == Some(service)
}

/// Selects everything of an installation.
pub(super) fn of_instance(instance: &str) -> String {
    format!("{INSTANCE}={instance}")
}

/// An annotation of an object.
pub(super) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"].get(key)?.as_str()
}

/// A label of an object.
pub(super) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"].get(key)?.as_str()
}

/// Whose a namespace is, and whether it stays.
pub(super) fn stand(namespace: Option<&Value>, stamp: &Stamp) -> Seen<()> {
    let Some(namespace) = namespace else { return Seen::Absent };
    match annotation(namespace, STAMP) {
        Some(line) if line == stamp.line() => {}
        Some(line) => return Seen::Foreign(format!("the namespace carries {line:?}")),
        None => return Seen::Foreign("the namespace carries no stamp of Mayfly".to_owned()),
    }
    if namespace["metadata"].get("deletionTimestamp").is_none_or(Value::is_null) {
        return Seen::Present(());
    }
    Seen::Leaving(autopsy(namespace))
}

/// What keeps an object that is on its way out; `None` when it stays.
pub(super) fn leaving(object: &Value) -> Option<String> {
    object["metadata"].get("deletionTimestamp").filter(|it| !it.is_null())?;
    let finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    let finalizers: Vec<_> = finalizers.filter_map(Value::as_str).collect();
    Some(format!("deleted, and held by its finalizers: {}", finalizers.join(", ")))
}

/// What keeps a namespace that is on its way out, in the words of its own conditions.
fn autopsy(namespace: &Value) -> String {
    let conditions = namespace["status"]["conditions"].as_array();
    let mut holds: Vec<_> = conditions
        .into_iter()
        .flatten()
        .filter(|condition| condition["status"] == "True")
        .filter_map(|condition| condition["message"].as_str())
        .map(super::calls::brief)
        .collect();
    holds.sort();
    match holds.is_empty() {
        true => "the cluster is deleting what is in it".to_owned(),
        false => holds.join("; "),
    }
}
