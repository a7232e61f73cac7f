//! What a repository holds: files of its main branch, and the names in a directory at a commit.
//!
//! Refuses the content of any other branch: the stand-in keeps no tree.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Shared;
use super::answers::not_found;

/// A file, or a directory, as GitHub describes it.
pub(super) async fn show(
    State(hub): State<Arc<Shared>>,
    Path((owner, repo, path)): Path<(String, String, String)>,
    params: Query<HashMap<String, String>>,
) -> Response {
    let state = hub.state();
    let name = format!("{owner}/{repo}");
    let at = params.get("ref").map_or("main", String::as_str);
    let Some(repository) = state.repository(&name) else { return not_found() };
    let file = repository.files.get(&path).filter(|_| at == "main");
    let listed = repository.directories.get(&(at.to_owned(), path.clone()));
    match (file, listed) {
        (Some(text), _) => Json(file_of(&hub, &name, &path, text)).into_response(),
        (None, Some(names)) => {
            let entries = names.iter().map(|file| entry(&hub, &name, &format!("{path}/{file}")));
            Json(entries.collect::<Vec<_>>()).into_response()
        }
        (None, None) => not_found(),
    }
}

fn file_of(hub: &Shared, repo: &str, path: &str, text: &str) -> Value {
    let mut file = entry(hub, repo, path);
    file["encoding"] = json!("base64");
    file["size"] = json!(text.len());
    file["content"] = json!(BASE64.encode(text.as_bytes()));
    file
}

fn entry(hub: &Shared, repo: &str, path: &str) -> Value {
    let name = path.rsplit('/').next().unwrap_or_default();
    let url = format!("http://{}/repos/{repo}/contents/{path}", hub.address);
    let sha = format!("{:x}", Sha256::digest(path))[..40].to_owned();
    json!({
        "type": if name.contains('.') { "file" } else { "dir" },
        "size": 0,
        "name": name,
        "path": path,
        "sha": sha,
        "url": url,
        "git_url": null,
        "html_url": null,
        "download_url": null,
        "_links": { "self": url, "git": null, "html": null },
    })
}
