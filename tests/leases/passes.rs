//! What comes in while a pass is under way, and passes that hang, panic or lose their ledger.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use mayfly::clock::fresh_id;
use mayfly::preview::{Overrides, Phase, PullState, Reason};
use mayfly::reconcile::{Limits, Reconciler};
use tokio_util::sync::CancellationToken;

use super::{as_before, leased};
use crate::world::faults::Mode;
use crate::world::rude::{Mood, RudeCluster};
use crate::world::wait::until;
use crate::world::{World, pr, sha};

const LEASE: TimeDelta = TimeDelta::seconds(60);

/// A replica of this world whose cluster is in this mood.
fn rude(world: &World, mood: Mood, limits: Limits) -> (Arc<Reconciler>, RudeCluster) {
    let cluster = RudeCluster::new(world.cluster.clone(), mood);
    let mut seams = world.reconciler.seams.clone();
    seams.cluster = Arc::new(cluster.clone());
    (world.replica_with(world.ledger.clone(), seams, world.clock.clone(), limits), cluster)
}

/// Runs a pass, and this in the middle of it, after everything was read.
async fn amid_a_pass(world: &World, meanwhile: impl AsyncFnOnce()) {
    let (reconciler, cluster) = rude(world, Mood::Wait, Limits::default());
    let turn = tokio::spawn(async move { reconciler.turn().await });
    cluster.has_begun().await;
    // The pull request was read when the look at the cluster began: both begin at once, and the
    // forge of this world answers at once.
    meanwhile().await;
    cluster.be(Mood::Fine);
    cluster.go_on();
    assert_eq!(turn.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_poke_amid_a_pass_makes_the_row_due_again_at_once() {
    let world = World::new().await;
    world.open(1, 'a').await;
    world.settle().await;
    world.ledger.poke_named(&pr(1), world.now()).await.unwrap();
    amid_a_pass(&world, async || {
        let is_free = world.ledger.poke_named(&pr(1), world.now()).await.unwrap();
        assert!(!is_free, "somebody is at it, and hears of it at the end");
    })
    .await;
    let preview = world.preview(1).await;
    assert_eq!(preview.wake_at, Some(world.now()));
    assert_eq!(preview.phase, Phase::Ready, "what the pass saw is kept");
    assert!(preview.memory.confirmed_at.is_some(), "a poke says nothing of the pull request");
}

#[tokio::test]
async fn a_hint_amid_a_pass_is_newer_than_the_reading_of_the_pass() {
    let world = World::new().await;
    world.open(1, 'a').await;
    amid_a_pass(&world, async || world.push(1, 'b').await).await;
    let preview = world.preview(1).await;
    assert_eq!(preview.memory.facts.head, sha('b'));
    assert_eq!(preview.memory.confirmed_at, None, "nobody read it since");
    let pause = TimeDelta::milliseconds(500);
    assert_eq!(preview.wake_at, Some(world.now() + pause), "soon, and not at full speed");
    world.settle().await;
    assert!(world.serves(1, 'b'));
}

#[tokio::test]
async fn hints_by_the_hundred_are_a_pass_each_half_second_and_fewer_when_passes_fail() {
    let world = World::new().await;
    world.open(1, 'a').await;
    world.settle().await;
    let passes = async |failing: bool, seconds: i64| {
        if failing {
            world.faults.always("forge.pull", Mode::FailBefore);
        }
        let mut count = 0;
        for _ in 0..seconds * 20 {
            world.push(1, 'b').await;
            world.clock.advance(TimeDelta::milliseconds(50));
            count += world.reconciler.turn().await.unwrap();
        }
        count
    };
    let calm = passes(false, 10).await;
    assert!((15..=30).contains(&calm), "{calm} passes in ten seconds, of 200 hints");
    let failing = passes(true, 120).await;
    assert!((8..=16).contains(&failing), "{failing} passes in two minutes");
}

#[tokio::test]
async fn a_hint_between_claim_and_record_keeps_its_facts_and_its_life() {
    let world = World::new().await;
    world.open(1, 'a').await;
    let lease = world.ledger.claim(fresh_id(), 1, LEASE, world.now()).await.unwrap().remove(0);
    let asked_at = world.now();
    world.clock.advance(TimeDelta::seconds(5));
    world.push(1, 'b').await;
    let mut findings = as_before(&lease);
    let reading = lease.preview.memory.facts.clone();
    findings.memory.confirm(reading, asked_at).unwrap();
    world.ledger.record(&lease, &findings, world.now()).await.unwrap().unwrap();
    let memory = world.preview(1).await.memory;
    assert_eq!((memory.facts.head, memory.confirmed_at), (sha('b'), None));
    assert_eq!(memory.life.active_at, world.now(), "the push counts");
}

#[tokio::test]
async fn a_poke_amid_a_pass_does_not_make_a_lie_the_confirmed_truth() {
    let world = World::new().await;
    world.open(1, 'a').await;
    world.settle().await;
    let mut lie = world.facts(1, 'a');
    lie.state = PullState::Closed;
    world.deliver("closed", lie).await;
    // Later than any lag of the forge: the pass believes the forge, which says "open".
    world.clock.advance(TimeDelta::minutes(2));
    amid_a_pass(&world, async || {
        world.ledger.poke_named(&pr(1), world.now()).await.unwrap();
    })
    .await;
    for _ in 0..5 {
        world.reconciler.turn().await.unwrap();
        assert!(world.serves(1, 'a'), "it is open, and the forge was asked");
    }
    world.settle().await;
    let preview = world.preview(1).await;
    assert_eq!((preview.phase, preview.memory.facts.state), (Phase::Ready, PullState::Open));
}

#[tokio::test]
async fn what_a_person_asks_for_amid_a_pass_is_kept() {
    let world = World::new().await;
    world.open(1, 'a').await;
    world.settle().await;
    world.ledger.poke_named(&pr(1), world.now()).await.unwrap();
    let id = world.preview(1).await.id;
    amid_a_pass(&world, async || {
        let stop = |preview: &mut mayfly::ledger::Preview| {
            preview.memory.overrides.stopped = true;
            Ok::<_, ()>(((), "enough".to_owned()))
        };
        let now = world.now();
        world.ledger.amend(id, "ada", "stop", now, stop).await.unwrap().unwrap().unwrap();
    })
    .await;
    assert!(world.preview(1).await.memory.overrides.stopped);
    world.settle().await;
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_new_life_that_a_reading_begins_forgets_the_extension_of_the_old_one() {
    let world = World::new().await;
    world.open(1, 'a').await;
    world.settle().await;
    let id = world.preview(1).await.id;
    let far = world.now() + TimeDelta::days(6);
    let extend = |preview: &mut mayfly::ledger::Preview| {
        preview.memory.overrides.extended_until = Some(far);
        Ok::<_, ()>(((), String::new()))
    };
    world.ledger.amend(id, "ada", "extend", world.now(), extend).await.unwrap().unwrap().unwrap();
    world.close(1, 'a').await;
    world.settle().await;
    assert_eq!(world.phase(1).await, Phase::Gone);
    // The reopening event is lost; the row is doubted, and the pass reads it.
    world.silently(&world.facts(1, 'b'));
    world.clock.advance(TimeDelta::hours(1));
    world.ledger.doubt(id, world.now()).await.unwrap();
    world.settle().await;
    let memory = world.preview(1).await.memory;
    assert_eq!(memory.overrides, Overrides::default());
    assert_eq!(memory.life.born_at, world.now());
}

#[tokio::test]
async fn a_pass_over_its_deadline_is_a_failure_that_is_tried_again_later() {
    let world = World::new().await;
    world.open(1, 'a').await;
    let limits = Limits { pass_deadline: Duration::from_millis(50), ..Limits::default() };
    let (reconciler, cluster) = rude(&world, Mood::Hang, limits);
    let mut delays = Vec::new();
    for failures in 1..=3 {
        assert_eq!(reconciler.turn().await.unwrap(), 1);
        let preview = world.preview(1).await;
        assert_eq!(preview.failures, failures);
        assert!(preview.last_error.unwrap().contains("deadline"));
        let wake_at = preview.wake_at.unwrap();
        delays.push((wake_at - world.now()).num_milliseconds());
        assert_eq!(leased(&world.ledger).await, 0);
        assert_eq!(reconciler.turn().await.unwrap(), 0, "not before it is due");
        world.clock.set(wake_at);
    }
    assert!(delays[0] >= 1000 && delays.is_sorted(), "backs off: {delays:?}");
    cluster.be(Mood::Fine);
    world.settle().await;
    assert_eq!((world.phase(1).await, world.preview(1).await.failures), (Phase::Ready, 0));
}

#[tokio::test]
async fn a_seam_that_panics_stops_neither_the_loop_nor_the_other_previews() {
    let world = World::new().await;
    world.open(1, 'a').await;
    let (reconciler, cluster) = rude(&world, Mood::Panic, Limits::default());
    assert_eq!(reconciler.turn().await.unwrap(), 1);
    let preview = world.preview(1).await;
    assert_eq!(preview.failures, 1);
    assert!(preview.last_error.unwrap().contains("internal error"));
    assert!(preview.wake_at.unwrap() > world.now() + TimeDelta::seconds(1), "with back-off");
    cluster.be(Mood::Fine);
    world.settle().await;
    assert_eq!(world.phase(1).await, Phase::Ready);
}

#[tokio::test]
async fn a_panic_in_the_running_loop_leaves_it_running() {
    let world = World::new().await;
    world.open(1, 'a').await;
    let limits = Limits { poll: Duration::from_millis(20), listen: false, ..Limits::default() };
    let (reconciler, cluster) = rude(&world, Mood::Panic, limits);
    let stop = CancellationToken::new();
    let running = tokio::spawn(reconciler.clone().run(stop.clone()));
    until("the panic is recorded", async || world.preview(1).await.failures == 1).await;
    cluster.be(Mood::Fine);
    world.open(2, 'a').await;
    until("the other is ready", async || {
        // The clock stands still unless it is moved.
        world.clock.advance(TimeDelta::seconds(1));
        world.phase(2).await == Phase::Ready && world.phase(1).await == Phase::Ready
    })
    .await;
    stop.cancel();
    running.await.unwrap();
    assert_eq!(leased(&world.ledger).await, 0);
}

#[tokio::test]
async fn a_shutdown_lets_passes_end_and_leaves_no_lease() {
    let world = World::new().await;
    world.open(1, 'a').await;
    let (reconciler, cluster) = rude(&world, Mood::Wait, Limits::default());
    let stop = CancellationToken::new();
    let running = tokio::spawn(reconciler.run(stop.clone()));
    cluster.has_begun().await;
    stop.cancel();
    tokio::task::yield_now().await;
    assert!(!running.is_finished(), "the pass is still under way");
    assert_eq!(leased(&world.ledger).await, 1);
    cluster.go_on();
    running.await.unwrap();
    assert_eq!(leased(&world.ledger).await, 0);
    assert_eq!(world.cluster.namespaces(), [pr(1)], "the pass ended as it should");
    assert_ne!(world.phase(1).await, Phase::Pending, "and was recorded");
}

#[tokio::test]
async fn a_shutdown_in_the_middle_of_a_pass_that_hangs_ends_by_its_deadline() {
    let world = World::new().await;
    world.open(1, 'a').await;
    let limits = Limits { pass_deadline: Duration::from_secs(2), ..Limits::default() };
    let (reconciler, cluster) = rude(&world, Mood::Hang, limits);
    let stop = CancellationToken::new();
    let running = tokio::spawn(reconciler.run(stop.clone()));
    cluster.has_begun().await;
    stop.cancel();
    until("the loop has ended", async || running.is_finished()).await;
    assert_eq!(leased(&world.ledger).await, 0);
    drop(cluster);
}

#[tokio::test]
async fn a_ledger_that_fails_in_the_middle_of_a_pass_costs_one_retry_and_not_a_whole_lease() {
    let world = World::new().await;
    world.open(1, 'a').await;
    let forbid = "ALTER TABLE resources ADD CONSTRAINT nothing CHECK (false) NOT VALID";
    sqlx::raw_sql(forbid).execute(world.ledger.pool()).await.unwrap();
    world.reconciler.turn().await.unwrap();
    let preview = world.preview(1).await;
    assert!(preview.last_error.unwrap().contains("ledger"), "people can read it");
    assert_eq!((preview.failures, leased(&world.ledger).await), (1, 0));
    let allow = "ALTER TABLE resources DROP CONSTRAINT nothing";
    sqlx::raw_sql(allow).execute(world.ledger.pool()).await.unwrap();
    world.settle().await;
    assert!(world.serves(1, 'a'));
}

#[tokio::test]
async fn an_expiry_is_noted_only_for_a_pass_that_holds_its_lease() {
    let world = World::new().await;
    world.open(1, 'a').await;
    world.settle().await;
    world.clock.advance(TimeDelta::hours(25));
    amid_a_pass(&world, async || {
        // The lease ends, and the next holder finds that somebody pushed.
        world.clock.advance(LEASE);
        world.push(1, 'b').await;
        world.ledger.claim(fresh_id(), 1, LEASE, world.now()).await.unwrap();
    })
    .await;
    let preview = world.preview(1).await;
    assert_eq!(preview.going.map(|going| going.reason), None::<Reason>);
    assert_eq!(preview.receipt, None);
}
