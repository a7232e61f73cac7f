//! Every outside call fails before, is lost after, or happens twice, at every point of a life; and
//! the world still ends as it should, with nothing left over.

use chrono::TimeDelta;
use mayfly::preview::{Phase, PullState};

use crate::world::faults::Mode;
use crate::world::{World, number, pr, repository};

const CALLS: [&str; 17] = [
    "cluster.observe",
    "cluster.ensure_namespace",
    "cluster.ensure_workload",
    "cluster.ensure_route",
    "cluster.remove_route",
    "cluster.remove_namespace",
    "databases.observe",
    "databases.ensure_database",
    "databases.remove_database",
    "databases.remove_role",
    "dns.observe",
    "dns.ensure_record",
    "dns.remove_record",
    "forge.pull",
    "forge.observe",
    "forge.publish",
    "forge.open_pulls",
];

/// One whole life: open, push, close, reopen, close.
async fn live(world: &World, what: &str) {
    world.open(7, 'a').await;
    world.settle().await;
    assert!(world.serves(7, 'a'), "{what}: opened");
    assert_eq!(world.phase(7).await, Phase::Ready, "{what}: opened");
    world.push(7, 'b').await;
    world.settle().await;
    assert!(world.serves(7, 'b'), "{what}: pushed");
    assert_eq!(world.phase(7).await, Phase::Ready, "{what}: pushed");
    for digit in ['b', 'c'] {
        world.close(7, digit).await;
        world.settle().await;
        assert_eq!(world.leftovers(), Vec::<String>::new(), "{what}: closed");
        assert_eq!(world.phase(7).await, Phase::Gone, "{what}: closed");
        assert!(!world.forge.deployment_active(&pr(7)), "{what}: closed");
        if digit == 'b' {
            world.open(7, 'c').await;
            world.settle().await;
            assert!(world.serves(7, 'c'), "{what}: reopened");
        }
    }
    assert_eq!(world.forge.comments(number(7)), 1, "{what}: one comment");
}

async fn every_call_goes_wrong_once(mode: Mode) {
    for call in CALLS {
        for nth in 1..=3 {
            let world = World::new().await;
            world.faults.plan(call, nth, mode);
            live(&world, &format!("{call} {nth} {mode:?}")).await;
            world.ledger.close().await;
        }
    }
}

#[tokio::test]
async fn any_single_call_may_fail_before_anything_happened() {
    every_call_goes_wrong_once(Mode::FailBefore).await;
}

#[tokio::test]
async fn any_single_call_may_be_lost_after_it_happened() {
    every_call_goes_wrong_once(Mode::FailAfter).await;
}

#[tokio::test]
async fn any_single_call_may_happen_twice() {
    every_call_goes_wrong_once(Mode::Repeat).await;
}

#[tokio::test]
async fn any_two_calls_may_go_wrong_in_one_life() {
    // A fixed walk through the pairs, so that a failure names its case and happens again.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for case in 0..60 {
        let world = World::new().await;
        let mut what = format!("case {case}:");
        for _ in 0..2 {
            let call = CALLS[draw(CALLS.len())];
            let nth = 1 + draw(4);
            let mode = [Mode::FailBefore, Mode::FailAfter, Mode::Repeat][draw(3)];
            world.faults.plan(call, nth, mode);
            what = format!("{what} {call} {nth} {mode:?}");
        }
        live(&world, &what).await;
        world.ledger.close().await;
    }
}

#[tokio::test]
async fn a_backend_that_is_down_for_long_delays_and_loses_nothing() {
    for backend in [
        &["cluster.observe"][..],
        &["databases.observe", "databases.ensure_database"],
        &["dns.observe"],
        &["forge.pull", "forge.publish", "forge.observe"],
    ] {
        let world = World::new().await;
        for call in backend {
            world.faults.always(call, Mode::FailBefore);
        }
        world.open(7, 'a').await;
        for _ in 0..20 {
            world.reconciler.turn().await.unwrap();
            world.clock.advance(TimeDelta::seconds(30));
        }
        assert_ne!(world.phase(7).await, Phase::Ready, "{backend:?}");
        world.faults.heal();
        world.clock.advance(TimeDelta::minutes(10));
        world.settle().await;
        assert!(world.serves(7, 'a'), "{backend:?}");
        assert_eq!(world.phase(7).await, Phase::Ready, "{backend:?}");
        for call in backend {
            world.faults.always(call, Mode::FailBefore);
        }
        world.close(7, 'a').await;
        for _ in 0..20 {
            world.reconciler.turn().await.unwrap();
            world.clock.advance(TimeDelta::seconds(30));
        }
        assert_ne!(world.phase(7).await, Phase::Gone, "{backend:?}: not gone while not asked");
        world.faults.heal();
        world.clock.advance(TimeDelta::minutes(10));
        world.settle().await;
        assert_eq!(world.leftovers(), Vec::<String>::new(), "{backend:?}");
        assert_eq!(world.phase(7).await, Phase::Gone, "{backend:?}");
    }
}

