//! Plain manifests: the YAML files of a directory, each a Jinja template of the facts.
//!
//! They are expanded by Mayfly itself, called as `mayfly expand-manifests`, since only a process of
//! its own can be held to an amount of memory. Refuses to read anything but `*.yaml` and `*.yml`.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::RenderErrorKind;
use super::process::{Network, Run};
use super::{Facts, RenderError, RenderLimits, Tools, snapshot, stream, template};

/// The name of the hidden command.
pub const COMMAND: &str = "expand-manifests";

/// Their place in the private directory.
const MANIFESTS: &str = "manifests";

/// How deep directories may be nested.
const MAX_DEPTH: usize = 32;

pub(super) async fn expanded(
    directory: &Path,
    facts: &Facts,
    room: &Path,
    limits: &RenderLimits,
    tools: &Tools,
) -> Result<String, RenderError> {
    snapshot::copy(directory, room.join(MANIFESTS), limits).await?;
    let run = Run {
        program: (&tools.mayfly, "the program's own path"),
        arguments: vec![COMMAND.into(), MANIFESTS.into()],
        input: facts.context().to_string().into_bytes(),
        room,
        network: Network::Off,
        blame: RenderErrorKind::Source,
    };
    run.output(limits).await
}

/// What the hidden command does: expands the files below a directory with the facts that it reads,
/// and writes one stream. Bounds come from outside.
pub fn expand(
    directory: &Path,
    mut facts: impl Read,
    mut output: impl Write,
) -> Result<(), RenderError> {
    let tool = |error: &dyn std::error::Error| {
        RenderError::new(RenderErrorKind::Tool, format!("expanding manifests: {error}"))
    };
    let mut text = String::new();
    facts.read_to_string(&mut text).map_err(|error| tool(&error))?;
    let context: Value = serde_json::from_str(&text).map_err(|error| tool(&error))?;
    let mut files = Vec::new();
    find(directory, &mut files, MAX_DEPTH).map_err(|error| tool(&error))?;
    files.sort();
    if files.is_empty() {
        return Err(RenderError::source("there is no *.yaml in the directory of manifests"));
    }
    for file in files {
        let name = file.strip_prefix(directory).unwrap_or(&file).display().to_string();
        let text = fs::read_to_string(&file)
            .map_err(|error| RenderError::source(error.to_string()).at(&name, None))?;
        let expanded = template::expand(&name, &text, &context)?;
        // A name for the documents that follow; each of them gets it.
        for document in stream::documents(&expanded) {
            let body = document.strip_prefix("---").unwrap_or(document);
            write!(output, "---\n{}{name}\n{}\n", stream::SOURCE, body.trim_start_matches(' '))
                .map_err(|error| tool(&error))?;
        }
    }
    Ok(())
}

fn find(directory: &Path, files: &mut Vec<PathBuf>, depth: usize) -> std::io::Result<()> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(std::io::Error::other("directories are nested too deeply"));
    };
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files, depth)?;
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            files.push(path);
        }
    }
    Ok(())
}
