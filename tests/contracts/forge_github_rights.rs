//! What the GitHub adapter leaves behind, asks for again, and makes of rights that it lacks.

use chrono::TimeDelta;
use mayfly::clock::machine_time;
use mayfly::demo::github::HookDelivery;
use mayfly::fault::Disposition;
use mayfly::forge::github::{Auth, GitHub, GitHubConfig};
use mayfly::forge::{FailedDelivery, Forge};
use mayfly::preview::Seen;

use super::forge_github::{opened, pem};
use super::forge_github_login::key;
use super::forge_stage::{REPO, Real, Stage, config, gone, number, preparing, ready, repo};

/// Whoever asks for failed deliveries: an App, or a token.
fn hearing(real: &Real, app: bool) -> GitHub {
    let token = config(&real.hub).auth;
    let pem = || pem(&key()).into();
    let auth = match app {
        true => Auth::App { app_id: 77, private_key_pem: pem(), installation_id: 4711 },
        false => token,
    };
    GitHub::new(GitHubConfig { auth, redeliver: true, ..config(&real.hub) }).unwrap()
}

fn delivery(id: u64, guid: &str, status_code: u16) -> HookDelivery {
    HookDelivery {
        id,
        guid: guid.to_owned(),
        event: "pull_request".to_owned(),
        status_code,
        delivered_at: machine_time() - TimeDelta::minutes(1_000 - i64::try_from(id).unwrap()),
        installation_id: Some(4711),
    }
}

async fn failed(github: &GitHub) -> Vec<FailedDelivery> {
    let since = machine_time() - TimeDelta::days(1);
    github.failed_deliveries(&[repo()], since).await.unwrap()
}

#[tokio::test]
async fn a_delivery_that_failed_is_asked_for_again_and_no_other_is() {
    for app in [true, false] {
        let real = opened().await;
        let github = hearing(&real, app);
        for (id, guid, status) in [
            (1, "down", 0),
            (2, "fine", 202),
            (3, "mended", 502),
            (4, "mended", 200),
            (5, "still-down", 500),
            (6, "still-down", 503),
        ] {
            real.hub.note_delivery(delivery(id, guid, status));
        }
        (10..15).for_each(|id| real.hub.note_delivery(delivery(id, "given-up", 500)));
        let other = HookDelivery { event: "push".to_owned(), ..delivery(20, "other", 500) };
        real.hub.note_delivery(other);
        let at = machine_time() - TimeDelta::days(2);
        real.hub.note_delivery(HookDelivery { delivered_at: at, ..delivery(0, "old", 500) });
        let found = failed(&github).await;
        let ids: Vec<_> = found.iter().map(|delivery| delivery.id.as_str()).collect();
        assert_eq!(ids, ["down", "still-down"], "app: {app}");
        assert!(found[1].address.ends_with("/deliveries/6"), "its last attempt");
        for delivery in &found {
            github.redeliver(delivery).await.unwrap();
        }
        assert_eq!(real.hub.attempts(), ["down", "still-down"]);
    }
}

#[tokio::test]
async fn another_installations_deliveries_are_left_to_it() {
    let real = opened().await;
    let installation_id = Some(1);
    real.hub.note_delivery(HookDelivery { installation_id, ..delivery(1, "theirs", 500) });
    real.hub.note_delivery(delivery(2, "ours", 500));
    let found = failed(&hearing(&real, true)).await;
    assert_eq!(found.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["ours"]);
}

#[tokio::test]
async fn failed_deliveries_are_found_pages_away() {
    let real = opened().await;
    real.hub.note_delivery(delivery(1, "early", 500));
    (2..=250).for_each(|id| real.hub.note_delivery(delivery(id, &format!("fine-{id}"), 202)));
    for app in [true, false] {
        assert_eq!(failed(&hearing(&real, app)).await.len(), 1);
    }
}

#[tokio::test]
async fn a_token_that_may_not_see_webhooks_is_no_fault() {
    let real = opened().await;
    real.hub.note_delivery(delivery(1, "down", 500));
    real.hub.forbid("repository_hooks");
    assert_eq!(failed(&hearing(&real, false)).await, []);
    let before = real.hub.exchanges().len();
    let mute = GitHubConfig { redeliver: false, ..config(&real.hub) };
    assert_eq!(failed(&GitHub::new(mute).unwrap()).await, []);
    assert_eq!(real.hub.exchanges().len(), before, "where it is not wished for, nobody asks");
}

