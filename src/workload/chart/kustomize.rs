//! A Kustomize overlay, rendered by the real `kubectl kustomize`.
//!
//! What is applied is the overlay with one kustomization on top of it, as Argo CD and Flux do: the
//! preview's namespace, the images of the pull request by digest in place of their names, and a
//! ConfigMap `mayfly` with the facts for `envFrom`. Refuses whatever would be fetched: remote bases,
//! and plugins that could name some.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::error::RenderErrorKind;
use super::facts::parts;
use super::process::{Network, Run};
use super::{Facts, RenderError, RenderLimits, Tools, remote, snapshot};

/// The overlay's tree, and what is put on top, in the private directory.
const TREE: &str = "tree";
const TOP: &str = "top";

/// The ConfigMap with the facts.
const FACTS: &str = "mayfly";

pub(super) async fn build(
    (directory, overlay): (&Path, &Path),
    facts: &Facts,
    room: &Path,
    limits: &RenderLimits,
    tools: &Tools,
) -> Result<String, RenderError> {
    let tree = room.join(TREE);
    snapshot::copy(directory, tree.clone(), limits).await?;
    remote::refuse(&tree)?;
    top(room, overlay, facts)
        .map_err(|error| RenderError::new(RenderErrorKind::Tool, error.to_string()))?;
    let run = Run {
        program: (&tools.kubectl, "tools.kubectl"),
        arguments: vec!["kustomize".into(), TOP.into()],
        input: Vec::new(),
        room,
        network: Network::Off,
        blame: RenderErrorKind::Source,
    };
    run.output(limits).await
}

/// Writes the kustomization on top; YAML is what JSON is too.
fn top(room: &Path, overlay: &Path, facts: &Facts) -> io::Result<()> {
    let images = facts.all_images().map(|image| {
        let (name, digest) = parts(image);
        json!({ "name": name, "digest": digest })
    });
    let base = Path::new("..").join(TREE).join(overlay);
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": facts.namespace,
        "resources": [base.to_string_lossy(), "facts.yaml"],
        "images": images.collect::<Vec<_>>(),
    });
    let top = room.join(TOP);
    fs::create_dir(&top)?;
    fs::write(top.join("kustomization.yaml"), kustomization.to_string())?;
    fs::write(top.join("facts.yaml"), config_map(facts).to_string())
}

/// The facts under the names that the built-in shape's environment has for them.
fn config_map(facts: &Facts) -> Value {
    let mut data: Map<_, _> =
        facts.flags.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    for (name, value) in [
        ("PR_NUMBER", facts.number.to_string()),
        ("COMMIT_SHA", facts.commit.to_string()),
        ("PREVIEW_NAME", facts.namespace.clone()),
        ("PREVIEW_HOST", facts.host.clone()),
        ("PREVIEW_URL", facts.url.clone()),
        ("PREVIEW_TIER", facts.tier.clone().unwrap_or_default()),
    ] {
        data.insert(name.to_owned(), json!(value));
    }
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": FACTS }, "data": data })
}
