//! A commit's image: waited for while it is built, pinned when it is there, and never changed after.

use chrono::TimeDelta;
use mayfly::preview::{Notice, Part, Phase, Status};
use mayfly::workload::{ImageTag, ImageTemplate};

use crate::world::faults::Mode;
use crate::world::{World, number, pr, repository, sha};

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
    for (world, word) in [(late, "30m after the push"), (refused, "refused")] {
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