#[tokio::test]
async fn a_preview_that_is_gone_leaves_neither_deployment_nor_environment() {
    let real = opened().await;
    real.open(8);
    for announcement in [preparing(7), ready(7), gone(7)] {
        real.github.publish(&repo(), number(7), &announcement).await.unwrap();
    }
    real.github.publish(&repo(), number(8), &ready(8)).await.unwrap();
    assert_eq!(real.hub.environments(REPO), ["pr-8"]);
    assert_eq!(real.hub.deployments(REPO).len(), 1);
    // Again, and once more from the beginning: the pull request was reopened.
    for announcement in [gone(7), ready(7), gone(7)] {
        real.github.publish(&repo(), number(7), &announcement).await.unwrap();
    }
    assert_eq!(real.hub.environments(REPO), ["pr-8"]);
}

#[tokio::test]
async fn an_environment_with_somebody_elses_deployment_stays() {
    let real = opened().await;
    let other = GitHubConfig { instance: "other".to_owned(), ..config(&real.hub) };
    let other = GitHub::new(other).unwrap();
    other.publish(&repo(), number(7), &ready(7)).await.unwrap();
    real.github.publish(&repo(), number(7), &ready(7)).await.unwrap();
    real.github.publish(&repo(), number(7), &gone(7)).await.unwrap();
    assert_eq!((real.hub.deployments(REPO).len(), real.actives()), (1, 1));
    assert_eq!(real.hub.environments(REPO), ["pr-7"]);
}

#[tokio::test]
async fn an_environment_that_a_person_made_by_hand_stays() {
    let real = opened().await;
    real.hub.add_environment(REPO, "pr-7");
    real.github.publish(&repo(), number(7), &gone(7)).await.unwrap();
    assert_eq!(real.hub.environments(REPO), ["pr-7"]);
}

#[tokio::test]
async fn without_the_right_to_delete_environments_gone_is_said_all_the_same() {
    let real = opened().await;
    real.hub.forbid("administration");
    real.github.publish(&repo(), number(7), &ready(7)).await.unwrap();
    real.github.publish(&repo(), number(7), &gone(7)).await.unwrap();
    assert!(real.comment_says(7, &gone(7)));
    assert_eq!(real.github.observe(&repo(), &gone(7).name).await, Seen::Absent);
    assert_eq!(real.hub.environments(REPO), ["pr-7"]);
}

#[tokio::test]
async fn what_has_ended_is_asked_for_once_by_the_sweeps() {
    let real = opened().await;
    for n in [7, 8, 9] {
        real.open(n);
        real.github.publish(&repo(), number(n), &preparing(n)).await.unwrap();
        let stopping = super::forge_stage::stopping(n);
        real.github.publish(&repo(), number(n), &stopping).await.unwrap();
    }
    let statuses = "GET /repos/{owner}/{repo}/deployments/{id}/statuses";
    let before = real.hub.requests()[statuses];
    for _ in 0..3 {
        assert_eq!(real.github.owned(&repo()).await.unwrap(), []);
    }
    assert!(real.hub.requests()[statuses] <= before + 3, "{:?}", real.hub.requests());
    real.github.publish(&repo(), number(8), &ready(8)).await.unwrap();
    assert_eq!(real.github.owned(&repo()).await.unwrap(), [ready(8).name]);
}

#[tokio::test]
async fn a_missing_permission_is_named_with_its_cure_and_stops_nothing_else() {
    for app in [true, false] {
        let real = opened().await;
        let github = hearing(&real, app);
        real.hub.forbid("deployments");
        let fault = github.publish(&repo(), number(7), &ready(7)).await.unwrap_err();
        assert_eq!(fault.disposition, Disposition::Permanent);
        let place = if app { "/settings/installations/4711" } else { "personal-access-tokens" };
        assert!(fault.why.contains("lacks deployments: write"), "{fault}");
        assert!(fault.why.contains(place), "{fault}");
        let comments = real.hub.comments(REPO, 7);
        assert_eq!(comments.len(), 1);
        assert!(comments[0].body.contains("lacks deployments: write"), "{}", comments[0].body);
        // Said again, it is the same comment.
        assert!(github.publish(&repo(), number(7), &ready(7)).await.is_err());
        assert_eq!(real.hub.comments(REPO, 7)[0].body, comments[0].body);
    }
    let real = opened().await;
    real.hub.forbid("issues");
    let fault = real.github.publish(&repo(), number(7), &ready(7)).await.unwrap_err();
    assert!(fault.why.contains("lacks issues: write"), "{fault}");
    assert_eq!(real.actives(), 1, "the deployment is shown");
}
