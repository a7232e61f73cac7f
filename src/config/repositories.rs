//! The configured repositories, and each one's policy over the common one.
//!
//! Refuses two that an event, or a preview's name, could not tell apart.

use super::file::{PolicyPart, ProductionPart, RepositoryPart};
use super::registries::is_listed;
use super::tiers;
use super::values::delta;
use super::workload::shape;
use super::{ClusterConfig, ConfigError};
use crate::database::Seed;
use crate::forge::RepositoryRef;
use crate::image::Registry;
use crate::preview::name::Prefix;
use crate::preview::{Choices, Policy, Production, RepositoryId};
use crate::repository::{Repositories, Repository};
use crate::workload::Shape;
use crate::workload::chart::{ChartSource, HelmChart};

pub(super) fn repositories(
    defaults: &PolicyPart,
    parts: Vec<RepositoryPart>,
    cluster: &ClusterConfig,
    registries: &[Registry],
) -> Result<Repositories, ConfigError> {
    if parts.is_empty() {
        return Err(ConfigError::new("repositories", "is empty; name at least one repository"));
    }
    let mut list: Vec<Repository> = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let key = |field: &str| format!("repositories[{index}].{field}");
        let reference = RepositoryRef::parse(&part.name).ok_or_else(|| {
            ConfigError::new(&key("name"), format!("{:?} is not owner/name", part.name))
        })?;
        // Forges do not tell Acme/Shop from acme/shop; nor do we, when an event comes in.
        let name = reference.full_name();
        let same = |other: &Repository| other.reference.full_name().eq_ignore_ascii_case(&name);
        if list.iter().any(same) {
            return Err(ConfigError::new(&key("name"), "is there twice; remove one of them"));
        }
        let id = part.id.map(RepositoryId);
        if id.is_some() && list.iter().any(|other| other.id == id) {
            let why = "is another repository's too; an event would find only the first";
            return Err(ConfigError::new(&key("id"), why));
        }
        let prefix = part.prefix.as_deref().map(Prefix::parse).transpose();
        let prefix = prefix.map_err(|e| ConfigError::new(&key("prefix"), e.to_string()))?;
        if list.iter().any(|other| other.prefix == prefix) {
            let why = "is not unique: two repositories would share names such as pr-1; give each \
                       but one a prefix of its own";
            return Err(ConfigError::new(&key("prefix"), why));
        }
        let seed = Seed::read(&part.seed.directories, &part.seed.extensions)
            .map_err(|error| ConfigError::new(&key("seed"), error.to_string()))?;
        let shape =
            shape(part.workload, &part.name, cluster, |field| key(&format!("workload.{field}")))?;
        if let Some(image) = &shape.image {
            is_listed(image, registries, &key("workload.image"))?;
        }
        for (index, component) in shape.components.iter().enumerate() {
            let key = |field: &str| key(&format!("workload.components[{index}].{field}"));
            if let Some(image) = &component.image {
                is_listed(image, registries, &key("image"))?;
            }
            if !component.name.fits(prefix.as_ref()) {
                let why = "is too long behind the repository's prefix: shorten one of them";
                return Err(ConfigError::new(&key("name"), why));
            }
        }
        let production = production(part.production, &shape, key)?;
        let (tiers, flags) = (part.tiers, part.flags);
        let chosen = tiers::tiers(tiers, flags, part.default_tier, &shape, &seed, &key)?;
        list.push(Repository {
            reference,
            id,
            prefix,
            policy: Policy {
                choices: chosen.choices,
                ..policy(&key("policy"), &part.policy, defaults)?
            },
            shape,
            seed,
            tiers: chosen.tiers,
            flags: chosen.flags,
            production,
        });
    }
    Ok(Repositories::new(list))
}

/// What is stated of production, each in a form that can be compared.
fn production(
    part: ProductionPart,
    shape: &Shape,
    key: impl Fn(&str) -> String,
) -> Result<Production, ConfigError> {
    let wrong =
        |field: &str, why: &str| Err(ConfigError::new(&key(&format!("production.{field}")), why));
    if part.postgres.is_some_and(|major| !(10..100).contains(&major)) {
        return wrong("postgres", "must be a major version of PostgreSQL, such as 17");
    }
    let number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let minor = |text: &String| text.split_once('.').is_some_and(|(a, b)| number(a) && number(b));
    if part.kubernetes.as_ref().is_some_and(|version| !minor(version)) {
        return wrong("kubernetes", "must be a minor version, in quotes, such as \"1.34\"");
    }
    let source = shape.chart.as_ref().map(|chart| &chart.source);
    let has_version =
        matches!(source, Some(ChartSource::Helm { chart: HelmChart::Directory(_), .. }));
    if part.chart.is_some() && !has_version {
        let why = "is compared with a Chart.yaml, and workload.chart.helm.directory is not set";
        return wrong("chart", why);
    }
    let ProductionPart { postgres, kubernetes, chart } = part;
    Ok(Production { postgres, kubernetes, chart })
}

fn policy(key: &str, own: &PolicyPart, defaults: &PolicyPart) -> Result<Policy, ConfigError> {
    let pick = |own: &Option<String>, default: &Option<String>| own.clone().or(default.clone());
    let length = |field: &str, own, default, fallback| {
        delta(&format!("{key}.{field}"), pick(own, default).as_deref(), fallback)
    };
    let policy = Policy {
        inactivity_ttl: length(
            "inactivity_ttl",
            &own.inactivity_ttl,
            &defaults.inactivity_ttl,
            "3d",
        )?,
        max_life: length("max_life", &own.max_life, &defaults.max_life, "30d")?,
        warn_before: length("warn_before", &own.warn_before, &defaults.warn_before, "4h")?,
        approve_forks: own.approve_forks.or(defaults.approve_forks).unwrap_or(true),
        drafts: own.drafts.or(defaults.drafts).unwrap_or(true),
        only_label: pick(&own.only_label, &defaults.only_label),
        skip_label: pick(&own.skip_label, &defaults.skip_label),
        choices: Choices::default(),
    };
    if policy.max_life < policy.inactivity_ttl {
        let why = "is shorter than inactivity_ttl, which would never be reached";
        return Err(ConfigError::new(&format!("{key}.max_life"), why));
    }
    Ok(policy)
}
