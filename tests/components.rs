//! Several services in one preview: each has its image, its host and its proof, and none is left.

use chrono::TimeDelta;
use mayfly::preview::{ComponentName, Host, Notice, Part, Phase, Status};
use mayfly::repository::{Repository, Tier};
use mayfly::workload::{Component, ImageTag, ImageTemplate, PodShape, Proof};

use crate::world::faults::Mode;
use crate::world::postgres::ledger;
use crate::world::{World, number, pr, repository, sha};

fn component(name: &str, is_public: bool) -> Component {
    Component {
        name: ComponentName::parse(name).unwrap(),
        is_on: true,
        is_public,
        has_database: false,
        needs: Vec::new(),
        command: vec![name.to_owned()],
        directory: None,
        env: Vec::new(),
        probe_path: "/".to_owned(),
        proof: Proof::Header,
        image: None,
        pod: PodShape::default(),
    }
}

/// A shop with an API that the public reaches, and a worker that it does not.
fn several() -> Repository {
    let mut repository = repository();
    repository.shape.components = vec![component("api", true), component("worker", false)];
    repository.shape.needs = vec![ComponentName::parse("api").unwrap()];
    repository
}

fn api(n: u32) -> Host {
    Host::parse(&format!("pr-{n}-api")).unwrap()
}

async fn opened(repository: Repository) -> World {
    let mut world = World::new().await;
    world.configure(repository);
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::minutes(5)).await;
    world
}

#[tokio::test]
async fn each_public_component_has_a_name_that_is_told_and_goes_with_the_preview() {
    let world = opened(several()).await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    let records: Vec<_> = world.dns.records().into_keys().collect();
    assert_eq!(records, ["pr-7", "pr-7-api"], "the worker has none");
    let comment = world.forge.comment(number(7)).unwrap();
    let url = "http://pr-7-api.preview.example.test/".to_owned();
    assert_eq!(comment.components, [("api".to_owned(), url)]);
    let (_, order) = world.cluster.orders().pop().unwrap();
    let host = order.env.iter().find(|(name, _)| name == "API_HOST").unwrap();
    assert_eq!(host.1, "pr-7-api.preview.example.test");

    world.close(7, 'a').await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Gone);
    assert_eq!(world.leftovers(), Vec::<String>::new());
    let lines = world.preview(7).await.receipt.unwrap().sentences();
    for host in ["pr-7", "pr-7-api"] {
        let line = format!("DNS record {host}.preview.example.test: not there");
        assert!(lines.contains(&line), "{lines:?}");
    }
}

#[tokio::test]
async fn any_single_call_about_a_component_may_fail_or_be_lost() {
    for mode in [Mode::FailBefore, Mode::FailAfter, Mode::Repeat] {
        for call in ["dns.ensure_record", "dns.remove_record", "dns.observe", "dns.resolve"] {
            for nth in 0..3 {
                let mut world = World::new().await;
                world.configure(several());
                world.faults.plan(call, nth, mode);
                world.open(7, 'a').await;
                world.settle_for(TimeDelta::minutes(30)).await;
                assert_eq!(world.phase(7).await, Phase::Ready, "{call} {nth} {mode:?}");
                world.close(7, 'a').await;
                world.settle_for(TimeDelta::minutes(30)).await;
                assert_eq!(world.leftovers(), Vec::<String>::new(), "{call} {nth} {mode:?}");
                assert_eq!(world.phase(7).await, Phase::Gone, "{call} {nth} {mode:?}");
            }
        }
    }
}

#[tokio::test]
async fn ready_means_that_every_public_url_serves_the_commit() {
    let mut world = World::new().await;
    world.configure(several());
    world.visitor.silence(api(7), true);
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::seconds(30)).await;
    assert_ne!(world.phase(7).await, Phase::Ready);
    let preview = world.preview(7).await;
    let served = preview.conditions.iter().find(|it| it.part == Part::Served).unwrap();
    assert_eq!(served.status, Status::False);
    assert!(served.message.contains("pr-7-api"), "{}", served.message);
    world.visitor.silence(api(7), false);
    world.settle_for(TimeDelta::minutes(5)).await;
    assert_eq!(world.phase(7).await, Phase::Ready);
}

#[tokio::test]
async fn a_name_that_somebody_else_holds_is_told_and_left_alone() {
    let mut world = World::new().await;
    world.configure(several());
    world.dns.plant(api(7), "mayfly=elsewhere/pr-7");
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::minutes(5)).await;
    let Notice::Blocked { conflict } = world.forge.comment(number(7)).unwrap().notice else {
        panic!("{:?}", world.forge.comment(number(7)));
    };
    assert!(conflict.contains("api"), "{conflict}");
    world.close(7, 'a').await;
    world.settle_for(TimeDelta::minutes(5)).await;
    assert_eq!(world.phase(7).await, Phase::Gone);
    assert_eq!(world.dns.records().into_keys().collect::<Vec<_>>(), ["pr-7-api"]);
    let lines = world.preview(7).await.receipt.unwrap().sentences();
    assert!(lines.iter().any(|it| it.contains("pr-7-api") && it.contains("not ours")), "{lines:?}");
}

