//! How the GitHub adapter logs in as an App, how much it asks, and what it asks only once.

use std::sync::Arc;

use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use chrono::TimeDelta;
use futures_util::future::join_all;
use mayfly::clock::machine_time;
use mayfly::demo::github::{Exchange, GitHubStandIn};
use mayfly::fault::Disposition;
use mayfly::forge::Forge;
use mayfly::forge::github::gate::Limits;
use mayfly::forge::github::{Auth, GitHub, GitHubConfig, Outcome};
use mayfly::telemetry::Metrics;
use serde_json::Value;

use super::forge_github::{opened, pem};
use super::forge_stage::{Real, Stage, config, number, ready, repo};

const GRANT: &str = "POST /app/installations/{id}/access_tokens";
const PULL: &str = "GET /repos/{owner}/{repo}/pulls/{number}";

fn asked(hub: &GitHubStandIn, route: &str) -> u64 {
    hub.requests().get(route).copied().unwrap_or(0)
}

pub fn app(hub: &GitHubStandIn, key: &KeyPair) -> GitHub {
    let auth = Auth::App { app_id: 77, private_key_pem: pem(key).into(), installation_id: 4711 };
    GitHub::new(GitHubConfig { auth, ..config(hub) }).unwrap()
}

pub fn key() -> KeyPair {
    KeyPair::generate(KeySize::Rsa2048).unwrap()
}

#[tokio::test]
async fn an_installation_token_is_asked_for_once_for_all_who_wait() {
    let real = opened().await;
    let app = app(&real.hub, &key());
    let repo = repo();
    for wanted in [1, 1] {
        let reads = join_all((0..20).map(|_| app.pull(&repo, number(7)))).await;
        assert!(reads.iter().all(Result::is_ok), "{reads:?}");
        assert_eq!(asked(&real.hub, GRANT), wanted);
    }
}

#[tokio::test]
async fn a_token_in_its_last_minute_is_renewed_once_for_all() {
    let real = opened().await;
    let app = app(&real.hub, &key());
    real.hub.set_token_life(TimeDelta::seconds(50));
    app.pull(&repo(), number(7)).await.unwrap();
    real.hub.set_token_life(TimeDelta::hours(1));
    let repo = repo();
    let reads = join_all((0..20).map(|_| app.pull(&repo, number(7)))).await;
    assert!(reads.iter().all(Result::is_ok), "{reads:?}");
    assert_eq!(asked(&real.hub, GRANT), 2);
}

#[tokio::test]
async fn an_app_whose_token_expired_reads_on_in_an_hour_whose_writes_are_spent() {
    let real = opened().await;
    let auth = Auth::App { app_id: 77, private_key_pem: pem(&key()).into(), installation_id: 4711 };
    let limits = Limits { writes_per_hour: 1, ..config(&real.hub).limits };
    let app = GitHub::new(GitHubConfig { auth, limits, ..config(&real.hub) }).unwrap();
    // Each call finds the token of the one before expired.
    real.hub.set_token_life(TimeDelta::seconds(50));
    let fault = app.publish(&repo(), number(7), &ready(7)).await.unwrap_err();
    assert!(fault.why.contains("written in this hour"), "{fault}");
    let before = asked(&real.hub, GRANT);
    app.pull(&repo(), number(7)).await.unwrap();
    assert_eq!(asked(&real.hub, GRANT), before + 1);
}

#[tokio::test]
async fn a_token_that_was_revoked_early_is_asked_for_anew_once() {
    let real = opened().await;
    let app = app(&real.hub, &key());
    app.publish(&repo(), number(7), &ready(7)).await.unwrap();
    real.hub.revoke_tokens();
    let repo = repo();
    let reads = join_all((0..20).map(|_| app.pull(&repo, number(7)))).await;
    assert!(reads.iter().all(Result::is_ok), "{reads:?}");
    assert_eq!(asked(&real.hub, GRANT), 2);
    // A write that was refused for its token did nothing, and is sent once more.
    real.hub.revoke_tokens();
    app.publish(&repo, number(7), &super::forge_stage::gone(7)).await.unwrap();
    assert_eq!((asked(&real.hub, GRANT), real.comments(7)), (3, 1));
}

