//! An image by its tag: what a registry can be asked about, and nothing that may be run.
//!
//! Refuses a tag that the OCI distribution specification does not allow.

use std::fmt;

use super::{ImageError, ImageName};

/// `registry.example.com/acme/shop:3f2a…`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageTag {
    name: ImageName,
    tag: String,
}

/// The most that the specification allows.
pub(super) const MAX_TAG_BYTES: usize = 128;

impl ImageTag {
    /// Parses `registry/repository:tag`.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let (name, tag) = split(text).ok_or_else(|| ImageError::NoTag(text.to_owned()))?;
        Self::new(ImageName::parse(name)?, tag)
    }

    pub(super) fn new(name: ImageName, tag: &str) -> Result<Self, ImageError> {
        if !is_tag(tag) {
            return Err(ImageError::Tag(tag.to_owned()));
        }
        Ok(Self { name, tag: tag.to_owned() })
    }

    /// Registry and repository.
    pub fn name(&self) -> &ImageName {
        &self.name
    }

    /// The tag alone.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

/// Takes a name and its tag apart: the last colon, unless that begins a port.
pub(super) fn split(text: &str) -> Option<(&str, &str)> {
    text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`; see
/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>.
fn is_tag(text: &str) -> bool {
    let within = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !text.is_empty()
        && text.len() <= MAX_TAG_BYTES
        && !text.starts_with(['.', '-'])
        && text.chars().all(within)
}

impl fmt::Display for ImageTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}
