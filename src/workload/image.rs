//! A container image, pinned by digest.
//!
//! Refuses a tag: what it names today is not what it names tomorrow.

use std::fmt;

/// `registry.example.com/acme/shop@sha256:…`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Image {
    name: String,
    digest: String,
}

/// Why a text is no pinned image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// By tag, or by nothing.
    #[error("{0:?} is not pinned; name it by digest: registry/name@sha256:<64 hex digits>")]
    NotPinned(String),
    /// Not as the OCI distribution specification spells names.
    #[error(
        "{0:?} is not an image's name: registry/path in lower-case letters, digits and . _ - /"
    )]
    Name(String),
}

const MAX_NAME_BYTES: usize = 255;

impl Image {
    /// Parses `name@sha256:…`; see
    /// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let pinned = || ImageError::NotPinned(text.to_owned());
        let (name, digest) = text.split_once('@').ok_or_else(pinned)?;
        let hex = digest.strip_prefix("sha256:").ok_or_else(pinned)?;
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if hex.len() != 64 || !hex.chars().all(is_hex) {
            return Err(pinned());
        }
        // A tag beside the digest means nothing, and would be taken for something.
        let (registry, path) = name.split_once('/').unwrap_or(("", name));
        let fine = |part: &str| {
            !part.is_empty()
                && part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part.chars().all(|c| {
                    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-')
                })
        };
        let (host, port) = registry.split_once(':').unwrap_or((registry, "443"));
        let registry_fine = registry.is_empty() || fine(host) && port.parse::<u16>().is_ok();
        if name.len() > MAX_NAME_BYTES || !registry_fine || !path.split('/').all(fine) {
            return Err(ImageError::Name(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), digest: digest.to_owned() })
    }
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
        for name in ["shop", "acme/shop", "ghcr.io/acme/shop", "127.0.0.1:5000/a/b_c-d.e"] {
            let text = format!("{name}@{digest}");
            assert_eq!(Image::parse(&text).unwrap().to_string(), text);
        }
        for text in ["shop", "ghcr.io/acme/shop:latest", "shop@sha256:abc", "shop@md5:00", "@"] {
            assert_eq!(Image::parse(text), Err(ImageError::NotPinned(text.to_owned())));
        }
        for name in ["", "Acme/shop", "a//b", "ghcr.io/acme/shop:1", "a/../b", "a b", "x:y/z"] {
            let text = format!("{name}@{digest}");
            assert_eq!(Image::parse(&text), Err(ImageError::Name(name.to_owned())), "{text}");
        }
    }
}
