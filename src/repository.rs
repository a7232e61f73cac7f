//! A configured repository: all that its previews share.
//!
//! Everything here comes from the controller's own configuration. Refuses to know a repository
//! that is not in it: the list is the allow-list.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::database::Seed;
use crate::forge::RepositoryRef;
use crate::preview::name::Prefix;
use crate::preview::{
    Choice, ComponentName, Policy, PreviewName, Production, PullNumber, RepositoryId,
};
use crate::workload::chart::ChartSource;
use crate::workload::{Image, PodSize, Shape};

/// One repository.
#[derive(Clone, Debug)]
pub struct Repository {
    /// How the forge's API addresses it.
    pub reference: RepositoryRef,
    /// Its id, which survives a rename; any id is taken when `None`.
    pub id: Option<RepositoryId>,
    /// The prefix of its previews' names.
    pub prefix: Option<Prefix>,
    /// Lifetime and admission.
    pub policy: Policy,
    /// What runs.
    pub shape: Shape,
    /// What its databases are seeded with.
    pub seed: Seed,
    /// What each of its tiers changes of that; which one is chosen is the policy's.
    pub tiers: Vec<Tier>,
    /// Its feature flags.
    pub flags: Vec<Flag>,
    /// What it states of production.
    pub production: Production,
}

/// What a tier changes of what runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// Environment beside, or instead of, the workload's.
    pub env: Vec<(String, String)>,
    /// How many pods, and what each gets; the workload's own where `None`.
    pub replicas: Option<u16>,
    /// In thousandths of a core.
    pub cpu_millicores: Option<u32>,
    /// In MiB.
    pub memory_mebibytes: Option<u32>,
    /// Helm's values over the workload's.
    pub values: Map<String, Value>,
    /// The components that run; all of them where `None`.
    pub components: Option<Vec<ComponentName>>,
    /// Its own data set; the repository's where `None`.
    pub seed: Option<Seed>,
}

/// A feature flag as the workload sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name.
    pub name: String,
    /// The variable that says it.
    pub env: String,
    /// What that says when the flag is on.
    pub on: String,
    /// And when it is off.
    pub off: String,
}

impl Tier {
    fn size(&self, usual: PodSize) -> PodSize {
        PodSize {
            replicas: self.replicas.unwrap_or(usual.replicas),
            cpu_millicores: self.cpu_millicores.unwrap_or(usual.cpu_millicores),
            memory_mebibytes: self.memory_mebibytes.unwrap_or(usual.memory_mebibytes),
        }
    }
}

impl Repository {
    /// The same, running these images: each a component's, or the preview's own service's.
    pub fn with_images(&self, images: Vec<(Option<ComponentName>, Image)>) -> Self {
        let mut repository = self.clone();
        let shape = &mut repository.shape;
        for (component, image) in images {
            match component {
                None => shape.pod.image = Some(image),
                Some(name) => {
                    let of = shape.components.iter_mut().filter(|it| it.name == name);
                    of.for_each(|it| it.pod.image = Some(image.clone()));
                }
            }
        }
        repository
    }

    /// The same, as the labels of one pull request choose it.
    pub fn chosen(&self, choice: &Choice) -> Self {
        let mut repository = self.clone();
        let shape = &mut repository.shape;
        let usual = shape.pod.size();
        // Whatever tier is served meanwhile has to have room beside the one that comes.
        shape.pod.others = self.tiers.iter().map(|tier| tier.size(usual)).collect();
        if !self.tiers.is_empty() {
            shape.pod.others.push(usual);
        }
        let mut env: BTreeMap<_, _> = shape.env.drain(..).collect();
        if let Some(tier) = self.tiers.iter().find(|it| Some(&it.name) == choice.tier.as_ref()) {
            shape.tier = Some(tier.name.clone());
            env.extend(tier.env.iter().cloned());
            let size = tier.size(usual);
            shape.pod.replicas = size.replicas;
            shape.pod.cpu_millicores = size.cpu_millicores;
            shape.pod.memory_mebibytes = size.memory_mebibytes;
            let source = shape.chart.as_mut().map(|chart| &mut chart.source);
            if let Some(ChartSource::Helm { overlays, .. }) = source {
                overlays.push(tier.values.clone());
            }
            if let Some(run) = &tier.components {
                shape.components.iter_mut().for_each(|it| it.is_on = run.contains(&it.name));
            }
            if let Some(seed) = &tier.seed {
                repository.seed = seed.clone();
            }
        }
        for flag in &self.flags {
            let on = choice.flags.get(&flag.name).copied().unwrap_or_default();
            let value = if on { &flag.on } else { &flag.off };
            env.insert(flag.env.clone(), value.clone());
            shape.flags.insert(flag.name.clone(), value.clone());
        }
        shape.env = env.into_iter().collect();
        repository
    }

    /// Every data set that its previews may have.
    pub fn seeds(&self) -> impl Iterator<Item = &Seed> {
        std::iter::once(&self.seed).chain(self.tiers.iter().filter_map(|tier| tier.seed.as_ref()))
    }

    /// The name of the preview of one of its pull requests.
    pub fn preview_name(&self, number: PullNumber) -> PreviewName {
        PreviewName::new(self.prefix.clone(), number)
    }
}

/// Every configured repository.
#[derive(Clone, Debug, Default)]
pub struct Repositories(Vec<Repository>);

impl Repositories {
    /// Takes the configured list; prefixes and references are unique (the configuration checks).
    pub fn new(list: Vec<Repository>) -> Self {
        Self(list)
    }

    /// Finds the repository that an event names: by id where one is configured, else by name.
    pub fn find(&self, id: RepositoryId, reference: &RepositoryRef) -> Option<&Repository> {
        let same_name = |r: &&Repository| {
            r.id.is_none() && r.reference.full_name().eq_ignore_ascii_case(&reference.full_name())
        };
        self.0.iter().find(|r| r.id == Some(id)).or_else(|| self.0.iter().find(same_name))
    }

    /// Finds the repository of a preview: the one that its pull request is of, if its previews are
    /// still named like this.
    pub fn of(
        &self,
        id: RepositoryId,
        reference: &RepositoryRef,
        name: &PreviewName,
    ) -> Option<&Repository> {
        self.find(id, reference).filter(|repository| repository.prefix.as_ref() == name.prefix())
    }

    /// Finds the repository whose previews are named like this.
    pub fn of_name(&self, name: &PreviewName) -> Option<&Repository> {
        self.0.iter().find(|repository| repository.prefix.as_ref() == name.prefix())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Repository> {
        self.0.iter()
    }
}