#[tokio::test]
async fn an_empty_listing_and_a_forge_that_is_down_delete_nothing() {
    let world = World::new().await;
    for n in 1..=12 {
        world.open(n, 'a').await;
    }
    world.settle().await;
    // Every single read fails too: the positive fact cannot be had.
    for n in 1..=12 {
        world.forge.lose(number(n));
    }
    for _ in 0..10 {
        let now = world.now();
        let found = world.sweeper.sweep_pull_requests(now).await.unwrap();
        assert!(found.doubted <= 5, "the brake: {found:?}");
        world.settle_for(TimeDelta::minutes(5)).await;
    }
    for n in 1..=12 {
        assert!(world.serves(n, 'a'), "pr-{n} survived");
    }
    assert!(world.ledger.brake().await.unwrap().engaged_at.is_some());
}

#[tokio::test]
async fn a_lost_closing_event_is_found_by_the_sweep() {
    let world = World::new().await;
    for n in 1..=3 {
        world.open(n, 'a').await;
    }
    world.settle().await;
    let mut closed = world.facts(2, 'a');
    closed.state = PullState::Merged;
    world.silently(&closed);
    let found = world.sweeper.sweep_pull_requests(world.now()).await.unwrap();
    assert_eq!((found.doubted, found.held), (1, 0));
    world.settle().await;
    assert_eq!(world.phase(2).await, Phase::Gone);
    assert!(world.serves(1, 'a') && world.serves(3, 'a'));
}

#[tokio::test]
async fn lost_opening_and_pushing_events_are_found_by_the_sweep() {
    let world = World::new().await;
    world.open(1, 'a').await;
    world.settle().await;
    world.silently(&world.facts(1, 'b'));
    world.silently(&world.facts(2, 'c'));
    let found = world.sweeper.sweep_pull_requests(world.now()).await.unwrap();
    assert_eq!(found.missed, 2);
    world.settle().await;
    assert!(world.serves(1, 'b') && world.serves(2, 'c'));
    let again = world.sweeper.sweep_pull_requests(world.now()).await.unwrap();
    assert_eq!(again, Default::default(), "a second sweep finds nothing");
}

#[tokio::test]
async fn an_expired_preview_is_not_brought_back_by_the_sweep() {
    let world = World::new().await;
    world.open(1, 'a').await;
    world.settle().await;
    world.clock.advance(TimeDelta::hours(25));
    world.settle().await;
    assert_eq!(world.phase(1).await, Phase::Gone);
    let found = world.sweeper.sweep_pull_requests(world.now()).await.unwrap();
    assert_eq!(found, Default::default());
    world.settle().await;
    assert_eq!(world.phase(1).await, Phase::Gone);
}

#[tokio::test]
async fn one_repository_or_backend_that_cannot_be_listed_does_not_stop_the_sweep() {
    let world = World::new().await;
    world.open(1, 'a').await;
    world.settle().await;
    world.faults.always("forge.open_pulls", Mode::FailBefore);
    world.faults.always("dns.owned", Mode::FailBefore);
    let pulls = world.sweeper.sweep_pull_requests(world.now()).await.unwrap();
    let orphans = world.sweeper.sweep_orphans(world.now()).await.unwrap();
    assert_eq!((pulls.failed, orphans.failed), (1, 1));
    assert!(world.serves(1, 'a'));
}

