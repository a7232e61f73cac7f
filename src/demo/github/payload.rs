//! GitHub's JSON, with the fields that GitHub always gives and that Mayfly has to read past.
//!
//! Refuses to be narrowed to what Mayfly reads: then it would prove nothing.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::APP_SLUG;
pub(super) use super::people::{oneself, user};
use super::people::{repository, user_id};
use super::state::{Comment, Deployment, Pull, Repository, Status};

/// The repository that forks live in.
const FORK_ID: i64 = 1_000_000_007;

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A pull request as a list has it: without `merged`.
pub(super) fn pull_in_list(repo: &Repository, pull: &Pull) -> Value {
    let Pull { number, spec, open, merged, created_at, updated_at } = pull;
    let (name, base_owner) =
        (&repo.full_name, repo.full_name.split('/').next().unwrap_or_default());
    let url = format!("https://api.github.com/repos/{name}/pulls/{number}");
    let issue = format!("https://api.github.com/repos/{name}/issues/{number}");
    let head_repo = if spec.fork {
        let repo_name = name.split('/').next_back().unwrap_or_default();
        repository(FORK_ID, &format!("{}/{repo_name}", spec.author), true)
    } else {
        repository(repo.id, name, false)
    };
    let head_owner = if spec.fork { &spec.author } else { base_owner };
    let label = |label: &String| {
        json!({
            "id": user_id(label),
            "node_id": format!("LA_{}", user_id(label)),
            "url": format!("https://api.github.com/repos/{name}/labels/{label}"),
            "name": label,
            "color": "ededed",
            "default": false,
            "description": null,
        })
    };
    let links = json!({
        "self": { "href": url },
        "html": { "href": format!("https://github.com/{name}/pull/{number}") },
        "issue": { "href": issue },
        "comments": { "href": format!("{issue}/comments") },
        "review_comments": { "href": format!("{url}/comments") },
        "review_comment": { "href": format!("{url}/comments{{/number}}") },
        "commits": { "href": format!("{url}/commits") },
        "statuses": { "href": format!("{url}/statuses") },
    });
    json!({
        "url": url,
        "id": repo.id * 100_000 + i64::from(*number),
        "node_id": format!("PR_{number}"),
        "html_url": format!("https://github.com/{name}/pull/{number}"),
        "diff_url": format!("https://github.com/{name}/pull/{number}.diff"),
        "issue_url": issue,
        "patch_url": format!("https://github.com/{name}/pull/{number}.patch"),
        "review_comment_url": format!("{url}/comments{{/number}}"),
        "review_comments_url": format!("{url}/comments"),
        "number": number,
        "state": if *open { "open" } else { "closed" },
        "locked": false,
        "title": spec.title,
        "user": user(&spec.author),
        "body": "Closes #1.\r\n",
        "created_at": time(*created_at),
        "updated_at": time(*updated_at),
        "closed_at": (!open).then(|| time(*updated_at)),
        "merged_at": (!open && *merged).then(|| time(*updated_at)),
        "merge_commit_sha": spec.sha,
        "assignee": null,
        "assignees": [],
        "requested_reviewers": [],
        "requested_teams": [],
        "labels": spec.labels.iter().map(label).collect::<Vec<_>>(),
        "milestone": null,
        "draft": spec.draft,
        "commits_url": format!("{url}/commits"),
        "comments_url": format!("{issue}/comments"),
        "statuses_url": format!("https://api.github.com/repos/{name}/statuses/{}", spec.sha),
        "head": {
            "label": format!("{head_owner}:{}", spec.branch),
            "ref": spec.branch,
            "sha": spec.sha,
            "user": user(head_owner),
            "repo": head_repo,
        },
        "base": {
            "label": format!("{base_owner}:main"),
            "ref": "main",
            "sha": "0000000000000000000000000000000000000000",
            "user": user(base_owner),
            "repo": repository(repo.id, name, false),
        },
        "_links": links,
        "author_association": spec.association,
        "auto_merge": null,
        "active_lock_reason": null,
    })
}

/// A pull request as a single read and a delivery have it.
pub(super) fn pull(repo: &Repository, pull: &Pull) -> Value {
    let mut value = pull_in_list(repo, pull);
    let merged = !pull.open && pull.merged;
    value["merged"] = json!(merged);
    value["mergeable"] = json!(if merged { None } else { Some(true) });
    value["rebaseable"] = json!(if merged { None } else { Some(true) });
    value["mergeable_state"] = json!("clean");
    value["merged_by"] = if merged { user("octavia") } else { Value::Null };
    for count in ["comments", "review_comments"] {
        value[count] = json!(0);
    }
    value["maintainer_can_modify"] = json!(pull.spec.fork);
    for count in ["commits", "additions", "deletions", "changed_files"] {
        value[count] = json!(1);
    }
    value
}

