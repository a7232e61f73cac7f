//! `tools`: the programs that render charts, and what one rendering may take.
//!
//! Refuses to start without a program that some repository's chart needs.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use super::check::at_least;
use super::values::{absolute, time};
use crate::repository::Repositories;
use crate::workload::chart::{ChartSource, RenderLimits, Tools};

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ToolsPart {
    helm: Option<PathBuf>,
    kubectl: Option<PathBuf>,
    work_dir: Option<PathBuf>,
    registry_config: Option<PathBuf>,
    timeout: Option<String>,
    memory_mebibytes: Option<u64>,
    output_bytes: Option<usize>,
    max_objects: Option<usize>,
    source_bytes: Option<u64>,
    source_entries: Option<usize>,
}

/// A pull and a rendering, one after the other, have to fit into a pass.
const RUNS_IN_A_PASS: u32 = 2;

/// Less than this, and Go programs do not start.
const LEAST_MEBIBYTES: u64 = 128;

pub(super) fn limits(part: &ToolsPart, pass: Duration) -> Result<RenderLimits, ConfigError> {
    let usual = RenderLimits::default();
    let fallback = format!("{}s", usual.timeout.as_secs());
    let limits = RenderLimits {
        timeout: time("tools.timeout", part.timeout.as_deref(), &fallback)?,
        memory_mebibytes: at_least(
            "tools.memory_mebibytes",
            part.memory_mebibytes,
            LEAST_MEBIBYTES,
            usual.memory_mebibytes,
        )?,
        output_bytes: at_least("tools.output_bytes", part.output_bytes, 1, usual.output_bytes)?,
        max_objects: at_least("tools.max_objects", part.max_objects, 1, usual.max_objects)?,
        source_bytes: at_least("tools.source_bytes", part.source_bytes, 1, usual.source_bytes)?,
        source_entries: at_least(
            "tools.source_entries",
            part.source_entries,
            1,
            usual.source_entries,
        )?,
    };
    if part.timeout.is_some() && limits.timeout * RUNS_IN_A_PASS >= pass {
        let why = "must be shorter than half of reconcile.pass_deadline: a chart is pulled, then \
                   rendered, in one pass";
        return Err(ConfigError::new("tools.timeout", why));
    }
    Ok(limits)
}

/// The programs, each looked for on `PATH` where no path is set.
pub(super) fn tools(
    part: ToolsPart,
    instance: &str,
    repositories: &Repositories,
) -> Result<Tools, ConfigError> {
    let sources =
        || repositories.iter().filter_map(|it| it.shape.chart.as_ref()).map(|it| &it.source);
    let helm = sources().any(|it| matches!(it, ChartSource::Helm { .. }));
    let kubectl = sources().any(|it| matches!(it, ChartSource::Kustomize { .. }));
    let mayfly = std::env::current_exe().map_err(|error| {
        ConfigError::new("tools", format!("Mayfly's own program is not found: {error}"))
    })?;
    let work_dir =
        part.work_dir.unwrap_or_else(|| std::env::temp_dir().join(format!("mayfly-{instance}")));
    let mut tools = Tools::new(
        program("helm", part.helm, helm)?,
        program("kubectl", part.kubectl, kubectl)?,
        mayfly,
        absolute("tools.work_dir", work_dir)?,
    );
    tools.registry_config =
        part.registry_config.map(|path| absolute("tools.registry_config", path)).transpose()?;
    Ok(tools)
}

fn program(name: &str, given: Option<PathBuf>, is_needed: bool) -> Result<PathBuf, ConfigError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).map(|dir| dir.join(name)).find(|it| it.is_file());
    let key = format!("tools.{name}");
    match given.or_else(on_path) {
        Some(found) if found.is_file() || !is_needed => absolute(&key, found),
        Some(found) => Err(ConfigError::new(&key, format!("{} is no program", found.display()))),
        None if is_needed => {
            let why = format!("is missing: a repository's chart needs it, and PATH has no {name}");
            Err(ConfigError::new(&key, why))
        }
        None => Ok(name.into()),
    }
}
