//! A Helm chart, rendered by the real `helm template`, which asks no cluster.
//!
//! Values, each over those before: the chart's defaults, the repository's `values-preview.yaml` from
//! its base branch, the controller's own, then the facts below `mayfly`. Refuses plugins, tests, and a
//! dependency that is not in the chart: nothing is fetched while rendering.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::error::RenderErrorKind;
use super::process::{Network, Run};
use super::values::{self, BASE};
use super::{Facts, HelmChart, RenderError, RenderLimits, Tools, oci, snapshot};

/// The chart's place in the private directory.
const CHART: &str = "chart";

pub(super) async fn template(
    (chart, release, overlays): (&HelmChart, &str, &[Map<String, Value>]),
    base: Option<&str>,
    facts: &Facts,
    room: &Path,
    limits: &RenderLimits,
    tools: &Tools,
) -> Result<String, RenderError> {
    let chart: OsString = match chart {
        HelmChart::Directory(directory) => {
            snapshot::copy(directory, room.join(CHART), limits).await?;
            CHART.into()
        }
        HelmChart::Oci { reference, digest, plain_http } => {
            oci::pulled(reference, digest, *plain_http, room, limits, tools).await?.into()
        }
    };
    let mut arguments: Vec<OsString> =
        ["template", release].into_iter().map(OsString::from).collect();
    arguments.push(chart);
    arguments.extend(["--namespace", &facts.namespace, "--skip-tests"].map(OsString::from));
    if let Some(version) = &facts.kubernetes_version {
        arguments.extend(["--kube-version", version].map(OsString::from));
    }
    let mut over = |name: &str, text: &str| {
        arguments.extend(["--values", name].map(OsString::from));
        fs::write(room.join(name), text)
            .map_err(|error| RenderError::new(RenderErrorKind::Tool, error.to_string()))
    };
    if let Some(base) = base {
        values::check_base(base)?;
        over(BASE, base)?;
    }
    for (at, overlay) in overlays.iter().enumerate() {
        over(&format!("overlay-{at}.yaml"), &values::overlay(overlay, facts)?.to_string())?;
    }
    // Last, and by its standard input: nobody comes after.
    arguments.extend(["--values", "-"].map(OsString::from));
    let run = Run {
        program: (&tools.helm, "tools.helm"),
        arguments,
        input: facts.context().to_string().into_bytes(),
        room,
        network: Network::Off,
        blame: RenderErrorKind::Source,
    };
    run.output(limits).await
}
