//! What only the local adapter promises: it survives its own death, and leaves no process.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use mayfly::cluster::local::{LocalCluster, LocalConfig};
use mayfly::preview::Suffix;
use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::world::wait::soon;

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(100);

async fn until_processes(machine: &Machine, count: usize) {
    let what = format!("{count} processes run");
    until(&what, async || machine.processes(&name(7)).len() == count).await;
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

fn record(machine: &Machine) -> serde_json::Value {
    let text = fs::read(machine.directory(&name(7)).join("workload.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[tokio::test]
async fn a_restarted_controller_finds_the_workload_and_starts_no_second_one() {
    let machine = Machine::new();
    let (name, order) = (name(7), order(&revision('a')));
    serve(&machine.cluster, &name, &order).await;
    let before = machine.processes(&name);
    assert_eq!(before.len(), 1);
    let restarted = machine.another(LONG);
    let seen = restarted.observe(&name, &shape()).await;
    assert_eq!(seen, machine.cluster.observe(&name, &shape()).await);
    assert_eq!(seen.workload.present().unwrap().health, Health::Ready);
    restarted.ensure_workload(&name, &order).await.unwrap();
    assert_eq!(machine.processes(&name), before);
    assert_eq!(restarted.owned().await.unwrap(), [name]);
}

#[tokio::test]
async fn a_workload_of_an_earlier_controller_that_ends_is_looked_at_at_once() {
    let machine = Machine::new();
    let (name, order) = (name(7), order(&revision('a')));
    serve(&machine.cluster, &name, &order).await;
    let config = LocalConfig {
        data_dir: machine.data_dir(),
        suffix: Suffix::parse("preview.test").unwrap(),
        instance: "test".to_owned(),
        grace: LONG,
    };
    let (changes, mut changed) = tokio::sync::mpsc::channel(16);
    let restarted = LocalCluster::new(config, changes).unwrap();
    assert!(
        restarted.observe(&name, &shape()).await.namespace.present().is_some(),
        "the same instance"
    );
    let leader = machine.processes(&name)[0].to_string();
    assert!(std::process::Command::new("kill").args(["-9", &leader]).status().unwrap().success());
    let told = tokio::time::timeout(Duration::from_secs(10), changed.recv()).await;
    assert_eq!(told.expect("a look is asked for"), Some(name));
}

#[tokio::test]
async fn two_controllers_at_once_start_one_workload() {
    let machine = Machine::new();
    let (name, order, other) = (name(7), order(&revision('a')), machine.another(LONG));
    machine.cluster.ensure_namespace(&name, &shape(), &Default::default()).await.unwrap();
    let (a, b, c) = tokio::join!(
        machine.cluster.ensure_workload(&name, &order),
        other.ensure_workload(&name, &order),
        machine.cluster.ensure_workload(&name, &order),
    );
    a.and(b).and(c).unwrap();
    until_ready(&other, &name, &order.revision).await;
    assert_eq!(machine.processes(&name).len(), 1);
}

#[tokio::test]
async fn a_child_that_detached_itself_is_ended_too() {
    let machine = Machine::with_grace(SHORT);
    let order = order_with(&revision('a'), &[("FORK_CHILD", "1"), ("IGNORE_TERM", "1")]);
    serve(&machine.cluster, &name(7), &order).await;
    until_processes(&machine, 2).await;
    machine.cluster.remove_namespace(&name(7)).await.unwrap();
    until_gone(&machine.cluster, &name(7)).await;
    assert_eq!(machine.processes(&name(7)), [0; 0]);
    assert!(!machine.directory(&name(7)).exists());
}

#[tokio::test]
async fn a_workload_that_ignores_sigterm_is_killed_after_the_grace_without_another_call() {
    let grace = Duration::from_millis(700);
    let machine = Machine::with_grace(grace);
    serve(&machine.cluster, &name(7), &order_with(&revision('a'), &[("IGNORE_TERM", "1")])).await;
    let begun = Instant::now();
    machine.cluster.remove_namespace(&name(7)).await.unwrap();
    let seen = machine.cluster.observe(&name(7), &shape()).await;
    assert_eq!(seen.namespace, Seen::Leaving("1 process still running".to_owned()));
    machine.cluster.ensure_namespace(&name(7), &shape(), &Default::default()).await.unwrap_err();
    until_processes(&machine, 0).await;
    assert!(begun.elapsed() >= grace);
    until("it is gone", async || !machine.directory(&name(7)).exists()).await;
}

#[tokio::test]
async fn a_removal_that_a_killed_controller_began_is_finished_by_the_next() {
    let machine = Machine::with_grace(LONG);
    serve(&machine.cluster, &name(7), &order_with(&revision('a'), &[("IGNORE_TERM", "1")])).await;
    machine.cluster.remove_namespace(&name(7)).await.unwrap();
    let _next = machine.another(SHORT);
    until("it is gone", async || !machine.directory(&name(7)).exists()).await;
    assert_eq!(machine.processes(&name(7)), [0; 0]);
}

#[tokio::test]
async fn an_old_revision_that_a_killed_controller_left_is_ended_by_the_next() {
    let machine = Machine::with_grace(LONG);
    let (name, b) = (name(7), revision('b'));
    serve(&machine.cluster, &name, &order_with(&revision('a'), &[("IGNORE_TERM", "1")])).await;
    serve(&machine.cluster, &name, &order(&b)).await;
    assert_eq!(machine.processes(&name).len(), 2);
    let next = machine.another(SHORT);
    until_processes(&machine, 1).await;
    assert_eq!(health(&next, &name).await, Some((b, Health::Ready)));
}

#[tokio::test]
async fn only_the_wanted_and_the_served_revision_run() {
    let machine = Machine::with_grace(SHORT);
    let (name, cluster) = (name(7), &machine.cluster);
    let (a, b, c) = (revision('a'), revision('b'), revision('c'));
    serve(cluster, &name, &order(&a)).await;
    let served = machine.processes(&name);
    cluster.ensure_workload(&name, &order(&b)).await.unwrap();
    until_processes(&machine, 2).await;
    cluster.ensure_workload(&name, &order_with(&c, &[("FORK_CHILD", "1")])).await.unwrap();
    until_ready(cluster, &name, &c).await;
    until_processes(&machine, 3).await;
    assert!(machine.processes(&name).contains(&served[0]));
    // Back to the commit that is served: it is taken as it is.
    cluster.ensure_workload(&name, &order(&a)).await.unwrap();
    assert_eq!(health(cluster, &name).await, Some((a, Health::Ready)));
    until_processes(&machine, 1).await;
    assert_eq!(machine.processes(&name), served);
}

#[tokio::test]
async fn a_workload_that_keeps_exiting_is_started_less_and_less_often_and_says_why() {
    let mut machine = Machine::new();
    let (name, a) = (name(7), revision('a'));
    let why = "cannot reach \x1b[31mpostgres://pr_7:hunter2@db/pr_7";
    let order = order_with(&a, &[("EXIT_AT_START", why)]);
    machine.cluster.ensure_namespace(&name, &shape(), &Default::default()).await.unwrap();
    let mut waits = Vec::new();
    for _ in 0..3 {
        let started = Instant::now();
        machine.cluster.ensure_workload(&name, &order).await.unwrap();
        assert_eq!(
            soon("a change is told", machine.changes.recv()).await,
            Some(name.clone()),
            "an exit asks for a look"
        );
        let waiting = health(&machine.cluster, &name).await.unwrap().1;
        let Health::Progressing(text) = waiting else { panic!("{waiting:?}") };
        assert!(text.contains("starts again in"), "{text}");
        assert!(text.ends_with("cannot reach [31mpostgres://pr_7:***@db/pr_7"), "{text}");
        // Asked again too early, it waits all the same.
        machine.cluster.ensure_workload(&name, &order).await.unwrap();
        assert_eq!(
            soon("a change is told", machine.changes.recv()).await,
            Some(name.clone()),
            "so does a back-off's end"
        );
        until("it may be started again", async || {
            matches!(health(&machine.cluster, &name).await, Some((_, Health::Dead(_))))
        })
        .await;
        waits.push(started.elapsed());
    }
    let least = [500, 1000, 2000].map(Duration::from_millis);
    assert!(waits.iter().zip(least).all(|(wait, least)| *wait >= least), "{waits:?}");
}

#[tokio::test]
async fn the_route_follows_a_workload_that_is_started_again() {
    let machine = Machine::new();
    let (name, order) = (name(7), order(&revision('a')));
    serve(&machine.cluster, &name, &order).await;
    kill(machine.processes(&name)[0]);
    until("it is dead", async || {
        matches!(health(&machine.cluster, &name).await, Some((_, Health::Dead(_))))
    })
    .await;
    machine.cluster.ensure_workload(&name, &order).await.unwrap();
    until_ready(&machine.cluster, &name, &order.revision).await;
    let route = machine.data_dir().join("routes/pr-7.preview.test.json");
    let route: serde_json::Value = serde_json::from_slice(&fs::read(route).unwrap()).unwrap();
    assert_eq!(route["port"], record(&machine)["port"]);
}

#[tokio::test]
async fn what_outlives_its_parent_does_not_pass_for_the_workload() {
    let machine = Machine::with_grace(SHORT);
    let (name, order) = (name(7), order_with(&revision('a'), &[("FORK_CHILD", "1")]));
    serve(&machine.cluster, &name, &order).await;
    until_processes(&machine, 2).await;
    let leader = record(&machine)["leaders"][0]["process"]["pid"].as_i64().unwrap();
    kill(i32::try_from(leader).unwrap());
    until("it is dead", async || {
        matches!(health(&machine.cluster, &name).await, Some((_, Health::Dead(_))))
    })
    .await;
    machine.cluster.ensure_workload(&name, &order).await.unwrap();
    until_ready(&machine.cluster, &name, &order.revision).await;
    until_processes(&machine, 2).await;
}

#[tokio::test]
async fn processes_whose_directory_was_deleted_by_hand_are_ended() {
    let machine = Machine::new();
    serve(&machine.cluster, &name(7), &order(&revision('a'))).await;
    fs::remove_dir_all(machine.directory(&name(7))).unwrap();
    let seen = machine.cluster.observe(&name(7), &shape()).await;
    assert!(matches!(seen.namespace, Seen::Leaving(_)), "{seen:?}");
    machine.cluster.remove_namespace(&name(7)).await.unwrap();
    until_gone(&machine.cluster, &name(7)).await;
    assert_eq!(machine.processes(&name(7)), [0; 0]);
}

#[tokio::test]
async fn the_database_password_is_never_written_down() {
    let machine = Machine::new();
    let url = "postgres://pr_7:hunter2@db/pr_7";
    serve(&machine.cluster, &name(7), &order_with(&revision('a'), &[("DATABASE_URL", url)])).await;
    for entry in fs::read_dir(machine.directory(&name(7))).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(
        !format!("{:?}", machine.cluster.observe(&name(7), &shape()).await).contains("hunter2")
    );
}

#[tokio::test]
async fn a_workload_gets_its_own_environment_and_nothing_of_the_controllers() {
    let machine = Machine::new();
    let mut order = order_with(&revision('a'), &[("DATABASE_URL", "postgres://x"), ("BOTH", "2")]);
    order.shape.env =
        vec![("BOTH".to_owned(), "1".to_owned()), ("TEAM".to_owned(), "1".to_owned())];
    serve(&machine.cluster, &name(7), &order).await;
    let port = record(&machine)["port"].as_u64().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("http://127.0.0.1:{port}/env")).send().await.unwrap();
    let env: BTreeMap<String, String> = answer.json().await.unwrap();
    assert!(std::env::vars().any(|(key, _)| key.starts_with("CARGO")), "the controller has more");
    let own = ["PATH", "HOME", "LANG"].into_iter().filter(|key| std::env::var_os(key).is_some());
    let given = ["BOTH", "COMMIT_SHA", "DATABASE_URL", "PORT", "TEAM"];
    let marks = ["MAYFLY_NAMESPACE", "MAYFLY_PORT", "MAYFLY_REVISION", "MAYFLY_START"];
    let mut expected: Vec<_> = own.chain(given).chain(marks).collect();
    expected.sort_unstable();
    assert_eq!(env.keys().collect::<Vec<_>>(), expected);
    assert_eq!((&*env["BOTH"], &*env["PORT"]), ("2", &*port.to_string()));
}

#[tokio::test]
async fn a_command_that_is_not_there_is_a_persons_to_mend() {
    let machine = Machine::new();
    let mut order = order(&revision('a'));
    order.shape.command = vec!["/nowhere/to-be-found".to_owned()];
    machine.cluster.ensure_namespace(&name(7), &shape(), &Default::default()).await.unwrap();
    let fault = machine.cluster.ensure_workload(&name(7), &order).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Permanent);
}

#[tokio::test]
async fn another_installations_namespace_is_not_ours() {
    let machine = Machine::new();
    machine.cluster.ensure_namespace(&name(7), &shape(), &Default::default()).await.unwrap();
    let config = LocalConfig {
        data_dir: machine.data_dir(),
        suffix: Suffix::parse("preview.test").unwrap(),
        instance: "other".to_owned(),
        grace: SHORT,
    };
    let other = LocalCluster::new(config, tokio::sync::mpsc::channel(1).0).unwrap();
    assert!(other.observe(&name(7), &shape()).await.namespace.is_foreign());
    assert_eq!(other.owned().await.unwrap(), []);
    other.remove_namespace(&name(7)).await.unwrap_err();
    assert_eq!(machine.cluster.owned().await.unwrap(), [name(7)]);
}

#[tokio::test]
async fn a_directory_that_cannot_be_read_is_a_fault_and_never_a_shorter_list() {
    let machine = Machine::new();
    machine.cluster.ensure_namespace(&name(7), &shape(), &Default::default()).await.unwrap();
    fs::remove_dir_all(machine.data_dir().join("routes")).unwrap();
    machine.cluster.owned().await.unwrap_err();
}
