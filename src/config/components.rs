//! `repositories[].workload.components` and `needs`: the services beside a preview's own.
//!
//! Refuses two of one name, needs that go in a circle or lead nowhere, and a variable that says where a
//! neighbour is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::workload::{ProofPart, SizePart, env, image, pod, probe_path, proof};
use super::{ClusterConfig, ConfigError};
use crate::preview::ComponentName;
use crate::workload::{Component, Shape, WEB, is_own_variable, variable};

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct ComponentPart {
    name: String,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    public: bool,
    #[serde(default)]
    own_database: bool,
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
}

/// Checks the components and the needs of all, and adds them to what runs.
pub(super) fn components(
    shape: &mut Shape,
    parts: Vec<ComponentPart>,
    own_needs: Vec<String>,
    cluster: &ClusterConfig,
    key: impl Fn(&str) -> String,
) -> Result<(), ConfigError> {
    for (field, is_empty) in [("components", parts.is_empty()), ("needs", own_needs.is_empty())] {
        if shape.chart.is_some() && !is_empty {
            let why =
                "is about services beside this one, and a chart has its own; remove one of them";
            return Err(ConfigError::new(&key(field), why));
        }
    }
    for (index, part) in parts.into_iter().enumerate() {
        let key = |field: &str| key(&format!("components[{index}].{field}"));
        let component = component(part, shape, cluster, key)?;
        shape.components.push(component);
    }
    shape.needs = needs(own_needs, WEB, shape, &key("needs"))?;
    for index in 0..shape.components.len() {
        let of = &shape.components[index];
        let wanted = of.needs.iter().map(ToString::to_string).collect();
        needs(wanted, of.name.as_str(), shape, &key(&format!("components[{index}].needs")))?;
    }
    no_circle(shape, &key("components"))?;
    let told = |names: Vec<&String>, key: String| match names.iter().find(|it| shape.tells(it)) {
        Some(taken) => {
            let why =
                format!("{taken} says where a service of the preview is; choose another name");
            Err(ConfigError::new(&key, why))
        }
        None => Ok(()),
    };
    told(shape.env.iter().map(|(name, _)| name).collect(), key("env"))?;
    told(shape.secrets.iter().flat_map(|it| it.keys.keys()).collect(), key("secrets"))?;
    let external = shape.external_secrets.iter().flat_map(|it| it.keys.keys());
    told(external.collect(), key("external_secrets"))?;
    for (index, of) in shape.components.iter().enumerate() {
        let key = key(&format!("components[{index}].env"));
        let names: Vec<_> = of.env.iter().map(|(name, _)| name).collect();
        let secret = |it: &&&String| shape.secret_variables().any(|(name, _)| name == **it);
        if let Some(taken) = names.iter().find(secret) {
            let why = format!("{taken} comes out of a Secret; remove one of them");
            return Err(ConfigError::new(&key, why));
        }
        told(names, key)?;
    }
    Ok(())
}

fn component(
    part: ComponentPart,
    shape: &Shape,
    cluster: &ClusterConfig,
    key: impl Fn(&str) -> String,
) -> Result<Component, ConfigError> {
    let wrong = |field: &str, why: &str| Err(ConfigError::new(&key(field), why));
    let name = ComponentName::parse(&part.name)
        .map_err(|error| ConfigError::new(&key("name"), error.to_string()))?;
    if name.as_str() == WEB {
        return wrong("name", "is what the preview's own service is called; choose another");
    }
    let told = ["URL", "HOST"].map(|what| variable(name.as_str(), what));
    if let Some(own) = told.iter().find(|it| is_own_variable(it)) {
        return wrong(
            "name",
            &format!("would be told by {own}, which is Mayfly's; choose another"),
        );
    }
    if shape.components.iter().any(|it| it.name == name) {
        return wrong("name", "is there twice; remove one of them");
    }
    let image = image(part.image.as_deref(), &key("image"))?;
    match cluster {
        ClusterConfig::Local(_) if part.command.is_empty() => {
            return wrong("command", "is empty; the local cluster runs a command");
        }
        ClusterConfig::Kubernetes(_) if image.is_none() && part.command.is_empty() => {
            let why = "is missing, and so is image; name one, or it would be the workload again";
            return wrong("command", why);
        }
        _ => {}
    }
    let size = SizePart {
        port: part.port,
        replicas: part.replicas,
        cpu_millicores: part.cpu_millicores,
        memory_mebibytes: part.memory_mebibytes,
    };
    let needs = part.needs.iter().map(|text| ComponentName::parse(text)).collect::<Result<_, _>>();
    Ok(Component {
        name,
        is_on: true,
        is_public: part.public,
        has_database: part.own_database,
        needs: needs.map_err(|error| ConfigError::new(&key("needs"), error.to_string()))?,
        command: part.command,
        directory: part.directory,
        env: env(part.env, &key)?,
        probe_path: probe_path(part.probe_path, &key("probe_path"))?,
        proof: proof(part.proof, &key("proof.path"))?,
        pod: pod(size, image.as_ref(), &key)?,
        image,
    })
}

/// Reads what a service needs: others that there are.
fn needs(
    names: Vec<String>,
    own: &str,
    shape: &Shape,
    key: &str,
) -> Result<Vec<ComponentName>, ConfigError> {
    let mut needs = Vec::new();
    for name in names {
        let known = name == WEB || shape.components.iter().any(|it| it.name.as_str() == name);
        if name == own {
            let why = format!("{name:?} is this service itself, which cannot wait for itself");
            return Err(ConfigError::new(key, why));
        }
        let needed = ComponentName::parse(&name).ok().filter(|_| known);
        needs.push(needed.ok_or_else(|| {
            let why = format!("{name:?} is no service of this workload: name web, or a component");
            ConfigError::new(key, why)
        })?);
    }
    Ok(needs)
}

/// Refuses services that wait for one another.
fn no_circle(shape: &Shape, key: &str) -> Result<(), ConfigError> {
    let mut waiting: Vec<(&str, &[ComponentName])> = vec![(WEB, &shape.needs)];
    waiting.extend(shape.components.iter().map(|it| (it.name.as_str(), &it.needs[..])));
    loop {
        let names: Vec<_> = waiting.iter().map(|it| it.0).collect();
        let before = waiting.len();
        waiting.retain(|(_, needs)| needs.iter().any(|it| names.contains(&it.as_str())));
        if waiting.is_empty() {
            return Ok(());
        }
        if waiting.len() == before {
            let names = names.join(", ");
            let why = format!("need one another in a circle: {names}; let one of them go without");
            return Err(ConfigError::new(key, why));
        }
    }
}
