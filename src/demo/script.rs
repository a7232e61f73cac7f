//! What is played, and who is in it.

use std::path::PathBuf;

use super::place::Place;

/// The repository whose previews live long.
pub const SHOP: &str = "acme/shop";
/// The repository whose previews expire while you watch.
pub const DOCS: &str = "acme/docs";

/// What to play, and with what.
pub struct Script {
    /// Stay until Ctrl-C.
    pub stay: bool,
    /// The wanted port of the previews' URLs.
    pub port: u16,
    /// Where previews run.
    pub place: Place,
    /// Its schema and rows.
    pub seed: PathBuf,
}

/// One preview of the story.
pub(super) struct Pull {
    pub(super) repo: &'static str,
    pub(super) number: u32,
    pub(super) name: &'static str,
}

pub(super) const PULLS: [Pull; 3] = [
    Pull { repo: SHOP, number: 1, name: "pr-1" },
    Pull { repo: SHOP, number: 2, name: "pr-2" },
    Pull { repo: DOCS, number: 1, name: "docs-pr-1" },
];

/// A made-up commit id: the repository, the pull request and the push.
pub(super) fn commit(pull: &Pull, push: u32) -> String {
    let repo = if pull.repo == SHOP { "50b" } else { "d0c" };
    format!("{repo}{:02x}{push:02x}{:033x}", pull.number, 0xfeed_u32)
}
