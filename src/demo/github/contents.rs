//! The files of a repository's main branch.
//!
//! Refuses any other branch: the stand-in keeps no tree of a commit.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Shared;
use super::answers::not_found;

/// One file, as GitHub describes it.
pub(super) async fn file(
    State(hub): State<Arc<Shared>>,
    Path((owner, repo, path)): Path<(String, String, String)>,
    params: Query<HashMap<String, String>>,
) -> Response {
    let state = hub.state();
    let name = format!("{owner}/{repo}");
    let of_main = params.get("ref").is_none_or(|branch| branch == "main");
    let found = state.repository(&name).filter(|_| of_main).and_then(|it| it.files.get(&path));
    let Some(text) = found else { return not_found() };
    let sha = format!("{:x}", Sha256::digest(text))[..40].to_owned();
    let url = format!("https://api.github.com/repos/{name}/contents/{path}?ref=main");
    let git_url = format!("https://api.github.com/repos/{name}/git/blobs/{sha}");
    let html_url = format!("https://github.com/{name}/blob/main/{path}");
    let raw = format!("https://raw.githubusercontent.com/{name}/main/{path}");
    let last = path.rsplit('/').next().unwrap_or_default();
    Json(json!({
        "type": "file",
        "encoding": "base64",
        "size": text.len(),
        "name": last,
        "path": path,
        "content": BASE64.encode(text.as_bytes()),
        "sha": sha,
        "url": url,
        "git_url": git_url,
        "html_url": html_url,
        "download_url": raw,
        "_links": { "self": url, "git": git_url, "html": html_url },
    }))
    .into_response()
}
