//! Webhooks as GitHub sends them, and as its enemies would.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures_util::future::join_all;
use mayfly::demo::github::{GitHubStandIn, PullSpec};
use mayfly::forge::RepositoryRef;
use mayfly::forge::event::{Event, parse};
use mayfly::forge::signature::sign;
use mayfly::http::{WEBHOOK_BODY_BYTES, router};
use mayfly::ledger::{Delivery, Ledger};
use mayfly::preview::name::Prefix;
use mayfly::preview::{Phase, PreviewName, PullFacts, RepositoryId};
use mayfly::repository::{Repositories, Repository};
use mayfly::telemetry::Exposition;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::listener::{
    Answer, BrokenClock, Listener, OLD_SECRET, SECRET, reconciler, state,
};
use crate::world::wait::until;
use crate::world::{SHOP, World, number, postgres, pr, repository};

/// Longer than a slow body or a silent ledger may take, shorter than GitHub's patience.
const PATIENCE: Duration = Duration::from_secs(10);

struct Site {
    world: World,
    listener: Listener,
    github: GitHubStandIn,
    sent: AtomicU32,
}

impl Site {
    async fn new() -> Self {
        let world = World::new().await;
        let listener = Listener::start(router(state(&world.reconciler))).await;
        Self::over(world, listener).await
    }

    async fn over(world: World, listener: Listener) -> Self {
        let github = GitHubStandIn::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        github.add_repository(SHOP.0, "acme/shop");
        Self { world, listener, github, sent: AtomicU32::new(0) }
    }

    /// The body of an `opened` delivery, true in the world's forge too.
    fn opened(&self, n: u32, digit: &str) -> Vec<u8> {
        self.github.open_pull("acme/shop", n, PullSpec::new("A change", &digit.repeat(40)));
        let body = bytes(&self.github.payload("acme/shop", n, "opened"));
        self.world.silently(&facts(&body));
        body
    }

    fn fresh_id(&self) -> String {
        format!("00000000-0000-4000-8000-{:012}", self.sent.fetch_add(1, Ordering::Relaxed))
    }

    fn request(&self, event: &str, id: &str, body: &[u8]) -> RequestBuilder {
        request(&self.listener, event, id, body)
    }

    /// Delivers, and waits until it is learned from what was accepted.
    async fn deliver(&self, id: &str, body: &[u8]) -> Answer {
        let answer = self.listener.send(self.request("pull_request", id, body)).await;
        if answer.status == 202 {
            self.all_learned().await;
        }
        answer
    }

    async fn all_learned(&self) {
        until("everything is learned from", async || self.count("unlearned").await == 0).await;
    }

    async fn deliver_new(&self, body: &[u8]) -> Answer {
        self.deliver(&self.fresh_id(), body).await
    }

    async fn count(&self, table: &'static str) -> i64 {
        count(&self.world.ledger, table).await
    }

