//! A repository of several programs, whose images are in a registry that wants a login: resolved by
//! Mayfly and pulled by the real kubelet, each with a token.

use serde_json::{Value, json};

use super::ground::of_preview;
use super::images;
use super::stage::{SUITE, Stage};
use super::story::{close_pull, commit, open_pull};

const PREVIEW: &str = "suite-pr-1";
const API: &str = "suite-pr-1-api";

/// Opened, seen by both of its hosts, pushed, and closed.
pub async fn live(stage: &Stage, image: &str) {
    let private = &stage.servers.private;
    let anonymous = format!("http://{}/v2/acme/suite/manifests/{}", private.address, commit(1, 1));
    assert_eq!(reqwest::get(anonymous).await.unwrap().status(), 401, "nobody reads it unasked");
    open_pull(stage, SUITE, 1).await;
    push_image(stage, image, 1, 1).await;
    stage.until_ready(PREVIEW, &commit(1, 1)).await;
    // The kubelet had no image but by its own token.
    assert!(private.has_given("mayfly"), "Mayfly asked which image it is");
    assert!(private.has_given("containerd"), "the node pulled it");
    let pinned = image.split('@').nth(1).unwrap();
    let runs = async || {
        let pod = ["-n", PREVIEW, "get", "pods", "-o", "json", "-l"];
        let api = ["app.kubernetes.io/component=api"];
        let said = stage.cluster.kubectl(&[&pod[..], &api[..]].concat()).await;
        let pods: Value = serde_json::from_str(&said).unwrap();
        let pulled = pods["items"][0]["status"]["containerStatuses"][0]["imageID"].as_str();
        pulled.unwrap().to_owned()
    };
    assert_eq!(runs().await, format!("{}/acme/suite@{pinned}", private.address));

    // A tag that somebody moves afterwards changes nothing, whatever is started again.
    let other = format!("{}/mayfly:test", stage.cluster.registry);
    let tag = format!("{}/acme/suite:{}", stage.cluster.registry, commit(1, 1));
    images::tag(&stage.cluster, &other, &tag).await;
    let before = stage.api(&format!("previews/{PREVIEW}")).await["updated_at"].clone();
    stage.tell(&format!("previews/{PREVIEW}/redeploy")).await;
    stage.until_seen(PREVIEW, "started again", |seen| seen["updated_at"] != before).await;
    stage.until_ready(PREVIEW, &commit(1, 1)).await;
    assert_eq!(runs().await, format!("{}/acme/suite@{pinned}", private.address));

    // Both are reached, and the page has its products from the component, whose data are its own.
    let (status, rows) = stage.visit(API, "/api/products").await;
    assert_eq!(status, 200, "{rows}");
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    let (_, page) = stage.visit(PREVIEW, "/").await;
    assert!(!rows.is_empty());
    assert!(rows.iter().all(|row| page.contains(row["name"].as_str().unwrap())), "{page}");
    assert_eq!(stage.post_form(API, "/products", "name=Firefly+jar&price=3.50").await, 303);
    let has = async |preview: &str, path: &str| {
        stage.visit(preview, path).await.1.contains("Firefly jar")
    };
    assert!(has(PREVIEW, "/").await, "the page has what the API has");
    assert!(!has(PREVIEW, "/api/products").await, "and its own database has not");
    let databases = of_preview(&stage.servers, "suite-pr-1--api").await;
    assert_eq!(databases, ["database suite_pr_1__api"]);

    // Both are of the next commit when it is Ready, and the data stayed.
    push_image(stage, image, 1, 2).await;
    stage.servers.github.push(SUITE, 1, &commit(1, 2));
    assert_eq!(stage.deliver(SUITE, 1, "synchronize").await, 202);
    stage.until_ready(PREVIEW, &commit(1, 2)).await;
    assert_eq!(stage.serves(API).await.as_deref(), Ok(&*commit(1, 2)));
    assert!(has(PREVIEW, "/").await, "the data stayed");

    close_pull(stage, SUITE, 1, PREVIEW).await;
    assert_eq!(of_preview(&stage.servers, "suite-pr-1--api").await, Vec::<String>::new());
    assert!(stage.servers.zone.lead(&format!("{API}.preview.test")).await.is_none());
}

/// The same where each host has an HTTPRoute of its own.
pub async fn live_behind_the_gateway(stage: &Stage, image: &str) {
    const PREVIEW: &str = "suite-pr-2";
    open_pull(stage, SUITE, 2).await;
    push_image(stage, image, 2, 1).await;
    stage.until_ready(PREVIEW, &commit(2, 1)).await;
    assert_eq!(stage.serves("suite-pr-2-api").await.as_deref(), Ok(&*commit(2, 1)));
    for (route, label) in [("web", PREVIEW), ("api", "suite-pr-2-api")] {
        let route = stage.cluster.get(PREVIEW, &format!("httproute/{route}")).await;
        assert_eq!(route["spec"]["hostnames"], json!([format!("{label}.preview.test")]));
    }
    close_pull(stage, SUITE, 2, PREVIEW).await;
}

async fn push_image(stage: &Stage, image: &str, number: u32, push: u32) {
    let tag = format!("{}/acme/suite:{}", stage.cluster.registry, commit(number, push));
    images::tag(&stage.cluster, image, &tag).await;
}
