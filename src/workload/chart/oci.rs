//! A Helm chart out of an OCI registry, by the digest of its manifest.
//!
//! It is pulled once by the real `helm pull` and kept. Refuses a tag; what is kept under a digest
//! never changes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::RenderErrorKind;
use super::process::{Network, Run};
use super::{RenderError, RenderLimits, Tools};

/// Where this chart's archive is, after it was pulled if need be.
pub(super) async fn pulled(
    reference: &str,
    digest: &str,
    plain_http: bool,
    room: &Path,
    limits: &RenderLimits,
    tools: &Tools,
) -> Result<PathBuf, RenderError> {
    let kept = tools.charts()?.join(format!("{}.tgz", digest.replace(':', "-")));
    if kept.is_file() {
        return Ok(kept);
    }
    let target = room.join("pulled");
    let failed = |error: std::io::Error| RenderError::new(RenderErrorKind::Tool, error.to_string());
    fs::create_dir(&target).map_err(failed)?;
    let mut arguments: Vec<OsString> =
        vec!["pull".into(), format!("oci://{reference}@{digest}").into()];
    arguments.extend(["--destination".into(), target.clone().into_os_string()]);
    if plain_http {
        arguments.push("--plain-http".into());
    }
    if let Some(logins) = &tools.registry_config {
        arguments.extend(["--registry-config".into(), logins.clone().into_os_string()]);
    }
    let run = Run {
        program: (&tools.helm, "tools.helm"),
        arguments,
        input: Vec::new(),
        room,
        network: Network::Allowed,
        blame: RenderErrorKind::Pull,
    };
    run.output(limits).await?;
    let archive = fs::read_dir(&target).map_err(failed)?.flatten().map(|entry| entry.path());
    let archive = archive.filter(|path| path.extension().is_some_and(|end| end == "tgz")).last();
    let Some(archive) = archive else {
        let words =
            format!("oci://{reference}@{digest} is no Helm chart; name the chart's own digest");
        return Err(RenderError::source(words));
    };
    // Whole or not at all: another rendering may look at the same moment.
    fs::rename(archive, &kept).map_err(failed)?;
    Ok(kept)
}
