//! The API as its users call it, and as those do who should not.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use mayfly::clock::fresh_id;
use mayfly::http::{openapi, operations, router};
use mayfly::ledger::{Ledger, Role};
use mayfly::preview::{Part, Phase, PullState};
use mayfly::repository::Repositories;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::listener::{Answer, BrokenClock, Listener, reconciler, state};
use crate::world::{World, postgres, pr, repository, sha};

const VIEWER: &str = "viewer-token-0123456789";
const OPERATOR: &str = "operator-token-0123456789";
const ADMIN: &str = "admin-token-0123456789";
const EXPIRED: &str = "expired-token-0123456789";
const REVOKED: &str = "revoked-token-0123456789";

struct Api {
    world: World,
    listener: Listener,
}

impl Api {
    async fn new() -> Self {
        let world = World::new().await;
        let listener = Listener::start(router(state(&world.reconciler))).await;
        Self::over(world, listener).await
    }

    async fn over(world: World, mut listener: Listener) -> Self {
        let now = world.now();
        for (name, role, token, life) in [
            ("vera", Role::Viewer, VIEWER, TimeDelta::days(90)),
            ("otto", Role::Operator, OPERATOR, TimeDelta::days(90)),
            ("anna", Role::Admin, ADMIN, TimeDelta::days(90)),
            ("eve", Role::Admin, EXPIRED, TimeDelta::zero()),
            ("rex", Role::Admin, REVOKED, TimeDelta::days(90)),
        ] {
            let until = now + life;
            world.ledger.add_token(fresh_id(), name, role, token, until, now).await.unwrap();
            listener.conceal(token);
        }
        assert_eq!(world.ledger.revoke_tokens("rex", now).await.unwrap(), 1);
        Self { world, listener }
    }

    /// With pull request 7 up, and its password concealed.
    async fn with_ready() -> Self {
        let mut api = Self::new().await;
        api.world.open(7, 'a').await;
        api.world.settle().await;
        assert_eq!(api.world.phase(7).await, Phase::Ready);
        let password = api.world.preview(7).await.password;
        api.listener.conceal(password.reveal());
        api
    }

    fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        self.listener.request(method, path).header("authorization", format!("Bearer {token}"))
    }

    async fn get(&self, path: &str) -> Answer {
        self.listener.send(self.request(Method::GET, path, VIEWER)).await
    }

    async fn post(&self, path: &str) -> Answer {
        self.listener.send(self.request(Method::POST, path, OPERATOR)).await
    }

    async fn post_json(&self, path: &str, body: Value) -> Answer {
        self.listener.send(self.request(Method::POST, path, OPERATOR).json(&body)).await
    }

    async fn extend(&self, by: &str) -> Answer {
        self.post_json("/api/v1/previews/pr-7/extend", json!({ "by": by })).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.listener.send(self.request(Method::DELETE, path, ADMIN)).await
    }

    /// Every preview's name, page by page.
    async fn names(&self, query: &str, limit: usize) -> Vec<String> {
        let mut names = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/previews?limit={limit}{query}{cursor}");
            let page = self.get(&path).await.ok(200);
            let previews = page["previews"].as_array().unwrap();
            assert!(previews.len() <= limit);
            names.extend(previews.iter().map(|p| p["name"].as_str().unwrap().to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return names,
            }
        }
    }
}

/// Every operation of the description: method, path, and the smallest role that it takes.
fn walk() -> Vec<(Method, String, Role)> {
    let document = serde_json::to_value(openapi()).unwrap();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, _) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let role = match (&method, path.as_str()) {
                (&Method::GET, _) => Role::Viewer,
                (&Method::DELETE, _) | (_, "/api/v1/brake/release") => Role::Admin,
                _ => Role::Operator,
            };
            all.push((method, path.replace("{id}", "pr-999"), role));
        }
    }
    assert!(all.len() >= 15, "{all:?}");
    all
}

#[tokio::test]
async fn nobody_passes_without_a_token_of_a_large_enough_role() {
    let api = Api::new().await;
    let long = "x".repeat(7000);
    for (method, path, role) in walk() {
        let ask = || api.listener.request(method.clone(), &path);
        api.listener.send(ask()).await.problem(401);
        for word in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer  ",
            "Basic dmVyYTp2ZXJh",
            VIEWER,
            "Bearer nonsense",
            "Bearer ' OR 1=1 --",
            &format!("Bearer {EXPIRED}"),
            &format!("Bearer {REVOKED}"),
            &format!("Bearer {}", &ADMIN[1..]),
            &format!("Bearer {}", ADMIN.to_uppercase()),
            &format!("Bearer {long}"),
        ] {
            api.listener.send(ask().header("authorization", word)).await.problem(401);
        }
        let bytes = reqwest::header::HeaderValue::from_bytes(b"Bearer \xff\xfe").unwrap();
        api.listener.send(ask().header("authorization", bytes)).await.problem(401);
        for (token, has) in
            [(VIEWER, Role::Viewer), (OPERATOR, Role::Operator), (ADMIN, Role::Admin)]
        {
            let answer = api.listener.send(api.request(method.clone(), &path, token)).await;
            if has < role {
                answer.problem(403);
            } else {
                assert!(![401, 403].contains(&answer.status), "{method} {path}: {answer:?}");
                assert!(answer.status < 500, "{method} {path}: {answer:?}");
            }
        }
    }
    let brake = api.get("/api/v1/brake").await.ok(200);
    assert!(brake["released_until"].is_string(), "only the admin's release counted");
}