#[tokio::test]
async fn an_app_that_is_refused_twice_says_so_and_asks_no_further() {
    let real = opened().await;
    let app = app(&real.hub, &key());
    app.pull(&repo(), number(7)).await.unwrap();
    // The read, the new token, and the read with it.
    real.hub.fail_next(1, 401);
    real.hub.pass_next(1);
    real.hub.fail_next(1, 401);
    let fault = app.pull(&repo(), number(7)).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Permanent, "{fault}");
    assert_eq!((asked(&real.hub, GRANT), asked(&real.hub, PULL)), (2, 3));
}

#[tokio::test]
async fn the_apps_own_token_is_signed_and_within_githubs_limits() {
    let real = opened().await;
    let key = key();
    app(&real.hub, &key).pull(&repo(), number(7)).await.unwrap();
    let grants = |exchange: &&Exchange| exchange.target.ends_with("/access_tokens");
    let exchanges = real.hub.exchanges();
    let shown = &exchanges.iter().find(grants).unwrap().authorization;
    let token = shown.strip_prefix("Bearer ").unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref())
        .verify(signed.as_bytes(), &unbase64(signature))
        .expect("signed with the App's key");
    let (header, claims) = signed.split_once('.').unwrap();
    let part = |text: &str| serde_json::from_slice::<Value>(&unbase64(text)).unwrap();
    let (header, claims) = (part(header), part(claims));
    assert_eq!(header["alg"], "RS256");
    assert_eq!(claims["iss"].to_string().trim_matches('"'), "77");
    let (now, at) = (machine_time().timestamp(), |name: &str| claims[name].as_i64().unwrap());
    assert!(at("iat") <= now && at("iat") > now - 120, "{claims}");
    assert!(at("exp") > now && at("exp") <= now + 600, "{claims}");
}

fn unbase64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let sextets: Vec<u32> = text
        .bytes()
        .map(|byte| alphabet.iter().position(|known| *known == byte).unwrap() as u32)
        .collect();
    let mut bytes = Vec::new();
    for chunk in sextets.chunks(4) {
        let bits = (0..4).fold(0, |bits, i| bits << 6 | chunk.get(i).unwrap_or(&0));
        bytes.extend((0..chunk.len() - 1).map(|i| (bits >> (16 - 8 * i)) as u8));
    }
    bytes
}

#[tokio::test]
async fn after_a_refusal_for_the_number_of_calls_github_is_left_alone() {
    for spent in [false, true] {
        let real = opened().await;
        match spent {
            true => real.hub.rate_limit_next(1),
            false => real.hub.retry_after_next(1, 7_200),
        }
        let first = real.github.pull(&repo(), number(7)).await.unwrap_err();
        assert!(first.why.contains("rate limited until 2"), "{first}");
        let before = real.hub.exchanges().len();
        for _ in 0..3 {
            let fault = real.github.pull(&repo(), number(7)).await.unwrap_err();
            assert_eq!(fault.disposition, Disposition::Transient, "{fault}");
            assert!(fault.why.contains("not asked before 2"), "{fault}");
            assert!(real.github.publish(&repo(), number(7), &ready(7)).await.is_err());
        }
        assert_eq!(real.hub.exchanges().len(), before, "GitHub was asked");
        let budget = real.github.budget();
        assert_eq!((budget.calls(Outcome::Limited), budget.calls(Outcome::Refused)), (1, 6));
    }
}