    /// Another pull request is still learned, at once.
    async fn still_serves(&self, n: u32) {
        let answer = self.deliver_new(&self.opened(n, "e")).await;
        assert_eq!(answer.ok(202)["outcome"], "accepted");
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

fn facts(body: &[u8]) -> PullFacts {
    match parse("pull_request", body).unwrap() {
        Event::Pull { facts, .. } => facts,
        other => panic!("{other:?}"),
    }
}

fn signature(secret: &str, body: &[u8]) -> String {
    sign(&secret.to_owned().into(), body)
}

fn unsigned(listener: &Listener, event: &str, id: &str, body: &[u8]) -> RequestBuilder {
    listener
        .request(Method::POST, "/webhooks/github")
        .header("content-type", "application/json")
        .header("user-agent", "GitHub-Hookshot/044aadd")
        .header("x-github-event", event)
        .header("x-github-delivery", id)
        .body(body.to_vec())
}

fn request(listener: &Listener, event: &str, id: &str, body: &[u8]) -> RequestBuilder {
    let signed = signature(SECRET, body);
    unsigned(listener, event, id, body).header("x-hub-signature-256", signed)
}

async fn count(ledger: &Ledger, table: &'static str) -> i64 {
    let count = match table {
        "deliveries" => "SELECT count(*) FROM deliveries",
        "unlearned" => "SELECT count(*) FROM unlearned",
        "previews" => "SELECT count(*) FROM previews",
        "journal" => "SELECT count(*) FROM journal",
        other => panic!("{other}"),
    };
    sqlx::query_scalar(count).fetch_one(ledger.pool()).await.unwrap()
}

#[tokio::test]
async fn what_is_not_signed_is_neither_parsed_nor_kept() {
    let site = Site::new().await;
    let body = site.opened(7, "a");
    let signed = signature(SECRET, &body);
    let wrong = [
        None,
        Some(String::new()),
        Some("sha256=".to_owned()),
        Some(format!("sha1={}", "a".repeat(40))),
        Some(signed.replace("sha256=", "sha1=")),
        Some(signed.replace("sha256=", "")),
        Some(signed.replace("sha256=", "SHA256=")),
        Some(format!("{signed}0")),
        Some(format!("sha256={}", "z".repeat(64))),
        Some(format!("sha256={}", "0".repeat(64))),
        Some(signature("another secret", &body)),
        Some(signature(SECRET, b"another body")),
        Some(signature(SECRET, b"")),
    ];
    for body in [body.as_slice(), b"{ not JSON", b"\xff\x00", b"null"] {
        for wrong in &wrong {
            if wrong.as_ref() == Some(&signature(SECRET, body)) {
                continue;
            }
            for event in ["pull_request", "ping", "push"] {
                let mut request = unsigned(&site.listener, event, &site.fresh_id(), body);
                if let Some(wrong) = wrong {
                    request = request.header("x-hub-signature-256", wrong);
                }
                site.listener.send(request).await.problem(401);
            }
        }
    }
    assert_eq!(site.count("deliveries").await, 0);
    assert_eq!(site.count("previews").await, 0);
}

#[tokio::test]
async fn a_forged_signature_in_a_second_header_does_not_help() {
    let site = Site::new().await;
    let body = site.opened(7, "a");
    let request = unsigned(&site.listener, "pull_request", "1", &body)
        .header("x-hub-signature-256", signature("another secret", &body))
        .header("x-hub-signature-256", signature(SECRET, &body));
    site.listener.send(request).await.problem(401);
    assert_eq!(site.count("deliveries").await, 0);
}

#[tokio::test]
async fn both_secrets_of_a_rotation_are_good() {
    let site = Site::new().await;
    for (n, secret) in [(7, SECRET), (8, OLD_SECRET)] {
        let body = site.opened(n, "a");
        let request = unsigned(&site.listener, "pull_request", &site.fresh_id(), &body)
            .header("x-hub-signature-256", signature(secret, &body));
        assert_eq!(site.listener.send(request).await.ok(202)["outcome"], "accepted");
    }
    site.all_learned().await;
    assert_eq!(site.count("previews").await, 2);
}

#[tokio::test]
async fn what_does_not_concern_us_is_answered_and_forgotten() {
    let site = Site::new().await;
    let ping = json!({ "zen": "Keep it logically awesome.", "hook_id": 1 });
    let answer = site.listener.send(site.request("ping", "1", &bytes(&ping))).await;
    assert_eq!(answer.ok(200)["outcome"], "pong");
    let body = site.opened(7, "a");
    for event in ["push", "issue_comment", "check_run", "pull_request_review", "PULL_REQUEST"] {
        let answer = site.listener.send(site.request(event, &site.fresh_id(), &body)).await;
        assert_eq!(answer.ok(202)["outcome"], "ignored", "{event}");
    }
    site.github.add_repository(666, "evil/shop");
    site.github.open_pull("evil/shop", 7, PullSpec::new("Mine", &"b".repeat(40)));
    let answer = site.deliver_new(&bytes(&site.github.payload("evil/shop", 7, "opened"))).await;
    assert_eq!(answer.ok(202)["outcome"], "ignored");
    assert!(answer.json()["detail"].as_str().unwrap().contains("evil/shop"));
    // Another repository that took a configured one's name is not that one.
    let mut imposter: Value = serde_json::from_slice(&body).unwrap();
    imposter["repository"]["id"] = json!(666);
    imposter["pull_request"]["base"]["repo"]["id"] = json!(666);
    let answer = site.deliver_new(&bytes(&imposter)).await;
    assert_eq!(answer.ok(202)["outcome"], "ignored");
    assert_eq!(site.count("deliveries").await, 0);
    assert_eq!(site.count("previews").await, 0);
}

#[tokio::test]
async fn a_webhook_that_sends_forms_is_told_so() {
    let site = Site::new().await;
    for event in ["ping", "pull_request"] {
        let request = site.request(event, "1", b"payload=%7B%7D");
        let form = request.header("content-type", "application/x-www-form-urlencoded");
        // Two content types were sent; only the form's counts here.
        let mut form = form.build().unwrap();
        let kind = "application/x-www-form-urlencoded".parse().unwrap();
        form.headers_mut().insert("content-type", kind);
        let form = RequestBuilder::from_parts(site.listener.client.clone(), form);
        let detail = site.listener.send(form).await.problem(415)["detail"].clone();
        assert!(detail.as_str().unwrap().contains("application/json"));
    }
}

#[tokio::test]
async fn a_202_means_that_the_delivery_is_in_the_ledger_and_that_it_is_learned_from() {
    let site = Site::new().await;
    let body = site.opened(7, "a");
    let id = site.fresh_id();
    let answer = site.listener.send(site.request("pull_request", &id, &body)).await;
    assert_eq!(answer.ok(202), json!({ "outcome": "accepted" }));
    let (event, kept): (String, Vec<u8>) =
        sqlx::query_as("SELECT event, body FROM deliveries WHERE id = $1")
            .bind(&id)
            .fetch_one(site.world.ledger.pool())
            .await
            .unwrap();
    assert_eq!((event.as_str(), &kept), ("pull_request", &body));
    site.all_learned().await;
    let preview = site.world.preview(7).await;
    assert_eq!(preview.wake_at, Some(site.world.now()));
    assert_eq!(preview.memory.facts, facts(&body));
    let (noted, of): (String, uuid::Uuid) =
        sqlx::query_as("SELECT action, preview_id FROM journal WHERE delivery_id = $1")
            .bind(&id)
            .fetch_one(site.world.ledger.pool())
            .await
            .unwrap();
    assert_eq!((noted.as_str(), of), ("learned", preview.id));
    site.world.settle().await;
    assert!(site.world.serves(7, 'a'));
}

#[tokio::test]
async fn what_cannot_be_learned_whole_is_not_learned_and_is_tried_again_without_a_redelivery() {
    let site = Site::new().await;
    let pool = site.world.ledger.pool();
    let forbid = "ALTER TABLE journal ADD CONSTRAINT for_a_test CHECK (actor <> 'github')";
    sqlx::query(forbid).execute(pool).await.unwrap();
    let body = site.opened(7, "a");
    site.listener.send(site.request("pull_request", "1", &body)).await.ok(202);
    let failed = async || {
        let counted = site.world.reconciler.metrics.render(None, Exposition::Plain);
        counted.contains("mayfly_deliveries_total{outcome=\"unlearned\"}")
    };
    until("it was tried", failed).await;
    for (table, count) in [("deliveries", 1), ("unlearned", 1), ("previews", 0), ("journal", 0)] {
        assert_eq!(site.count(table).await, count, "{table}");
    }
    let allow = "ALTER TABLE journal DROP CONSTRAINT for_a_test";
    sqlx::query(allow).execute(pool).await.unwrap();
    site.world.clock.advance(TimeDelta::seconds(65));
    site.all_learned().await;
    assert_eq!(site.world.preview(7).await.memory.facts, facts(&body));
}

#[tokio::test]
async fn what_a_process_stored_before_it_died_is_learned_from_by_another() {
    let site = Site::new().await;
    let deliveries: Vec<_> = [(7, "acme/shop"), (8, "acme/shop"), (9, "acme/gone")]
        .map(|(n, repo)| {
            site.github.add_repository(if repo == "acme/gone" { 666 } else { SHOP.0 }, repo);
            site.github.open_pull(repo, n, PullSpec::new("A change", &"a".repeat(40)));
            let body = bytes(&site.github.payload(repo, n, "opened"));
            // One is not of a configured repository, and old enough that none will know it.
            let age = if repo == "acme/gone" { 120 } else { 1 };
            let (event, at) =
                ("pull_request".to_owned(), site.world.now() - TimeDelta::minutes(age));
            Delivery { id: format!("left-{n}"), event, body, at }
        })
        .into();
    let all: Vec<_> = deliveries.iter().collect();
    site.world.ledger.writer().store(&all).await.unwrap();
    site.all_learned().await;
    assert_eq!(site.count("previews").await, 2, "one is not of a configured repository");
    assert_eq!(site.world.preview(7).await.memory.hinted_at, deliveries[0].at);
    let learned = "SELECT count(*) FROM journal WHERE action = 'learned'";
    let learned: i64 =
        sqlx::query_scalar(learned).fetch_one(site.world.ledger.pool()).await.unwrap();
    assert_eq!(learned, 2, "each once");
}

#[tokio::test]
async fn a_session_that_the_server_ended_meanwhile_costs_no_delivery() {
    let site = Site::new().await;
    for n in 7..10 {
        site.deliver_new(&site.opened(n, "a")).await.ok(202);
        site.all_learned().await;
        assert!(site.world.reconciler.turn().await.unwrap() > 0, "it is due");
        // A writer's, a learner's, and that of the loop's questions.
        let ended: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .fetch_one(site.world.ledger.pool())
        .await
        .unwrap();
        assert!(ended >= 3, "each keeps its session");
    }
    let options = site.world.ledger.pool().connect_options();
    let mut session = PgConnection::connect_with(&options).await.unwrap();
    let previews = sqlx::query_scalar("SELECT count(*) FROM previews");
    let previews: i64 = previews.fetch_one(&mut session).await.unwrap();
    assert_eq!(previews, 3);
}

#[tokio::test]
async fn a_delivery_whose_name_is_taken_takes_no_other_with_it_and_is_learned_when_it_is_free() {
    let site = Site::new().await;
    let pool = site.world.ledger.pool();
    site.deliver_new(&site.opened(7, "a")).await.ok(202);
    site.all_learned().await;
    // As a configuration leaves it that gave the name to another repository before.
    let other = "UPDATE previews SET repository_id = repository_id + 1 WHERE name = 'pr-7'";
    sqlx::query(other).execute(pool).await.unwrap();
    let bodies = [site.opened(8, "a"), site.opened(7, "b"), site.opened(9, "a")];
    let ids = [(); 3].map(|()| site.fresh_id());
    let sent = bodies.iter().zip(&ids).map(|(body, id)| site.request("pull_request", id, body));
    for answer in join_all(sent.map(|request| site.listener.send(request))).await {
        answer.ok(202);
    }
    until("the others are learned from", async || site.count("previews").await == 3).await;
    until("one is left", async || site.count("unlearned").await == 1).await;
    sqlx::query("UPDATE previews SET gone_at = now() WHERE name = 'pr-7'")
        .execute(pool)
        .await
        .unwrap();
    site.world.clock.advance(TimeDelta::seconds(65));
    site.all_learned().await;
    assert_eq!(site.count("previews").await, 4);
}

#[tokio::test]
async fn deliveries_are_taken_in_while_nothing_can_be_learned() {
    let site = Site::new().await;
    let body = site.opened(7, "a");
    let options = site.world.ledger.pool().connect_options();
    let mut other = sqlx::PgConnection::connect_with(&options).await.unwrap();
    let mut lock = other.begin().await.unwrap();
    sqlx::query("LOCK TABLE previews IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let answers = join_all(
        (0..30).map(|n| site.listener.send(site.request("pull_request", &n.to_string(), &body))),
    )
    .await;
    assert!(answers.iter().all(|answer| answer.ok(202)["outcome"] == "accepted"));
    lock.rollback().await.unwrap();
    site.all_learned().await;
    assert_eq!(site.count("previews").await, 1);
}

#[tokio::test]
async fn a_delivery_that_comes_again_changes_nothing() {
    let site = Site::new().await;
    let body = site.opened(7, "a");
    site.deliver("1", &body).await.ok(202);
    site.world.settle().await;
    let before = site.world.preview(7).await;
    let entries = site.count("journal").await;
    assert_eq!(site.deliver("1", &body).await.ok(200), json!({ "outcome": "duplicate" }));
    let after = site.world.preview(7).await;
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    assert_eq!(site.count("journal").await, entries);
    assert_eq!(site.count("deliveries").await, 1);
}

#[tokio::test]
async fn the_same_news_under_another_id_changes_nothing_in_the_end() {
    let site = Site::new().await;
    let body = site.opened(7, "a");
    site.deliver_new(&body).await.ok(202);
    site.world.settle().await;
    let before = site.world.preview(7).await;
    let orders = site.world.cluster.orders().len();
    let said = site.world.forge.said(number(7)).len();
    for _ in 0..3 {
        site.deliver_new(&body).await.ok(202);
    }
    site.world.settle().await;
    let after = site.world.preview(7).await;
    assert_eq!((after.phase, after.expires_at), (Phase::Ready, before.expires_at));
    assert_eq!(after.memory.life, before.memory.life);
    assert_eq!(site.world.cluster.orders().len(), orders);
    assert_eq!(site.world.forge.said(number(7)).len(), said);
    assert_eq!(site.count("previews").await, 1);
}

#[tokio::test]
async fn a_delivery_needs_its_headers() {
    let site = Site::new().await;
    let body = site.opened(7, "a");
    for (event, id) in [
        (None, Some("1")),
        (Some("pull_request"), None),
        (None, None),
        (Some(""), Some("1")),
        (Some("pull_request"), Some("")),
    ] {
        let mut request = site
            .listener
            .request(Method::POST, "/webhooks/github")
            .header("x-hub-signature-256", signature(SECRET, &body))
            .body(body.clone());
        if let Some(event) = event {
            request = request.header("x-github-event", event);
        }
        if let Some(id) = id {
            request = request.header("x-github-delivery", id);
        }
        site.listener.send(request).await.problem(400);
    }
    let long = "x".repeat(101);
    site.deliver(&long, &body).await.problem(400);
    site.listener.send(site.request(&long, "1", &body)).await.problem(400);
    let empty = site.listener.request(Method::POST, "/webhooks/github");
    site.listener.send(empty).await.problem(401);
    let other = site.listener.request(Method::GET, "/webhooks/github");
    site.listener.send(other).await.problem(405);
    assert_eq!(site.count("deliveries").await, 0);
}

/// The head of a request, signed over something.
fn head(framing: &str) -> Vec<u8> {
    format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: localhost\r\nx-github-event: pull_request\r\n\
         x-github-delivery: 1\r\nx-hub-signature-256: {}\r\n{framing}\r\n\r\n",
        signature(SECRET, b"something")
    )
    .into_bytes()
}

/// What the server says until it hangs up or falls silent for good.
async fn said(socket: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let reading = async {
        let mut piece = [0; 4096];
        loop {
            match socket.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(n) => said.extend_from_slice(&piece[..n]),
            }
            if said.ends_with(b"}") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("an answer in time");
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn a_body_that_is_declared_too_large_is_refused_unread() {
    let site = Site::new().await;
    for length in [(WEBHOOK_BODY_BYTES + 1).to_string(), "1000000000000000".to_owned()] {
        let mut socket = site.listener.connect().await;
        socket.write_all(&head(&format!("content-length: {length}"))).await.unwrap();
        let answer = said(&mut socket).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains("x-request-id"), "{answer}");
    }
    site.still_serves(8).await;
}

#[tokio::test]
async fn a_body_that_is_endless_is_cut_off_at_the_cap() {
    let site = Site::new().await;
    let socket = site.listener.connect().await;
    let (mut from, mut to) = socket.into_split();
    let sending = tokio::spawn(async move {
        let piece = vec![b' '; 64 * 1024];
        let mut sent = 0;
        to.write_all(&head("transfer-encoding: chunked")).await.unwrap();
        while sent < 20 * WEBHOOK_BODY_BYTES {
            let size = format!("{:x}\r\n", piece.len());
            let sending = async {
                to.write_all(size.as_bytes()).await?;
                to.write_all(&piece).await?;
                to.write_all(b"\r\n").await
            };
            if sending.await.is_err() {
                break;
            }
            sent += piece.len();
        }
        sent
    });
    let mut answer = Vec::new();
    // The connection may be reset while we still send: then the answer can be lost, not the cut.
    let _ = tokio::time::timeout(PATIENCE, from.read_to_end(&mut answer)).await.expect("a cut");
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // What the sockets' buffers take is on top.
    assert!(sending.await.unwrap() < 10 * WEBHOOK_BODY_BYTES);
    site.still_serves(8).await;
}

#[tokio::test]
async fn a_body_at_the_cap_is_taken_and_one_byte_more_is_not() {
    let site = Site::new().await;
    let mut body = site.opened(7, "a");
    body.resize(WEBHOOK_BODY_BYTES, b' ');
    assert_eq!(site.deliver_new(&body).await.ok(202)["outcome"], "accepted");
    body.push(b' ');
    site.deliver_new(&body).await.problem(413);
    assert_eq!(site.count("deliveries").await, 1);
}

#[tokio::test]
async fn slow_senders_are_sent_away_and_keep_nobody_out() {
    let site = Site::new().await;
    let begun = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut socket = site.listener.connect().await;
        socket.write_all(&head("content-length: 100000")).await.unwrap();
        socket.write_all(b"{").await.unwrap();
        slow.push(socket);
    }
    for n in 1..=10 {
        site.still_serves(n).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody waited for them");
    let answers = join_all(slow.iter_mut().map(said)).await;
    assert!(begun.elapsed() < PATIENCE);
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
}

#[tokio::test]
async fn bodies_that_would_fill_the_memory_are_told_to_come_back() {
    let site = Site::new().await;
    let almost = vec![b' '; WEBHOOK_BODY_BYTES - 1];
    let framing = format!("content-length: {WEBHOOK_BODY_BYTES}");
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut socket = site.listener.connect().await;
        socket.write_all(&head(&framing)).await.unwrap();
        // Whoever is refused may be reset while sending.
        let _ = socket.write_all(&almost).await;
        held.push(socket);
    }
    let answers = join_all(held.iter_mut().map(said)).await;
    let busy: Vec<_> = answers.iter().filter(|a| a.starts_with("HTTP/1.1 503 ")).collect();
    assert!(!busy.is_empty(), "{answers:?}");
    assert!(busy.iter().all(|answer| answer.contains("retry-after: ")), "{busy:?}");
    let taken = answers.iter().filter(|a| a.starts_with("HTTP/1.1 408 ")).count();
    assert!(taken <= 21, "{taken} bodies were held at once");
    drop(held);
    site.still_serves(8).await;
}

#[tokio::test]
async fn two_hundred_deliveries_at_once_are_all_learned() {
    let site = Site::new().await;
    let bodies: Vec<_> = (1..=200).map(|n| site.opened(n, "a")).collect();
    let answers = join_all(bodies.iter().map(|body| site.deliver_new(body))).await;
    for answer in &answers {
        assert_eq!(answer.ok(202)["outcome"], "accepted");
    }
    assert_eq!(site.count("previews").await, 200);
    assert_eq!(site.count("deliveries").await, 200);
}

#[tokio::test]
async fn a_hundred_deliveries_of_one_pull_request_at_once_are_one_row() {
    let site = Site::new().await;
    let body = site.opened(7, "a");
    let answers = join_all((0..100).map(|_| site.deliver_new(&body))).await;
    for answer in &answers {
        assert_eq!(answer.ok(202)["outcome"], "accepted");
    }
    site.all_learned().await;
    assert_eq!(site.count("previews").await, 1);
    assert_eq!(site.count("deliveries").await, 100);
    // Those that came together are one entry of the journal, which says how many they were.
    let learned = "SELECT reason FROM journal WHERE action = 'learned'";
    let reasons: Vec<String> =
        sqlx::query_scalar(learned).fetch_all(site.world.ledger.pool()).await.unwrap();
    let times = |reason: &String| match reason.as_str() {
        "opened" => 1,
        many => {
            many.strip_prefix("opened, ").unwrap().strip_suffix(" times").unwrap().parse().unwrap()
        }
    };
    assert_eq!(reasons.iter().map(times).sum::<usize>(), 100, "{reasons:?}");
    assert!(reasons.len() < 100, "{reasons:?}");
    site.world.settle().await;
    assert!(site.world.serves(7, 'a'));
    assert_eq!(site.world.cluster.orders().len(), 1);
}

#[tokio::test]
async fn one_delivery_a_hundred_times_at_once_is_learned_once() {
    let site = Site::new().await;
    let body = site.opened(7, "a");
    let answers = join_all((0..100).map(|_| site.deliver("1", &body))).await;
    let learned = answers.iter().filter(|answer| answer.status == 202).count();
    assert_eq!(learned, 1);
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 202)));
    assert_eq!(site.count("deliveries").await, 1);
}

