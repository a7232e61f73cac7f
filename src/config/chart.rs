//! `repositories[].workload.chart`: a Helm chart, a Kustomize overlay or plain manifests.
//!
//! Refuses a chart that is not pinned, and a directory that is not there.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ConfigError;
use crate::workload::Image;
use crate::workload::chart::{Chart, ChartSource, HelmChart, KEY, Quota, ServicePort};

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct ChartPart {
    helm: Option<HelmPart>,
    kustomize: Option<KustomizePart>,
    manifests: Option<ManifestsPart>,
    service: ServicePart,
    #[serde(default)]
    quota: QuotaPart,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct QuotaPart {
    pods: Option<u32>,
    cpu_millicores: Option<u32>,
    memory_mebibytes: Option<u32>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct HelmPart {
    directory: Option<PathBuf>,
    oci: Option<String>,
    digest: Option<String>,
    #[serde(default)]
    plain_http: bool,
    release: Option<String>,
    #[serde(default)]
    values: Map<String, Value>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct KustomizePart {
    directory: PathBuf,
    overlay: Option<PathBuf>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct ManifestsPart {
    directory: PathBuf,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct ServicePart {
    name: String,
    port: u16,
}

/// The longest name of a release, as helm has it, in bytes.
const MAX_RELEASE_BYTES: usize = 53;

/// Checks a chart of the repository that is called like this.
pub(super) fn chart(
    part: ChartPart,
    repository: &str,
    key: impl Fn(&str) -> String,
) -> Result<Chart, ConfigError> {
    let wrong = |field: &str, why: &str| ConfigError::new(&key(field), why);
    let source = match (part.helm, part.kustomize, part.manifests) {
        (Some(part), None, None) => helm(part, repository, |field| key(&format!("helm.{field}")))?,
        (None, Some(part), None) => kustomize(part, |field| key(&format!("kustomize.{field}")))?,
        (None, None, Some(part)) => {
            let directory = directory(&key("manifests.directory"), part.directory)?;
            ChartSource::Manifests { directory }
        }
        _ => return Err(ConfigError::new(&key(""), "needs one of helm, kustomize and manifests")),
    };
    if !is_label(&part.service.name) {
        return Err(wrong(
            "service.name",
            "is no name of a Service: lower-case letters, digits and -",
        ));
    }
    if part.service.port == 0 {
        return Err(wrong("service.port", "must be at least 1"));
    }
    let service = ServicePort { name: part.service.name, port: part.service.port };
    let (usual, own) = (Quota::default(), part.quota);
    let quota = Quota {
        pods: own.pods.unwrap_or(usual.pods),
        cpu_millicores: own.cpu_millicores.unwrap_or(usual.cpu_millicores),
        memory_mebibytes: own.memory_mebibytes.unwrap_or(usual.memory_mebibytes),
    };
    for (field, value) in [
        ("quota.pods", quota.pods),
        ("quota.cpu_millicores", quota.cpu_millicores),
        ("quota.memory_mebibytes", quota.memory_mebibytes),
    ] {
        if value == 0 {
            return Err(wrong(field, "must be at least 1"));
        }
    }
    Ok(Chart { source, service, quota })
}

fn helm(
    part: HelmPart,
    repository: &str,
    key: impl Fn(&str) -> String,
) -> Result<ChartSource, ConfigError> {
    let wrong = |field: &str, why: &str| ConfigError::new(&key(field), why);
    let chart = match (part.directory, part.oci, part.digest) {
        (Some(path), None, None) => HelmChart::Directory(directory(&key("directory"), path)?),
        (None, Some(reference), Some(digest)) => {
            let reference = reference.trim_start_matches("oci://").to_owned();
            // A chart is named as an image is.
            Image::parse(&format!("{reference}@{digest}")).map_err(|error| {
                ConfigError::new(&key("oci"), format!("with its digest, {error}"))
            })?;
            let registry = reference.split_once('/').map(|(registry, _)| registry);
            if !registry.is_some_and(|it| it.contains(['.', ':']) || it == "localhost") {
                return Err(wrong("oci", "names no registry; write it in full: host/path"));
            }
            HelmChart::Oci { reference, digest, plain_http: part.plain_http }
        }
        (None, Some(_), None) => {
            let why = "is missing: a tag names another chart tomorrow; helm pull prints the digest";
            return Err(wrong("digest", why));
        }
        _ => return Err(wrong("directory", "is missing; name it, or oci with its digest")),
    };
    let release = part.release.unwrap_or_else(|| release(repository));
    if !is_label(&release) || release.len() > MAX_RELEASE_BYTES {
        let why = "is no name of a release: up to 53 lower-case letters, digits and -";
        return Err(wrong("release", why));
    }
    if part.values.contains_key(KEY) {
        return Err(wrong(&format!("values.{KEY}"), "is Mayfly's own; remove it"));
    }
    Ok(ChartSource::Helm { chart, release, overlays: vec![part.values] })
}

fn kustomize(
    part: KustomizePart,
    key: impl Fn(&str) -> String,
) -> Result<ChartSource, ConfigError> {
    let directory = directory(&key("directory"), part.directory)?;
    let overlay = part.overlay.unwrap_or_else(|| ".".into());
    let below = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !overlay.components().all(below) || !directory.join(&overlay).is_dir() {
        let why = "is no directory below kustomize.directory";
        return Err(ConfigError::new(&key("overlay"), why));
    }
    Ok(ChartSource::Kustomize { directory, overlay })
}

fn directory(key: &str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    if !path.is_dir() {
        let why = format!("{} is no directory; mount or write the chart there", path.display());
        return Err(ConfigError::new(key, why));
    }
    super::values::absolute(key, path)
}

/// What a release is called if nobody says: as the repository, so that objects of a chart of the same
/// name are called just like that.
fn release(repository: &str) -> String {
    let name = Path::new(repository).file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(plain).take(MAX_RELEASE_BYTES).collect();
    name.trim_matches('-').to_owned()
}

/// A DNS label that begins with a letter, as Services are called (RFC 1035).
fn is_label(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(plain)
}
