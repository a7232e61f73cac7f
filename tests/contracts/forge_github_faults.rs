//! What the GitHub adapter makes of answers that are late, wrong, or refusals.

use std::time::Duration;

use mayfly::fault::Disposition;
use mayfly::forge::Forge;
use mayfly::forge::github::{Auth, GitHub, GitHubConfig};
use mayfly::preview::Seen;

use super::forge_github::opened;
use super::forge_stage::{Real, Stage, config, number, ready, repo};

#[tokio::test]
async fn a_list_of_which_one_page_fails_is_a_fault() {
    let real = Real::start().await;
    (1..=250).for_each(|n| real.open(n));
    for good in 0..3 {
        real.hub.pass_next(good);
        real.hub.fail_next(1, 502);
        let fault = real.github.open_pulls(&repo()).await.unwrap_err();
        assert_eq!(fault.disposition, Disposition::Transient);
    }
    assert_eq!(real.github.open_pulls(&repo()).await.unwrap().len(), 250);
}

#[tokio::test]
async fn an_empty_list_is_returned_as_it_is_since_the_brake_is_elsewhere() {
    let real = opened().await;
    real.hub.lie_empty_list(true);
    assert_eq!(real.github.open_pulls(&repo()).await.unwrap(), []);
}

#[tokio::test]
async fn a_page_for_people_with_200_is_a_fault() {
    let real = opened().await;
    real.hub.html_next(3);
    assert!(real.github.open_pulls(&repo()).await.is_err());
    assert!(real.github.pull(&repo(), number(7)).await.is_err());
    assert!(matches!(real.github.observe(&repo(), &ready(7).name).await, Seen::Unknown(_)));
}

#[tokio::test]
async fn a_refusal_says_what_to_make_of_it() {
    use Disposition::{Permanent, Transient};
    let table = [
        (401, Permanent, "revoked or has expired"),
        (403, Permanent, "lacks pull_requests: write"),
        (404, Transient, "may lack access"),
        (422, Permanent, "422"),
        (429, Transient, "rate limited"),
        (500, Transient, "500"),
        (503, Transient, "503"),
    ];
    for (status, disposition, words) in table {
        let real = opened().await;
        real.hub.fail_next(1, status);
        let fault = real.github.pull(&repo(), number(7)).await.unwrap_err();
        assert_eq!(fault.disposition, disposition, "{fault}");
        assert!(fault.why.contains(words) && fault.why.contains("told to fail"), "{fault}");
    }
}

#[tokio::test]
async fn a_rate_limit_passes_by_itself_and_says_when() {
    let real = opened().await;
    real.hub.rate_limit_next(1);
    let fault = real.github.pull(&repo(), number(7)).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Transient);
    assert!(fault.why.contains("rate limited until 2"), "{fault}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_fault_within_the_timeout() {
    let real = opened().await;
    let hasty = GitHubConfig { timeout: Duration::from_millis(100), ..config(&real.hub) };
    let hasty = GitHub::new(hasty).unwrap();
    real.hub.hold(true);
    let repo = repo();
    let read = tokio::time::timeout(Duration::from_secs(10), hasty.pull(&repo, number(7)));
    let fault = read.await.expect("the adapter's own deadline comes first").unwrap_err();
    assert_eq!(fault.disposition, Disposition::Transient);
    assert!(fault.why.contains("no answer within"), "{fault}");
    real.hub.hold(false);
    assert!(real.github.pull(&repo, number(7)).await.is_ok());
}

#[tokio::test]
async fn a_forge_that_is_not_there_is_a_fault_that_passes() {
    let real = opened().await;
    let config = GitHubConfig { api_url: "http://127.0.0.1:1".to_owned(), ..config(&real.hub) };
    let fault = GitHub::new(config).unwrap().pull(&repo(), number(7)).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Transient);
    assert!(fault.why.contains("refused"), "{fault}");
}

#[tokio::test]
async fn no_secret_is_ever_printed() {
    let real = opened().await;
    let secret = "ghp_notatoken";
    let config = GitHubConfig { auth: Auth::Token(secret.into()), ..config(&real.hub) };
    let github = GitHub::new(config.clone()).unwrap();
    let fault = github.pull(&repo(), number(7)).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Permanent);
    let mut printed = format!("{config:?} {github:?} {fault:?} {fault}");
    for token in [String::new(), format!("{secret} two"), format!("{secret}\n")] {
        let auth = Auth::Token(token.into());
        let fault = GitHub::new(GitHubConfig { auth, ..config.clone() }).unwrap_err();
        printed.push_str(&format!("{fault:?}"));
    }
    let key = Auth::App { app_id: 1, private_key_pem: secret.into(), installation_id: 1 };
    let fault = GitHub::new(GitHubConfig { auth: key.clone(), ..config.clone() }).unwrap_err();
    printed.push_str(&format!("{key:?} {fault:?}"));
    let api_url = format!("http://user:{secret}@localhost");
    let fault = GitHub::new(GitHubConfig { api_url, ..config }).unwrap_err();
    printed.push_str(&format!("{fault:?}"));
    assert!(!printed.contains(secret), "{printed}");
}
