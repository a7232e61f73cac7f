//! A team's chart as one release: its objects, applied together, written down, and pruned.
//!
//! What is applied is written into an object of ours before it exists, so that a crash at any point
//! leaves what the next try finds. Refuses to delete what is not written there, and to read a Secret.

use serde_json::{Value, json};

use super::config::KubernetesConfig;
use super::drift::note;
use super::kinds::Kind;
use super::marks::{INSTANCE, ORDERED, PREVIEW, REVISION, SECRETS, annotation, labels};
use super::pull::PULL_SECRET;
use crate::preview::{PreviewName, Revision};
use crate::workload::{
    CONFIG_SECRET, DATABASE_SECRET, Object, ObjectRef, WorkloadOrder, inventory,
};

/// The ConfigMap in which a release is written down.
pub(super) const RELEASE: &str = "mayfly-release";

/// Marks what is of a release, and so is no Service or Deployment of the built-in shape.
pub(super) const OF_RELEASE: &str = "mayfly.dev/release";

/// Of which configuration of the chart it is.
const CHART: &str = "mayfly.dev/chart";
/// Whether all of it was applied, and what it no longer has was pruned.
const APPLIED_WHOLE: &str = "mayfly.dev/applied-whole";

/// An object is applied with a copy of itself, to tell later whether it is still so, if that is not
/// longer than this, in bytes: annotations have a bound of 256 KiB.
const NOTED_BYTES: usize = 64 * 1024;

/// A release, as it is written down.
pub(super) struct Release {
    /// What was last asked for.
    pub(super) revision: Revision,
    /// Of which configuration of the chart.
    pub(super) fingerprint: String,
    /// Whether all of it was applied.
    pub(super) whole: bool,
    /// Which version of the Secrets that its pods read was brought along; `None` where there are none.
    pub(super) secrets: Option<String>,
    /// What it is made of.
    pub(super) objects: Vec<ObjectRef>,
    /// What it no longer has and may still be there.
    pub(super) stale: Vec<ObjectRef>,
}

impl Release {
    /// Reads what [`Release::object`] wrote; `None` where somebody changed it beyond recognition.
    pub(super) fn read(live: &Value) -> Option<Self> {
        let listed = |key: &str| {
            let lines = live["data"][key].as_str()?;
            lines.lines().map(read_line).collect::<Option<_>>()
        };
        Some(Self {
            revision: Revision::parse(annotation(live, REVISION)?)?,
            fingerprint: annotation(live, CHART)?.to_owned(),
            whole: annotation(live, APPLIED_WHOLE) == Some("true"),
            secrets: annotation(live, SECRETS).filter(|it| !it.is_empty()).map(str::to_owned),
            objects: listed("objects")?,
            stale: listed("stale")?,
        })
    }

    /// Whether the Secret that the kubelet's words name (`secret "keys" not found`) is applied with it:
    /// one of its own, or of those that Mayfly brings along.
    pub(super) fn brings(&self, words: &str) -> bool {
        let own = self.objects.iter().filter(|it| it.kind == "Secret").map(|it| &*it.name);
        let mut all = own.chain([DATABASE_SECRET, CONFIG_SECRET]);
        all.any(|name| words.contains(&format!("\"{name}\"")))
    }

    /// The object that says it.
    pub(super) fn object(
        &self,
        config: &KubernetesConfig,
        name: &PreviewName,
        now_milliseconds: i64,
    ) -> Value {
        let lines = |objects: &[ObjectRef]| {
            let lines: Vec<_> = objects.iter().map(line).collect();
            lines.join("\n")
        };
        let mut labels = labels(&config.instance, name);
        labels.insert(OF_RELEASE.to_owned(), json!("true"));
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": RELEASE,
                "labels": labels,
                "annotations": {
                    REVISION: self.revision.to_string(),
                    CHART: self.fingerprint,
                    APPLIED_WHOLE: self.whole.to_string(),
                    SECRETS: self.secrets.as_deref().unwrap_or_default(),
                    ORDERED: now_milliseconds.to_string(),
                },
            },
            "data": { "objects": lines(&self.objects), "stale": lines(&self.stale) },
        })
    }

    /// The release of an order, before anything of it is applied: what was there may still be. An
    /// object is one whatever version it is written in.
    pub(super) fn begun(
        order: &WorkloadOrder,
        fingerprint: String,
        secrets: Option<String>,
        before: Option<Self>,
    ) -> Self {
        let objects = inventory(&order.objects);
        let is_wanted = |it: &ObjectRef| {
            objects.iter().any(|wanted| wanted.kind == it.kind && wanted.name == it.name)
        };
        let before = before.map_or(vec![], |it| [it.objects, it.stale].concat());
        let mut stale: Vec<_> = before.into_iter().filter(|it| !is_wanted(it)).collect();
        stale.sort();
        stale.dedup();
        let revision = order.revision.clone();
        Self { revision, fingerprint, whole: false, secrets, objects, stale }
    }
}

