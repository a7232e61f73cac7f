//! `repositories[].tiers` and `repositories[].flags`: what a pull request's labels choose.
//!
//! Refuses two of one name or label, a default that is no tier, and a variable that two would set.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ConfigError;
use super::file::SeedPart;
use super::secrets::is_variable;
use super::workload::check_size;
use crate::database::Seed;
use crate::preview::choice::{Choices, FlagLabel, TierLabel};
use crate::repository::{Flag, Tier};
use crate::workload::chart::{ChartSource, KEY};
use crate::workload::{PodSize, Shape, is_own_variable};

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct TierPart {
    name: String,
    label: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    replicas: Option<u16>,
    cpu_millicores: Option<u32>,
    memory_mebibytes: Option<u32>,
    #[serde(default)]
    values: Map<String, Value>,
    components: Option<Vec<String>>,
    seed: Option<SeedPart>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct FlagPart {
    name: String,
    label: String,
    env: Option<String>,
    on: Option<String>,
    off: Option<String>,
}

/// What labels can choose, and what each choice means.
pub(super) struct Chosen {
    pub(super) choices: Choices,
    pub(super) tiers: Vec<Tier>,
    pub(super) flags: Vec<Flag>,
}

/// The longest name of a tier or a flag, in bytes.
const MAX_NAME_BYTES: usize = 40;

/// Checks the tiers and flags of a repository whose workload and data set are these.
pub(super) fn tiers(
    tiers: Vec<TierPart>,
    flags: Vec<FlagPart>,
    default_tier: Option<String>,
    shape: &Shape,
    own: &Seed,
    key: &dyn Fn(&str) -> String,
) -> Result<Chosen, ConfigError> {
    let mut seen = Seen::default();
    let mut chosen = Chosen { choices: Choices::default(), tiers: Vec::new(), flags: Vec::new() };
    for (index, part) in tiers.into_iter().enumerate() {
        let key = |field: &str| key(&format!("tiers[{index}].{field}"));
        seen.take(&part.name, &part.label, key)?;
        let (name, label) = (part.name.clone(), part.label.clone());
        // Told by where it is: another order of the tiers, or another name, is not other data.
        let place = part.seed.as_ref().map(|seed| format!("{:?}", seed.directories));
        let tier = tier(part, shape, key)?;
        let differs = tier.seed.as_ref().is_some_and(|it| it.digest() != own.digest());
        let data_of = place.filter(|_| differs);
        chosen.choices.tiers.push(TierLabel { name, label, data_of });
        chosen.tiers.push(tier);
    }
    if let Some(wanted) = &default_tier
        && !chosen.tiers.iter().any(|tier| tier.name == *wanted)
    {
        let why = format!("{wanted:?} is none of the repository's tiers");
        return Err(ConfigError::new(&key("default_tier"), why));
    }
    chosen.choices.default_tier = default_tier;
    let mut seen = Seen { labels: seen.labels, ..Seen::default() };
    for (index, part) in flags.into_iter().enumerate() {
        let key = |field: &str| key(&format!("flags[{index}].{field}"));
        seen.take(&part.name, &part.label, key)?;
        let (name, label) = (part.name.clone(), part.label.clone());
        let flag = flag(part);
        check_flag(&flag, shape, &chosen, &key("env"))?;
        chosen.choices.flags.push(FlagLabel { name, label });
        chosen.flags.push(flag);
    }
    Ok(chosen)
}

/// The names and labels so far.
#[derive(Default)]
struct Seen {
    names: BTreeSet<String>,
    labels: BTreeSet<String>,
}

impl Seen {
    fn take(
        &mut self,
        name: &str,
        label: &str,
        key: impl Fn(&str) -> String,
    ) -> Result<(), ConfigError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(plain) {
            let why = "must be 1 to 40 lower-case letters, digits, and -, _ or .";
            return Err(ConfigError::new(&key("name"), why));
        }
        if label.is_empty() {
            return Err(ConfigError::new(&key("label"), "is empty; no pull request has that"));
        }
        if !self.names.insert(name.to_owned()) {
            return Err(ConfigError::new(&key("name"), "is there twice; rename one of them"));
        }
        if !self.labels.insert(label.to_owned()) {
            let why = "chooses something else already; give each a label of its own";
            return Err(ConfigError::new(&key("label"), why));
        }
        Ok(())
    }
}

