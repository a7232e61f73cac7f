//! GitHub's JSON of users and repositories, which all the rest holds.
//!
//! Refuses to be narrowed to what Mayfly reads: then it would prove nothing. A test holds it to
//! GitHub's description.

use serde_json::{Value, json};

use super::{APP_SLUG, TOKEN_LOGIN};

/// Addresses below a user's.
const OF_USER: [(&str, &str); 9] = [
    ("followers_url", "/followers"),
    ("following_url", "/following{/other_user}"),
    ("gists_url", "/gists{/gist_id}"),
    ("starred_url", "/starred{/owner}{/repo}"),
    ("subscriptions_url", "/subscriptions"),
    ("organizations_url", "/orgs"),
    ("repos_url", "/repos"),
    ("events_url", "/events{/privacy}"),
    ("received_events_url", "/received_events"),
];

/// Addresses below a repository's.
const OF_REPOSITORY: [(&str, &str); 37] = [
    ("archive_url", "/{archive_format}{/ref}"),
    ("assignees_url", "/assignees{/user}"),
    ("blobs_url", "/git/blobs{/sha}"),
    ("branches_url", "/branches{/branch}"),
    ("collaborators_url", "/collaborators{/collaborator}"),
    ("comments_url", "/comments{/number}"),
    ("commits_url", "/commits{/sha}"),
    ("compare_url", "/compare/{base}...{head}"),
    ("contents_url", "/contents/{+path}"),
    ("contributors_url", "/contributors"),
    ("deployments_url", "/deployments"),
    ("downloads_url", "/downloads"),
    ("events_url", "/events"),
    ("forks_url", "/forks"),
    ("git_commits_url", "/git/commits{/sha}"),
    ("git_refs_url", "/git/refs{/sha}"),
    ("git_tags_url", "/git/tags{/sha}"),
    ("hooks_url", "/hooks"),
    ("issue_comment_url", "/issues/comments{/number}"),
    ("issue_events_url", "/issues/events{/number}"),
    ("issues_url", "/issues{/number}"),
    ("keys_url", "/keys{/key_id}"),
    ("labels_url", "/labels{/name}"),
    ("languages_url", "/languages"),
    ("merges_url", "/merges"),
    ("milestones_url", "/milestones{/number}"),
    ("notifications_url", "/notifications{?since,all,participating}"),
    ("pulls_url", "/pulls{/number}"),
    ("releases_url", "/releases{/id}"),
    ("stargazers_url", "/stargazers"),
    ("statuses_url", "/statuses/{sha}"),
    ("subscribers_url", "/subscribers"),
    ("subscription_url", "/subscription"),
    ("tags_url", "/tags"),
    ("teams_url", "/teams"),
    ("trees_url", "/git/trees{/sha}"),
    ("url", ""),
];

fn addresses(value: &mut Value, base: &str, below: &[(&str, &str)]) {
    for (name, path) in below {
        value[name] = json!(format!("{base}{path}"));
    }
}

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
    let mut user = json!({
        "login": login,
        "id": id,
        "node_id": format!("U_{id}"),
        "avatar_url": format!("https://avatars.githubusercontent.com/u/{id}?v=4"),
        "gravatar_id": "",
        "url": url,
        "html_url": format!("https://github.com/{login}"),
        "type": if login.ends_with("[bot]") { "Bot" } else { "User" },
        "user_view_type": "public",
        "site_admin": false,
    });
    addresses(&mut user, &url, &OF_USER);
    user
}

/// A user as they see themselves with a token.
pub(super) fn oneself(login: &str) -> Value {
    let mut user = user(login);
    for unsaid in ["bio", "company", "email", "hireable", "location", "name"] {
        user[unsaid] = Value::Null;
    }
    for count in ["followers", "following", "public_gists", "public_repos"] {
        user[count] = json!(0);
    }
    user["blog"] = json!("");
    user["created_at"] = json!("2024-01-01T00:00:00Z");
    user["updated_at"] = json!("2024-01-01T00:00:00Z");
    user
}

pub(super) fn repository(id: i64, full_name: &str, fork: bool) -> Value {
    let (owner, name) = full_name.split_once('/').unwrap_or(("", full_name));
    let mut owner = user(owner);
    owner["type"] = json!(if fork { "User" } else { "Organization" });
    let mut repository = json!({
        "id": id,
        "node_id": format!("R_{id}"),
        "name": name,
        "full_name": full_name,
        "private": false,
        "owner": owner,
        "html_url": format!("https://github.com/{full_name}"),
        "description": null,
        "fork": fork,
        "created_at": "2024-01-01T00:00:00Z",
        "updated_at": "2024-01-01T00:00:00Z",
        "pushed_at": "2024-01-01T00:00:00Z",
        "clone_url": format!("https://github.com/{full_name}.git"),
        "git_url": format!("git://github.com/{full_name}.git"),
        "ssh_url": format!("git@github.com:{full_name}.git"),
        "svn_url": format!("https://github.com/{full_name}"),
        "homepage": null,
        "mirror_url": null,
        "license": null,
        "language": "Rust",
        "topics": [],
        "custom_properties": {},
        "visibility": "public",
        "default_branch": "main",
    });
    for no in ["archived", "disabled", "is_template", "web_commit_signoff_required"] {
        repository[no] = json!(false);
    }
    for has in ["downloads", "issues", "pages", "projects", "wiki"] {
        repository[format!("has_{has}")] = json!(false);
    }
    for count in ["forks", "open_issues", "stargazers", "watchers"] {
        repository[format!("{count}_count")] = json!(1);
    }
    for count in ["forks", "open_issues", "size", "watchers"] {
        repository[count] = json!(1);
    }
    addresses(
        &mut repository,
        &format!("https://api.github.com/repos/{full_name}"),
        &OF_REPOSITORY,
    );
    repository
}
