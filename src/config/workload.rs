//! `repositories[].workload`: what runs in a repository's previews.
//!
//! Refuses an image that neither is pinned nor names its commit, and a way out to what no preview may reach.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use super::chart::{ChartPart, chart};
use super::components::{ComponentPart, components};
use super::migrations::{MigrationsPart, migrations};
use super::secrets::{ExternalSecretPart, SecretCopyPart, secrets};
use super::{ClusterConfig, ConfigError};
use crate::workload::{Egress, ImageTemplate, PodShape, PodSize, Proof, Shape, is_own_variable};

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkloadPart {
    #[serde(default)]
    command: Vec<String>,
    directory: Option<PathBuf>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    probe_path: Option<String>,
    #[serde(default)]
    proof: ProofPart,
    image: Option<String>,
    port: Option<u16>,
    replicas: Option<u16>,
    cpu_millicores: Option<u32>,
    memory_mebibytes: Option<u32>,
    chart: Option<ChartPart>,
    migrations: Option<MigrationsPart>,
    #[serde(default)]
    egress: Vec<EgressPart>,
    #[serde(default)]
    secrets: Vec<SecretCopyPart>,
    #[serde(default)]
    external_secrets: Vec<ExternalSecretPart>,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    components: Vec<ComponentPart>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProofPart {
    path: Option<String>,
}

/// How a service's pods are.
pub(super) struct SizePart {
    pub(super) port: Option<u16>,
    pub(super) replicas: Option<u16>,
    pub(super) cpu_millicores: Option<u32>,
    pub(super) memory_mebibytes: Option<u32>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct EgressPart {
    cidr: IpNet,
    #[serde(default)]
    ports: Vec<u16>,
}

/// The most pods of one preview.
const MAX_REPLICAS: u16 = 100;
/// The most of a pod, in thousandths of a core.
const MAX_CPU_MILLICORES: u32 = 256_000;
/// The most of a pod, in MiB.
const MAX_MEMORY_MEBIBYTES: u32 = 1024 * 1024;

pub(super) fn shape(
    part: WorkloadPart,
    repository: &str,
    cluster: &ClusterConfig,
    key: impl Fn(&str) -> String,
) -> Result<Shape, ConfigError> {
    let wrong = |field: &str, why: &str| Err(ConfigError::new(&key(field), why));
    let image = image(part.image.as_deref(), &key("image"))?;
    match cluster {
        ClusterConfig::Local(_) if part.command.is_empty() => {
            return wrong("command", "is empty; the local cluster runs a command");
        }
        ClusterConfig::Kubernetes(_) if part.chart.is_some() && !part.command.is_empty() => {
            return wrong("chart", "says what runs, and so does command; remove one of them");
        }
        ClusterConfig::Kubernetes(_) if image.is_none() && part.chart.is_none() => {
            return wrong(
                "image",
                "is missing; Kubernetes runs an image, by digest or with {{ sha }} in its tag, or a chart",
            );
        }
        _ => {}
    }
    let size = SizePart {
        port: part.port,
        replicas: part.replicas,
        cpu_millicores: part.cpu_millicores,
        memory_mebibytes: part.memory_mebibytes,
    };
    let pod = PodShape {
        egress: egress(part.egress, cluster, &key)?,
        ..pod(size, image.as_ref(), &key)?
    };
    let chart = part.chart.map(|part| {
        chart(part, repository, |field| match field {
            "" => key("chart"),
            field => key(&format!("chart.{field}")),
        })
    });
    let migrations = part.migrations.map(|part| {
        let has_image = matches!(cluster, ClusterConfig::Local(_)) || image.is_some();
        migrations(part, has_image, |field| key(&format!("migrations.{field}")))
    });
    let mut shape = Shape {
        command: part.command,
        directory: part.directory,
        env: env(part.env, &key)?,
        migrations: migrations.transpose()?,
        probe_path: probe_path(part.probe_path, &key("probe_path"))?,
        proof: proof(part.proof, &key("proof.path"))?,
        image,
        pod,
        chart: chart.transpose()?,
        ..Shape::default()
    };
    secrets(&mut shape, part.secrets, part.external_secrets, cluster, &key)?;
    components(&mut shape, part.components, part.needs, cluster, &key)?;
    Ok(shape)
}

/// Variables that a service may set.
pub(super) fn env(
    env: BTreeMap<String, String>,
    key: impl Fn(&str) -> String,
) -> Result<Vec<(String, String)>, ConfigError> {
    for name in env.keys() {
        let wrong = |why: &str| Err(ConfigError::new(&key(&format!("env.{name}")), why));
        if name.is_empty() || name.contains(['=', '\0']) {
            return wrong("is no name of a variable: it is empty, or has = in it");
        }
        if is_own_variable(name) {
            return wrong("is Mayfly's own in every preview; choose another name");
        }
    }
    Ok(env.into_iter().collect())
}

pub(super) fn image(text: Option<&str>, key: &str) -> Result<Option<ImageTemplate>, ConfigError> {
    let image = text.map(ImageTemplate::parse).transpose();
    image.map_err(|error| ConfigError::new(key, error.to_string()))
}

pub(super) fn probe_path(path: Option<String>, key: &str) -> Result<String, ConfigError> {
    let path = path.unwrap_or_else(|| "/".to_owned());
    if path.starts_with('/') { Ok(path) } else { Err(ConfigError::new(key, "must begin with /")) }
}

pub(super) fn proof(part: ProofPart, key: &str) -> Result<Proof, ConfigError> {
    match part.path {
        Some(path) if !path.starts_with('/') => Err(ConfigError::new(key, "must begin with /")),
        Some(path) => Ok(Proof::Path(path)),
        None => Ok(Proof::Header),
    }
}

/// A service's pods, which may reach nothing beyond the preview so far.
pub(super) fn pod(
    size: SizePart,
    image: Option<&ImageTemplate>,
    key: impl Fn(&str) -> String,
) -> Result<PodShape, ConfigError> {
    let usual = PodShape::default();
    let pod = PodShape {
        image: match image {
            Some(ImageTemplate::Pinned(pinned)) => Some(pinned.clone()),
            _ => None,
        },
        port: size.port.unwrap_or(usual.port),
        replicas: size.replicas.unwrap_or(usual.replicas),
        cpu_millicores: size.cpu_millicores.unwrap_or(usual.cpu_millicores),
        memory_mebibytes: size.memory_mebibytes.unwrap_or(usual.memory_mebibytes),
        ..usual
    };
    if pod.port == 0 {
        return Err(ConfigError::new(&key("port"), "must be at least 1"));
    }
    check_size(pod.size(), &key)?;
    Ok(pod)
}

/// Refuses a size of nothing, and one that no preview may have.
pub(super) fn check_size(size: PodSize, key: impl Fn(&str) -> String) -> Result<(), ConfigError> {
    for (field, given, most) in [
        ("replicas", size.replicas.into(), MAX_REPLICAS.into()),
        ("cpu_millicores", size.cpu_millicores, MAX_CPU_MILLICORES),
        ("memory_mebibytes", size.memory_mebibytes, MAX_MEMORY_MEBIBYTES),
    ] {
        if given == 0 {
            return Err(ConfigError::new(&key(field), "must be at least 1"));
        }
        if given > most {
            let why = format!("is more than {most}, the most that a preview may have");
            return Err(ConfigError::new(&key(field), why));
        }
    }
    Ok(())
}

fn egress(
    parts: Vec<EgressPart>,
    cluster: &ClusterConfig,
    key: impl Fn(&str) -> String,
) -> Result<Vec<Egress>, ConfigError> {
    let forbidden: &[IpNet] = match cluster {
        ClusterConfig::Kubernetes(kubernetes) => &kubernetes.network.forbidden,
        ClusterConfig::Local(_) => &[],
    };
    let checked = parts.into_iter().enumerate().map(|(index, part)| {
        let cidr = part.cidr.trunc();
        match forbidden.iter().find(|it| it.contains(&cidr)) {
            Some(within) => {
                let why = format!(
                    "{cidr} is within {within}, which no preview may reach \
                     (cluster.kubernetes.network.forbidden)"
                );
                Err(ConfigError::new(&key(&format!("egress[{index}].cidr")), why))
            }
            None => Ok(Egress { cidr, ports: part.ports }),
        }
    });
    checked.collect()
}