#[tokio::test]
async fn a_ledger_that_is_locked_is_answered_for_before_github_hangs_up() {
    let site = Site::new().await;
    let body = site.opened(7, "a");
    let options = site.world.ledger.pool().connect_options();
    let mut other = sqlx::PgConnection::connect_with(&options).await.unwrap();
    let mut lock = other.begin().await.unwrap();
    sqlx::query("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let begun = Instant::now();
    let answers = join_all((0..30).map(|n| {
        let body = &body;
        let site = &site;
        async move { site.deliver(&n.to_string(), body).await }
    }))
    .await;
    assert!(begun.elapsed() < PATIENCE);
    for answer in &answers {
        answer.problem(503);
    }
    lock.rollback().await.unwrap();
    assert_eq!(site.count("deliveries").await, 0, "nothing was half kept");
    let answers = join_all((0..30).map(|n| {
        let body = &body;
        let site = &site;
        async move { site.deliver(&n.to_string(), body).await }
    }))
    .await;
    assert!(answers.iter().all(|answer| answer.ok(202)["outcome"] == "accepted"));
}

#[tokio::test]
async fn a_ledger_that_is_away_is_a_503_and_the_redelivery_is_learned() {
    let site = Site::new().await;
    let body = site.opened(7, "a");
    let options = site.world.ledger.pool().connect_options();
    let name = options.get_database().unwrap().to_owned();
    site.world.ledger.close().await;
    site.deliver("1", &body).await.problem(503);
    let counted = site.world.reconciler.metrics.render(None, Exposition::Plain);
    assert!(counted.contains("mayfly_deliveries_total{outcome=\"failed\"} 1"), "{counted}");
    let unsigned = unsigned(&site.listener, "pull_request", "1", &body);
    site.listener.send(unsigned).await.problem(401);
    let url = postgres::server().await.url(&name);
    let ledger = Ledger::connect(&url, 4).await.unwrap();
    assert_eq!(count(&ledger, "deliveries").await, 0);
    let world = World::with(Default::default(), ledger).await;
    let listener = Listener::start(router(state(&world.reconciler))).await;
    let answer = listener.send(request(&listener, "pull_request", "1", &body)).await;
    assert_eq!(answer.ok(202)["outcome"], "accepted");
}

#[tokio::test]
async fn a_panic_is_one_answer_and_not_the_end() {
    let world = World::new().await;
    let broken = reconciler(&world, Repositories::new(vec![repository()]), Arc::new(BrokenClock));
    let listener = Listener::start(router(state(&broken))).await;
    let site = Site::over(world, listener).await;
    let body = site.opened(7, "a");
    for _ in 0..20 {
        site.deliver_new(&body).await.problem(500);
    }
    let home = site.listener.request(Method::GET, "/");
    assert_eq!(site.listener.send(home).await.status, 200);
}

#[tokio::test]
async fn repositories_with_the_same_numbers_do_not_mix() {
    let world = World::new().await;
    let of = |name: &str, id: i64, prefix: &str| Repository {
        reference: RepositoryRef::parse(name).unwrap(),
        id: Some(RepositoryId(id)),
        prefix: Some(Prefix::parse(prefix).unwrap()),
        ..repository()
    };
    let both =
        Repositories::new(vec![of("acme/shop", SHOP.0, "shop"), of("acme/blog", 42, "blog")]);
    let two = reconciler(&world, both, world.clock.clone());
    let listener = Listener::start(router(state(&two))).await;
    let site = Site::over(world, listener).await;
    site.github.add_repository(42, "acme/blog");
    for (repo, digit) in [("acme/shop", "a"), ("acme/blog", "b")] {
        site.github.open_pull(repo, 7, PullSpec::new(repo, &digit.repeat(40)));
        let body = bytes(&site.github.payload(repo, 7, "opened"));
        assert_eq!(site.deliver_new(&body).await.ok(202)["outcome"], "accepted");
    }
    for (prefix, title, digit) in [("shop", "acme/shop", "a"), ("blog", "acme/blog", "b")] {
        let name = PreviewName::parse(&format!("{prefix}-pr-7")).unwrap();
        let preview = site.world.ledger.preview_named(&name).await.unwrap().unwrap();
        assert_eq!(preview.memory.facts.title, title);
        assert_eq!(preview.repository.full_name(), title);
        assert_eq!(preview.memory.facts.head.to_string(), digit.repeat(40));
    }
    // One repository cannot speak for the other.
    let mut forged = site.github.payload("acme/shop", 7, "closed");
    forged["repository"]["id"] = json!(42);
    forged["repository"]["full_name"] = json!("acme/blog");
    site.deliver_new(&bytes(&forged)).await.problem(422);
}

/// Changes one field of a payload.
fn with(payload: &Value, pointer: &str, value: Value) -> Vec<u8> {
    let mut payload = payload.clone();
    *payload.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    bytes(&payload)
}

#[tokio::test]
async fn hostile_json_is_refused_or_taken_and_never_our_fault() {
    let site = Site::new().await;
    site.opened(7, "a");
    let payload = site.github.payload("acme/shop", 7, "opened");
    let text = payload.to_string();
    let pull = |field: &str, value: Value| with(&payload, &format!("/pull_request/{field}"), value);
    let mut hostile: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |what: &str, body: Vec<u8>| hostile.push((what.to_owned(), body));
    for raw in ["", "{}", "null", "[]", "0", "\"\"", "true", "{", "\u{feff}{}", "NaN", "[[]]"] {
        add(raw, raw.into());
    }
    add("not UTF-8", b"{\"action\":\"\xff\xfe\"}".to_vec());
    add("10 000 arrays", [b"[".repeat(10_000), b"]".repeat(10_000)].concat());
    let nested = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    add("10 000 objects", nested.clone().into());
    add("nested in a field", text.replacen("{", &format!("{{\"x\":{nested},"), 1).into());
    add("no head.repo", pull("head/repo", Value::Null));
    add("no user", pull("user", Value::Null));
    add("no head", pull("head", Value::Null));
    add("an unknown action", with(&payload, "/action", json!("exploded")));
    add("a long action", with(&payload, "/action", json!("x".repeat(100_000))));
    let numbers = [
        "0",
        "-1",
        "-0",
        "7.0",
        "7.5",
        "1e400",
        "-1e400",
        "1e3",
        "4294967295",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "1000000000000000000000000000000",
    ];
    for number in numbers {
        let marked = pull("number", json!("@")).to_vec();
        let marked = String::from_utf8(marked).unwrap().replace("\"@\"", number);
        add(&format!("number {number}"), marked.into());
        let marked = pull("base/repo/id", json!("@")).to_vec();
        let marked = String::from_utf8(marked).unwrap().replace("\"@\"", number);
        add(&format!("base.repo.id {number}"), marked.into());
    }
    for odd in [
        "nul \u{0} here",
        "\u{202e}live eht si siht\u{202c}",
        "\u{feff}\u{200b}",
        "\r\nx-injected: 1",
        "'; DROP TABLE previews; --",
        "</script><script>alert(1)</script>",
        "\u{1b}[2J",
        "%00%s%n",
        "../../etc/passwd",
        "",
    ] {
        for field in [
            "title",
            "head/ref",
            "user/login",
            "head/label",
            "state",
            "head/sha",
            "author_association",
            "updated_at",
        ] {
            add(&format!("{field} {odd:?}"), pull(field, json!(odd)));
        }
        add(&format!("full_name {odd:?}"), with(&payload, "/repository/full_name", json!(odd)));
        add(&format!("action {odd:?}"), with(&payload, "/action", json!(odd)));
        add(&format!("label {odd:?}"), pull("labels", json!([{ "name": odd }])));
    }
    add("1 MB title", pull("title", json!("x".repeat(1_000_000))));
    add("1 MB of wide title", pull("title", json!("\u{1f9a5}".repeat(250_000))));
    let labels: Vec<_> = (0..10_000).map(|n| json!({ "name": n.to_string() })).collect();
    add("10 000 labels", pull("labels", json!(labels)));
    for escape in ["\\ud800", "\\udc00", "\\ud800\\ud800", "\\ud83e\\udda5", "\\u0000"] {
        let marked = String::from_utf8(pull("title", json!("@@"))).unwrap();
        add(&format!("title {escape}"), marked.replace("@@", escape).into());
    }
    for time in [
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "-9999-01-01T00:00:00Z",
        "+262142-12-31T23:59:59Z",
        "2026-02-30T00:00:00Z",
        "2016-12-31T23:59:60Z",
    ] {
        add(&format!("updated_at {time}"), pull("updated_at", json!(time)));
    }
    add("twice the action", text.replacen('{', "{\"action\":\"closed\",", 1).into());
    add("twice the pull request", text.replacen('{', "{\"pull_request\":null,", 1).into());
    add("trailing words", format!("{text} and more").into());
    for (n, (what, body)) in hostile.iter().enumerate() {
        let answer = site.deliver_new(body).await;
        assert!(matches!(answer.status, 202 | 422), "{what}: {answer:?}");
        if n % 20 == 0 {
            site.still_serves(1000 + u32::try_from(n).unwrap()).await;
        }
    }
    let names: HashSet<_> = site.world.fleet().await.into_iter().map(|(name, ..)| name).collect();
    assert!(names.contains("pr-1000"));
    // Whatever was taken in can be acted upon: the loop gets through it.
    while site.world.reconciler.turn().await.unwrap() > 0 {}
    assert_eq!(site.world.phase(1000).await, Phase::Ready);
}

/// Every place in a document, as JSON pointers.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| places(value, &format!("{at}/{key}"), into));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, v)| places(v, &format!("{at}/{n}"), into));
        }
        _ => {}
    }
}

