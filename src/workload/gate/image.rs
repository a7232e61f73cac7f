//! Images: by digest, and from the registries that the configuration lists.
//!
//! Refuses a tag alone. A tag beside a digest is left out: it means nothing, and charts write it.

use super::GatePolicy;
use super::field::{Field, Report};
use crate::workload::Image;

/// Checks the image of a container.
pub(super) fn check(field: &Field<'_>, policy: &GatePolicy, report: &mut Report<'_>) {
    let Some(text) = field.text().filter(|text| !text.is_empty()) else {
        report.refuse(field, "is missing; a container needs an image, pinned by digest");
        return;
    };
    let image = match Image::parse(&pinned(text)) {
        Ok(image) => image,
        Err(error) => return report.refuse(field, error.to_string()),
    };
    let registry = image.name().registry();
    if !policy.registries.iter().any(|known| known == registry) {
        let known = match policy.registries.is_empty() {
            true => "none is listed".to_owned(),
            false => format!("listed: {}", policy.registries.join(", ")),
        };
        report
            .refuse(field, format!("{registry} is not a registry of the configuration ({known})"));
    }
}

/// The same image without the tag beside its digest.
pub(super) fn pinned(text: &str) -> String {
    let Some((name, digest)) = text.split_once('@') else { return text.to_owned() };
    let (path, last) = name.rsplit_once('/').map_or(("", name), |(path, last)| (path, last));
    let last = last.split_once(':').map_or(last, |(last, _)| last);
    let slash = if path.is_empty() { "" } else { "/" };
    format!("{path}{slash}{last}@{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_beside_a_digest_is_left_out_and_a_port_is_no_tag() {
        for (text, expected) in [
            ("ghcr.io/acme/shop:1.2@sha256:aa", "ghcr.io/acme/shop@sha256:aa"),
            ("host:5000/shop@sha256:aa", "host:5000/shop@sha256:aa"),
            ("host:5000/shop:1@sha256:aa", "host:5000/shop@sha256:aa"),
            ("shop:1@sha256:aa", "shop@sha256:aa"),
            ("shop:1", "shop:1"),
        ] {
            assert_eq!(pinned(text), expected);
        }
    }
}
