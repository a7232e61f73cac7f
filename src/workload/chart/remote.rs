//! Whether a tree of kustomizations names anything that is not in it.
//!
//! A second fence behind the first: programs that render have no proxy, no git, and so no way out but
//! to this machine itself. Refuses everything that a kustomization could have fetched.
//! <https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/>

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{RenderError, stream};

const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Fields whose entries are files or directories, which have to be there.
const PATHS: [&str; 3] = ["resources", "bases", "components"];

/// Fields that run plugins, or take files that may name other files.
const PLUGINS: [&str; 5] =
    ["generators", "transformers", "validators", "helmCharts", "helmChartInflationGenerator"];

/// Fields in which nothing has to look like an address. In others (patches written in place, literals)
/// an address is just a text of the team's.
const FILES: [&str; 8] = [
    "crds",
    "configurations",
    "openapi",
    "patchesStrategicMerge",
    "patchesJson6902",
    "patches",
    "replacements",
    "generatorOptions",
];

/// How deep directories may be nested.
const MAX_DEPTH: usize = 32;

/// Refuses a tree that names anything outside of it.
pub(super) fn refuse(tree: &Path) -> Result<(), RenderError> {
    let mut open = vec![(tree.to_owned(), 0)];
    while let Some((directory, depth)) = open.pop() {
        let failed = |error: std::io::Error| RenderError::source(error.to_string());
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() && depth < MAX_DEPTH {
                open.push((path, depth + 1));
            } else if NAMES.iter().any(|name| path.ends_with(name)) {
                kustomization(tree, &path)?;
            }
        }
    }
    Ok(())
}

fn kustomization(tree: &Path, path: &Path) -> Result<(), RenderError> {
    let name = path.strip_prefix(tree).unwrap_or(path).display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|error| RenderError::source(error.to_string()).at(&name, None))?;
    let value = stream::value(&text).map_err(|error| {
        let line = error.place.as_ref().and_then(|place| place.line);
        error.at(&name, line)
    })?;
    let refused = |why: String| Err(RenderError::source(why).at(&name, None));
    for field in PLUGINS {
        if value.get(field).is_some() {
            return refused(format!("{field} is not taken; write what it makes into the tree"));
        }
    }
    let here = path.parent().unwrap_or(tree);
    for field in PATHS {
        for entry in value[field].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !is_there(tree, here, entry) {
                return refused(format!(
                    "{field}: {entry:?} is not in the tree; nothing is fetched while rendering, so \
                     put a copy there, or set workload.chart.kustomize.directory higher"
                ));
            }
        }
    }
    let generators = ["configMapGenerator", "secretGenerator"];
    let generated = generators.iter().flat_map(|field| value[field].as_array()).flatten();
    let parts = generated.flat_map(|it| ["files", "envs", "env"].map(|part| &it[part]));
    for part in FILES.iter().map(|field| &value[*field]).chain(parts) {
        if let Some(entry) = address(part) {
            return refused(format!("{entry:?} would be fetched; put a copy into the tree"));
        }
    }
    Ok(())
}

/// Whether an entry is below the tree, by its words alone and then in fact.
fn is_there(tree: &Path, here: &Path, entry: &str) -> bool {
    let path: PathBuf = here.join(entry);
    !entry.contains("://") && path.canonicalize().is_ok_and(|path| path.starts_with(tree))
}

/// The first text of one line that is an address.
fn address(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => (text.contains("://") && !text.contains('\n')).then_some(text),
        Value::Array(items) => items.iter().find_map(address),
        // What a patch or a target says in place is no file.
        Value::Object(map) => {
            map.iter().filter(|(key, _)| *key != "patch").find_map(|(_, it)| address(it))
        }
        _ => None,
    }
}
