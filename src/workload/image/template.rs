//! Which image a repository's previews run: one that is pinned, or one for each commit.
//!
//! From the controller's configuration alone, never from a pull request. Refuses a tag that does not
//! name its commit: it would lead a new commit to the image of an older one.

use std::fmt;

use super::tag::{MAX_TAG_BYTES, split};
use super::{Image, ImageError, ImageName, ImageTag};
use crate::preview::{CommitSha, PullNumber};

/// `registry/repository:{{ sha }}`, or an [`Image`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageTemplate {
    /// The same image for every commit.
    Pinned(Image),
    /// An image for each commit, which its registry has to be asked for.
    Tagged(TagTemplate),
}

/// A tag with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagTemplate {
    name: ImageName,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Sha,
    ShortSha,
    Pr,
}

/// How much of a commit `{{ short_sha }}` is, as `git` abbreviates.
const SHORT_SHA_DIGITS: usize = 7;
/// A commit by SHA-256.
const LONGEST_SHA_DIGITS: usize = 64;
/// The digits of 4,294,967,295.
const LONGEST_PR_DIGITS: usize = 10;

impl ImageTemplate {
    /// Parses what the configuration says.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        if text.contains('@') || !text.contains("{{") && split(text).is_none() {
            return Image::parse(text).map(Self::Pinned);
        }
        TagTemplate::parse(text).map(Self::Tagged)
    }

    /// Registry and repository, the same for every commit.
    pub fn name(&self) -> &ImageName {
        match self {
            Self::Pinned(image) => image.name(),
            Self::Tagged(template) => &template.name,
        }
    }
}

impl TagTemplate {
    fn parse(text: &str) -> Result<Self, ImageError> {
        let (name, tag) = split(text).ok_or_else(|| ImageError::NoTag(text.to_owned()))?;
        let (name, pieces) = (ImageName::parse(name)?, pieces(tag)?);
        if !pieces.iter().any(|it| matches!(it, Piece::Sha | Piece::ShortSha)) {
            return Err(ImageError::Moving(text.to_owned()));
        }
        let template = Self { name, pieces };
        // What holds for these holds for all: values are plain digits and letters.
        let longest =
            template.with(&"0".repeat(LONGEST_SHA_DIGITS), &"9".repeat(LONGEST_PR_DIGITS));
        if longest.len() > MAX_TAG_BYTES || ImageTag::new(template.name.clone(), &longest).is_err()
        {
            return Err(ImageError::Tag(tag.to_owned()));
        }
        Ok(template)
    }

    /// The tag of one commit of one pull request.
    pub fn render(&self, commit: &CommitSha, number: PullNumber) -> ImageTag {
        let tag = self.with(&commit.to_string(), &number.to_string());
        ImageTag::new(self.name.clone(), &tag).expect("the longest was tried when it was parsed")
    }

    fn with(&self, sha: &str, number: &str) -> String {
        let value = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Sha => sha.to_owned(),
            Piece::ShortSha => sha.chars().take(SHORT_SHA_DIGITS).collect(),
            Piece::Pr => number.to_owned(),
        };
        self.pieces.iter().map(value).collect()
    }
}

fn pieces(tag: &str) -> Result<Vec<Piece>, ImageError> {
    let mut pieces = Vec::new();
    let mut rest = tag;
    while let Some((before, after)) = rest.split_once("{{") {
        let unknown = || ImageError::Placeholder(format!("{{{{{after}"));
        let (word, after) = after.split_once("}}").ok_or_else(unknown)?;
        let piece = match word.trim_matches(' ') {
            "sha" => Piece::Sha,
            "short_sha" => Piece::ShortSha,
            "pr" => Piece::Pr,
            _ => return Err(ImageError::Placeholder(format!("{{{{{word}}}}}"))),
        };
        pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
        pieces.push(piece);
        rest = after;
    }
    pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
    Ok(pieces)
}

impl fmt::Display for TagTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.name)?;
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Sha => f.write_str("{{ sha }}"),
            Piece::ShortSha => f.write_str("{{ short_sha }}"),
            Piece::Pr => f.write_str("{{ pr }}"),
        })
    }
}

impl fmt::Display for ImageTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned(image) => image.fmt(f),
            Self::Tagged(template) => template.fmt(f),
        }
    }
}