#[tokio::test]
async fn a_token_ends_with_its_life_and_with_its_revocation() {
    let api = Api::new().await;
    api.get("/api/v1/previews").await.ok(200);
    api.world.clock.advance(TimeDelta::days(90));
    api.get("/api/v1/previews").await.problem(401);
    api.world.clock.advance(-TimeDelta::days(1));
    api.get("/api/v1/previews").await.ok(200);
    api.world.ledger.revoke_tokens("vera", api.world.now()).await.unwrap();
    api.get("/api/v1/previews").await.problem(401);
}

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let api = Api::with_ready().await;
    for (path, status) in [
        ("/nowhere", 404),
        ("/api/v1/nowhere", 404),
        ("/api/v2/previews", 404),
        ("/api/v1/previews/", 404),
        ("/api/v1/previews/pr-8", 404),
        ("/api/v1/previews/pr-0", 404),
        ("/api/v1/previews/pr-99999999999999999999", 404),
        ("/api/v1/previews/nonsense", 404),
        ("/api/v1/previews/%00", 404),
        ("/api/v1/previews/..%2f..%2fetc", 404),
        ("/api/v1/previews/%ff", 400),
        ("/api/v1/previews/00000000-0000-0000-0000-000000000000", 404),
        ("/api/v1/previews/00000000-0000-0000-0000-00000000000z", 404),
        ("/api/v1/previews/pr-8/receipt", 404),
        ("/api/v1/previews/pr-8/journal", 404),
        ("/api/v1/previews?color=red", 400),
        ("/api/v1/previews?limit=1&limit=2", 400),
        ("/api/v1/previews?cursor=nonsense", 400),
        ("/api/v1/previews?limit=0", 422),
        ("/api/v1/previews?limit=201", 422),
        ("/api/v1/previews?limit=-1", 422),
        ("/api/v1/previews?limit=9223372036854775807", 422),
        ("/api/v1/previews?limit=9223372036854775808", 400),
        ("/api/v1/previews?limit=1e400", 400),
        ("/api/v1/previews?limit=", 400),
        ("/api/v1/previews?limit=ten", 400),
        ("/api/v1/previews?phase=Nonsense", 422),
        ("/api/v1/previews?author=a%00b", 422),
        ("/api/v1/previews?repository=a%00b", 422),
        ("/api/v1/previews/pr-7/journal?limit=0", 422),
        ("/api/v1/previews/pr-7/journal?cursor=x", 400),
        ("/api/v1/previews/pr-7/journal?phase=Ready", 400),
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        answer.problem(status);
    }
    for (method, path) in [
        (Method::POST, "/api/v1/previews"),
        (Method::PUT, "/api/v1/previews/pr-7"),
        (Method::PATCH, "/api/v1/previews/pr-7"),
        (Method::GET, "/api/v1/previews/pr-7/extend"),
        (Method::DELETE, "/api/v1/brake"),
        (Method::POST, "/api/v1/openapi.json"),
        (Method::POST, "/"),
        (Method::OPTIONS, "/api/v1/previews"),
    ] {
        let answer = api.listener.send(api.request(method, path, ADMIN)).await;
        answer.problem(405);
        assert!(!answer.header("allow").is_empty(), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn no_path_and_no_query_is_our_fault() {
    let api = Arc::new(Api::with_ready().await);
    let runtime = tokio::runtime::Handle::current();
    let tried = api.clone();
    let trying = tokio::task::spawn_blocking(move || {
        let piece = prop_oneof![
            any::<Vec<u8>>(),
            any::<String>().prop_map(String::into_bytes),
            "(pr|shop-pr)-[0-9]{1,25}".prop_map(String::into_bytes),
        ];
        let key = prop_oneof!["repository", "phase", "author", "cursor", "limit", "[a-z%&=]{0,5}"];
        let under = prop_oneof![Just(""), Just("/receipt"), Just("/journal")];
        let all = (prop::option::of(piece.clone()), under, prop::option::of((key, piece)));
        let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
        TestRunner::new(config).run(&all, |(id, under, query)| {
            let encode =
                |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("%{b:02x}")).collect() };
            let mut path = "/api/v1/previews".to_owned();
            if let Some(id) = id {
                path += &format!("/{}{under}", encode(&id));
            }
            if let Some((key, value)) = query {
                path += &format!("?{key}={}", encode(&value));
            }
            let answer = runtime.block_on(tried.get(&path));
            prop_assert!(answer.status < 500, "{path}: {answer:?}");
            Ok(())
        })
    });
    trying.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_is_not_what_it_should_be_is_refused_in_words() {
    let api = Api::with_ready().await;
    let before = api.world.preview(7).await;
    let json = Some("application/json");
    let large = format!("{{\"by\":\"{}\"}}", "1".repeat(20_000));
    let deep = "[".repeat(10_000);
    for (kind, body, status) in [
        (json, "", 400),
        (json, "{", 400),
        (json, "{\"by", 400),
        (json, deep.as_str(), 422),
        (json, "\u{0}", 400),
        (json, "null", 422),
        (json, "[]", 422),
        (json, "{}", 422),
        (json, "{\"by\":null}", 422),
        (json, "{\"by\":24}", 422),
        (json, "{\"by\":[\"24h\"]}", 422),
        (json, "{\"by\":\"24h\",\"and\":1}", 422),
        (json, "{\"by\":\"24h\",\"by\":\"24h\"}", 422),
        (json, large.as_str(), 413),
        (None, "{\"by\":\"24h\"}", 415),
        (Some("text/plain"), "{\"by\":\"24h\"}", 415),
        (Some("application/x-www-form-urlencoded"), "by=24h", 415),
    ] {
        for path in ["extend", "approve"] {
            let path = format!("/api/v1/previews/pr-7/{path}");
            let mut request = api.request(Method::POST, &path, OPERATOR).body(body.to_owned());
            if let Some(kind) = kind {
                request = request.header("content-type", kind);
            }
            let answer = api.listener.send(request).await;
            // What is a double or unknown field in one body is an unknown one in the other.
            assert_eq!(answer.status, status, "{path} {kind:?} {body:.40}: {answer:?}");
        }
    }
    for by in [
        "",
        " ",
        "-1h",
        "0s",
        "0",
        "1",
        "1e400",
        "1e400h",
        "P1000Y",
        "P1M",
        "99999999999d",
        "NaN",
        "inf",
        "1h ago",
        "24 parsecs",
        "3651d",
        "\u{661}h",
        "1h\u{0}",
        "P",
        "PT",
        "--1h",
        "9223372036854775807s",
        "0.0000001s",
        "; DROP TABLE previews",
    ] {
        let detail = api.extend(by).await.problem(422)["detail"].clone();
        assert!(detail.as_str().unwrap().starts_with("by: "), "{by:?}: {detail}");
    }
    for commit in ["", "aaaa", "HEAD", &"g".repeat(40), &"a".repeat(41), &"a".repeat(63)] {
        let body = json!({ "sha": commit });
        api.post_json("/api/v1/previews/pr-7/approve", body).await.problem(422);
    }
    let after = api.world.preview(7).await;
    assert_eq!(format!("{before:?}"), format!("{after:?}"), "nothing was changed");
}

#[tokio::test]
async fn a_body_that_never_comes_is_not_waited_for() {
    let api = Api::with_ready().await;
    let mut socket = api.listener.connect().await;
    let head = format!(
        "POST /api/v1/previews/pr-7/extend HTTP/1.1\r\nhost: localhost\r\n\
         authorization: Bearer {OPERATOR}\r\ncontent-type: application/json\r\n\
         content-length: 12\r\n\r\n{{"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = socket.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
}

#[tokio::test]
async fn pages_show_every_preview_once() {
    let api = Api::new().await;
    for n in 1..=130 {
        let mut facts = api.world.facts(n, 'a');
        facts.author = if n % 10 == 0 { "bob" } else { "ada" }.to_owned();
        api.world.change("opened", facts).await;
    }
    let all: Vec<_> = (1..=130).map(|n| format!("pr-{n}")).collect();
    for limit in [1, 7, 13, 65, 129, 130, 131, 200] {
        assert_eq!(api.names("", limit).await, all, "by {limit}");
    }
    let first = api.get("/api/v1/previews").await.ok(200);
    assert_eq!(first["previews"].as_array().unwrap().len(), 50, "the default");
    assert_eq!(api.names("&author=bob", 4).await.len(), 13);
    assert_eq!(api.names("&author=BOB", 4).await.len(), 0);
    assert_eq!(api.names("&repository=acme/shop", 60).await.len(), 130);
    assert_eq!(api.names("&repository=acme/other", 60).await.len(), 0);
    assert_eq!(api.names("&repository=acme/shop&author=bob&phase=Pending", 60).await.len(), 13);
    for n in 1..=130 {
        api.world.silently(&api.world.preview(n).await.memory.facts);
    }
    api.world.settle().await;
    assert_eq!(api.names("&phase=Ready", 60).await.len(), 130);
    assert_eq!(api.names("&phase=Pending", 60).await.len(), 0);
}

#[tokio::test]
async fn a_preview_is_found_by_its_id_and_by_its_name_and_shows_no_secret() {
    let api = Api::with_ready().await;
    let by_name = api.get("/api/v1/previews/pr-7").await;
    let preview = by_name.ok(200);
    let id = preview["id"].as_str().unwrap();
    assert_eq!(api.get(&format!("/api/v1/previews/{id}")).await.ok(200), preview);
    assert_eq!(preview["name"], "pr-7");
    assert_eq!(preview["phase"], "Ready");
    assert_eq!(preview["url"], "http://pr-7.preview.example.test/");
    assert_eq!(preview["head"], "a".repeat(40));
    assert_eq!(preview["conditions"].as_array().unwrap().len(), Part::ALL.len());
    assert!(preview["expires_at"].is_string());
    assert_eq!(by_name.header("cache-control"), "no-store");
    let password = api.world.preview(7).await.password;
    for path in ["", "/pr-7", "/pr-7/journal"] {
        let answer = api.get(&format!("/api/v1/previews{path}")).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.text.contains(password.reveal()));
        assert!(!answer.text.contains("password"), "{}", answer.text);
    }
}

#[tokio::test]
async fn the_report_of_migrations_is_there_once_they_ended_and_a_404_in_words_before() {
    let api = Api::with_ready().await;
    let path = "/api/v1/previews/pr-7/rehearsal";
    let none = api.get(path).await;
    assert_eq!(none.status, 404);
    assert!(none.text.contains("workload.migrations"), "{}", none.text);
    let mut world = World::new().await;
    world.configure(crate::world::migrating());
    world.open(7, 'a').await;
    world.settle().await;
    world.cluster.fate(crate::world::cluster::Fate::Fail("exit code 1".to_owned()));
    let listener = Listener::start(router(state(&world.reconciler))).await;
    let api = Api::over(world, listener).await;
    let report = api.get(path).await.ok(200);
    assert_eq!((&report["ended"], &report["why"]), (&json!("done"), &Value::Null));
    assert_eq!((&report["commit"], &report["restart"]), (&json!("a".repeat(40)), &json!(0)));
    assert_eq!((&report["partial"], &report["samples"]), (&json!(false), &json!(80)));
    let statement = &report["statements"][0];
    assert_eq!(statement["milliseconds"], 1200.0);
    assert_eq!(statement["locks"][0]["mode"], "AccessExclusiveLock");
    assert_eq!(statement["locks"][0]["stops_reads"], true);
    assert_eq!(report["rewrites"]["tables"], json!(["shop.orders"]));
    assert_eq!(report["schema"]["changes"][0]["to"], "text");
    // A failed one is the newest, and has its log.
    api.world.push(7, 'b').await;
    api.world.settle_for(TimeDelta::minutes(1)).await;
    let report = api.get(path).await.ok(200);
    assert_eq!((&report["ended"], &report["why"]), (&json!("failed"), &json!("exit code 1")));
    assert!(report["log"].as_str().unwrap().contains("column"), "{report}");
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_extension_is_what_was_asked_for_until_the_maximum_life() {
    let api = Api::with_ready().await;
    let born = api.world.preview(7).await.memory.life.born_at;
    for (by, hours, clamped) in
        [("24h", 48, false), ("2d", 96, false), (" 90m ", 97, false), ("30d", 168, true)]
    {
        let given = api.extend(by).await.ok(200);
        let until = time(&given["expires_at"]);
        assert_eq!((until - born).num_hours(), hours, "{by}");
        assert_eq!(given["clamped"], clamped, "{by}");
        assert_eq!(given["preview"]["expires_at"], given["expires_at"]);
        let says = given["message"].as_str().unwrap();
        assert_eq!(says.contains("maximum life"), clamped, "{says}");
    }
    let last = api.extend("1s").await.ok(200);
    assert_eq!(last["clamped"], true, "there is no more to give");
    api.world.settle().await;
    let kept = api.get("/api/v1/previews/pr-7").await.ok(200);
    assert_eq!(time(&kept["expires_at"]), born + TimeDelta::days(7));
    let journal = api.get("/api/v1/previews/pr-7/journal").await.text;
    assert!(journal.contains("by 90m until"), "{journal}");
}

#[tokio::test]
async fn extensions_at_once_add_up_and_never_pass_the_maximum_life() {
    let api = Api::with_ready().await;
    let born = api.world.preview(7).await.memory.life.born_at;
    let (one, two) = tokio::join!(api.extend("24h"), api.extend("24h"));
    let mut given: Vec<_> =
        [one, two].iter().map(|answer| time(&answer.ok(200)["expires_at"])).collect();
    given.sort();
    assert_eq!(given, [born + TimeDelta::hours(48), born + TimeDelta::hours(72)]);
    let many = futures_util::future::join_all((0..20).map(|_| api.extend("24h"))).await;
    let last = born + TimeDelta::days(7);
    assert!(many.iter().all(|answer| time(&answer.ok(200)["expires_at"]) <= last));
    api.world.settle().await;
    assert_eq!(api.world.preview(7).await.expires_at, Some(last));
}

#[tokio::test]
async fn what_is_not_up_cannot_be_changed_as_if_it_were() {
    let api = Api::with_ready().await;
    api.world.close(7, 'a').await;
    let actions =
        ["extend", "pin", "stop", "start", "redeploy", "reset-data", "rotate-password", "approve"];
    for settled in [false, true] {
        if settled {
            api.world.settle().await;
            assert_eq!(api.world.phase(7).await, Phase::Gone);
        }
        for action in actions {
            let path = format!("/api/v1/previews/pr-7/{action}");
            let body = match action {
                "extend" => json!({ "by": "24h" }),
                _ => json!({ "sha": sha('a').to_string() }),
            };
            let detail = api.post_json(&path, body).await.problem(409)["detail"].clone();
            assert!(detail.as_str().unwrap().contains("closed"), "{action}: {detail}");
        }
    }
    assert_eq!(api.world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_pin_outlives_idleness_and_an_unpin_ends_it() {
    let api = Api::with_ready().await;
    assert_eq!(api.post("/api/v1/previews/pr-7/pin").await.ok(202)["pinned"], true);
    api.world.settle_for(TimeDelta::days(3)).await;
    assert!(api.world.serves(7, 'a'));
    assert_eq!(api.post("/api/v1/previews/pr-7/unpin").await.ok(202)["pinned"], false);
    api.world.settle().await;
    assert_eq!(api.world.phase(7).await, Phase::Gone);
    api.post("/api/v1/previews/pr-7/pin").await.problem(409);
}

#[tokio::test]
async fn what_was_stopped_stays_down_until_it_is_started() {
    let api = Api::with_ready().await;
    assert_eq!(api.post("/api/v1/previews/pr-7/stop").await.ok(202)["stopped"], true);
    api.world.settle().await;
    assert_eq!(api.world.leftovers(), Vec::<String>::new());
    api.world.push(7, 'b').await;
    api.world.settle().await;
    assert_eq!(api.world.leftovers(), Vec::<String>::new(), "a push does not start it");
    for action in ["redeploy", "reset-data", "rotate-password", "pin"] {
        api.post(&format!("/api/v1/previews/pr-7/{action}")).await.problem(409);
    }
    assert_eq!(api.post("/api/v1/previews/pr-7/start").await.ok(202)["stopped"], false);
    api.world.settle().await;
    assert!(api.world.serves(7, 'b'));
}

#[tokio::test]
async fn what_was_deleted_comes_back_with_the_next_push() {
    let api = Api::with_ready().await;
    api.delete("/api/v1/previews/pr-7").await.ok(202);
    api.world.settle().await;
    assert_eq!(api.world.phase(7).await, Phase::Gone);
    assert_eq!(api.world.leftovers(), Vec::<String>::new());
    let gone = api.get("/api/v1/previews/pr-7").await.ok(200);
    assert_eq!(gone["expires_at"], Value::Null);
    // An event that is no push does not.
    api.world.change("edited", api.world.facts(7, 'a')).await;
    api.world.settle().await;
    assert_eq!(api.world.leftovers(), Vec::<String>::new());
    api.world.push(7, 'b').await;
    api.world.settle().await;
    assert!(api.world.serves(7, 'b'));
}

#[tokio::test]
async fn a_redeployment_starts_afresh_and_a_reset_has_new_data() {
    let api = Api::with_ready().await;
    api.post("/api/v1/previews/pr-7/redeploy").await.ok(202);
    api.world.settle().await;
    assert_eq!(api.world.cluster.running(&pr(7)).unwrap().restart, 1);
    assert_eq!(api.world.databases.databases()["pr_7"], 0, "the same data");
    api.post("/api/v1/previews/pr-7/reset-data").await.ok(202);
    api.world.settle().await;
    assert_eq!(api.world.cluster.running(&pr(7)).unwrap().restart, 2);
    assert_eq!(api.world.databases.databases()["pr_7"], 1);
    assert!(api.world.serves(7, 'a'));
}

#[tokio::test]
async fn a_password_is_rotated_once_at_a_time_and_is_never_shown() {
    let mut api = Api::with_ready().await;
    let path = "/api/v1/previews/pr-7/rotate-password";
    api.post(path).await.ok(202);
    assert_eq!(api.get("/api/v1/previews/pr-7").await.ok(200)["phase"], "Updating");
    let detail = api.post(path).await.problem(409)["detail"].clone();
    assert!(detail.as_str().unwrap().contains("already"), "{detail}");
    api.listener.conceal(api.world.preview(7).await.password.reveal());
    api.world.settle().await;
    assert_eq!(api.get("/api/v1/previews/pr-7").await.ok(200)["phase"], "Ready");
    let journal = api.get("/api/v1/previews/pr-7/journal").await.ok(200).to_string();
    assert!(journal.contains("remove_login") && journal.contains("otto"), "{journal}");
    api.post(path).await.ok(202);
}

#[tokio::test]
async fn an_approval_is_for_the_head_and_nothing_else() {
    let api = Api::new().await;
    let stranger = |digit| {
        let mut facts = api.world.facts(7, digit);
        facts.fork = true;
        facts.trusted_author = false;
        facts
    };
    api.world.change("opened", stranger('a')).await;
    api.world.settle().await;
    let approve = |digit| {
        let body = json!({ "sha": sha(digit).to_string() });
        api.post_json("/api/v1/previews/pr-7/approve", body)
    };
    approve('b').await.problem(409);
    api.world.settle().await;
    assert_eq!(api.world.leftovers(), Vec::<String>::new());
    assert_eq!(approve('a').await.ok(202)["approved"], sha('a').to_string());
    api.world.settle().await;
    assert!(api.world.serves(7, 'a'));
    api.world.change("synchronize", stranger('b')).await;
    approve('a').await.problem(409);
    api.world.settle().await;
    assert_eq!(api.world.leftovers(), Vec::<String>::new());
    let mut closed = stranger('b');
    closed.state = PullState::Closed;
    api.world.change("closed", closed).await;
    approve('b').await.problem(409);
}

#[tokio::test]
async fn a_receipt_is_there_when_nothing_else_is() {
    let api = Api::with_ready().await;
    let path = "/api/v1/previews/pr-7/receipt";
    let detail = api.get(path).await.problem(404)["detail"].clone();
    assert!(detail.as_str().unwrap().contains("Ready"), "{detail}");
    api.world.close(7, 'a').await;
    api.get(path).await.problem(404);
    api.world.settle().await;
    let receipt = api.get(path).await.ok(200);
    assert_eq!(receipt["name"], "pr-7");
    let answers = receipt["answers"].as_array().unwrap();
    assert_eq!(answers.len(), 6, "{receipt:#}");
    for answer in answers {
        assert!(["not there", "none active"].contains(&answer["answer"].as_str().unwrap()));
    }
}

#[tokio::test]
async fn the_journal_says_who_and_why_page_by_page() {
    let api = Api::with_ready().await;
    api.extend("2d").await.ok(200);
    api.post("/api/v1/previews/pr-7/pin").await.ok(202);
    api.delete("/api/v1/previews/pr-7").await.ok(202);
    api.world.settle().await;
    let path = "/api/v1/previews/pr-7/journal";
    let whole = api.get(&format!("{path}?limit=200")).await.ok(200);
    let whole = whole["entries"].as_array().unwrap().clone();
    let find = |action: &str| {
        let found = whole.iter().find(|entry| entry["action"] == action);
        found.unwrap_or_else(|| panic!("no {action}: {whole:#?}"))
    };
    assert_eq!(find("extend")["actor"], "otto");
    assert!(find("extend")["reason"].as_str().unwrap().starts_with("by 2d until "));
    assert_eq!(find("pin")["actor"], "otto");
    assert_eq!(find("delete")["actor"], "anna");
    assert_eq!(find("delete")["reason"], sha('a').to_string());
    assert_eq!(find("learned")["actor"], "github");
    assert_eq!(find("learned")["delivery_id"], "delivery-0");
    assert_eq!(find("phase")["actor"], "mayfly");
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("{path}?limit=3{cursor}")).await.ok(200);
        paged.extend(page["entries"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_i64() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, whole);
    assert!(whole.windows(2).all(|pair| pair[0]["id"].as_i64() < pair[1]["id"].as_i64()));
}

#[tokio::test]
async fn the_brake_is_released_by_an_admin_for_ten_minutes() {
    let api = Api::new().await;
    let brake = api.get("/api/v1/brake").await.ok(200);
    assert_eq!(brake, json!({ "engaged_at": null, "released_until": null }));
    let release = "/api/v1/brake/release";
    api.post(release).await.problem(403);
    let released = api.listener.send(api.request(Method::POST, release, ADMIN)).await.ok(202);
    let until = time(&released["released_until"]);
    assert_eq!(until, api.world.now() + TimeDelta::minutes(10));
    assert_eq!(api.get("/api/v1/brake").await.ok(200), released);
    let noted: (String, String) =
        sqlx::query_as("SELECT actor, action FROM journal WHERE preview_id IS NULL")
            .fetch_one(api.world.ledger.pool())
            .await
            .unwrap();
    assert_eq!(noted, ("anna".to_owned(), "release-brake".to_owned()));
}

#[tokio::test]
async fn a_row_that_cannot_be_read_hides_no_other() {
    let api = Api::new().await;
    for n in 1..=6 {
        api.world.open(n, 'a').await;
    }
    for (name, corrupt) in [
        ("pr-2", "UPDATE previews SET facts = '{\"nonsense\": true}' WHERE name = $1"),
        ("pr-3", "UPDATE previews SET overrides = '{\"pinned\": 7}' WHERE name = $1"),
        (
            "pr-6",
            "UPDATE previews SET facts = jsonb_set(facts, '{state}', '\"?\"') WHERE name = $1",
        ),
    ] {
        sqlx::query(corrupt).bind(name).execute(api.world.ledger.pool()).await.unwrap();
    }
    for limit in [1, 2, 3, 50] {
        assert_eq!(api.names("", limit).await, ["pr-1", "pr-4", "pr-5"], "by {limit}");
    }
    api.world.settle().await;
    for n in [1, 4, 5] {
        assert!(api.world.serves(n, 'a'), "pr-{n}");
    }
    for n in [2, 3, 6] {
        let detail =
            api.get(&format!("/api/v1/previews/pr-{n}")).await.problem(500)["detail"].to_string();
        assert!(!detail.contains("nonsense") && !detail.contains("facts"), "{detail}");
        api.delete(&format!("/api/v1/previews/pr-{n}")).await.problem(500);
    }
    let now = api.world.now();
    let found = api.world.sweeper.sweep_pull_requests(now).await.unwrap();
    assert_eq!(found.failed, 3, "{found:?}");
    api.world.sweeper.sweep_orphans(now).await.unwrap();
    api.world.push(4, 'b').await;
    api.world.settle().await;
    assert!(api.world.serves(4, 'b'));
}

#[tokio::test]
async fn the_description_is_complete() {
    let api = Api::new().await;
    let served = api.listener.send(api.listener.request(Method::GET, "/api/v1/openapi.json")).await;
    let document = served.ok(200);
    assert_eq!(document, serde_json::to_value(openapi()).unwrap());
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(!document["info"]["version"].as_str().unwrap().is_empty());
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    let mut ids = HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let at = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{at}"));
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert_eq!(operation["security"], json!([{ "token": [] }]), "{at}");
            let says = operation["description"].as_str().unwrap();
            assert!(says.contains("Needs the role"), "{at}: {says}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{at}");
            for status in ["4XX", "5XX"] {
                let schema = &responses[status]["content"]["application/problem+json"]["schema"];
                assert_eq!(schema["$ref"], "#/components/schemas/Problem", "{at}");
            }
            for (status, response) in responses {
                assert!(!response["description"].as_str().unwrap().is_empty(), "{at} {status}");
                let content = response["content"].as_object().unwrap();
                assert!(content.values().all(|c| c["schema"].is_object()), "{at} {status}");
            }
            for parameter in operation["parameters"].as_array().unwrap_or(&Vec::new()) {
                assert!(!parameter["description"].as_str().unwrap().is_empty(), "{at}");
            }
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, of) in schema["properties"].as_object().unwrap() {
            let says = of["description"].as_str().unwrap_or_default();
            assert!(!says.is_empty(), "{name}.{field} is not described");
        }
    }
}

#[tokio::test]
async fn what_the_api_answers_is_what_its_description_says() {
    let api = Api::with_ready().await;
    let document = serde_json::to_value(openapi()).unwrap();
    let described = |schema: &str| -> HashSet<String> {
        let fields = document["components"]["schemas"][schema]["properties"].as_object();
        fields.unwrap_or_else(|| panic!("no {schema}")).keys().cloned().collect()
    };
    let given =
        |value: &Value| -> HashSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    let preview = api.get("/api/v1/previews/pr-7").await.ok(200);
    assert_eq!(given(&preview), described("PreviewDto"));
    assert_eq!(given(&preview["conditions"][0]), described("ConditionDto"));
    assert_eq!(given(&api.get("/api/v1/previews").await.ok(200)), described("PreviewPage"));
    let journal = api.get("/api/v1/previews/pr-7/journal").await.ok(200);
    assert_eq!(given(&journal), described("JournalDto"));
    assert_eq!(given(&journal["entries"][0]), described("EntryDto"));
    assert_eq!(given(&api.extend("1h").await.ok(200)), described("ExtendedDto"));
    assert_eq!(given(&api.get("/api/v1/brake").await.ok(200)), described("BrakeDto"));
    assert_eq!(given(&api.get("/nowhere").await.problem(404)), described("Problem"));
}

#[tokio::test]
async fn a_callers_request_id_comes_back_and_another_is_made_without() {
    let api = Api::new().await;
    let ask = |path: &str| api.listener.request(Method::GET, path);
    for path in ["/", "/nowhere", "/api/v1/previews", "/fleet.js", "/api/v1/openapi.json"] {
        let mine = api.listener.send(ask(path).header("x-request-id", "mine-1")).await;
        assert_eq!(mine.header("x-request-id"), "mine-1");
        let long = api.listener.send(ask(path).header("x-request-id", "x".repeat(1000))).await;
        assert!(long.header("x-request-id").len() < 100, "it is no id, and goes into every log");
        let one = api.listener.send(ask(path)).await;
        let two = api.listener.send(ask(path)).await;
        assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_with_a_request_id() {
    let world = World::new().await;
    let all = Repositories::new(vec![repository()]);
    let broken = reconciler(&world, all, Arc::new(BrokenClock));
    let listener = Listener::start(router(state(&broken))).await;
    let api = Api::over(world, listener).await;
    for (method, path, _) in walk() {
        let request = api.request(method, &path, ADMIN).header("x-request-id", "mine-1");
        let answer = api.listener.send(request).await;
        let problem = answer.problem(500);
        assert_eq!(answer.header("x-request-id"), "mine-1");
        assert!(!problem.to_string().contains("clock"), "{problem}");
    }
}

#[tokio::test]
async fn without_its_ledger_the_api_asks_for_patience() {
    let api = Api::new().await;
    api.world.ledger.close().await;
    for (method, path, _) in walk() {
        api.listener.send(api.request(method, &path, ADMIN)).await.problem(503);
    }
}

struct Operations(Listener);

impl Operations {
    async fn of(world: &World) -> Self {
        Self(Listener::start(operations(state(&world.reconciler))).await)
    }

    async fn get(&self, path: &str) -> Answer {
        self.0.look(self.0.request(Method::GET, path)).await
    }
}

#[tokio::test]
async fn readiness_follows_the_ledger_and_liveness_does_not() {
    let empty = Ledger::connect(&postgres::empty_database().await, 2).await.unwrap();
    let world = World::with(Default::default(), empty).await;
    let side = Operations::of(&world).await;
    assert_eq!(side.get("/livez").await.status, 200);
    assert_eq!(side.get("/readyz").await.status, 503);
    world.ledger.migrate().await.unwrap();
    assert_eq!(side.get("/readyz").await.status, 200);
    world.ledger.close().await;
    assert_eq!(side.get("/readyz").await.status, 503);
    assert_eq!(side.get("/livez").await.status, 200);
    let metrics = side.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(!metrics.text.contains("mayfly_previews{"), "not known is not zero");
    assert!(
        metrics.text.contains("mayfly_brake_engaged_total"),
        "what this process knows is still told"
    );
}

#[tokio::test]
async fn metrics_are_openmetrics_and_not_for_the_world() {
    let api = Api::with_ready().await;
    let side = Operations::of(&api.world).await;
    let plain = side.get("/metrics").await;
    assert!(plain.header("content-type").starts_with("text/plain"), "unless it is asked for");
    let asked =
        side.0.request(Method::GET, "/metrics").header("accept", "application/openmetrics-text");
    let answer = side.0.look(asked).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    assert!(answer.text.ends_with("# EOF\n"), "{}", answer.text);
    assert_eq!(answer.text.matches("# EOF").count(), 1);
    for line in answer.text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(name.starts_with("mayfly_") || name.starts_with("process_"), "{line}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
        assert!(labels.ends_with('}'), "{line}");
    }
    assert!(answer.text.contains("mayfly_previews{phase=\"Ready\"} 1\n"), "{}", answer.text);
    assert!(answer.text.contains("mayfly_previews{phase=\"Gone\"} 0\n"), "{}", answer.text);
    for path in ["/metrics", "/readyz", "/livez"] {
        api.get(path).await.problem(404);
    }
    assert_eq!(side.get("/api/v1/previews").await.status, 404);
}

#[tokio::test]
async fn the_fleets_page_is_all_its_own() {
    let api = Api::new().await;
    let fetch = |path: &str| api.listener.send(api.listener.request(Method::GET, path));
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/fleet.js", "text/javascript; charset=utf-8"),
        ("/fleet.css", "text/css; charset=utf-8"),
    ] {
        let answer = fetch(path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), kind);
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        for elsewhere in [
            "http://",
            "https://",
            "\"//",
            "'//",
            "url(",
            "@import",
            "innerHTML",
            "eval(",
            "document.write",
            "insertAdjacentHTML",
        ] {
            assert!(!answer.text.contains(elsewhere), "{path} has {elsewhere}");
        }
    }
    let page = fetch("/").await.text;
    for script in page.match_indices("<script") {
        let tag = &page[script.0..];
        assert!(tag.starts_with("<script src=\"/"), "an inline script");
        assert!(tag[tag.find('>').unwrap()..].starts_with("></script>"), "an inline script");
    }
    for inline in [" onclick", " onload", " onerror", " style=", "<style", "javascript:"] {
        assert!(!page.contains(inline), "{inline}");
    }
}
