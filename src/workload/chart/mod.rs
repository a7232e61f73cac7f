//! From a team's chart to objects: rendered by the real programs, within bounds, without a cluster.
//!
//! Refuses to judge what comes of it, which `gate` does, and to apply anything. `docs/charts.md` says
//! it for people.

mod error;
mod facts;
mod helm;
mod hooks;
mod kustomize;
mod limits;
pub mod manifests;
mod oci;
mod process;
mod remote;
mod snapshot;
mod source;
mod stream;
mod template;
mod values;

pub use error::{Place, RenderError, RenderErrorKind};
pub use facts::{Facts, KEY, SecretKey};
pub use hooks::Hook;
pub use limits::{RenderLimits, Tools};
pub use source::{Chart, ChartSource, HelmChart, Quota, ServicePort};
pub use values::BASE;

use super::Object;

/// What a chart was rendered to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// What is to be applied, once the gate has seen it.
    pub objects: Vec<Object>,
    /// What helm would have run at a moment of its own; see [`Rendered::without_hooks`].
    pub hooks: Vec<Hook>,
}

/// Renders a chart for one revision of one preview.
///
/// `base_values` is the repository's `values-preview.yaml` from its base branch, never from the pull
/// request; only Helm has values.
///
/// # Errors
///
/// [`RenderError`] says whose turn it is, and where it went wrong; its text is fit for the pull request.
pub async fn render(
    source: &ChartSource,
    base_values: Option<&str>,
    facts: &Facts,
    limits: &RenderLimits,
    tools: &Tools,
) -> Result<Rendered, RenderError> {
    let _slot = tools.slot().await;
    let room = tools.room()?;
    let room = room.path();
    let text = match source {
        ChartSource::Helm { chart, release, overlays } => {
            let chart = (chart, release.as_str(), overlays.as_slice());
            helm::template(chart, base_values, facts, room, limits, tools).await?
        }
        ChartSource::Kustomize { directory, overlay } => {
            kustomize::build((directory, overlay), facts, room, limits, tools).await?
        }
        ChartSource::Manifests { directory } => {
            manifests::expanded(directory, facts, room, limits, tools).await?
        }
    };
    hooks::sort(stream::read(&text, limits)?)
}
