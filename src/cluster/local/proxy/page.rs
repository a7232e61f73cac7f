//! The pages that the proxy shows itself.
//!
//! Refuses to show a text unescaped, to load anything from elsewhere, and to be indexed.

use http_body_util::{BodyExt, Full};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::Fate;
use super::forward::Body;

/// Tells crawlers to stay away; on every answer.
pub(super) const ROBOTS: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex, nofollow"));

/// The page for a preview that cannot be reached.
pub(super) fn fate(host: &str, fate: Fate) -> Response<Body> {
    match fate {
        Fate::Starting { detail } => {
            page(StatusCode::SERVICE_UNAVAILABLE, "This preview is starting", &detail)
        }
        Fate::Gone => page(
            StatusCode::GONE,
            "This preview is gone",
            "Its pull request was closed, or it was stopped, expired, or waits for a person. The \
             comment on the pull request says which, and how to bring it back.",
        ),
        Fate::Unknown => page(
            StatusCode::NOT_FOUND,
            "There is no such preview",
            &format!("Nothing is known about {host}."),
        ),
    }
}

/// The page for a request that names no host.
pub(super) fn malformed() -> Response<Body> {
    let why = "The request does not say which host it is for.";
    page(StatusCode::BAD_REQUEST, "Which preview?", why)
}

/// The page for a workload that broke off before it answered.
pub(super) fn broken() -> Response<Body> {
    let why = "It took the request and ended the connection without an answer. Its log says more.";
    page(StatusCode::BAD_GATEWAY, "The preview did not answer", why)
}

fn page(status: StatusCode, title: &str, text: &str) -> Response<Body> {
    let waits = status == StatusCode::SERVICE_UNAVAILABLE;
    let refresh = if waits { "<meta http-equiv=\"refresh\" content=\"1\">\n" } else { "" };
    let (title, text) = (escape(title), escape(text));
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n{refresh}\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>body{{font:17px/1.6 system-ui,sans-serif;max-width:34rem;margin:18vh auto;\
         padding:0 1.5rem;color:#1f2933;background:#fbfaf7}}h1{{font-size:1.5rem;margin:0 0 .5rem}}\
         p{{margin:0;color:#52606d;overflow-wrap:anywhere}}@media(prefers-color-scheme:dark){{\
         body{{color:#e4e7eb;background:#14181d}}p{{color:#9aa5b1}}}}</style>\n\
         <h1>{title}</h1>\n<p>{text}</p>\n</html>\n"
    );
    let body = Full::from(html).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ROBOTS.0, ROBOTS.1);
    if waits {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, c| {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
        safe
    })
}
