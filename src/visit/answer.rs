//! Whether an answer is of a commit.
//!
//! Pure. Refuses to call an answer right that does not say whose it is, and to repeat what a page
//! says.

use reqwest::StatusCode;

use crate::preview::CommitSha;
use crate::workload::{COMMIT_HEADER, Proof};

/// What the URL answered.
pub(super) struct Answer<'a> {
    pub(super) status: StatusCode,
    /// The header that says the commit, if there is one.
    pub(super) header: Option<&'a str>,
    /// The beginning of the body; empty where the header is the proof.
    pub(super) body: &'a str,
}

/// Judges an answer; the error says what it is instead, and the cure where there is one.
pub(super) fn judge(
    answer: &Answer<'_>,
    proof: &Proof,
    url: &str,
    commit: &CommitSha,
) -> Result<(), String> {
    let status = answer.status.as_u16();
    let fine = match proof {
        Proof::Header => answer.status.is_success() || answer.status.is_redirection(),
        Proof::Path(_) => answer.status.is_success(),
    };
    if !fine {
        return Err(format!("{url} answers {status}"));
    }
    match (proof, answer.header) {
        (Proof::Path(_), _) if answer.body.contains(commit.as_str()) => Ok(()),
        (Proof::Path(_), _) => Err(format!("{url} answers without the commit {}", commit.short())),
        (Proof::Header, Some(served)) if served.trim() == commit.as_str() => Ok(()),
        (Proof::Header, Some(served)) => match CommitSha::parse(served.trim()) {
            Some(other) => Err(format!("{url} still serves {}", other.short())),
            None => Err(format!("{url} answers with a {COMMIT_HEADER} that is no commit")),
        },
        (Proof::Header, None) => Err(format!(
            "{url} answers {status} without the header {COMMIT_HEADER}, so that nobody can tell which \
             commit it is: let the app send it (the variable COMMIT_SHA is its value), name a path \
             whose answer holds the commit (workload.proof.path), or let the ingress controller add \
             it (cluster.kubernetes.ingress.annotations)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(digit: char) -> CommitSha {
        CommitSha::parse(&digit.to_string().repeat(40)).expect("it is a commit")
    }

    #[test]
    fn only_an_answer_that_says_the_wanted_commit_is_right() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let page = format!("{{\"commit\":\"{a}\"}}");
        let path = Proof::Path("/version".to_owned());
        for (status, header, body, proof, right) in [
            (200, Some(a.as_str()), "", &Proof::Header, true),
            (302, Some(a.as_str()), "", &Proof::Header, true),
            (404, Some(a.as_str()), "", &Proof::Header, false),
            (503, Some(a.as_str()), "", &Proof::Header, false),
            (200, Some(b.as_str()), "", &Proof::Header, false),
            (200, Some("a"), "", &Proof::Header, false),
            (200, Some(""), "", &Proof::Header, false),
            (200, None, page.as_str(), &Proof::Header, false),
            (200, None, page.as_str(), &path, true),
            (200, Some(a.as_str()), "", &path, false),
            (200, None, &page[..20], &path, false),
            (302, None, page.as_str(), &path, false),
            (500, None, page.as_str(), &path, false),
        ] {
            let status = StatusCode::from_u16(status).expect("it is a status");
            let answer = Answer { status, header, body };
            let judged = judge(&answer, proof, "http://pr-7.test/", &commit('a'));
            assert_eq!(judged.is_ok(), right, "{status} {header:?} {body}: {judged:?}");
        }
    }

    #[test]
    fn what_is_served_instead_is_named_and_a_page_is_not_repeated() {
        let judged = |header: Option<&str>| {
            let answer = Answer { status: StatusCode::OK, header, body: "" };
            judge(&answer, &Proof::Header, "http://pr-7.test/", &commit('a')).expect_err("not it")
        };
        let other = "b".repeat(40);
        assert_eq!(judged(Some(&other)), "http://pr-7.test/ still serves bbbbbbb");
        assert!(!judged(Some("<script>")).contains("script"));
        assert!(judged(None).contains("workload.proof.path"));
    }
}
