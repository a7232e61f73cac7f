//! What Mayfly knows of a preview and tells its chart: the values below `mayfly`.
//!
//! Refuses to hold a secret: of the database there is the name of a Secret, not its content.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::preview::{CommitSha, PullNumber};
use crate::workload::Image;

/// The key that everything of it is below.
pub const KEY: &str = "mayfly";

/// The facts of one revision of one preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `owner/name` of the repository.
    pub repository: String,
    /// The preview's namespace, which is its name too.
    pub namespace: String,
    /// The host that visitors use.
    pub host: String,
    /// The whole URL.
    pub url: String,
    /// The pull request.
    pub number: PullNumber,
    /// The commit.
    pub commit: CommitSha,
    /// Where the database's URL is kept.
    pub database: SecretKey,
    /// The image of the pull request's commit, where the repository has one.
    pub image: Option<Image>,
    /// Further images by component.
    pub images: BTreeMap<String, Image>,
    /// The chosen tier, where the repository has tiers.
    pub tier: Option<String>,
    /// Feature flags.
    pub flags: BTreeMap<String, String>,
    /// What the cluster runs, such as `1.35`, for charts that ask; helm's own idea when `None`.
    pub kubernetes_version: Option<String>,
}

/// One key of a Secret in the preview's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretKey {
    /// The Secret's name.
    pub name: String,
    /// The key in it.
    pub key: String,
}

impl Facts {
    /// The value of `mayfly`.
    pub fn values(&self) -> Value {
        let images: serde_json::Map<_, _> =
            self.images.iter().map(|(name, it)| (name.clone(), image(it))).collect();
        json!({
            "repository": self.repository,
            "namespace": self.namespace,
            "host": self.host,
            "url": self.url,
            "pr": self.number.get(),
            "sha": self.commit.as_str(),
            "shortSha": self.commit.short(),
            "database": { "secret": self.database.name, "key": self.database.key },
            "image": self.image.as_ref().map(image),
            "images": images,
            "tier": self.tier.as_deref().unwrap_or_default(),
            "flags": self.flags,
        })
    }

    /// Every image by which something may be replaced.
    pub(super) fn all_images(&self) -> impl Iterator<Item = &Image> {
        self.image.iter().chain(self.images.values())
    }

    /// What templates may name.
    pub(super) fn context(&self) -> Value {
        json!({ KEY: self.values() })
    }
}

/// An image in the parts that charts want it in.
fn image(image: &Image) -> Value {
    let (repository, digest) = parts(image);
    json!({ "reference": image.to_string(), "repository": repository, "digest": digest })
}

/// Name and digest.
pub(super) fn parts(image: &Image) -> (String, String) {
    let text = image.to_string();
    let (name, digest) = text.split_once('@').expect("an image is pinned by its digest");
    (name.to_owned(), digest.to_owned())
}
