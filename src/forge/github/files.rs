//! What a repository holds: a file as the base branch has it, and the names in a directory at a commit.
//!
//! Refuses to read a file of a pull request's own branch, since it decides how Mayfly runs it; a list that
//! may be cut short; and to take "not found" for an empty list, which a token that may not see the
//! contents is told too.

use data_encoding::BASE64;
use serde::Deserialize;

use super::GitHub;
use crate::fault::Fault;
use crate::forge::RepositoryRef;
use crate::preview::{CommitSha, PullNumber};

/// The most that GitHub lists of a directory
/// (<https://docs.github.com/en/rest/repos/contents#get-repository-content>).
const MOST: usize = 1_000;

#[derive(Deserialize)]
struct Entry {
    name: String,
}

#[derive(Deserialize)]
struct Based {
    base: Branch,
}

#[derive(Deserialize)]
struct Branch {
    r#ref: String,
}

/// <https://docs.github.com/en/rest/repos/contents#get-repository-content>
#[derive(Deserialize)]
struct Content {
    r#type: String,
    #[serde(default)]
    encoding: String,
    #[serde(default)]
    content: String,
}

impl GitHub {
    /// The text of a file on the branch that a pull request wants to be merged into; `None` where that
    /// has no such file.
    pub(super) async fn file_of_base(
        &self,
        repo: &RepositoryRef,
        number: PullNumber,
        path: &str,
    ) -> Result<Option<String>, Fault> {
        let doing = format!("reading {path} of the base of {}#{number}", repo.full_name());
        // With the same right as the pull request itself: a token that is no good fails here.
        let pull = format!("/repos/{}/pulls/{number}", repo.full_name());
        let Based { base } = self.client.get_again(&doing, &pull).await?;
        let branch: String = form_urlencoded::byte_serialize(base.r#ref.as_bytes()).collect();
        let route = format!("/repos/{}/contents/{path}?ref={branch}", repo.full_name());
        let found: Option<Content> = self.client.find_again(&doing, &route).await?;
        let Some(found) = found else { return Ok(None) };
        if found.r#type != "file" || found.encoding != "base64" {
            let why = "it is not a file of less than 1 MB; make it one";
            return Err(Fault::permanent(doing, why));
        }
        let plain: String = found.content.split_whitespace().collect();
        let bytes =
            BASE64.decode(plain.as_bytes()).map_err(|error| Fault::transient(&doing, error))?;
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|_| Fault::permanent(doing, "it is not text in UTF-8"))
    }
    /// The names of what a directory holds at a commit.
    pub(super) async fn names_in(
        &self,
        repo: &RepositoryRef,
        commit: &CommitSha,
        directory: &str,
    ) -> Result<Vec<String>, Fault> {
        let doing = format!("listing {directory} of {} at {}", repo.full_name(), commit.short());
        let route = format!("/repos/{}/contents/{directory}?ref={commit}", repo.full_name());
        let found: Vec<Entry> = self.client.get_again(&doing, &route).await?;
        if found.len() >= MOST {
            let why = format!("it has {MOST} entries or more, of which GitHub does not list all");
            return Err(Fault::permanent(doing, why));
        }
        Ok(found.into_iter().map(|entry| entry.name).collect())
    }
}
