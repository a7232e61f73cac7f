//! The seam to image registries: a tag becomes a digest.
//!
//! A fifth seam, and the only one that merely looks: it has no verb that changes anything. Domain
//! words in and out; no library's type crosses this line. An answer that did not come is
//! [`Found::Unknown`], never [`Found::NotYet`].

pub mod oci;
mod registry;

use async_trait::async_trait;

use crate::workload::{Image, ImageTag};

pub use self::registry::{Login, Registry};

/// What a registry says of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// What it names now.
    Digest(Image),
    /// The registry answered that it has no such tag: it may still be built. The text says where.
    NotYet(String),
    /// A person has to change something. The text says what is wrong, and the cure.
    Refused(String),
    /// The registry could not be asked, or could not answer: try again. The text says why.
    Unknown(String),
}

/// Where images are.
#[async_trait]
pub trait Images: Send + Sync {
    /// Asks which image a tag names at this moment.
    async fn resolve(&self, tag: &ImageTag) -> Found;
}
