//! An image registry in memory, with faults to order.
//!
//! Refuses what the real one refuses: a registry that is not listed is not asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mayfly::fault::{Disposition, Fault};
use mayfly::image::{Found, Images};
use mayfly::workload::{Image, ImageTag};

use super::faults::Faults;

/// The tags of one world; clones share them.
#[derive(Clone)]
pub struct FakeImages {
    registry: String,
    faults: Faults,
    tags: Arc<Mutex<BTreeMap<String, Image>>>,
}

impl FakeImages {
    /// No tags yet; of this registry alone.
    pub fn new(registry: &str, faults: Faults) -> Self {
        Self { registry: registry.to_owned(), faults, tags: Arc::default() }
    }

    /// Pushes an image whose digest's digits are all this one, or moves the tag to it.
    pub fn push(&self, tag: &ImageTag, digit: char) -> Image {
        let digest = format!("sha256:{}", digit.to_string().repeat(64));
        let image = Image::pin(tag, &digest).unwrap();
        self.tags.lock().unwrap().insert(tag.to_string(), image.clone());
        image
    }

    /// Removes a tag by hand.
    pub fn erase(&self, tag: &ImageTag) {
        self.tags.lock().unwrap().remove(&tag.to_string());
    }

    fn look(&self, tag: &ImageTag) -> Result<Found, Fault> {
        let registry = tag.name().registry();
        if registry != self.registry {
            return Ok(Found::Refused(format!("{registry} is not in registries; add it there")));
        }
        let found = self.tags.lock().unwrap().get(&tag.to_string()).cloned();
        let not_yet = || Found::NotYet(format!("{registry} has no {tag} yet"));
        Ok(found.map_or_else(not_yet, Found::Digest))
    }
}

#[async_trait]
impl Images for FakeImages {
    async fn resolve(&self, tag: &ImageTag) -> Found {
        match self.faults.run("images.resolve", || self.look(tag)) {
            Ok(found) => found,
            Err(fault) if fault.disposition == Disposition::Transient => Found::Unknown(fault.why),
            Err(fault) => Found::Refused(fault.why),
        }
    }
}
