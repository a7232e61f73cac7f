//! Whether what a registry gives is an image, and which.
//!
//! Refuses what only looks like an answer: a page for people, an old format, a digest that is not
//! the content's.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use super::line::Answer;
use crate::image::Found;
use crate::workload::{Image, ImageTag};

/// What we take: images and their lists for several platforms, as OCI and as Docker name them
/// (<https://github.com/opencontainers/image-spec/blob/main/media-types.md>). Token servers take no
/// notice.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// Optional, and given by nearly all.
const DIGEST: &str = "docker-content-digest";

/// The parts by which a manifest or an index is known.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    config: Option<IgnoredAny>,
    manifests: Option<Vec<IgnoredAny>>,
}

/// The image that headers alone name; `None` where they do not say enough.
pub(super) fn named_by(headers: &HeaderMap, tag: &ImageTag) -> Result<Option<Image>, Found> {
    let kind = kind(headers, tag)?;
    Ok(kind.and(digest(headers)).and_then(|digest| Image::pin(tag, digest)))
}

/// The image whose manifest this is, by the digest of its content.
pub(super) fn read(answer: &Answer, tag: &ImageTag) -> Result<Image, Found> {
    kind(&answer.headers, tag)?;
    let manifest = serde_json::from_slice(&answer.body).ok();
    let is_image =
        |it: &Manifest| it.schema_version == 2 && (it.config.is_some() || it.manifests.is_some());
    if !manifest.as_ref().is_some_and(is_image) {
        return Err(no_image(tag, "something else"));
    }
    let hash = Sha256::digest(&answer.body);
    let own = format!("sha256:{}", data_encoding::HEXLOWER.encode(&hash));
    if digest(&answer.headers).is_some_and(|named| named != own) {
        let why = "under a digest that is not its content's; see what changes answers on the way";
        return Err(Found::Refused(format!("{} gives {tag} {why}", tag.name().registry())));
    }
    Ok(Image::pin(tag, &own).expect("a SHA-256 as it is written"))
}

fn digest(headers: &HeaderMap) -> Option<&str> {
    headers.get(DIGEST)?.to_str().ok()
}

/// The media type, which is one of those that we asked for; `None` where it is not said.
fn kind<'a>(headers: &'a HeaderMap, tag: &ImageTag) -> Result<Option<&'a str>, Found> {
    let Some(text) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    let kind = text.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if ACCEPT.split(", ").any(|it| it.eq_ignore_ascii_case(kind)) {
        return Ok(Some(kind));
    }
    Err(no_image(tag, if kind.len() <= 80 { kind } else { "something else" }))
}

fn no_image(tag: &ImageTag, kind: &str) -> Found {
    let registry = tag.name().registry();
    let cure =
        "push an image in OCI's or Docker's format (schema 2), and see that it is a registry";
    Found::Refused(format!("{tag} in {registry} is no image but {kind:?}; {cure}"))
}
