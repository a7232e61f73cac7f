//! Claiming, taking over, giving back; and what a lease that was lost may still write: nothing.

use std::collections::HashSet;

use chrono::TimeDelta;
use mayfly::clock::fresh_id;
use mayfly::ledger::{Kind, LeaseLost};
use mayfly::preview::{Phase, Reason};

use super::{as_before, corrupt, everything, leased};
use crate::world::{World, number, pr, site};

const LEASE: TimeDelta = TimeDelta::seconds(60);

#[tokio::test]
async fn three_replicas_claim_every_row_once_and_none_twice() {
    let world = World::new().await;
    for n in 1..=30 {
        world.open(n, 'a').await;
    }
    let now = world.now();
    let greedy = |owner| {
        let ledger = world.ledger.clone();
        async move {
            let mut mine = Vec::new();
            loop {
                let some = ledger.claim(owner, 3, LEASE, now).await.unwrap();
                if some.is_empty() {
                    return mine;
                }
                assert!(some.iter().all(|lease| lease.owner == owner));
                mine.extend(some.into_iter().map(|lease| lease.preview.id));
            }
        }
    };
    let (a, b, c) = tokio::join!(greedy(fresh_id()), greedy(fresh_id()), greedy(fresh_id()));
    let all: Vec<_> = [a, b, c].concat();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "no row twice");
    // A row that another claim had locked for an instant is skipped; the next claim has it.
    let rest = world.ledger.claim(fresh_id(), 100, LEASE, now).await.unwrap();
    assert_eq!(all.len() + rest.len(), 30);
    assert!(world.ledger.claim(fresh_id(), 100, LEASE, now).await.unwrap().is_empty());
}

#[tokio::test]
async fn replicas_that_work_at_once_act_once_on_each_preview() {
    let world = World::new().await;
    let others = [world.another_replica(), world.another_replica()];
    for n in 1..=10 {
        world.open(n, 'a').await;
    }
    for _ in 0..10 {
        let (a, b, c) = tokio::join!(world.reconciler.turn(), others[0].turn(), others[1].turn());
        assert!([a, b, c].iter().all(Result::is_ok));
    }
    world.settle().await;
    assert!((1..=10).all(|n| world.serves(n, 'a')));
    assert_eq!(world.cluster.orders().len(), 10, "each workload was started once");
}

#[tokio::test]
async fn what_is_longest_due_is_claimed_first() {
    let world = World::new().await;
    for n in [3, 1, 2] {
        world.open(n, 'a').await;
        world.clock.advance(TimeDelta::seconds(1));
    }
    let mut order = Vec::new();
    for _ in 0..3 {
        let leases = world.ledger.claim(fresh_id(), 1, LEASE, world.now()).await.unwrap();
        order.push(leases[0].preview.name.number());
    }
    assert_eq!(order, [number(3), number(1), number(2)]);
}

