//! What only the fake promises: it goes wrong, and lags, exactly as a test tells it to.

use super::*;
use crate::world::faults::Mode;

fn fake() -> (FakeCluster, Faults) {
    let faults = Faults::default();
    (FakeCluster::new(faults.clone()), faults)
}

#[tokio::test]
async fn a_look_that_fails_knows_nothing() {
    let (cluster, faults) = fake();
    serve(&cluster, &name(7), &order(&revision('a'))).await;
    faults.always("cluster.observe", Mode::FailBefore);
    let seen = cluster.observe(&name(7), &shape()).await;
    assert!(matches!(seen.namespace, Seen::Unknown(_)));
    assert!(matches!(seen.workload, Seen::Unknown(_)));
    assert!(matches!(seen.route, Seen::Unknown(_)));
}

#[tokio::test]
async fn an_answer_that_is_lost_was_carried_out() {
    let (cluster, faults) = fake();
    faults.plan("cluster.ensure_namespace", 1, Mode::FailAfter);
    cluster.ensure_namespace(&name(7), &shape(), &Default::default()).await.unwrap_err();
    assert_eq!(cluster.namespaces(), [name(7)]);
    faults.always("cluster.owned", Mode::FailBefore);
    cluster.owned().await.unwrap_err();
    faults.heal();
    assert_eq!(cluster.owned().await.unwrap(), [name(7)]);
    assert_eq!(faults.calls().len(), 3);
}

#[tokio::test]
async fn a_call_that_is_carried_out_twice_does_what_once_does() {
    let (cluster, faults) = fake();
    for call in ["namespace", "workload", "route"] {
        faults.always(&format!("cluster.ensure_{call}"), Mode::Repeat);
    }
    serve(&cluster, &name(7), &order(&revision('a'))).await;
    assert_eq!(cluster.orders().len(), 1);
    assert_eq!(cluster.routes().len(), 1);
}

#[tokio::test]
async fn a_removal_lasts_until_it_is_told_to_finish() {
    let (cluster, _) = fake();
    cluster.auto(false);
    cluster.ensure_namespace(&name(7), &shape(), &Default::default()).await.unwrap();
    cluster.remove_namespace(&name(7)).await.unwrap();
    for _ in 0..5 {
        assert!(matches!(cluster.observe(&name(7), &shape()).await.namespace, Seen::Leaving(_)));
    }
    cluster.ensure_namespace(&name(7), &shape(), &Default::default()).await.unwrap_err();
    cluster.finish_removal(&name(7));
    assert!(cluster.observe(&name(7), &shape()).await.namespace.is_absent());
}

#[tokio::test]
async fn a_workload_is_ready_when_told_and_dead_when_crashed() {
    let (cluster, _) = fake();
    let (name, a) = (name(7), revision('a'));
    cluster.ready_after(2);
    cluster.ensure_namespace(&name, &shape(), &Default::default()).await.unwrap();
    cluster.ensure_workload(&name, &order(&a)).await.unwrap();
    assert!(matches!(health(&cluster, &name).await, Some((_, Health::Progressing(_)))));
    cluster.never_ready("out of honey");
    let why = Health::Progressing("out of honey".to_owned());
    assert_eq!(health(&cluster, &name).await, Some((a.clone(), why)));
    cluster.ready_again();
    until_ready(&cluster, &name, &a).await;
    cluster.ensure_route(&name, &shape(), &a).await.unwrap();
    assert_eq!(cluster.routes(), [(name.clone(), a.clone())]);
    assert_eq!(cluster.running(&name), Some(a.clone()));
    cluster.crash(&name);
    assert_eq!(cluster.running(&name), None);
    assert!(matches!(health(&cluster, &name).await, Some((_, Health::Dead(_)))));
    cluster.ensure_workload(&name, &order(&a)).await.unwrap();
    assert_eq!(cluster.running(&name), Some(a));
    assert_eq!(cluster.orders().len(), 2);
    cluster.destroy(&name);
    assert!(cluster.namespaces().is_empty() && cluster.routes().is_empty());
}
