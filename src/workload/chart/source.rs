//! Where a chart is, in one of the three forms that teams keep theirs in.
//!
//! Everything here is from the controller's configuration. Refuses to know a tag or a remote base:
//! what they name today is not what they name tomorrow.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::preview::Seen;

/// How a repository's previews are deployed when the built-in shape does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chart {
    /// What is rendered.
    pub source: ChartSource,
    /// The Service that the preview's route leads to.
    pub service: ServicePort,
    /// The most that all of its pods together get, those of two revisions while one replaces the other.
    pub quota: Quota,
}

impl Chart {
    /// Changes with whatever the configuration says of it, and with this: two that are equal have the
    /// same.
    pub fn fingerprint(&self, more: &str) -> String {
        format!("{:x}", Sha256::digest(format!("{self:?}{more}")))
    }
}

/// The most that the pods of a chart get together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many pods.
    pub pods: u32,
    /// In thousandths of a core.
    pub cpu_millicores: u32,
    /// In MiB.
    pub memory_mebibytes: u32,
}

impl Default for Quota {
    fn default() -> Self {
        Self { pods: 20, cpu_millicores: 4000, memory_mebibytes: 4096 }
    }
}

/// One port of a Service that the chart has to render.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The Service's name.
    pub name: String,
    /// The port, by its number.
    pub port: u16,
}

/// What is rendered, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChartSource {
    /// By `helm template`.
    Helm {
        /// Where the chart is.
        chart: HelmChart,
        /// The release's name, by which charts call their objects.
        release: String,
        /// The controller's own values, each map over the one before. In their texts,
        /// `{{ mayfly.… }}` stands for the facts.
        overlays: Vec<Map<String, Value>>,
    },
    /// By `kubectl kustomize`.
    Kustomize {
        /// Everything that the overlay is made of.
        directory: PathBuf,
        /// The overlay's own directory below that one.
        overlay: PathBuf,
    },
    /// YAML files as templates.
    Manifests {
        /// Where they are.
        directory: PathBuf,
    },
}

/// What of a `Chart.yaml` is looked at.
#[derive(Deserialize)]
struct Metadata {
    version: String,
}

/// How much of a `Chart.yaml` is read, in bytes.
const METADATA_BYTES: u64 = 64 * 1024;

impl ChartSource {
    /// The version that its `Chart.yaml` says; absent where it has none, or is not a directory.
    pub async fn version(&self) -> Seen<String> {
        use tokio::io::AsyncReadExt;
        let Self::Helm { chart: HelmChart::Directory(directory), .. } = self else {
            return Seen::Absent;
        };
        let path = directory.join("Chart.yaml");
        let unknown = |why: String| Seen::Unknown(format!("{}: {why}", path.display()));
        let mut text = String::new();
        let read = match tokio::fs::File::open(&path).await {
            Ok(file) => file.take(METADATA_BYTES).read_to_string(&mut text).await,
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            return unknown(error.to_string());
        }
        match serde_saphyr::from_str::<Metadata>(&text) {
            Ok(metadata) => Seen::Present(metadata.version),
            Err(_) => unknown("has no version".to_owned()),
        }
    }
}

/// Where a Helm chart is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelmChart {
    /// A directory with its `Chart.yaml`, and its dependencies in `charts/`.
    Directory(PathBuf),
    /// In an OCI registry.
    Oci {
        /// `registry/path`, without `oci://` and without a tag.
        reference: String,
        /// `sha256:` and 64 hex digits: the digest of its manifest.
        digest: String,
        /// Whether the registry is asked without TLS.
        plain_http: bool,
    },
}
