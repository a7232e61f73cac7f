//! What labels choose of a preview: its tier, its feature flags, and its data.

use chrono::TimeDelta;
use mayfly::database::seed::{Seed, SeedFile};
use mayfly::preview::choice::{Choices, FlagLabel, TierLabel};
use mayfly::preview::{Notice, Phase, Policy};
use mayfly::repository::{Flag, Repository, Tier};

use crate::world::faults::Mode;
use crate::world::{World, number, policy, pr, repository};

fn seed(sql: &str) -> Seed {
    let file = SeedFile { path: "a.sql".to_owned(), sql: sql.to_owned() };
    Seed::new(vec![file], &[]).unwrap()
}

/// Tiers `lite`, which is the default, and `full`, with a data set of its own; one flag.
fn tiered() -> Repository {
    let tier = |name: &str, data_of: Option<&str>| TierLabel {
        name: name.to_owned(),
        label: format!("preview:{name}"),
        data_of: data_of.map(str::to_owned),
    };
    let env = |value: &str| vec![("SIZE".to_owned(), value.to_owned())];
    Repository {
        policy: Policy {
            choices: Choices {
                tiers: vec![tier("lite", None), tier("full", Some("full"))],
                default_tier: Some("lite".to_owned()),
                flags: vec![FlagLabel { name: "search".to_owned(), label: "flag:s".to_owned() }],
            },
            ..policy()
        },
        tiers: vec![
            Tier { name: "lite".to_owned(), env: env("small"), ..Tier::default() },
            Tier {
                name: "full".to_owned(),
                env: env("large"),
                replicas: Some(3),
                seed: Some(seed("SELECT 1;")),
                ..Tier::default()
            },
        ],
        flags: vec![Flag {
            name: "search".to_owned(),
            env: "FEATURE_SEARCH".to_owned(),
            on: "yes".to_owned(),
            off: "no".to_owned(),
        }],
        ..repository()
    }
}

async fn tiered_world() -> World {
    let mut world = World::new().await;
    world.configure(tiered());
    world.open(7, 'a').await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    world
}

/// Pull request 7 gets these labels, and the event comes in.
async fn label(world: &World, labels: &[&str]) {
    let mut facts = world.facts(7, 'a');
    facts.labels = labels.iter().map(|&label| label.to_owned()).collect();
    world.change("labeled", facts).await;
}

/// The variable of what runs.
fn runs_with(world: &World, variable: &str) -> String {
    let (_, order) = world.cluster.orders().pop().expect("something runs");
    let found = order.shape.env.iter().find(|(name, _)| name == variable);
    found.expect("the variable is set").1.clone()
}

fn words(world: &World) -> String {
    let comment = world.forge.comment(number(7)).expect("a comment");
    assert!(matches!(comment.notice, Notice::Ready { .. }), "{comment:?}");
    mayfly::forge::notice::markdown(&comment, "test")
}

#[tokio::test]
async fn a_tiers_label_changes_what_runs_and_ready_is_not_claimed_for_the_former_tier() {
    let world = tiered_world().await;
    assert_eq!(runs_with(&world, "SIZE"), "small", "the default");
    assert!(words(&world).contains("in tier `lite`"), "{}", words(&world));

    label(&world, &["preview:full"]).await;
    assert_eq!(world.phase(7).await, Phase::Updating, "from the event on");
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    assert_eq!(runs_with(&world, "SIZE"), "large");
    let (_, order) = world.cluster.orders().pop().unwrap();
    assert_eq!((order.shape.pod.replicas, order.shape.tier.as_deref()), (3, Some("full")));
    assert_eq!(world.cluster.serving(&pr(7)), Some(order.revision), "visitors get the new tier");
    assert!(words(&world).contains("in tier `full`"), "{}", words(&world));

    label(&world, &[]).await;
    world.settle().await;
    assert_eq!(runs_with(&world, "SIZE"), "small", "without its label the default is back");
    assert!(world.cluster.others(&pr(7)).is_empty(), "the former tier went");
}

#[tokio::test]
async fn a_label_that_chooses_nothing_changes_nothing() {
    let world = tiered_world().await;
    let orders = world.cluster.orders().len();
    label(&world, &["ui"]).await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    world.settle().await;
    assert_eq!(world.cluster.orders().len(), orders);
}

#[tokio::test]
async fn a_flags_label_switches_its_variable_on_and_keeps_the_data() {
    let world = tiered_world().await;
    assert_eq!(runs_with(&world, "FEATURE_SEARCH"), "no");
    let data = world.databases.databases();
    label(&world, &["flag:s"]).await;
    world.settle().await;
    assert_eq!(runs_with(&world, "FEATURE_SEARCH"), "yes");
    assert_eq!(world.databases.databases(), data);
    assert!(words(&world).contains("with `search`"), "{}", words(&world));
}

#[tokio::test]
async fn a_tier_with_a_data_set_of_its_own_begins_with_that() {
    let world = tiered_world().await;
    let own = world.databases.seed_of(&pr(7)).expect("a database");
    assert_eq!(own, repository().seed.digest());
    label(&world, &["preview:full"]).await;
    world.settle().await;
    assert_eq!(world.databases.seed_of(&pr(7)).as_deref(), Some(seed("SELECT 1;").digest()));
    label(&world, &["preview:lite"]).await;
    world.settle().await;
    assert_eq!(world.databases.seed_of(&pr(7)), Some(own));
    world.close(7, 'a').await;
    world.settle().await;
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn data_is_not_thrown_away_for_a_label_that_is_hearsay() {
    let world = tiered_world().await;
    let data = world.databases.databases();
    world.faults.always("forge.pull", Mode::FailBefore);
    label(&world, &["preview:full"]).await;
    world.settle_for(TimeDelta::minutes(5)).await;
    assert_eq!(world.databases.databases(), data, "nobody has confirmed the label");
    world.faults.heal();
    world.settle_for(TimeDelta::minutes(10)).await;
    assert_ne!(world.databases.databases(), data);
    assert_eq!(world.phase(7).await, Phase::Ready);
}

#[tokio::test]
async fn of_two_tiers_the_first_in_the_configuration_is_taken_and_that_is_said() {
    let world = tiered_world().await;
    let orders = world.cluster.orders().len();
    label(&world, &["preview:full", "preview:lite"]).await;
    world.settle().await;
    assert_eq!(world.cluster.orders().len(), orders, "nothing else runs");
    let said = words(&world);
    assert!(said.contains("ask for tier `full` too; `lite` comes first"), "{said}");
}

#[tokio::test]
async fn a_crash_at_any_step_of_another_tier_ends_in_that_tier() {
    for call in [
        "databases.remove_database",
        "databases.ensure_database",
        "cluster.ensure_workload",
        "cluster.ensure_route",
        "cluster.remove_others",
        "forge.publish",
    ] {
        for mode in [Mode::FailBefore, Mode::FailAfter, Mode::Repeat] {
            let world = tiered_world().await;
            let nth = world.faults.calls().iter().filter(|name| *name == call).count() + 1;
            world.faults.plan(call, nth, mode);
            label(&world, &["preview:full"]).await;
            world.settle().await;
            assert_eq!(world.phase(7).await, Phase::Ready, "{call} {mode:?}");
            assert_eq!(runs_with(&world, "SIZE"), "large", "{call} {mode:?}");
            let full = seed("SELECT 1;");
            assert_eq!(world.databases.seed_of(&pr(7)).as_deref(), Some(full.digest()));
        }
    }
}
