//! What happens to the pull requests, told by webhooks, and held against what is really there.

use std::time::Duration;

use mayfly::demo::github::PullSpec;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::ground::of_preview;
use super::images;
use super::install::{RELEASE, docs_image};
use super::isolation::pod_of;
use super::stage::{DOCS, PATIENCE, SHOP, SUFFIX, Stage};
use super::wait::within;

/// The commit of a pull request after so many pushes.
pub fn commit(number: u32, push: u32) -> String {
    format!("{push:08x}{number:032x}")
}

pub async fn open_pull(stage: &Stage, repo: &str, number: u32) {
    stage.servers.github.open_pull(repo, number, PullSpec::new("A change", &commit(number, 1)));
    assert_eq!(stage.deliver(repo, number, "opened").await, 202);
}

/// Three open; each serves its commit with its own data, from the image that was pinned.
pub async fn open(stage: &Stage, image: &str) {
    let forged = stage.servers.github.payload(SHOP, 1, "opened").to_string();
    let wrong = format!("sha256={}", "0".repeat(64));
    assert_eq!(stage.deliver_signed(forged, &wrong).await, 401);
    for (repo, number) in [(SHOP, 1), (SHOP, 2), (DOCS, 9)] {
        open_pull(stage, repo, number).await;
    }
    // Its build is slower than the webhook, and is waited for.
    let awaited = |seen: &Value| {
        let mut conditions = seen["conditions"].as_array().into_iter().flatten();
        let image = conditions.find(|it| it["part"] == "Image");
        image.is_some_and(|it| it["status"] == "False")
    };
    stage.until_seen("docs-pr-9", "waiting for its image", awaited).await;
    images::tag(&stage.cluster, image, &docs_image(&stage.cluster, &commit(9, 1))).await;
    for (preview, number) in [("docs-pr-9", 9), ("pr-1", 1), ("pr-2", 2)] {
        stage.until_ready(preview, &commit(number, 1)).await;
        let pod = stage.cluster.get(preview, &pod_of(&stage.cluster, preview).await).await;
        let container = &pod["spec"]["containers"][0];
        let digest = image.split('@').nth(1).unwrap();
        let name = if preview == "docs-pr-9" { "docs" } else { "shop" };
        let pinned = format!("{}/acme/{name}@{digest}", stage.cluster.registry);
        assert_eq!(container["image"], pinned, "pinned by digest");
        let pulled = pod["status"]["containerStatuses"][0]["imageID"].as_str().unwrap();
        assert!(pulled.ends_with(digest), "{pulled} is what runs");
    }
    assert_eq!(ingress(stage, "pr-3").await, 404, "a host that is nobody's");
    let rows = async |preview| {
        let (status, body) = stage.visit(preview, "/api/products").await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Vec<Value>>(&body).unwrap().len()
    };
    let seeded = rows("pr-2").await;
    assert!(seeded > 0);
    assert_eq!(stage.post_form("pr-1", "/products", "name=Lantern&price=19.95").await, 303);
    assert_eq!((rows("pr-1").await, rows("pr-2").await), (seeded + 1, seeded));
}

/// The new commit under the same URL; never again the old one once the new one was seen.
pub async fn push(stage: &Stage) {
    let (old, new) = (commit(1, 1), commit(1, 2));
    let (done, mut over) = oneshot::channel::<()>();
    let visitor = async {
        let mut seen: Vec<String> = Vec::new();
        let mut often = tokio::time::interval(Duration::from_millis(50));
        while over.try_recv() == Err(TryRecvError::Empty) {
            often.tick().await;
            let commit = stage.serves("pr-1").await.unwrap_or_else(|why| why);
            if seen.last() != Some(&commit) {
                seen.push(commit);
            }
        }
        seen
    };
    let pushed = async {
        stage.servers.github.push(SHOP, 1, &new);
        assert_eq!(stage.deliver(SHOP, 1, "synchronize").await, 202);
        stage.until_ready("pr-1", &new).await;
        pod_of(&stage.cluster, "pr-1").await;
        drop(done);
    };
    let (seen, ()) = tokio::join!(visitor, pushed);
    assert_eq!(seen, [old, new], "what a visitor saw, in order");
}

/// One of two replicas is killed while it works: the other one, and its successor, go on.
pub async fn lose_a_replica(stage: &Stage) {
    let pods = ["-n", RELEASE, "get", "pods", "-o", "name"];
    let pods = stage.cluster.kubectl(&pods).await;
    assert_eq!(pods.lines().count(), 2, "{pods}");
    open_pull(stage, SHOP, 3).await;
    let kill = ["-n", RELEASE, "delete", pods.lines().next().unwrap(), "--force", "--wait=false"];
    stage.cluster.kubectl(&kill).await;
    stage.until_ready("pr-3", &commit(3, 1)).await;
    let status = ["-n", RELEASE, "rollout", "status", "deployment/mayfly", "--timeout=120s"];
    stage.cluster.kubectl(&status).await;
}

