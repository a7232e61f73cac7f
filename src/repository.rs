//! A configured repository: all that its previews share.
//!
//! Everything here comes from the controller's own configuration. Refuses to know a repository
//! that is not in it: the list is the allow-list.

use crate::database::Seed;
use crate::forge::RepositoryRef;
use crate::preview::name::Prefix;
use crate::preview::{Policy, PreviewName, PullNumber, RepositoryId};
use crate::workload::{Image, Shape};

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
}

impl Repository {
    /// The same, running this image, where it runs one.
    pub fn with_image(&self, image: Option<Image>) -> Self {
        let mut repository = self.clone();
        if image.is_some() {
            repository.shape.pod.image = image;
        }
        repository
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