fn line(object: &ObjectRef) -> String {
    format!("{} {} {}", object.api_version, object.kind, object.name)
}

fn read_line(line: &str) -> Option<ObjectRef> {
    let mut words = line.split(' ').map(str::to_owned);
    let (api_version, kind, name) = (words.next()?, words.next()?, words.next()?);
    words.next().is_none().then_some(ObjectRef { kind, api_version, name })
}

/// An object of a release as it is applied: with our marks, and its pods with the revision, so that
/// each revision is a rollout and each pod says whose it is.
pub(super) fn marked(
    config: &KubernetesConfig,
    name: &PreviewName,
    revision: &Revision,
    secrets: Option<&str>,
    (kind, object): (Kind, &Object),
) -> Value {
    let mut value = object.value().clone();
    let metadata = &mut value["metadata"];
    metadata["labels"][INSTANCE] = json!(config.instance);
    metadata["labels"][PREVIEW] = json!(name.namespace());
    metadata["labels"][OF_RELEASE] = json!("true");
    metadata["annotations"][REVISION] = json!(revision.to_string());
    let template = match kind {
        Kind::CronJob => "/spec/jobTemplate/spec/template",
        _ => "/spec/template",
    };
    if let Some(pods) = value.pointer_mut(template) {
        pods["metadata"]["labels"][OF_RELEASE] = json!("true");
        pods["metadata"]["annotations"][REVISION] = json!(revision.to_string());
        // Pods read their environment once, when they start.
        if let Some(version) = secrets {
            pods["metadata"]["annotations"][SECRETS] = json!(version);
        }
        // A chart's own identity names no login.
        if config.image_pull_secret.is_some() {
            let login = json!({ "name": PULL_SECRET });
            match pods["spec"]["imagePullSecrets"].as_array_mut() {
                Some(logins) if logins.contains(&login) => {}
                Some(logins) => logins.push(login),
                None => pods["spec"]["imagePullSecrets"] = json!([login]),
            }
        }
    }
    if kind == Kind::Deployment && value["spec"]["progressDeadlineSeconds"].is_null() {
        value["spec"]["progressDeadlineSeconds"] = json!(config.progress_deadline_seconds);
    }
    // A Secret's copy would be one more place where it is.
    if kind == Kind::Secret || value.to_string().len() > NOTED_BYTES {
        return value;
    }
    note(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_back_and_what_is_not_ours_is_not() {
        let object = |kind: &str, api_version: &str, name: &str| ObjectRef {
            kind: kind.to_owned(),
            api_version: api_version.to_owned(),
            name: name.to_owned(),
        };
        let objects = [object("Deployment", "apps/v1", "shop"), object("Service", "v1", "shop")];
        for object in &objects {
            assert_eq!(read_line(&line(object)).as_ref(), Some(object));
        }
        let commit = crate::preview::CommitSha::parse(&"a".repeat(40)).unwrap();
        let release = Release {
            revision: Revision { commit, restart: 0 },
            fingerprint: String::new(),
            whole: true,
            secrets: None,
            objects: vec![object("Secret", "v1", "keys")],
            stale: vec![],
        };
        for (words, expected) in [
            ("secret \"keys\" not found", true),
            ("secret \"database\" not found", true),
            ("secret \"shop-keys\" not found", false),
            ("", false),
        ] {
            assert_eq!(release.brings(words), expected, "{words}");
        }
        for wrong in ["", "v1 Service", "v1 Service shop more"] {
            assert_eq!(read_line(wrong), None, "{wrong}");
        }
    }
}
