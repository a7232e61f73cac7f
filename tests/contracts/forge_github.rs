//! What the GitHub adapter promises beyond the contract, over real HTTP.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeyPair;
use mayfly::demo::github::PullSpec;
use mayfly::fault::{Disposition, Fault};
use mayfly::forge::github::{GitHub, GitHubConfig};
use mayfly::forge::notice::marker;
use mayfly::forge::{Announcement, Forge};
use mayfly::preview::{Notice, Seen};

use super::forge_stage::{
    REPO, Real, Stage, config, gone, number, preparing, ready, ready_at, repo, say, sha,
};

const EDIT: &str = "PATCH /repos/{owner}/{repo}/issues/comments/{id}";
const COMMENT: &str = "POST /repos/{owner}/{repo}/issues/{number}/comments";
const STATUS: &str = "POST /repos/{owner}/{repo}/deployments/{id}/statuses";

pub async fn opened() -> Real {
    let real = Real::start().await;
    real.open(7);
    real
}

impl Real {
    async fn publish(&self, announcement: &Announcement) -> Result<(), Fault> {
        self.github.publish(&repo(), number(7), announcement).await
    }

    fn asked(&self, route: &str) -> u64 {
        self.hub.requests().get(route).copied().unwrap_or(0)
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_and_not_repeated() {
    for lost in 1..=3 {
        let real = opened().await;
        real.hub.commit_then_500(lost);
        let mut faults = 0;
        while let Err(fault) = real.publish(&ready(7)).await {
            assert_eq!(fault.disposition, Disposition::Transient, "{fault}");
            faults += 1;
        }
        assert_eq!(faults, lost);
        assert_eq!((real.comments(7), real.hub.deployments(REPO).len()), (1, 1));
        assert_eq!(real.hub.deployments(REPO)[0].statuses.len(), 1);
        assert!(real.comment_says(7, &ready(7)));
    }
}

#[tokio::test]
async fn a_comment_whose_answer_was_lost_stays_the_only_one() {
    let real = opened().await;
    let approval = say(7, Notice::AwaitingApproval { commit: sha(7) });
    real.hub.commit_then_500(1);
    assert!(real.publish(&approval).await.is_err());
    real.publish(&approval).await.unwrap();
    assert_eq!((real.comments(7), real.asked(COMMENT), real.asked(EDIT)), (1, 1, 0));
}

#[tokio::test]
async fn what_is_said_already_is_not_written_again() {
    let real = opened().await;
    real.publish(&ready(7)).await.unwrap();
    let before = (real.asked(COMMENT), real.asked(EDIT), real.asked(STATUS));
    real.publish(&ready(7)).await.unwrap();
    assert_eq!((real.asked(COMMENT), real.asked(EDIT), real.asked(STATUS)), before);
    assert_eq!(real.asked("GET /user"), 1);
}

#[tokio::test]
async fn a_foreign_comment_with_our_marker_is_never_edited() {
    let real = opened().await;
    let bait = format!("{}\nClick here", marker("test", &ready(7).name));
    real.hub.add_comment(REPO, 7, "mallory", &bait);
    real.publish(&ready(7)).await.unwrap();
    real.publish(&gone(7)).await.unwrap();
    let comments = real.hub.comments(REPO, 7);
    assert_eq!(comments.len(), 2);
    assert_eq!((comments[0].author.as_str(), &comments[0].body), ("mallory", &bait));
}

#[tokio::test]
async fn another_comment_of_ours_is_left_alone() {
    let real = opened().await;
    for body in ["A note by hand".to_owned(), marker("other", &ready(7).name)] {
        real.hub.add_comment(REPO, 7, "mayfly-preview", &body);
    }
    real.publish(&ready(7)).await.unwrap();
    assert_eq!((real.comments(7), real.asked(EDIT)), (3, 0));
}

#[tokio::test]
async fn of_several_comments_of_ours_the_oldest_is_kept_even_pages_away() {
    let real = opened().await;
    let ours = format!("{}\nold words", marker("test", &ready(7).name));
    (0..120).for_each(|n| real.hub.add_comment(REPO, 7, "octavia", &format!("chat {n}")));
    (0..3).for_each(|_| real.hub.add_comment(REPO, 7, "mayfly-preview", &ours));
    let oldest = real.hub.comments(REPO, 7)[120].id;
    real.publish(&ready(7)).await.unwrap();
    let comments = real.hub.comments(REPO, 7);
    assert_eq!((comments.len(), comments[120].id), (121, oldest));
    assert!(real.comment_says(7, &ready(7)));
}

#[tokio::test]
async fn each_commit_has_one_deployment_and_only_the_served_one_is_active() {
    let real = opened().await;
    for commit in [7, 8, 9] {
        real.hub.push(REPO, 7, sha(commit).as_str());
        for _ in 0..2 {
            real.publish(&ready_at(7, sha(commit))).await.unwrap();
        }
    }
    let deployments = real.hub.deployments(REPO);
    assert_eq!((deployments.len(), real.actives()), (3, 1));
    let last = deployments.last().unwrap();
    assert_eq!((last.state(), last.sha.as_str()), ("success", sha(9).as_str()));
    assert_eq!(last.statuses[0].environment_url, ready(7).url);
    assert!(last.transient && last.environment == "pr-7" && last.task == "mayfly");
    real.publish(&gone(7)).await.unwrap();
    assert_eq!((real.hub.deployments(REPO).len(), real.hub.environments(REPO).len()), (0, 0));
}

#[tokio::test]
async fn a_deployment_without_any_status_is_active_and_retired() {
    let real = opened().await;
    // Listed, created, its statuses read; then its first status is refused.
    real.hub.pass_next(3);
    real.hub.fail_next(1, 502);
    assert!(real.publish(&preparing(7)).await.is_err());
    assert_eq!(real.hub.deployments(REPO)[0].state(), "pending");
    assert_eq!(real.github.observe(&repo(), &ready(7).name).await, Seen::Present(()));
    real.publish(&gone(7)).await.unwrap();
    assert_eq!(real.github.observe(&repo(), &ready(7).name).await, Seen::Absent);
}

#[tokio::test]
async fn a_block_fails_the_deployment_that_is_there_and_makes_none() {
    let blocked = say(7, Notice::Blocked { conflict: "route: theirs".to_owned() });
    let real = opened().await;
    real.publish(&blocked).await.unwrap();
    assert_eq!(real.hub.deployments(REPO).len(), 0);
    real.publish(&preparing(7)).await.unwrap();
    real.publish(&blocked).await.unwrap();
    assert_eq!(real.hub.deployments(REPO)[0].state(), "failure");
}

#[tokio::test]
async fn another_installation_does_not_touch_our_deployments() {
    let real = opened().await;
    real.publish(&ready(7)).await.unwrap();
    let other = GitHubConfig { instance: "other".to_owned(), ..config(&real.hub) };
    let other = GitHub::new(other).unwrap();
    assert_eq!(other.observe(&repo(), &ready(7).name).await, Seen::Absent);
    assert_eq!(other.owned(&repo()).await.unwrap(), []);
    other.publish(&repo(), number(7), &gone(7)).await.unwrap();
    assert_eq!((real.actives(), real.comments(7)), (1, 2));
}

#[tokio::test]
async fn a_renamed_repository_is_read_and_written_under_its_old_name() {
    let real = Real::start().await;
    (1..=150).for_each(|n| real.open(n));
    real.hub.rename_repository(REPO, "acme/store");
    assert_eq!(real.github.open_pulls(&repo()).await.unwrap().len(), 150);
    real.publish(&ready(7)).await.unwrap();
    real.publish(&gone(7)).await.unwrap();
    assert_eq!(real.hub.comments("acme/store", 7).len(), 1);
    assert_eq!(real.hub.deployments("acme/store").len(), 0);
}

#[tokio::test]
async fn an_app_speaks_as_its_bot() {
    let real = opened().await;
    let app = super::forge_github_login::app(&real.hub, &super::forge_github_login::key());
    for announcement in [preparing(7), ready(7)] {
        app.publish(&repo(), number(7), &announcement).await.unwrap();
    }
    let comments = real.hub.comments(REPO, 7);
    assert_eq!((comments.len(), comments[0].author.as_str()), (1, "mayfly-app[bot]"));
    assert_eq!(real.actives(), 1);
}

/// A key in PEM; each is made afresh, so that none lies in the repository.
pub fn pem(key: &KeyPair) -> String {
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(key).unwrap();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.as_ref().chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, i| bits << 8 | u32::from(*chunk.get(i).unwrap_or(&0)));
        for digit in 0..4 {
            let sextet = alphabet[(bits >> (18 - 6 * digit)) as usize & 63] as char;
            text.push(if digit <= chunk.len() { sextet } else { '=' });
        }
    }
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

#[tokio::test]
async fn whether_a_forks_author_may_write_is_asked_of_the_forge() {
    let real = Real::start().await;
    for (n, association, permission, trusted) in [
        (1, "COLLABORATOR", Some("read"), false),
        (2, "MEMBER", Some("write"), true),
        (3, "OWNER", Some("admin"), true),
        (4, "MEMBER", Some("none"), false),
        (5, "CONTRIBUTOR", Some("write"), false),
        (6, "NONE", None, false),
    ] {
        let author = format!("author-{n}");
        let spec = PullSpec {
            fork: true,
            author: author.clone(),
            association: association.to_owned(),
            ..PullSpec::new("From a fork", sha(n).as_str())
        };
        real.hub.open_pull(REPO, n, spec);
        if let Some(permission) = permission {
            real.hub.permit(REPO, &author, permission);
        }
        let facts = real.github.pull(&repo(), number(n)).await.unwrap();
        assert_eq!(
            (facts.fork, facts.trusted_author),
            (true, trusted),
            "{association} {permission:?}"
        );
    }
    real.hub.pass_next(1);
    real.hub.fail_next(1, 500);
    assert!(real.github.pull(&repo(), number(2)).await.is_err(), "not known is not trusted");
}
