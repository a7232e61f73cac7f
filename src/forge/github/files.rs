//! Files of a repository, as its base branch has them.
//!
//! Refuses to read a pull request's own branch: what is read here decides how Mayfly runs it.

use data_encoding::BASE64;
use serde::Deserialize;

use super::GitHub;
use crate::fault::Fault;
use crate::forge::RepositoryRef;
use crate::preview::PullNumber;

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
}
