//! A preview that differs from production in more than values says so, and is served all the same.

use chrono::TimeDelta;
use mayfly::preview::{Condition, Part, Phase, Production, Seen, Status};
use mayfly::repository::Repository;

use crate::world::{World, number, repository};

fn stating(postgres: u32, kubernetes: &str) -> Repository {
    let kubernetes = Some(kubernetes.to_owned());
    let production = Production { postgres: Some(postgres), kubernetes, chart: None };
    Repository { production, ..repository() }
}

async fn parity(world: &World) -> Condition {
    let all = world.preview(7).await.conditions;
    all.into_iter().find(|it| it.part == Part::Parity).expect("a condition")
}

async fn up(repository: Repository) -> World {
    let mut world = World::new().await;
    world.configure(repository);
    world.cluster.be_kubernetes(Seen::Present("1.34".to_owned()));
    world.open(7, 'a').await;
    world.settle().await;
    world
}

#[tokio::test]
async fn what_is_the_same_as_in_production_or_not_stated_is_true() {
    for repository in [repository(), stating(17, "1.34")] {
        let world = up(repository).await;
        let condition = parity(&world).await;
        assert_eq!((condition.status, condition.message.as_str()), (Status::True, ""));
    }
}

#[tokio::test]
async fn what_differs_is_said_and_keeps_nothing_from_being_ready() {
    let world = up(stating(16, "1.33")).await;
    let condition = parity(&world).await;
    assert_eq!(condition.status, Status::False);
    assert_eq!(
        condition.message,
        "PostgreSQL 17 here, 16 in production; Kubernetes 1.34 here, 1.33 in production"
    );
    assert_eq!(world.phase(7).await, Phase::Ready);
    assert!(world.serves(7, 'a'));
    assert!(world.forge.deployment_active(&crate::world::pr(7)));
    assert_eq!(world.forge.said(number(7)).len(), 2, "nothing is told because of it");
    world.clock.advance(TimeDelta::hours(1));
    world.push(7, 'b').await;
    let survey = world.ledger.survey(world.now()).await.unwrap();
    assert!(survey.not_ready < TimeDelta::minutes(30), "it is nothing that a preview waits for");
}

#[tokio::test]
async fn what_cannot_be_told_is_unknown_and_ready_all_the_same() {
    let mut world = World::new().await;
    world.configure(stating(17, "1.34"));
    world.cluster.be_kubernetes(Seen::Unknown("the API server does not say".to_owned()));
    world.open(7, 'a').await;
    world.settle().await;
    let condition = parity(&world).await;
    assert_eq!(condition.status, Status::Unknown);
    assert!(condition.message.contains("does not say"), "{}", condition.message);
    assert_eq!(world.phase(7).await, Phase::Ready);
}

#[tokio::test]
async fn nobody_is_asked_for_what_no_repository_states() {
    let world = up(repository()).await;
    assert!(!world.faults.calls().iter().any(|call| call == "cluster.kubernetes"));
}