#[derive(Clone, Debug)]
enum Mutation {
    Replace(Index, Value),
    Remove(Index),
    Byte(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|x| json!(x)),
        any::<String>().prop_map(Value::from),
        Just(json!("a".repeat(40))),
        Just(json!("2026-03-01T12:00:00Z")),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop_oneof![
        4 => (any::<Index>(), value).prop_map(|(at, value)| Mutation::Replace(at, value)),
        2 => any::<Index>().prop_map(Mutation::Remove),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
        1 => any::<Index>().prop_map(Mutation::Cut),
        1 => (any::<Index>(), any::<Vec<u8>>()).prop_map(|(at, b)| Mutation::Insert(at, b)),
    ]
}

fn mutate(payload: &Value, places: &[String], mutations: &[Mutation]) -> Vec<u8> {
    let mut payload = payload.clone();
    for mutation in mutations {
        match mutation {
            Mutation::Replace(at, value) => {
                if let Some(place) = payload.pointer_mut(at.get(places).as_str()) {
                    *place = value.clone();
                }
            }
            Mutation::Remove(at) => {
                let place = at.get(places);
                let Some((parent, key)) = place.rsplit_once('/') else { continue };
                if let Some(Value::Object(fields)) = payload.pointer_mut(parent) {
                    fields.remove(key);
                }
            }
            _ => {}
        }
    }
    let mut body = bytes(&payload);
    for mutation in mutations {
        match mutation {
            Mutation::Byte(at, byte) if !body.is_empty() => {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            Mutation::Cut(at) => body.truncate(at.index(body.len() + 1)),
            Mutation::Insert(at, bytes) => {
                let at = at.index(body.len() + 1);
                body.splice(at..at, bytes.iter().copied());
            }
            _ => {}
        }
    }
    body
}

#[tokio::test]
async fn no_mutation_of_a_true_delivery_is_our_fault() {
    let site = Arc::new(Site::new().await);
    site.opened(7, "a");
    let payload = site.github.payload("acme/shop", 7, "opened");
    // What we read is tried as often as all the rest together.
    let mut all = Vec::new();
    places(&payload, "", &mut all);
    let read = [
        "/action",
        "/repository",
        "/repository/id",
        "/repository/full_name",
        "/pull_request",
        "/pull_request/number",
        "/pull_request/state",
        "/pull_request/merged",
        "/pull_request/merged_at",
        "/pull_request/head",
        "/pull_request/head/sha",
        "/pull_request/head/repo",
        "/pull_request/head/repo/id",
        "/pull_request/base/repo/id",
        "/pull_request/author_association",
        "/pull_request/draft",
        "/pull_request/labels",
        "/pull_request/user",
        "/pull_request/user/login",
        "/pull_request/title",
        "/pull_request/updated_at",
    ];
    let often = all.len() / read.len();
    for place in read {
        all.extend(std::iter::repeat_n(place.to_owned(), often));
    }
    let runtime = tokio::runtime::Handle::current();
    let tried = site.clone();
    let trying = tokio::task::spawn_blocking(move || {
        let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
        TestRunner::new(config).run(&prop::collection::vec(mutation(), 1..4), |mutations| {
            let body = mutate(&payload, &all, &mutations);
            let answer = runtime.block_on(tried.deliver_new(&body));
            prop_assert!(matches!(answer.status, 202 | 422), "{answer:?}");
            Ok(())
        })
    });
    trying.await.unwrap().unwrap();
    site.still_serves(8).await;
    site.world.reconciler.turn().await.unwrap();
    assert!(site.world.ledger.preview_named(&pr(8)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_connection_that_sends_no_headers_is_ended_and_others_are_served() {
    let site = Site::new().await;
    let mut idle = TcpStream::connect(site.listener.address).await.unwrap();
    idle.write_all(b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    let mut rest = Vec::new();
    let ended = idle.read_to_end(&mut rest);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), ended).await;
    assert!(ended.is_ok(), "it still waits for headers");
}