/// The body of a `pull_request` delivery.
pub(super) fn delivery(repo: &Repository, of: &Pull, action: &str) -> Value {
    let owner = repo.full_name.split('/').next().unwrap_or_default();
    let mut value = json!({
        "action": action,
        "number": of.number,
        "pull_request": pull(repo, of),
        "repository": repository(repo.id, &repo.full_name, false),
        "organization": organization(owner),
        "sender": user(&of.spec.author),
        "installation": { "id": 4711, "node_id": "MDIzOkludGVncmF0aW9uSW5zdGFsbGF0aW9uNDcxMQ==" },
    });
    if action == "synchronize" {
        value["before"] = json!("0000000000000000000000000000000000000000");
        value["after"] = json!(of.spec.sha);
    }
    value
}

fn organization(login: &str) -> Value {
    let url = format!("https://api.github.com/orgs/{login}");
    json!({
        "login": login,
        "id": user_id(login),
        "node_id": "O_1",
        "url": url,
        "repos_url": format!("{url}/repos"),
        "events_url": format!("{url}/events"),
        "hooks_url": format!("{url}/hooks"),
        "issues_url": format!("{url}/issues"),
        "members_url": format!("{url}/members{{/member}}"),
        "public_members_url": format!("{url}/public_members{{/member}}"),
        "avatar_url": "https://avatars.githubusercontent.com/u/1?v=4",
        "description": null,
    })
}

pub(super) fn comment(repo: &Repository, comment: &Comment) -> Value {
    let Comment { id, number, author, body, created_at, updated_at } = comment;
    let name = &repo.full_name;
    json!({
        "url": format!("https://api.github.com/repos/{name}/issues/comments/{id}"),
        "html_url": format!("https://github.com/{name}/pull/{number}#issuecomment-{id}"),
        "issue_url": format!("https://api.github.com/repos/{name}/issues/{number}"),
        "id": id,
        "node_id": format!("IC_{id}"),
        "user": user(author),
        "created_at": time(*created_at),
        "updated_at": time(*updated_at),
        "author_association": "MEMBER",
        "body": body,
        "reactions": {
            "url": format!("https://api.github.com/repos/{name}/issues/comments/{id}/reactions"),
            "total_count": 0, "+1": 0, "-1": 0, "laugh": 0, "confused": 0, "heart": 0, "hooray": 0,
            "eyes": 0, "rocket": 0,
        },
        "performed_via_github_app": null,
    })
}

pub(super) fn deployment(repo: &Repository, deployment: &Deployment) -> Value {
    let name = &repo.full_name;
    let url = format!("https://api.github.com/repos/{name}/deployments/{}", deployment.id);
    json!({
        "url": url,
        "id": deployment.id,
        "node_id": format!("DE_{}", deployment.id),
        "task": deployment.task,
        "original_environment": deployment.environment,
        "environment": deployment.environment,
        "description": deployment.description,
        "created_at": time(deployment.created_at),
        "updated_at": time(deployment.created_at),
        "statuses_url": format!("{url}/statuses"),
        "repository_url": format!("https://api.github.com/repos/{name}"),
        "creator": user(&deployment.creator),
        "sha": deployment.sha,
        "ref": deployment.sha,
        "payload": deployment.payload,
        "transient_environment": deployment.transient,
        "production_environment": false,
        "performed_via_github_app": null,
    })
}

pub(super) fn status(repo: &Repository, deployment: &Deployment, status: &Status) -> Value {
    let repository = format!("https://api.github.com/repos/{}", repo.full_name);
    let url = format!("{repository}/deployments/{}", deployment.id);
    json!({
        "url": format!("{url}/statuses/{}", status.id),
        "deployment_url": url,
        "repository_url": repository,
        "id": status.id,
        "node_id": format!("DES_{}", status.id),
        "state": status.state,
        "creator": user(&deployment.creator),
        "description": status.description,
        "environment": deployment.environment,
        "target_url": "",
        "log_url": "",
        "environment_url": status.environment_url,
        "created_at": time(status.created_at),
        "updated_at": time(status.created_at),
        "performed_via_github_app": null,
    })
}

/// The App, as it sees itself.
pub(super) fn app() -> Value {
    json!({
        "id": 77,
        "slug": APP_SLUG,
        "node_id": "A_77",
        "client_id": "Iv1.0123456789abcdef",
        "owner": user("acme"),
        "name": "Mayfly",
        "description": null,
        "external_url": "https://mayfly.example.com",
        "html_url": format!("https://github.com/apps/{APP_SLUG}"),
        "created_at": "2024-01-01T00:00:00Z",
        "updated_at": "2024-01-01T00:00:00Z",
        "permissions": { "deployments": "write", "metadata": "read", "pull_requests": "write" },
        "events": ["pull_request"],
    })
}
