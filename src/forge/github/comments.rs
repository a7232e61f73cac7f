//! Our one comment on a pull request, found by its marker and by its author.
//!
//! Refuses to edit or delete what somebody else wrote, marker or not.

use hyper::Method;
use serde::{Deserialize, Serialize};

use super::GitHub;
use super::client::Identity;
use crate::fault::Fault;
use crate::forge::{Announcement, RepositoryRef, notice};
use crate::preview::PullNumber;

#[derive(Deserialize)]
struct Comment {
    id: u64,
    body: Option<String>,
    /// Null when the account is gone.
    user: Option<Author>,
}

#[derive(Deserialize)]
struct Author {
    id: u64,
    login: String,
}

/// An answer of which we only need that it is JSON about a comment.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "id")]
    _id: u64,
}

#[derive(Serialize)]
struct Words<'a> {
    body: &'a str,
}

impl GitHub {
    /// Makes our comment say it: created, edited or left alone. Of twins, the oldest stays.
    pub(super) async fn comment(
        &self,
        repo: &RepositoryRef,
        number: PullNumber,
        announcement: &Announcement,
        caveat: Option<&str>,
    ) -> Result<(), Fault> {
        let full_name = repo.full_name();
        let doing = format!("commenting on {full_name}#{number}");
        let marker = notice::marker(&self.instance, &announcement.name);
        let mut words = notice::markdown(announcement, &self.instance);
        if let Some(caveat) = caveat {
            words.push_str(&notice::caveat(caveat));
        }
        let me = self.client.identity().await?;
        let on_pull = format!("/repos/{full_name}/issues/{number}/comments");
        let on_comment = |id: u64| format!("/repos/{full_name}/issues/comments/{id}");

        let all: Vec<Comment> =
            self.client.list(&doing, &format!("{on_pull}?per_page=100")).await?;
        let mut ours: Vec<Comment> = all.into_iter().filter(|c| c.is_ours(me, &marker)).collect();
        ours.sort_by_key(|comment| comment.id);
        let mut ours = ours.into_iter();

        let body = Words { body: &words };
        match ours.next() {
            None => {
                self.client.write::<_, Written>(&doing, Method::POST, &on_pull, &body).await?;
            }
            Some(comment) if comment.says(&words) => {}
            Some(comment) => {
                let route = on_comment(comment.id);
                self.client.write::<_, Written>(&doing, Method::PATCH, &route, &body).await?;
            }
        }
        // Twins come from two controllers that wrote at once.
        for twin in ours {
            self.client.delete(&doing, &on_comment(twin.id)).await?;
        }
        Ok(())
    }
}

impl Comment {
    fn is_ours(&self, me: &Identity, marker: &str) -> bool {
        let author = self.user.as_ref().is_some_and(|user| match me {
            Identity::User(id) => user.id == *id,
            Identity::Bot(login) => user.login.eq_ignore_ascii_case(login),
        });
        author && self.body.as_deref().unwrap_or_default().trim_start().starts_with(marker)
    }

    /// The same words, whatever became of line ends on the way.
    fn says(&self, words: &str) -> bool {
        let body = self.body.as_deref().unwrap_or_default().replace("\r\n", "\n");
        body.trim() == words.trim()
    }
}
