//! Learning writes what nobody else has written since, and leases what it has room for.

use chrono::TimeDelta;
use futures_util::future::join_all;
use mayfly::clock::fresh_id;
use mayfly::ledger::{Heard, Learned, Preview, Term};
use mayfly::preview::PullState;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{as_before, leased};
use crate::world::World;
use crate::world::wait::{soon, until};

/// What a term of a new owner is that has this much room.
fn term(world: &World, most: usize) -> Term {
    let now = world.now();
    Term { owner: fresh_id(), now, until: now + TimeDelta::seconds(60), most }
}

async fn count(pool: &PgPool, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(pool).await.unwrap()
}

/// What a person may wish at any moment.
async fn redeploy(world: &World, id: Uuid) {
    let wish = |preview: &mut Preview| {
        preview.memory.overrides.redeploys += 1;
        Ok::<_, ()>(((), "again".to_owned()))
    };
    let amended = world.ledger.amend(id, "ada", "redeploy", world.now(), wish).await;
    amended.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn what_is_learned_is_leased_as_far_as_there_is_room() {
    let world = World::new().await;
    let mut heard = Vec::new();
    for n in 1..=3 {
        heard.push(world.store("opened", world.facts(n, 'a')).await);
    }
    let term = term(&world, 2);
    let lesson = world.ledger.learn_all(&heard, Some(term), None).await.unwrap();
    assert!(lesson.outcomes.iter().all(|it| matches!(it, Ok(Learned::New(_)))), "{lesson:?}");
    assert_eq!(lesson.leases.len(), 2);
    assert!(lesson.is_due, "the third is for whoever has room");
    let left =
        world.ledger.claim(fresh_id(), 9, TimeDelta::seconds(60), world.now()).await.unwrap();
    assert_eq!(left.len(), 1, "and for nobody else is there anything");
    for lease in &lesson.leases {
        assert_eq!((lease.owner, lease.epoch), (term.owner, 1));
        let recorded = world.ledger.record(lease, &as_before(lease), world.now()).await.unwrap();
        assert!(recorded.is_ok(), "it is as good as one that was claimed");
    }
}

#[tokio::test]
async fn what_somebody_works_on_is_not_leased_by_who_hears_of_it() {
    let world = World::new().await;
    world.open(1, 'a').await;
    let now = world.now();
    let held = world.ledger.claim(fresh_id(), 1, TimeDelta::seconds(60), now).await.unwrap();
    let heard = world.store("synchronize", world.facts(1, 'b')).await;
    let room = Some(term(&world, 9));
    let lesson = world.ledger.learn_all(std::slice::from_ref(&heard), room, None).await.unwrap();
    assert!(lesson.leases.is_empty());
    let next = world.ledger.record(&held[0], &as_before(&held[0]), now).await.unwrap().unwrap();
    assert!(next.is_some(), "the pass that ends says that its row is due");
    // Once the lease is over, and the row has rested, it is anybody's.
    world.clock.advance(TimeDelta::seconds(61));
    let heard = world.store("synchronize", world.facts(1, 'c')).await;
    let room = Some(term(&world, 9));
    let lesson = world.ledger.learn_all(std::slice::from_ref(&heard), room, None).await.unwrap();
    assert_eq!(lesson.leases.len(), 1);
    assert!(!lesson.is_due);
}

#[tokio::test]
async fn one_delivery_is_learned_from_once_by_whoever_comes_first() {
    let world = World::new().await;
    let heard = world.store("opened", world.facts(1, 'a')).await;
    let learned = join_all((0..6).map(|_| world.ledger.learn(&heard))).await;
    let (fresh, again): (Vec<_>, Vec<_>) =
        learned.into_iter().map(Result::unwrap).partition(|it| matches!(it, Learned::New(_)));
    assert_eq!(fresh.len(), 1);
    assert!(again.iter().all(|it| *it == Learned::Duplicate), "{again:?}");
    let pool = world.ledger.pool();
    assert_eq!(count(pool, "SELECT count(*) FROM previews").await, 1);
    assert_eq!(count(pool, "SELECT count(*) FROM journal WHERE action = 'learned'").await, 1);
}

#[tokio::test]
async fn who_learns_and_who_wishes_at_once_lose_nothing() {
    let world = World::new().await;
    for n in 1..=3 {
        world.open(n, 'a').await;
    }
    let id = world.preview(1).await.id;
    let pool = world.ledger.pool();
    let heard_of = "SELECT sum(hints)::bigint FROM previews";
    let before = count(pool, heard_of).await;
    let mut all = Vec::new();
    for round in 0..40 {
        // In either order.
        let mut heard = Vec::new();
        for n in if round % 2 == 0 { [1, 2, 3] } else { [3, 2, 1] } {
            heard.push(world.store("edited", world.facts(n, 'b')).await);
        }
        all.push(heard);
    }
    let learning = join_all(all.iter().map(async |heard| {
        let lesson = world.ledger.learn_all(heard, None, None).await.unwrap();
        assert!(lesson.outcomes.iter().all(Result::is_ok), "{lesson:?}");
    }));
    let wishing = join_all((0..20).map(|_| redeploy(&world, id)));
    tokio::join!(learning, wishing);
    assert_eq!(count(pool, heard_of).await - before, 3 * 40 + 20);
    assert_eq!(count(pool, "SELECT count(*) FROM unlearned").await, 0);
    let after = world.preview(1).await;
    assert_eq!(after.memory.overrides.redeploys, 20, "no wish is overwritten by who learns");
}

#[tokio::test]
async fn what_was_read_ahead_and_is_not_so_any_more_is_read_again() {
    let world = World::new().await;
    let opened = world.store("opened", world.facts(1, 'a')).await;
    let of = opened.hint.facts.key;
    let mut facts = world.facts(1, 'a');
    facts.state = PullState::Closed;
    let closed = world.store("closed", facts).await;
    // Both were read before anybody learned from either.
    let (first, second) =
        (world.ledger.read_ahead(of).await.unwrap(), world.ledger.read_ahead(of).await.unwrap());
    let learn = async |heard: &Heard, ahead| {
        let mut lesson =
            world.ledger.learn_all(std::slice::from_ref(heard), None, Some(ahead)).await.unwrap();
        lesson.outcomes.pop().unwrap().unwrap()
    };
    assert!(matches!(learn(&opened, first).await, Learned::New(_)));
    let stale = world.ledger.read_ahead(of).await.unwrap();
    assert!(matches!(learn(&closed, second).await, Learned::Known(_) | Learned::Awaited(_)));
    assert_eq!(world.preview(1).await.memory.facts.state, PullState::Closed, "a close is not lost");
    // What a person wished since the reading is not written over.
    let id = world.preview(1).await.id;
    redeploy(&world, id).await;
    let pushed = world.store("reopened", world.facts(1, 'b')).await;
    learn(&pushed, stale).await;
    let memory = world.preview(1).await.memory;
    assert_eq!((&memory.facts, memory.overrides.redeploys), (&pushed.hint.facts, 1));
    let pool = world.ledger.pool();
    assert_eq!(count(pool, "SELECT count(*) FROM journal WHERE action = 'learned'").await, 3);
    assert_eq!(count(pool, "SELECT count(*) FROM unlearned").await, 0);
}

#[tokio::test]
async fn who_was_told_to_stop_has_no_room_and_gives_back_what_comes_late() {
    let world = World::new().await;
    let reconciler = &world.reconciler;
    assert!(reconciler.room.take(1).is_none(), "nobody works on anything before the loop runs");
    let stop = CancellationToken::new();
    let running = tokio::spawn(reconciler.clone().run(stop.clone()));
    let mut room = None;
    until("there is room", async || {
        room = reconciler.room.take(1);
        room.is_some()
    })
    .await;
    stop.cancel();
    until("nobody else has any", async || reconciler.room.take(1).is_none()).await;
    // Whoever had it before goes on.
    let heard = world.store("opened", world.facts(1, 'a')).await;
    let term = Term { owner: reconciler.replica, ..term(&world, 1) };
    let lesson = world.ledger.learn_all(std::slice::from_ref(&heard), Some(term), None).await;
    let leases = lesson.unwrap().leases;
    assert_eq!((leases.len(), leased(&world.ledger).await), (1, 1));
    reconciler.room.hand(leases, room.unwrap());
    soon("the loop ends", running).await.unwrap();
    assert_eq!(leased(&world.ledger).await, 0, "another replica can begin at once");
}
