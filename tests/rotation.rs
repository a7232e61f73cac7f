//! A password that is rotated: at each moment one of two works, and what is served never loses its
//! database.

use chrono::TimeDelta;
use mayfly::preview::{Memory, Phase};

use crate::world::faults::Mode;
use crate::world::{World, pr};

fn rotate(memory: &mut Memory) {
    memory.overrides.rotations += 1;
}

async fn up() -> World {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    world
}

/// The database URL of what was started last.
fn url(world: &World) -> String {
    let (_, order) = world.cluster.orders().pop().expect("something runs");
    order.env.into_iter().find(|(name, _)| name == "DATABASE_URL").expect("it has one").1
}

#[tokio::test]
async fn a_rotation_ends_with_the_new_login_served_and_the_former_one_locked() {
    let world = up().await;
    let mut former = url(&world);
    for role in ["pr_7_b", "pr_7", "pr_7_b"] {
        let served = world.cluster.serving(&pr(7));
        world.wish(7, rotate).await;
        assert_eq!(world.phase(7).await, Phase::Updating);
        world.settle().await;
        assert_eq!(world.phase(7).await, Phase::Ready);
        let now = url(&world);
        assert!(now.starts_with(&format!("postgres://{role}:")), "{now}");
        assert!(world.databases.lets_in(&now) && !world.databases.lets_in(&former), "{role}");
        assert_ne!(world.cluster.serving(&pr(7)), served, "by a fresh start");
        assert!(!world.preview(7).await.memory.is_rotating());
        former = now;
    }
    assert_eq!(world.databases.databases()["pr_7"], 0, "the same data");
    world.close(7, 'a').await;
    world.settle().await;
    assert_eq!(world.leftovers(), Vec::<String>::new(), "neither role is left");
}

#[tokio::test]
async fn the_former_login_stays_open_until_its_successor_is_served() {
    let world = up().await;
    let former = url(&world);
    world.cluster.never_ready("the image is being pulled");
    world.wish(7, rotate).await;
    world.settle_for(TimeDelta::minutes(10)).await;
    assert_ne!(url(&world), former, "the new one was started");
    assert!(world.databases.lets_in(&former), "and what is served has its login");
    assert!(world.databases.lets_in(&url(&world)));
    // A push in between does not change whose turn it is.
    world.push(7, 'b').await;
    world.settle_for(TimeDelta::minutes(10)).await;
    assert!(world.databases.lets_in(&former));
    world.cluster.ready_again();
    world.settle().await;
    assert!(world.serves(7, 'b') && !world.databases.lets_in(&former));
}

#[tokio::test]
async fn trouble_at_any_step_of_a_rotation_leaves_a_login_that_works_and_is_got_over() {
    for call in [
        "databases.ensure_database",
        "cluster.ensure_workload",
        "cluster.ensure_route",
        "cluster.remove_others",
        "databases.remove_login",
        "forge.publish",
    ] {
        for mode in [Mode::FailBefore, Mode::FailAfter, Mode::Repeat] {
            let world = up().await;
            let former = url(&world);
            let nth = world.faults.calls().iter().filter(|name| *name == call).count() + 1;
            world.faults.plan(call, nth, mode);
            world.wish(7, rotate).await;
            while world.reconciler.turn().await.unwrap() > 0 {
                let runs = [former.clone(), url(&world)];
                assert!(runs.iter().any(|url| world.databases.lets_in(url)), "{call} {mode:?}");
            }
            world.settle().await;
            assert_eq!(world.phase(7).await, Phase::Ready, "{call} {mode:?}");
            assert!(world.databases.lets_in(&url(&world)), "{call} {mode:?}");
            assert!(!world.databases.lets_in(&former), "{call} {mode:?}");
            assert!(!world.preview(7).await.memory.is_rotating(), "{call} {mode:?}");
        }
    }
}

#[tokio::test]
async fn a_process_that_dies_between_lock_and_ledger_leaves_what_the_next_pass_finishes() {
    let world = up().await;
    world.wish(7, rotate).await;
    world.settle().await;
    // As if the answer of the server had come, and the ledger's had not.
    sqlx::raw_sql("UPDATE previews SET rotated = 0, wake_at = now() - interval '100 years'")
        .execute(world.ledger.pool())
        .await
        .unwrap();
    assert!(world.preview(7).await.memory.is_rotating());
    world.settle().await;
    assert!(!world.preview(7).await.memory.is_rotating());
    assert!(world.databases.lets_in(&url(&world)));
}

#[tokio::test]
async fn a_preview_that_comes_back_has_the_login_whose_turn_it_is() {
    let world = up().await;
    world.wish(7, rotate).await;
    world.close(7, 'a').await;
    world.settle().await;
    assert_eq!(world.leftovers(), Vec::<String>::new());
    world.open(7, 'a').await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    assert!(url(&world).starts_with("postgres://pr_7_b:") && world.databases.lets_in(&url(&world)));
}
