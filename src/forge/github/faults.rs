//! What a failed call to GitHub means.
//!
//! Refuses to pass on a body as it came: messages are one line and of bounded length, and no
//! header that we sent is ever in them.

use hyper::StatusCode;
use octocrab::{Error, GitHubError};

use crate::fault::Fault;

const MAX_WHY_CHARS: usize = 300;

/// The fault for an error of the client.
pub(super) fn fault(doing: &str, error: &Error) -> Fault {
    match error {
        Error::GitHub { source, .. } => refused(doing, source),
        Error::JWT { .. } => Fault::permanent(doing, "the App's private key does not sign"),
        other => Fault::transient(doing, brief(&chain(other))),
    }
}

/// An answer that arrived and that GitHub would not give.
pub(super) fn nonsense(doing: &str, error: &serde_json::Error) -> Fault {
    let why = brief(&error.to_string());
    Fault::transient(doing, format!("the answer is not what GitHub's API gives ({why})"))
}

fn refused(doing: &str, error: &GitHubError) -> Fault {
    let status = error.status_code;
    let why = format!("GitHub answered {status}: {}", brief(&error.message));
    if let Some(until) = limited(error) {
        return Fault::transient(doing, format!("{why}; rate limited {until}"));
    }
    match status {
        StatusCode::NOT_FOUND => Fault::transient(
            doing,
            format!(
                "{why}; the token may lack access to this repository, or it was renamed or removed"
            ),
        ),
        StatusCode::UNAUTHORIZED => {
            Fault::permanent(doing, format!("{why}; the token was revoked or has expired"))
        }
        StatusCode::FORBIDDEN => Fault::permanent(
            doing,
            format!(
                "{why}; needed are: pull requests read and write, issues write, deployments write"
            ),
        ),
        StatusCode::REQUEST_TIMEOUT => Fault::transient(doing, why),
        status if status.is_client_error() || status.is_redirection() => {
            Fault::permanent(doing, why)
        }
        _ => Fault::transient(doing, why),
    }
}

/// Until when we are asked to wait, where a refusal is about how much we asked.
fn limited(error: &GitHubError) -> Option<String> {
    let header = |name: &str| error.headers.as_ref()?.get(name)?.to_str().ok();
    let refusal =
        matches!(error.status_code, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS);
    let spent = error.status_code == StatusCode::TOO_MANY_REQUESTS
        || header("x-ratelimit-remaining") == Some("0")
        || header("retry-after").is_some()
        || error.message.to_ascii_lowercase().contains("rate limit");
    if !refusal || !spent {
        return None;
    }
    let seconds = header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
    Some(match (seconds, error.rate_limit_reset_at()) {
        (Some(seconds), _) => format!("for {seconds} s"),
        (None, Some(at)) => format!("until {}", at.format("%Y-%m-%d %H:%M:%S UTC")),
        (None, None) => "until an unknown time".to_owned(),
    })
}

/// Every cause of an error, the outermost first.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn brief(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(MAX_WHY_CHARS).collect()
}
