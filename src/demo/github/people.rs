//! GitHub's JSON of users and repositories, which all the rest holds.
//!
//! Refuses to be narrowed to what Mayfly reads: then it would prove nothing.

use serde_json::{Value, json};

use super::{APP_SLUG, TOKEN_LOGIN};

/// The same id for the same login, in GitHub's range.
pub(super) fn user_id(login: &str) -> u64 {
    match login {
        TOKEN_LOGIN => 9001,
        bot if bot == format!("{APP_SLUG}[bot]") => 9002,
        other => {
            other.bytes().fold(10_000, |id, b| (id * 31 + u64::from(b)) % 900_000_000 + 10_000)
        }
    }
}

pub(super) fn user(login: &str) -> Value {
    let id = user_id(login);
    let url = format!("https://api.github.com/users/{login}");
    json!({
        "login": login,
        "id": id,
        "node_id": format!("U_{id}"),
        "avatar_url": format!("https://avatars.githubusercontent.com/u/{id}?v=4"),
        "gravatar_id": "",
        "url": url,
        "html_url": format!("https://github.com/{login}"),
        "followers_url": format!("{url}/followers"),
        "repos_url": format!("{url}/repos"),
        "events_url": format!("{url}/events{{/privacy}}"),
        "type": if login.ends_with("[bot]") { "Bot" } else { "User" },
        "user_view_type": "public",
        "site_admin": false,
    })
}

pub(super) fn repository(id: i64, full_name: &str, fork: bool) -> Value {
    let (owner, name) = full_name.split_once('/').unwrap_or(("", full_name));
    let url = format!("https://api.github.com/repos/{full_name}");
    let mut owner = user(owner);
    owner["type"] = json!(if fork { "User" } else { "Organization" });
    json!({
        "id": id,
        "node_id": format!("R_{id}"),
        "name": name,
        "full_name": full_name,
        "private": false,
        "owner": owner,
        "html_url": format!("https://github.com/{full_name}"),
        "description": null,
        "fork": fork,
        "url": url,
        "pulls_url": format!("{url}/pulls{{/number}}"),
        "deployments_url": format!("{url}/deployments"),
        "created_at": "2024-01-01T00:00:00Z",
        "updated_at": "2024-01-01T00:00:00Z",
        "pushed_at": "2024-01-01T00:00:00Z",
        "clone_url": format!("https://github.com/{full_name}.git"),
        "language": "Rust",
        "archived": false,
        "disabled": false,
        "visibility": "public",
        "open_issues_count": 1,
        "default_branch": "main",
    })
}
