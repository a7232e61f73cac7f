//! A commit's image: waited for while it is built, pinned when it is there, and never changed after.

use chrono::TimeDelta;
use mayfly::forge::signature::sign;
use mayfly::http::router;
use mayfly::preview::{Notice, Part, Phase, Status};
use mayfly::workload::{ImageTag, ImageTemplate};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::world::faults::Mode;
use crate::world::listener::{Listener, SECRET, state};
use crate::world::{SHOP, World, number, pr, repository, sha};

/// A world in which each commit has an image of its own.
async fn world() -> World {
    let mut world = World::new().await;
    let mut repository = repository();
    repository.shape.pod.image = None;
    repository.shape.image =
        Some(ImageTemplate::parse("registry.test/acme/shop:{{ sha }}").unwrap());
    world.configure(repository);
    world
}

fn tag(digit: char) -> ImageTag {
    ImageTag::parse(&format!("registry.test/acme/shop:{}", sha(digit))).unwrap()
}

/// What was ordered to run, last.
fn runs(world: &World) -> Option<String> {
    let (_, order) = world.cluster.orders().pop()?;
    order.shape.pod.image.map(|image| image.to_string())
}

#[tokio::test]
async fn a_preview_waits_for_its_image_with_a_reason_and_runs_it_by_digest_when_it_is_there() {
    let world = world().await;
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::minutes(2)).await;
    let preview = world.preview(7).await;
    assert_eq!(preview.phase, Phase::Starting);
    let image = preview.conditions.iter().find(|it| it.part == Part::Image).unwrap();
    assert_eq!(image.status, Status::False);
    assert!(image.message.contains("has no registry.test/acme/shop"), "{}", image.message);
    assert!(world.cluster.orders().is_empty());
    assert!(world.databases.databases().contains_key("pr_7"), "the rest is made meanwhile");
    let pushed = world.images.push(&tag('a'), '1');
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    assert_eq!(runs(&world), Some(pushed.to_string()));
}

#[tokio::test]
async fn a_tag_that_is_moved_after_it_was_pinned_changes_nothing() {
    let world = world().await;
    let first = world.images.push(&tag('a'), '1');
    world.open(7, 'a').await;
    world.settle().await;
    world.images.push(&tag('a'), '2');
    world.wish(7, |memory| memory.overrides.redeploys += 1).await;
    world.settle().await;
    assert_eq!(runs(&world), Some(first.to_string()));
    world.images.erase(&tag('a'));
    world.cluster.crash(&pr(7));
    world.clock.advance(TimeDelta::minutes(7));
    world.settle().await;
    assert_eq!((world.phase(7).await, runs(&world)), (Phase::Ready, Some(first.to_string())));
    let asked = world.faults.calls().iter().filter(|call| *call == "images.resolve").count();
    assert_eq!(asked, 1, "what is pinned is not asked for again");
}

#[tokio::test]
async fn a_push_whose_image_is_being_built_leaves_the_commit_before_it_served() {
    let world = world().await;
    world.images.push(&tag('a'), '1');
    world.open(7, 'a').await;
    world.settle().await;
    world.push(7, 'b').await;
    world.settle_for(TimeDelta::minutes(2)).await;
    assert_eq!(world.phase(7).await, Phase::Updating);
    assert_eq!(world.cluster.serving(&pr(7)).map(|it| it.commit), Some(sha('a')));
    let newest = world.images.push(&tag('b'), '2');
    world.settle().await;
    assert!(world.serves(7, 'b'));
    assert_eq!(runs(&world), Some(newest.to_string()));
}

#[tokio::test]
async fn an_image_that_never_comes_and_one_that_is_refused_are_told_with_their_cure() {
    let late = world().await;
    late.open(7, 'a').await;
    late.settle_for(TimeDelta::minutes(29)).await;
    let notice = late.forge.comment(number(7)).unwrap().notice;
    assert!(matches!(notice, Notice::Preparing { .. }), "builds take their time: {notice:?}");
    late.settle_for(TimeDelta::minutes(3)).await;
    let refused = world().await;
    refused.faults.always("images.resolve", Mode::Refuse);
    refused.open(7, 'a').await;
    refused.settle_for(TimeDelta::minutes(1)).await;
    for (world, word) in [(late, "did not within 30m"), (refused, "refused")] {
        let notice = world.forge.comment(number(7)).unwrap().notice;
        let Notice::Failing { why, .. } = notice else { panic!("{notice:?}") };
        assert!(why.contains(word), "{why}");
        world.faults.heal();
        world.images.push(&tag('a'), '1');
        world.clock.advance(TimeDelta::minutes(5));
        world.settle().await;
        assert_eq!(world.phase(7).await, Phase::Ready, "and it goes on by itself");
    }
}

#[tokio::test]
async fn a_registry_that_is_away_is_asked_again_and_holds_up_nothing_that_runs() {
    let world = world().await;
    world.images.push(&tag('a'), '1');
    world.open(7, 'a').await;
    world.settle().await;
    world.faults.always("images.resolve", Mode::FailBefore);
    world.clock.advance(TimeDelta::minutes(7));
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready, "it is pinned");
    world.push(7, 'b').await;
    world.settle_for(TimeDelta::minutes(1)).await;
    assert_eq!(world.phase(7).await, Phase::Updating);
    world.images.push(&tag('b'), '2');
    world.faults.heal();
    world.settle().await;
    assert!(world.serves(7, 'b'));
}

#[tokio::test]
async fn whoever_waits_for_an_image_looks_at_once_when_something_was_built() {
    let world = world().await;
    let listener = Listener::start(router(state(&world.reconciler))).await;
    let deliver = async |event: &str, more: Value| {
        let mut body = json!({ "repository": { "id": SHOP.0, "full_name": "acme/shop" } });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let body = body.to_string();
        let signature = sign(&SecretString::from(SECRET), body.as_bytes());
        let request = listener
            .request(Method::POST, "/webhooks/github")
            .header("content-type", "application/json")
            .header("x-github-event", event)
            .header("x-github-delivery", mayfly::clock::fresh_id().to_string())
            .header("x-hub-signature-256", signature);
        listener.send(request.body(body)).await.ok(202)["outcome"].as_str().unwrap().to_owned()
    };
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::minutes(2)).await;
    let run = |action: &str, digit| json!({ "action": action, "workflow_run": { "head_sha": sha(digit).to_string() } });
    let suite =
        json!({ "action": "completed", "check_suite": { "head_sha": sha('a').to_string() } });
    for (event, body, outcome) in [
        ("workflow_run", run("requested", 'a'), "ignored"),
        ("workflow_run", run("completed", 'b'), "ignored"),
        ("check_suite", suite, "poked"),
        ("registry_package", json!({ "action": "published" }), "poked"),
        ("workflow_run", run("completed", 'a'), "poked"),
    ] {
        world.images.push(&tag('a'), '1');
        assert_eq!(deliver(event, body).await, outcome, "{event}");
        let due = world.ledger.next_due().await.unwrap().unwrap() <= world.now();
        assert_eq!(due, outcome == "poked", "{event}");
        world.images.erase(&tag('a'));
        world.settle_for(TimeDelta::milliseconds(1)).await;
    }
    world.images.push(&tag('a'), '1');
    assert_eq!(deliver("workflow_run", run("completed", 'a')).await, "poked");
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    assert_eq!(deliver("workflow_run", run("completed", 'a')).await, "ignored", "nobody waits");
}
