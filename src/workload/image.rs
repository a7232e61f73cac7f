//! A container image, pinned by digest.
//!
//! Refuses a tag: what it names today is not what it names tomorrow.

use std::fmt;

mod error;
mod name;
mod tag;
mod template;

pub use self::error::ImageError;
pub use self::name::ImageName;
pub use self::tag::ImageTag;
pub use self::template::{ImageTemplate, TagTemplate};

pub(crate) use self::name::is_registry;

/// `registry.example.com/acme/shop@sha256:…`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Image {
    name: ImageName,
    digest: String,
}

impl Image {
    /// Parses `name@sha256:…`; see
    /// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let pinned = || ImageError::NotPinned(text.to_owned());
        let (name, digest) = text.split_once('@').ok_or_else(pinned)?;
        if !is_digest(digest) {
            return Err(pinned());
        }
        // A tag beside the digest means nothing, and would be taken for something.
        Ok(Self { name: ImageName::parse(name)?, digest: digest.to_owned() })
    }

    /// What a tag names now, by the digest that its registry gave; `None` where that is not
    /// `sha256:` and 64 lower-case hexadecimal digits.
    pub fn pin(tag: &ImageTag, digest: &str) -> Option<Self> {
        is_digest(digest).then(|| Self { name: tag.name().clone(), digest: digest.to_owned() })
    }

    /// Registry and repository.
    pub fn name(&self) -> &ImageName {
        &self.name
    }

    /// `sha256:` and 64 lower-case hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

fn is_digest(text: &str) -> bool {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.chars().all(is_hex))
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pinned_image_with_a_lawful_name_is_taken() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for name in ["ghcr.io/acme/shop", "localhost/shop", "127.0.0.1:5000/a/b_c-d.e"] {
            let text = format!("{name}@{digest}");
            let image = Image::parse(&text).unwrap();
            assert_eq!(image.to_string(), text);
            assert_eq!((image.name().to_string(), image.digest()), (name.to_owned(), &*digest));
        }
        for text in ["shop", "ghcr.io/acme/shop:latest", "shop@sha256:abc", "shop@md5:00", "@"] {
            assert_eq!(Image::parse(text), Err(ImageError::NotPinned(text.to_owned())));
        }
        for name in ["", "Acme/shop", "a//b", "ghcr.io/acme/shop:1", "a/../b", "a b", "x:y/z"] {
            let text = format!("{name}@{digest}");
            assert!(Image::parse(&text).is_err(), "{text}");
        }
    }
}
