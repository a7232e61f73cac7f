//! Why a text names no image that we run, and what to write instead.
//!
//! Refuses to leave a person without the cure.

/// Why a text is no image, tag or template of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// By tag, or by nothing.
    #[error("{0:?} is not pinned; name it by digest: registry/name@sha256:<64 hex digits>")]
    NotPinned(String),
    /// Not as the OCI distribution specification spells names.
    #[error(
        "{0:?} is not an image's name: registry/path in lower-case letters and digits, with . _ - \
         between them"
    )]
    Name(String),
    /// Without the registry that it is in.
    #[error("{0:?} does not say its registry; write the full name, such as ghcr.io/acme/shop")]
    NoRegistry(String),
    /// Without a tag.
    #[error("{0:?} has no tag; add one, such as :{{{{ sha }}}}")]
    NoTag(String),
    /// Not as the OCI distribution specification spells tags.
    #[error(
        "{0:?} is not a tag: at most 128 letters, digits, . _ and -, and it begins with none of . \
         and -"
    )]
    Tag(String),
    /// A tag that is another commit's too.
    #[error(
        "{0:?} names another image after the next push; put {{{{ sha }}}} or {{{{ short_sha }}}} \
         in the tag, or pin a digest: registry/name@sha256:<64 hex digits>"
    )]
    Moving(String),
    /// A placeholder that we do not know, or one that does not end.
    #[error(
        "{0:?} is no placeholder; there are {{{{ sha }}}}, {{{{ short_sha }}}} and {{{{ pr }}}}"
    )]
    Placeholder(String),
}