/// Closed: everything goes, and the receipt says what is true.
pub async fn close(stage: &Stage) {
    assert_eq!(of_preview(&stage.servers, "pr-2").await, ["database pr_2", "role pr_2"]);
    close_pull(stage, SHOP, 2, "pr-2").await;
}

/// What whoever remembers the name is answered.
async fn ingress(stage: &Stage, preview: &str) -> u16 {
    let request = stage.request(Method::GET, &format!("{preview}.{SUFFIX}"), "/");
    request.send().await.unwrap().status().as_u16()
}

pub async fn close_pull(stage: &Stage, repo: &str, number: u32, preview: &str) {
    stage.servers.github.close(repo, number, true);
    assert_eq!(stage.deliver(repo, number, "closed").await, 202);
    gone(stage, preview).await;
}

async fn gone(stage: &Stage, preview: &str) {
    stage.until(preview, "Gone").await;
    assert_eq!(stage.cluster.get("default", &format!("namespace/{preview}")).await, Value::Null);
    assert_eq!(of_preview(&stage.servers, preview).await, [""; 0]);
    let records = stage.servers.zone.records().await;
    assert!(!records.iter().any(|record| record.contains(preview)), "{records:?}");
    assert_eq!(ingress(stage, preview).await, 404);
    let receipt = stage.api(&format!("previews/{preview}/receipt")).await;
    let answers = receipt["answers"].as_array().unwrap();
    for what in ["DNS record", "route", "namespace", "database", "role"] {
        let about = answers.iter().find(|answer| answer["what"] == what);
        assert!(about.is_some(), "no word of {what}: {receipt:#}");
    }
}

/// A namespace that does not go at once: what is opened again waits for it, and then has another.
pub async fn reopen_while_it_goes(stage: &Stage) {
    let namespace =
        async || stage.cluster.get("default", "namespace/pr-1").await["metadata"].clone();
    let first = namespace().await["uid"].clone();
    let keeper = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "keeper", "namespace": "pr-1", "finalizers": ["test.invalid/keep"] },
    });
    stage.cluster.apply(&[keeper]).await;
    stage.servers.github.close(SHOP, 1, false);
    assert_eq!(stage.deliver(SHOP, 1, "closed").await, 202);
    within(PATIENCE, "the namespace begins to go", async || {
        namespace().await["deletionTimestamp"].is_string()
    })
    .await;
    stage.servers.github.reopen(SHOP, 1);
    assert_eq!(stage.deliver(SHOP, 1, "reopened").await, 202);
    let waits = |seen: &Value| {
        let conditions = seen["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        let namespace = conditions.find(|condition| condition["part"] == "Namespace");
        seen["pull_request"] == "open" && namespace.is_some_and(|it| it["status"] == "False")
    };
    stage.until_seen("pr-1", "open again, and waiting", waits).await;
    assert_eq!(namespace().await["uid"], first, "nobody forces it");
    let release = ["-n", "pr-1", "patch", "configmap/keeper", "--type=merge", "--patch"];
    let nobody = r#"{"metadata":{"finalizers":null}}"#;
    stage.cluster.kubectl(&[&release[..], &[nobody]].concat()).await;
    stage.until_ready("pr-1", &commit(1, 2)).await;
    assert_ne!(namespace().await["uid"], first);
}

/// The one with the short life went by itself.
pub async fn expire(stage: &Stage) {
    gone(stage, "docs-pr-9").await;
    let seen = stage.api("previews/docs-pr-9").await;
    assert_eq!(seen["pull_request"], "open", "{seen:#}");
}

pub async fn close_all(stage: &Stage) {
    for number in [1, 3] {
        close_pull(stage, SHOP, number, &format!("pr-{number}")).await;
    }
    stage.servers.github.close(DOCS, 9, false);
    assert_eq!(stage.deliver(DOCS, 9, "closed").await, 202);
}

/// Opened, pushed to and closed, with an HTTPRoute where the others had an Ingress.
pub async fn live_behind_the_gateway(stage: &Stage) {
    open_pull(stage, SHOP, 4).await;
    stage.until_ready("pr-4", &commit(4, 1)).await;
    let route = stage.cluster.get("pr-4", "httproute/web").await;
    let header = &route["spec"]["rules"][0]["filters"][0]["responseHeaderModifier"]["set"];
    assert!(header.to_string().contains(&commit(4, 1)), "the route says its commit: {route:#}");
    stage.servers.github.push(SHOP, 4, &commit(4, 2));
    assert_eq!(stage.deliver(SHOP, 4, "synchronize").await, 202);
    stage.until_ready("pr-4", &commit(4, 2)).await;
    close_pull(stage, SHOP, 4, "pr-4").await;
}