#[tokio::test]
async fn what_a_lost_ledger_forgot_is_found_and_settled_by_its_pull_request() {
    let before = World::new().await;
    before.open(1, 'a').await;
    before.open(2, 'a').await;
    before.settle().await;
    // The ledger is restored from a backup that is older than all of this.
    let mut world = World::new().await;
    world.adopt_world_of(&before).await;
    let mut closed = before.facts(2, 'a');
    closed.state = PullState::Closed;
    world.silently(&closed);
    let found = world.sweeper.sweep_orphans(world.now()).await.unwrap();
    assert_eq!(found.orphans, 2, "{found:?}");
    world.settle().await;
    assert!(world.serves(1, 'a'), "the open one is kept");
    assert_eq!(world.phase(2).await, Phase::Gone, "the closed one is removed");
    assert!(world.leftovers().iter().all(|left| left.contains('1')), "{:?}", world.leftovers());
}

#[tokio::test]
async fn a_leak_of_a_preview_that_is_gone_is_found_and_removed() {
    let world = World::new().await;
    world.open(1, 'a').await;
    world.settle().await;
    world.close(1, 'a').await;
    world.settle().await;
    use mayfly::cluster::Cluster;
    world.cluster.ensure_namespace(&pr(1), &repository().shape, &Default::default()).await.unwrap();
    assert_eq!(world.leftovers(), ["namespace pr-1"]);
    let found = world.sweeper.sweep_orphans(world.now()).await.unwrap();
    assert_eq!(found.orphans, 1);
    world.settle().await;
    assert_eq!(world.leftovers(), Vec::<String>::new());
    assert_eq!(world.phase(1).await, Phase::Gone);
}

#[tokio::test]
async fn a_clock_that_jumps_expires_a_few_and_not_the_fleet() {
    let world = World::new().await;
    for n in 1..=30 {
        world.open(n, 'a').await;
    }
    world.settle().await;
    world.clock.advance(TimeDelta::days(400));
    for _ in 0..6 {
        while world.reconciler.turn().await.unwrap() > 0 {}
    }
    let up = (1..=30).filter(|n| world.serves(*n, 'a')).count();
    assert_eq!(up, 24, "of thirty, six may go at once: a fifth");
    assert!(world.ledger.brake().await.unwrap().engaged_at.is_some());
    let until = world.now() + TimeDelta::minutes(10);
    world.ledger.release_brake(until).await.unwrap();
    world.ledger.poke_all(TimeDelta::zero(), world.now()).await.unwrap();
    world.settle().await;
    assert_eq!(world.leftovers(), Vec::<String>::new(), "released by a person, all go");
}

#[tokio::test]
async fn a_delivery_that_failed_is_asked_for_again_unless_it_was_heard_since() {
    let world = World::new().await;
    world.open(1, 'a').await;
    let ago = |hours| world.now() - TimeDelta::hours(hours);
    world.forge.fail_delivery("delivery-0", ago(2));
    world.forge.fail_delivery("lost", ago(1));
    world.forge.fail_delivery("forgotten", ago(100));
    let found = world.sweeper.sweep_failed_deliveries(world.now()).await.unwrap();
    assert_eq!((found.redelivered, found.failed), (1, 0));
    assert_eq!(world.forge.redelivered(), ["lost"]);
}

#[tokio::test]
async fn failed_deliveries_are_asked_for_at_a_start_and_every_hour() {
    let world = World::new().await;
    world.forge.fail_delivery("lost", world.now());
    for (minutes, asked) in [(0, 1), (30, 1), (29, 1), (2, 2), (59, 2), (2, 3)] {
        world.clock.set(world.now() + TimeDelta::minutes(minutes));
        world.sweeper.turn().await.unwrap();
        assert_eq!(world.forge.redelivered().len(), asked, "after {minutes} more minutes");
    }
    // A start comes before the hour is over.
    world.clock.set(world.now() + TimeDelta::minutes(5));
    world.restarted_sweeper().turn().await.unwrap();
    assert_eq!(world.forge.redelivered().len(), 4);
}

#[tokio::test]
async fn failed_deliveries_that_cannot_be_asked_for_stop_no_other_sweep() {
    let world = World::new().await;
    world.forge.fail_delivery("lost", world.now());
    for call in ["forge.failed_deliveries", "forge.redeliver"] {
        world.faults.heal();
        world.faults.always(call, Mode::FailBefore);
        let found = world.sweeper.sweep_failed_deliveries(world.now()).await.unwrap();
        assert_eq!((found.redelivered, found.failed), (0, 1), "{call}");
    }
    world.silently(&world.facts(7, 'a'));
    world.sweeper.turn().await.unwrap();
    world.settle().await;
    assert!(world.serves(7, 'a'), "the listing was read all the same");
}
