//! An image's name: the registry that it is in, and the repository there.
//!
//! Refuses a name without a registry: which one is meant then depends on who reads it.

use std::fmt;

use super::ImageError;

/// `registry.example.com:5000/acme/shop`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageName {
    registry: String,
    repository: String,
}

/// Of registry, slash and repository together: what many clients allow, as the specification says.
const MAX_NAME_BYTES: usize = 255;

impl ImageName {
    /// Parses it as the OCI distribution specification has it, section "Pulling manifests":
    /// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let wrong = || ImageError::Name(text.to_owned());
        if text.len() > MAX_NAME_BYTES {
            return Err(wrong());
        }
        let (registry, repository) = match text.split_once('/') {
            Some((first, rest)) if names_a_host(first) => (first, rest),
            _ if text.split('/').all(is_component) => {
                return Err(ImageError::NoRegistry(text.to_owned()));
            }
            _ => return Err(wrong()),
        };
        if !is_registry(registry) || !repository.split('/').all(is_component) {
            return Err(wrong());
        }
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned() })
    }

    /// The registry's host, and its port where one is written.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }
}

/// What tells a host from the first part of a repository's path, by the custom of every client.
fn names_a_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost"
}

/// A host name or IPv4 address, with a port or without: what stands before an image's repository.
pub(crate) fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|it| it > 0 && it.to_string() == port);
    names_a_host(text) && port.is_none_or(is_port) && host.split('.').all(is_label)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// One label of a host name (RFC 1123 §2.1).
fn is_label(label: &str) -> bool {
    label.len() <= 63
        && label.starts_with(is_plain)
        && label.ends_with(is_plain)
        && label.chars().all(|c| is_plain(c) || c == '-')
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(part: &str) -> bool {
    let separators = part.split(is_plain).filter(|it| !it.is_empty());
    let fine = |it: &str| matches!(it, "." | "_" | "__") || it.chars().all(|c| c == '-');
    part.starts_with(is_plain) && part.ends_with(is_plain) && separators.into_iter().all(fine)
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_registry_and_is_spelled_as_the_specification_has_it() {
        for (text, registry, repository) in [
            ("ghcr.io/acme/shop", "ghcr.io", "acme/shop"),
            ("localhost/a", "localhost", "a"),
            ("localhost:5000/a/b/c", "localhost:5000", "a/b/c"),
            ("10.0.0.1:80/a__b/c---d.e_f", "10.0.0.1:80", "a__b/c---d.e_f"),
            ("r-1.example.com/0", "r-1.example.com", "0"),
        ] {
            let name = ImageName::parse(text).unwrap();
            assert_eq!((name.registry(), name.repository()), (registry, repository));
            assert_eq!(name.to_string(), text);
        }
        for text in ["shop", "acme/shop", "a/b/c", "registry/acme/shop", "r.io"] {
            assert_eq!(ImageName::parse(text), Err(ImageError::NoRegistry(text.to_owned())));
        }
        let (long, label) = (format!("r.io/{}", "a".repeat(251)), "a".repeat(64));
        for text in [
            "",
            "/",
            "r.io/",
            "/a",
            "r.io//a",
            "r.io/a/",
            "r.io/A",
            "R.io/a",
            "r.io/a b",
            "r.io/-a",
            "r.io/a-",
            "r.io/a..b",
            "r.io/a___b",
            "r.io/a.-b",
            "r.io/a:1",
            "r.io/a@b",
            "r..io/a",
            ".io/a",
            "r.io./a",
            "-r.io/a",
            "r_.io/a",
            "r.io:0/a",
            "r.io:/a",
            "r.io:x/a",
            "r.io:05/a",
            "r.io:65536/a",
            "r.io:1:2/a",
            "[::1]:80/a",
            "user@r.io/a",
            "https://r.io/a",
            "r.io/ä",
            "r.io/a\n",
            "r.io/../a",
            &long,
            &format!("{label}.io/a"),
        ] {
            assert_eq!(ImageName::parse(text), Err(ImageError::Name(text.to_owned())), "{text}");
        }
    }
}