#[tokio::test]
async fn a_row_that_is_not_due_is_nobodys() {
    let world = World::new().await;
    world.open(1, 'a').await;
    let early = world.now() - TimeDelta::microseconds(1);
    assert!(world.ledger.claim(fresh_id(), 1, LEASE, early).await.unwrap().is_empty());
    assert_eq!(world.ledger.claim(fresh_id(), 1, LEASE, world.now()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_lease_that_ended_is_taken_over_and_its_holder_can_write_nothing() {
    let world = World::new().await;
    world.open(1, 'a').await;
    let ledger = &world.ledger;
    let old = ledger.claim(fresh_id(), 1, LEASE, world.now()).await.unwrap().remove(0);
    let almost = world.now() + LEASE - TimeDelta::microseconds(1);
    assert!(ledger.claim(fresh_id(), 1, LEASE, almost).await.unwrap().is_empty());
    world.clock.advance(LEASE);
    let new = ledger.claim(fresh_id(), 1, LEASE, world.now()).await.unwrap().remove(0);
    assert!(new.epoch > old.epoch);
    let before = everything(ledger).await;
    let mut findings = as_before(&old);
    findings.phase = Phase::Ready;
    findings.deeds = vec![("ensure_namespace", String::new())];
    let now = world.now();
    assert_eq!(ledger.record(&old, &findings, now).await.unwrap(), Err(LeaseLost));
    assert_eq!(
        ledger.intend(&old, &[Kind::Namespace], &site().suffix, now).await.unwrap(),
        Err(LeaseLost)
    );
    assert_eq!(ledger.unsure(&old).await.unwrap(), Err(LeaseLost));
    assert_eq!(ledger.may_expire(&old, Reason::Idle, now).await.unwrap(), Err(LeaseLost));
    assert_eq!(everything(ledger).await, before, "nothing changed");
    assert!(ledger.record(&new, &findings, now).await.unwrap().is_ok());
    assert_eq!(ledger.record(&new, &findings, now).await.unwrap(), Err(LeaseLost), "it ended");
}

#[tokio::test]
async fn a_holder_that_takes_its_own_row_again_has_a_new_lease() {
    let world = World::new().await;
    world.open(1, 'a').await;
    let owner = fresh_id();
    let old = world.ledger.claim(owner, 1, LEASE, world.now()).await.unwrap().remove(0);
    world.clock.advance(LEASE);
    let new = world.ledger.claim(owner, 1, LEASE, world.now()).await.unwrap().remove(0);
    let now = world.now();
    let outcome = world.ledger.record(&old, &as_before(&old), now).await.unwrap();
    assert_eq!(outcome, Err(LeaseLost), "the epoch tells the two apart");
    assert!(world.ledger.record(&new, &as_before(&new), now).await.unwrap().is_ok());
}

#[tokio::test]
async fn giving_all_back_frees_the_rows_and_ends_the_leases() {
    let world = World::new().await;
    for n in 1..=4 {
        world.open(n, 'a').await;
    }
    let (mine, yours) = (fresh_id(), fresh_id());
    let held = world.ledger.claim(mine, 3, LEASE, world.now()).await.unwrap();
    world.ledger.claim(yours, 1, LEASE, world.now()).await.unwrap();
    assert_eq!(world.ledger.release_all(mine).await.unwrap(), 3);
    assert_eq!(leased(&world.ledger).await, 1, "the other replica's stays");
    let late = world.ledger.record(&held[0], &as_before(&held[0]), world.now()).await.unwrap();
    assert_eq!(late, Err(LeaseLost));
    assert_eq!(world.ledger.claim(yours, 9, LEASE, world.now()).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_stops_no_other_and_is_not_claimed_at_full_speed() {
    let world = World::new().await;
    for n in 1..=3 {
        world.open(n, 'a').await;
    }
    corrupt(&world, 1).await;
    let claimed = world.ledger.claim(fresh_id(), 10, LEASE, world.now()).await.unwrap();
    assert_eq!(claimed.len(), 2);
    world.ledger.release_all(claimed[0].owner).await.unwrap();
    world.settle().await;
    assert!(world.serves(2, 'a') && world.serves(3, 'a'));
    let epoch = |world: &World| {
        let pool = world.ledger.pool().clone();
        let name = pr(1).namespace();
        async move {
            let query = sqlx::query_scalar("SELECT epoch FROM previews WHERE name = $1");
            query.bind(name).fetch_one(&pool).await.unwrap()
        }
    };
    let before: i64 = epoch(&world).await;
    for _ in 0..10 {
        world.reconciler.turn().await.unwrap();
    }
    assert_eq!(epoch(&world).await, before, "its lease keeps it from being claimed");
    world.clock.advance(LEASE);
    world.reconciler.turn().await.unwrap();
    assert_eq!(epoch(&world).await, before + 1, "once in a lease");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_hides_no_other_from_lists_and_sweeps() {
    let world = World::new().await;
    for n in 1..=4 {
        world.open(n, 'a').await;
    }
    world.settle().await;
    corrupt(&world, 2).await;
    let page = mayfly::ledger::Filter { limit: 3, ..Default::default() };
    let listed = world.ledger.previews(&page).await.unwrap();
    let numbers: Vec<_> = listed.iter().map(|preview| preview.name.number().get()).collect();
    assert_eq!(numbers, [1, 3, 4], "a whole page, without the one");
    // The closing of number 3 was lost, and so was the pull request of number 4's namespace.
    let mut closed = world.facts(3, 'a');
    closed.state = mayfly::preview::PullState::Merged;
    world.silently(&closed);
    let pulls = world.sweeper.sweep_pull_requests(world.now()).await.unwrap();
    assert_eq!((pulls.doubted, pulls.failed), (1, 1), "{pulls:?}");
    let orphans = world.sweeper.sweep_orphans(world.now()).await.unwrap();
    assert_eq!(orphans.failed, 1, "{orphans:?}");
    world.settle().await;
    assert_eq!(world.phase(3).await, Phase::Gone);
}

#[tokio::test]
async fn text_that_postgres_cannot_keep_does_not_make_a_row_that_cannot_be_written() {
    let world = World::new().await;
    let mut facts = world.facts(1, 'a');
    facts.title = "nul \0 in the title".to_owned();
    facts.labels = vec!["\0".to_owned()];
    world.change("ope\0ned", facts).await;
    world.cluster.never_ready("its last words: \0");
    for _ in 0..6 {
        world.reconciler.turn().await.unwrap();
    }
    let preview = world.preview(1).await;
    assert_eq!(preview.memory.facts.title, "nul \u{fffd} in the title");
    let kept = |text: &str| text.contains("its last words: \u{fffd}");
    assert!(kept(&preview.outlook), "{}", preview.outlook);
    assert!(preview.conditions.iter().any(|condition| kept(&condition.message)));
}