#[tokio::test]
async fn the_name_of_a_component_that_the_configuration_has_no_more_goes_with_the_preview() {
    let mut world = opened(several()).await;
    world.configure(repository());
    world.push(7, 'b').await;
    world.settle_for(TimeDelta::minutes(5)).await;
    assert!(world.serves(7, 'b'));
    world.close(7, 'b').await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Gone);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_name_that_a_lost_ledger_forgot_is_found_and_removed() {
    let before = opened(several()).await;
    let mut world = World::with(mayfly::reconcile::Limits::default(), ledger().await).await;
    world.adopt_world_of(&before).await;
    let mut closed = world.facts(7, 'a');
    closed.state = mayfly::preview::PullState::Closed;
    world.silently(&closed);
    world.clock.set(before.now());
    world.sweeper.sweep_orphans(world.now()).await.unwrap();
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Gone);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn each_component_runs_its_own_image_by_digest_and_is_waited_for() {
    let mut repository = several();
    let template =
        |of: &str| ImageTemplate::parse(&format!("registry.test/acme/{of}:{{{{ sha }}}}")).unwrap();
    let tag = |of: &str| ImageTag::parse(&format!("registry.test/acme/{of}:{}", sha('a'))).unwrap();
    repository.shape.pod.image = None;
    repository.shape.image = Some(template("shop"));
    repository.shape.components[0].image = Some(template("api"));
    let mut world = World::new().await;
    world.configure(repository);
    let shop = world.images.push(&tag("shop"), '1');
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::minutes(2)).await;
    let preview = world.preview(7).await;
    let image = preview.conditions.iter().find(|it| it.part == Part::Image).unwrap();
    assert_eq!(image.status, Status::False);
    assert!(image.message.contains("api: "), "{}", image.message);
    assert!(world.cluster.orders().is_empty());
    let api = world.images.push(&tag("api"), '2');
    world.settle_for(TimeDelta::minutes(5)).await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    let (_, order) = world.cluster.orders().pop().unwrap();
    let runs = |of: &str| {
        let services = order.shape.services();
        services.into_iter().find(|it| it.name() == of).unwrap().shape.pod.image
    };
    assert_eq!(runs("web"), Some(shop.clone()));
    assert_eq!(runs("api"), Some(api.clone()));
    assert_eq!(runs("worker"), Some(shop), "what has none runs the preview's own");

    // A tag that is moved later changes nothing.
    world.images.push(&tag("api"), '3');
    world.wish(7, |memory| memory.overrides.redeploys += 1).await;
    world.settle_for(TimeDelta::minutes(5)).await;
    let (_, order) = world.cluster.orders().pop().unwrap();
    assert_eq!(order.shape.components[0].pod.image, Some(api));
}

#[tokio::test]
async fn a_component_may_have_a_database_of_its_own_that_comes_and_goes_with_the_previews() {
    let mut repository = several();
    repository.shape.components[1].has_database = true;
    let mut world = opened(repository).await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    let databases = |world: &World| world.databases.databases().into_iter().collect::<Vec<_>>();
    let pair = |name: &str, generation: u32| (name.to_owned(), generation);
    assert_eq!(databases(&world), [pair("pr_7", 0), pair("pr_7__worker", 0)]);
    let (_, order) = world.cluster.orders().pop().unwrap();
    let services = order.shape.services();
    for (of, ends) in [("web", "/pr_7"), ("api", "/pr_7"), ("worker", "/pr_7__worker")] {
        let service = services.iter().find(|it| it.name() == of).unwrap();
        let order = order.of(service, &[]);
        let url = order.env.iter().find(|(name, _)| name == "DATABASE_URL").unwrap();
        assert!(url.1.ends_with(ends), "{of} has {}", url.1);
    }

    // Fresh data is fresh for all of them.
    world.wish(7, |memory| memory.overrides.data_generation += 1).await;
    world.settle_for(TimeDelta::minutes(5)).await;
    assert_eq!(databases(&world), [pair("pr_7", 1), pair("pr_7__worker", 1)]);
    assert_eq!(world.phase(7).await, Phase::Ready);

    // One that the configuration has no more goes with the preview.
    world.configure(several());
    world.push(7, 'b').await;
    world.settle_for(TimeDelta::minutes(5)).await;
    assert!(world.serves(7, 'b'));
    world.close(7, 'b').await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Gone);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_tier_says_which_components_run() {
    use mayfly::preview::choice::{Choices, TierLabel};
    let name = || "lite".to_owned();
    let label = TierLabel { name: name(), label: "preview:lite".to_owned(), data_of: None };
    let mut repository = several();
    repository.policy.choices = Choices { tiers: vec![label], ..Choices::default() };
    let components = Some(vec![ComponentName::parse("worker").unwrap()]);
    repository.tiers = vec![Tier { name: name(), components, ..Tier::default() }];
    let mut world = World::new().await;
    world.configure(repository);
    let mut facts = world.facts(7, 'a');
    facts.labels = vec!["preview:lite".to_owned()];
    world.change("opened", facts).await;
    world.settle_for(TimeDelta::minutes(5)).await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    let (_, order) = world.cluster.orders().pop().unwrap();
    let names: Vec<_> = order.shape.services().iter().map(|it| it.name().to_owned()).collect();
    assert_eq!(names, ["web", "worker"], "and what it goes without is not waited for");
    assert_eq!(world.dns.records().into_keys().collect::<Vec<_>>(), ["pr-7"]);

    // Without the label, all of them; and back.
    world.change("unlabeled", world.facts(7, 'a')).await;
    world.settle_for(TimeDelta::minutes(5)).await;
    assert_eq!(
        world.dns.records().into_keys().collect::<Vec<_>>(),
        [pr(7).namespace(), "pr-7-api".to_owned()]
    );
    world.close(7, 'a').await;
    world.settle().await;
    assert_eq!(world.leftovers(), Vec::<String>::new());
}
