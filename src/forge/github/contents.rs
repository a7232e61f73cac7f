//! What a directory of the repository holds at one commit: names, never contents.
//!
//! Refuses a list that may be cut short, and to take "not found" for an empty one: a token that may not
//! see the repository's contents is told the same.

use serde::Deserialize;

use super::GitHub;
use crate::fault::Fault;
use crate::forge::RepositoryRef;
use crate::preview::CommitSha;

/// The most that GitHub lists of a directory
/// (<https://docs.github.com/en/rest/repos/contents#get-repository-content>).
const MOST: usize = 1_000;

#[derive(Deserialize)]
struct Content {
    name: String,
}

impl GitHub {
    pub(super) async fn names_in(
        &self,
        repo: &RepositoryRef,
        commit: &CommitSha,
        directory: &str,
    ) -> Result<Vec<String>, Fault> {
        let doing = format!("listing {directory} of {} at {}", repo.full_name(), commit.short());
        let route = format!("/repos/{}/contents/{directory}?ref={commit}", repo.full_name());
        let found: Vec<Content> = self.client.get_again(&doing, &route).await?;
        if found.len() >= MOST {
            let why = format!("it has {MOST} entries or more, of which GitHub does not list all");
            return Err(Fault::permanent(doing, why));
        }
        Ok(found.into_iter().map(|content| content.name).collect())
    }
}
