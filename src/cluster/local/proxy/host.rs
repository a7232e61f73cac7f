//! Reads which preview a request is for.
//!
//! Refuses every host but one label under the suffix that we would mint ourselves, so that no
//! text of a client ever becomes part of a path.

use hyper::Request;
use hyper::header::HOST;
use hyper::http::uri::Authority;

use crate::preview::{Host, Suffix};

/// Why a request is for none of our previews.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HostError {
    /// There is no host, more than one, or it is not one.
    Malformed,
    /// It is a host, and not one of ours.
    NotOurs,
}

/// The preview that a request is for, and the host as the client wrote it.
pub(super) fn preview<B>(
    request: &Request<B>,
    suffix: &Suffix,
) -> Result<(Host, String), HostError> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| HostError::Malformed)?,
        _ => return Err(HostError::Malformed),
    };
    // A request line with a host of its own must not say something else.
    if request.uri().authority().is_some_and(|own| !own.as_str().eq_ignore_ascii_case(host)) {
        return Err(HostError::Malformed);
    }
    Ok((parse(host, suffix)?, host.to_owned()))
}

fn parse(host: &str, suffix: &Suffix) -> Result<Host, HostError> {
    let authority: Authority = host.parse().map_err(|_| HostError::Malformed)?;
    let bare = authority.host();
    // What is not host or port is not a host: "user@pr-7…", "pr-7…:80:80".
    match host.strip_prefix(bare).ok_or(HostError::Malformed)? {
        "" => {}
        port => {
            let digits = port.strip_prefix(':').ok_or(HostError::Malformed)?;
            let number =
                digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok();
            if !number {
                return Err(HostError::Malformed);
            }
        }
    }
    let bare = bare.to_ascii_lowercase();
    let bare = bare.strip_suffix('.').unwrap_or(&bare);
    let label = bare.strip_suffix(suffix.as_str()).and_then(|it| it.strip_suffix('.'));
    label.and_then(Host::parse).ok_or(HostError::NotOurs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_label_under_the_suffix_is_read_however_it_is_spelled() {
        let suffix = Suffix::parse("preview.test").expect("it is a suffix");
        for (label, host) in [
            ("pr-7", "pr-7.preview.test"),
            ("pr-7", "PR-7.Preview.TEST:8080"),
            ("pr-7", "pr-7.preview.test."),
            ("pr-7-api", "pr-7-API.preview.test:8080"),
        ] {
            assert_eq!(parse(host, &suffix).ok(), Host::parse(label), "{host}");
        }
        for host in [
            "preview.test",
            "pr-07.preview.test",
            "a.pr-7.preview.test",
            "pr-7.preview.test.evil",
            "pr-7xpreview.test",
            "pr-7.preview.test..",
            "127.0.0.1",
            "[::1]:80",
        ] {
            assert_eq!(parse(host, &suffix), Err(HostError::NotOurs), "{host}");
        }
        for host in ["", "u@pr-7.preview.test", "pr-7.preview.test:x", "pr-7.preview.test:99999"] {
            assert_eq!(parse(host, &suffix), Err(HostError::Malformed), "{host}");
        }
    }
}
