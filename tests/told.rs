//! What a pull request is told when its preview cannot be served, and when the URL may be told.

use chrono::TimeDelta;
use mayfly::preview::observed::{Resolution, Standing};
use mayfly::preview::{Notice, Part, Phase, Status};

use crate::world::faults::Mode;
use crate::world::{World, number, pr, sha};

fn failing(world: &World) -> (String, Option<String>) {
    match world.forge.comment(number(7)).expect("a comment").notice {
        Notice::Failing { commit, why, serves } => {
            assert_ne!(Some(&commit), serves.as_ref());
            (why, serves.map(|commit| commit.to_string()))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_workload_that_fails_is_told_once_with_its_reason_and_then_that_it_is_ready() {
    let world = World::new().await;
    world.cluster.failing("its image is not there");
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::minutes(1)).await;
    assert_eq!(failing(&world), ("its image is not there".to_owned(), None));
    let said = world.forge.said(number(7)).len();
    world.settle_for(TimeDelta::minutes(10)).await;
    assert_eq!(world.forge.said(number(7)).len(), said, "told once");
    assert_eq!(world.phase(7).await, Phase::Starting);

    world.cluster.ready_again();
    world.settle_for(TimeDelta::minutes(1)).await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    assert!(matches!(world.forge.comment(number(7)).unwrap().notice, Notice::Ready { .. }));
}

#[tokio::test]
async fn a_push_that_fails_is_told_beside_what_is_still_served() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.cluster.failing("it crashes");
    world.push(7, 'b').await;
    world.settle_for(TimeDelta::minutes(1)).await;
    assert_eq!(failing(&world), ("it crashes".to_owned(), Some(sha('a').to_string())));
    assert_eq!(world.cluster.routes()[0].1.commit, sha('a'), "the last good commit is served");

    world.cluster.ready_again();
    world.push(7, 'c').await;
    world.settle().await;
    assert!(world.serves(7, 'c'));
}

#[tokio::test]
async fn a_refused_step_is_a_condition_and_a_word_on_the_pull_request_and_stops_nothing_else() {
    for (call, part) in [
        ("cluster.ensure_namespace", Part::Namespace),
        ("cluster.ensure_workload", Part::Workload),
        ("cluster.ensure_route", Part::Route),
        ("dns.ensure_record", Part::Dns),
    ] {
        let world = World::new().await;
        world.faults.always(call, Mode::Refuse);
        world.open(7, 'a').await;
        world.settle().await;
        let (why, _) = failing(&world);
        assert!(why.contains("change the configuration"), "{call}: {why}");
        let preview = world.preview(7).await;
        let condition = preview.conditions.iter().find(|c| c.part == part).unwrap();
        assert_ne!(condition.status, Status::True);
        assert!(condition.message.contains("change the configuration"), "{call}: {condition:?}");
        let said = world.forge.said(number(7)).len();
        assert!(said <= 2, "{call}: {said} words");
        world.settle_for(TimeDelta::minutes(30)).await;
        assert_eq!(world.forge.said(number(7)).len(), said, "{call}: told once");

        world.faults.heal();
        world.settle_for(TimeDelta::minutes(6)).await;
        assert_eq!(world.phase(7).await, Phase::Ready, "{call}");
        assert!(world.serves(7, 'a'));
    }
}

#[tokio::test]
async fn what_a_person_has_to_mend_is_told_though_something_else_fails_at_the_same_time() {
    let world = World::new().await;
    world.faults.always("cluster.ensure_namespace", Mode::FailBefore);
    world.faults.always("databases.ensure_database", Mode::Refuse);
    world.open(7, 'a').await;
    world.settle().await;
    let (why, _) = failing(&world);
    assert!(why.contains("change the configuration"), "{why}");
    world.faults.heal();
    world.settle_for(TimeDelta::minutes(6)).await;
    assert!(world.serves(7, 'a'));
}

#[tokio::test]
async fn the_url_is_not_told_before_resolvers_agree() {
    let world = World::new().await;
    let stale = "10.0.0.53 remembers \"no such name\" until 12:05:00 UTC";
    world.dns.hide(&pr(7), Resolution::NotYet(stale.to_owned()));
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::minutes(1)).await;
    assert_eq!(world.phase(7).await, Phase::Starting);
    let preview = world.preview(7).await;
    let dns = preview.conditions.iter().find(|c| c.part == Part::Dns).unwrap();
    assert_eq!((dns.status, dns.message.as_str()), (Status::False, stale));
    assert!(matches!(world.forge.comment(number(7)).unwrap().notice, Notice::Preparing { .. }));

    world.dns.unhide(&pr(7));
    world.settle_for(TimeDelta::minutes(1)).await;
    assert_eq!(world.phase(7).await, Phase::Ready);
}

/// Who issues a certificate may ask for the name first: waiting for both in a row would never end.
#[tokio::test]
async fn the_name_is_there_before_the_certificate_and_the_url_is_told_after_it() {
    let world = World::new().await;
    let awaited = "waiting for the certificate";
    world.cluster.stand(Standing::Awaited(awaited.to_owned()));
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::minutes(1)).await;
    assert!(world.dns.records().contains_key(&pr(7).namespace()), "the name is there");
    assert_eq!(world.phase(7).await, Phase::Starting);
    let preview = world.preview(7).await;
    let route = preview.conditions.iter().find(|c| c.part == Part::Route).unwrap();
    assert_eq!((route.status, route.message.as_str()), (Status::False, awaited));
    assert!(preview.outlook.contains(awaited), "{}", preview.outlook);
    assert!(matches!(world.forge.comment(number(7)).unwrap().notice, Notice::Preparing { .. }));

    world.cluster.stand(Standing::Refused("the issuer gives none".to_owned()));
    world.settle_for(TimeDelta::minutes(1)).await;
    assert_eq!(failing(&world).0, "the issuer gives none");

    world.cluster.stand(Standing::Served);
    world.settle_for(TimeDelta::minutes(1)).await;
    assert_eq!(world.phase(7).await, Phase::Ready);
}

#[tokio::test]
async fn no_resolver_is_asked_before_the_route_is_there() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    let calls = world.faults.calls();
    let first = |name: &str| calls.iter().position(|call| call == name).unwrap();
    assert!(first("cluster.ensure_route") < first("dns.resolve"));
    let world = World::new().await;
    world.faults.always("cluster.ensure_workload", Mode::FailBefore);
    world.open(7, 'a').await;
    world.settle().await;
    assert!(!world.faults.calls().iter().any(|call| call == "dns.resolve"));
}

#[tokio::test]
async fn a_step_that_is_taken_in_vain_is_not_taken_again_at_full_speed() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.dns.hold(&pr(7));
    world.close(7, 'a').await;
    let removals = || world.faults.calls().iter().filter(|it| *it == "dns.remove_record").count();
    world.settle_for(TimeDelta::minutes(1)).await;
    assert!((2..80).contains(&removals()), "{} in a minute", removals());
    assert_eq!(world.phase(7).await, Phase::Stopping);
    world.dns.release(&pr(7));
    world.settle_for(TimeDelta::seconds(30)).await;
    assert_eq!(world.phase(7).await, Phase::Gone);
}
