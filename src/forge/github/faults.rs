//! What a failed call to GitHub means.
//!
//! Refuses to pass on a body as it came: messages are one line and of bounded length, and no
//! header that we sent is ever in them.

use chrono::{DateTime, Utc};
use hyper::StatusCode;

use super::gate::Closed;
use super::line::Answer;
use crate::fault::Fault;

const MAX_WHY_CHARS: usize = 300;

/// An answer that arrived and that GitHub would not give.
pub(super) fn nonsense(doing: &str, error: &serde_json::Error) -> Fault {
    let why = brief(&error.to_string());
    Fault::transient(doing, format!("the answer is not what GitHub's API gives ({why})"))
}

/// A refusal for the number of requests.
pub(super) fn limited(doing: &str, answer: &Answer, closed: &Closed) -> Fault {
    let why = said(answer);
    Fault::transient(doing, format!("{why}; rate limited until {}", instant(closed.until)))
}

/// Any other refusal. `cure` says where a permission is granted, given its name.
pub(super) fn refused(doing: &str, answer: &Answer, cure: impl Fn(&str) -> String) -> Fault {
    let why = said(answer);
    match answer.status {
        StatusCode::NOT_FOUND => Fault::transient(
            doing,
            format!(
                "{why}; the token may lack access to this repository, or it was renamed or removed"
            ),
        ),
        StatusCode::UNAUTHORIZED => {
            Fault::permanent(doing, format!("{why}; the token was revoked or has expired"))
        }
        StatusCode::FORBIDDEN => {
            let needed = needed(answer.header("x-accepted-github-permissions"));
            Fault::permanent(doing, format!("{why}; {}", cure(&needed)))
        }
        StatusCode::REQUEST_TIMEOUT => Fault::transient(doing, why),
        status if status.is_client_error() || status.is_redirection() => {
            Fault::permanent(doing, why)
        }
        _ => Fault::transient(doing, why),
    }
}

/// An instant as people read it.
pub(super) fn instant(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The permissions of which one set is enough, in words: `deployments=write` is "deployments:
/// write". A comma joins those needed together, a semicolon parts the sets
/// (<https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api>).
fn needed(header: Option<&str>) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '=' | ',' | ';' | ' ');
    let header: String = header.unwrap_or_default().chars().filter(plain).collect();
    let sets = header.split(';').map(|set| {
        let each = set.split(',').map(str::trim).filter(|one| !one.is_empty());
        each.map(|one| one.replacen('=', ": ", 1)).collect::<Vec<_>>().join(" and ")
    });
    let sets: Vec<_> = sets.filter(|set| !set.is_empty()).collect();
    match sets.is_empty() {
        true => "pull_requests: write, issues: write and deployments: write".to_owned(),
        false => sets.join(", or "),
    }
}

fn said(answer: &Answer) -> String {
    format!("GitHub answered {}: {}", answer.status, brief(&answer.message()))
}

/// Every cause of an error, the outermost first.
pub(super) fn chain(error: &octocrab::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    brief(&text)
}

fn brief(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(MAX_WHY_CHARS).collect()
}