fn tier(part: TierPart, shape: &Shape, key: impl Fn(&str) -> String) -> Result<Tier, ConfigError> {
    if let Some(own) = part.env.keys().find(|it| is_own(it, shape)) {
        let why = "is Mayfly's own in every preview; choose another name";
        return Err(ConfigError::new(&key(&format!("env.{own}")), why));
    }
    if let Some(taken) = part.env.keys().find(|it| shape.secret_variables().any(|(v, _)| v == *it))
    {
        let why = "comes out of a Secret (workload.secrets, external_secrets); remove one of them";
        return Err(ConfigError::new(&key(&format!("env.{taken}")), why));
    }
    let usual = shape.pod.size();
    check_size(
        PodSize {
            replicas: part.replicas.unwrap_or(usual.replicas),
            cpu_millicores: part.cpu_millicores.unwrap_or(usual.cpu_millicores),
            memory_mebibytes: part.memory_mebibytes.unwrap_or(usual.memory_mebibytes),
        },
        &key,
    )?;
    let helm = shape.chart.as_ref().map(|chart| &chart.source);
    if !part.values.is_empty() && !matches!(helm, Some(ChartSource::Helm { .. })) {
        let why = "are Helm's, and the repository has no workload.chart.helm";
        return Err(ConfigError::new(&key("values"), why));
    }
    if part.values.contains_key(KEY) {
        let why = "is Mayfly's own; remove it";
        return Err(ConfigError::new(&key(&format!("values.{KEY}")), why));
    }
    let components = part.components.map(|names| {
        let known = |name: &String| shape.components.iter().find(|it| it.name.as_str() == name);
        let named = names.iter().map(|name| {
            let why = || format!("{name:?} is none of workload.components; web runs in each tier");
            let it = known(name).ok_or_else(|| ConfigError::new(&key("components"), why()))?;
            Ok(it.name.clone())
        });
        named.collect::<Result<Vec<_>, ConfigError>>()
    });
    let read = |seed: SeedPart| Seed::read(&seed.directories, &seed.extensions);
    let seed = part.seed.map(read).transpose();
    Ok(Tier {
        name: part.name,
        env: part.env.into_iter().collect(),
        replicas: part.replicas,
        cpu_millicores: part.cpu_millicores,
        memory_mebibytes: part.memory_mebibytes,
        values: part.values,
        components: components.transpose()?,
        seed: seed.map_err(|error| ConfigError::new(&key("seed"), error.to_string()))?,
    })
}

fn flag(part: FlagPart) -> Flag {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let usual = || format!("FEATURE_{}", part.name.chars().map(upper).collect::<String>());
    Flag {
        env: part.env.unwrap_or_else(usual),
        on: part.on.unwrap_or_else(|| "true".to_owned()),
        off: part.off.unwrap_or_else(|| "false".to_owned()),
        name: part.name,
    }
}

fn check_flag(flag: &Flag, shape: &Shape, chosen: &Chosen, key: &str) -> Result<(), ConfigError> {
    let env = &flag.env;
    if !is_variable(env) {
        let why = format!("{env:?} is no name of a variable: letters, digits and _");
        return Err(ConfigError::new(key, why));
    }
    if is_own(env, shape) {
        let why = format!("{env} is Mayfly's own in every preview; choose another name");
        return Err(ConfigError::new(key, why));
    }
    let tiers = chosen.tiers.iter().flat_map(|tier| &tier.env);
    let taken = shape.sets(env) || tiers.into_iter().any(|(name, _)| name == env);
    if taken || chosen.flags.iter().any(|other| other.env == *env) {
        let why = format!("{env} is set already, by the workload, a tier or a flag; rename one");
        return Err(ConfigError::new(key, why));
    }
    Ok(())
}

fn is_own(variable: &str, shape: &Shape) -> bool {
    is_own_variable(variable) || shape.tells(variable)
}
