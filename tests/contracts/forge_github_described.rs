//! What is asked of GitHub is in its published description; a drift of either is noticed.

use mayfly::demo::github::{Exchange, HookDelivery};
use mayfly::forge::Forge;
use serde_json::{Value, json};

use super::description::Description;
use super::forge_github::opened;
use super::forge_github_login::{app, key};
use super::forge_stage::{REPO, Real, gone, number, preparing, ready, repo, sha};

/// A stage on which all that we ever ask was asked.
async fn everything() -> Real {
    let real = opened().await;
    let app = app(&real.hub, &key());
    for announcement in [preparing(7), ready(7), gone(7)] {
        app.publish(&repo(), number(7), &announcement).await.unwrap();
        real.github.publish(&repo(), number(7), &announcement).await.unwrap();
    }
    app.open_pulls(&repo()).await.unwrap();
    app.pull(&repo(), number(7)).await.unwrap();
    app.base_file(&repo(), number(7), "values-preview.yaml").await.unwrap();
    real.hub.put_file(REPO, "values-preview.yaml", "replicas: 2\n");
    app.base_file(&repo(), number(7), "values-preview.yaml").await.unwrap();
    app.owned(&repo()).await.unwrap();
    real.hub.put_files(REPO, sha(7).as_str(), "db/migrations", &["0001_a.sql"]);
    app.files(&repo(), &sha(7), "db/migrations").await.unwrap();
    real.hub.note_delivery(HookDelivery {
        id: 5,
        guid: "0b989ba4-242f-11e5-81e1-c7b6966d2516".to_owned(),
        event: "pull_request".to_owned(),
        status_code: 0,
        delivered_at: mayfly::clock::machine_time(),
        installation_id: None,
    });
    real
}

#[tokio::test]
async fn all_that_we_ask_and_are_answered_is_as_github_describes_it() {
    let real = everything().await;
    let exchanges = real.hub.exchanges();
    assert!(exchanges.len() > 20, "{}", exchanges.len());
    super::description::hold(&real.hub);
}

#[tokio::test]
async fn a_request_that_github_does_not_describe_is_refused() {
    let real = everything().await;
    let exchanges = real.hub.exchanges();
    let found = |method: &str, end: &str| -> Exchange {
        let fits = |e: &&Exchange| {
            e.method == method && e.target.split('?').next().unwrap().ends_with(end)
        };
        exchanges.iter().find(fits).cloned().unwrap_or_else(|| panic!("{method} {end}"))
    };
    let create = || found("POST", "/deployments");
    let body = |change: &dyn Fn(&mut Value)| {
        let mut exchange = create();
        change(exchange.body.as_mut().unwrap());
        exchange
    };
    let answer = |change: &dyn Fn(&mut Value)| {
        let mut exchange = found("GET", "/pulls/7");
        change(exchange.answer.as_mut().unwrap());
        exchange
    };
    let list = found("GET", "/deployments");
    let drifts = [
        ("no such path", Exchange { target: "/repos/acme/shop/deploys".to_owned(), ..create() }),
        ("no such method", Exchange { method: "PUT".to_owned(), ..create() }),
        (
            "no such query parameter",
            Exchange { target: format!("{}&tsak=x", list.target), ..list.clone() },
        ),
        ("per_page", Exchange { target: list.target.replace("=100", "=many"), ..list }),
        ("needs a body", Exchange { body: None, ..create() }),
        ("a body of type", Exchange { content_type: None, ..create() }),
        ("unexpected", body(&|body| body["transient"] = json!(true))),
        ("not of type", body(&|body| body["auto_merge"] = json!("no"))),
        ("required property", body(&|body| drop(body.as_object_mut().unwrap().remove("ref")))),
        ("required property", answer(&|pull| drop(pull.as_object_mut().unwrap().remove("head")))),
        ("not of type", answer(&|pull| pull["number"] = json!("7"))),
        ("not described", Exchange { status: 299, ..create() }),
    ];
    let published = Description::published();
    assert_eq!(published.flaws(&create()), Vec::<String>::new());
    for (words, exchange) in drifts {
        let flaws = published.flaws(&exchange).join("; ");
        assert!(
            flaws.contains(words) || (words == "per_page" && !flaws.is_empty()),
            "{words}: {flaws}"
        );
    }
}

#[tokio::test]
async fn a_description_that_changed_fails_what_we_ask_today() {
    let real = everything().await;
    let exchanges = real.hub.exchanges();
    let flaws = |change: &dyn Fn(&mut Value)| -> usize {
        let mut text = Description::published().text().clone();
        change(&mut text);
        let description = Description::new(text);
        exchanges.iter().map(|exchange| description.flaws(exchange).len()).sum()
    };
    assert_eq!(flaws(&|_| {}), 0);
    let deployments = "/repos/{owner}/{repo}/deployments";
    let remove = |value: &mut Value, key: &str| drop(value.as_object_mut().unwrap().remove(key));
    assert!(flaws(&|text| remove(&mut text["paths"], deployments)) > 0);
    assert!(flaws(&|text| remove(&mut text["paths"][deployments], "post")) > 0);
    assert!(
        flaws(&|text| {
            let schema = &mut text["paths"][deployments]["post"]["body"]["schema"];
            remove(&mut schema["properties"], "transient_environment");
        }) > 0
    );
    assert!(flaws(&|text| text["paths"][deployments]["get"]["parameters"] = json!([])) > 0);
    assert!(flaws(&|text| text["paths"][deployments]["post"]["deprecated"] = json!(true)) > 0);
}