#[tokio::test]
async fn the_last_call_of_the_hour_closes_the_gate_before_github_does() {
    let real = opened().await;
    real.hub.set_remaining(1);
    real.github.pull(&repo(), number(7)).await.unwrap();
    let fault = real.github.pull(&repo(), number(7)).await.unwrap_err();
    assert!(fault.why.contains("this hour's requests are spent"), "{fault}");
    assert_eq!(asked(&real.hub, PULL), 1);
}

#[tokio::test]
async fn no_more_calls_are_under_way_than_are_allowed() {
    let real = opened().await;
    let limits = Limits { calls_at_once: 3, ..config(&real.hub).limits };
    let github = Arc::new(GitHub::new(GitHubConfig { limits, ..config(&real.hub) }).unwrap());
    real.hub.hold(true);
    let reads: Vec<_> = (0..10)
        .map(|_| {
            let github = github.clone();
            tokio::spawn(async move { github.pull(&repo(), number(7)).await })
        })
        .collect();
    crate::world::wait::until("three calls under way", || async { asked(&real.hub, PULL) == 3 })
        .await;
    real.hub.hold(false);
    for read in reads {
        read.await.unwrap().unwrap();
    }
    assert_eq!(asked(&real.hub, PULL), 10);
}

#[tokio::test]
async fn what_did_not_change_costs_nothing_of_the_allowance() {
    let real = Real::start().await;
    (1..=150).for_each(|n| real.open(n));
    let first = real.github.open_pulls(&repo()).await.unwrap();
    let facts = real.github.pull(&repo(), number(7)).await.unwrap();
    let budget = real.github.budget();
    let before = budget.remaining().unwrap();
    assert_eq!(real.github.open_pulls(&repo()).await.unwrap(), first);
    assert_eq!(real.github.pull(&repo(), number(7)).await.unwrap(), facts);
    assert_eq!(budget.remaining(), Some(before));
    assert_eq!((budget.calls(Outcome::NotModified), budget.calls(Outcome::Ok)), (3, 3));
    real.close(7, true);
    assert_eq!(real.github.open_pulls(&repo()).await.unwrap().len(), 149);
    assert_ne!(real.github.pull(&repo(), number(7)).await.unwrap().state, facts.state);
}

#[tokio::test]
async fn a_last_page_that_was_full_is_read_anew_so_that_its_successor_is_found() {
    let real = Real::start().await;
    (2..=101).for_each(|n| real.open(n));
    assert_eq!(real.github.open_pulls(&repo()).await.unwrap().len(), 100);
    let unchanged = |exchange: &&Exchange| exchange.status == 304;
    // An older one comes back behind the hundred that are listed first.
    real.open(1);
    assert_eq!(real.github.open_pulls(&repo()).await.unwrap().len(), 101);
    assert_eq!(real.hub.exchanges().iter().filter(unchanged).count(), 0);
}

#[tokio::test]
async fn what_is_left_of_the_allowance_is_a_metric() {
    let real = opened().await;
    let mut metrics = Metrics::default();
    metrics.collect(Box::new(real.github.budget()));
    assert!(
        !metrics
            .render(None, mayfly::telemetry::Exposition::Plain)
            .contains("mayfly_github_budget_remaining "),
        "not known yet"
    );
    real.github.pull(&repo(), number(7)).await.unwrap();
    let text = metrics.render(None, mayfly::telemetry::Exposition::Plain);
    for line in [
        "mayfly_github_budget_limit 5000",
        "mayfly_github_budget_remaining 4999",
        "mayfly_github_requests_total{outcome=\"ok\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
    }
}

#[tokio::test]
async fn an_app_whose_token_is_refused_says_what_to_check() {
    let real = opened().await;
    let app = app(&real.hub, &key());
    real.hub.fail_next(1, 403);
    let fault = app.pull(&repo(), number(7)).await.unwrap_err();
    assert!(fault.why.contains("installation_id"), "{fault}");
    assert!(app.pull(&repo(), number(7)).await.is_ok(), "it is asked again the next time");
}
