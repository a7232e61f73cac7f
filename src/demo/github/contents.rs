//! What is in a directory of a repository at a commit.
//!
//! Refuses to have contents: names are all that is asked for.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;
use super::answers::not_found;

pub(super) async fn list(
    State(hub): State<Arc<Shared>>,
    Path((owner, repo, path)): Path<(String, String, String)>,
    params: Query<HashMap<String, String>>,
) -> Response {
    let commit = params.get("ref").cloned().unwrap_or_default();
    let state = hub.state();
    let repository = state.repository(&format!("{owner}/{repo}"));
    let names = repository.and_then(|it| it.files.get(&(commit, path.clone())));
    names.map_or_else(not_found, |names| {
        let entries: Vec<_> =
            names.iter().map(|name| entry(&hub, &format!("{owner}/{repo}"), &path, name)).collect();
        Json(entries).into_response()
    })
}

fn entry(hub: &Shared, repo: &str, directory: &str, name: &str) -> Value {
    let path = format!("{directory}/{name}");
    let url = format!("http://{}/repos/{repo}/contents/{path}", hub.address);
    let is_directory = !name.contains('.');
    json!({
        "type": if is_directory { "dir" } else { "file" },
        "size": 0,
        "name": name,
        "path": path,
        "sha": "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
        "url": url,
        "git_url": null,
        "html_url": null,
        "download_url": null,
        "_links": { "self": url, "git": null, "html": null },
    })
}
