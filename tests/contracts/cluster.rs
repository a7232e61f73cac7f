//! What every cluster promises the loop, asked of the fake, of the local adapter and of Kubernetes.

mod certificate;
mod chart;
mod fake;
pub mod kubernetes;
mod local;
mod local_migrations;
mod machine;
mod proxy;
mod real;
mod real_migrations;
mod rehearsed;
mod secrets;
mod services;

use std::path::PathBuf;
use std::time::Duration;

use mayfly::cluster::Cluster;
use mayfly::fault::{Disposition, Progress};
use mayfly::preview::observed::{Health, NamespaceSeen};
use mayfly::preview::{CommitSha, Ended, MigrationState, PreviewName, Revision, Seen};
use mayfly::workload::{Image, Migrations, PodShape, Proof, Shape, WorkloadOrder};

use self::kubernetes::RealCluster;
use self::machine::Machine;
use self::services::services_start_in_order_and_are_led_to_together;
use crate::world::cluster::FakeCluster;
use crate::world::faults::Faults;

/// A cluster under test.
trait Subject {
    fn cluster(&self) -> &dyn Cluster;
    /// A name that no other test uses in the same cluster.
    fn name(&self, number: u32) -> PreviewName {
        name(number)
    }
    /// Something of this name that is not ours.
    async fn plant_foreign(&self, name: &PreviewName);
    /// Whether it is still there, as it was.
    async fn foreign_is_there(&self, name: &PreviewName) -> bool;
}

impl Subject for FakeCluster {
    fn cluster(&self) -> &dyn Cluster {
        self
    }

    async fn plant_foreign(&self, name: &PreviewName) {
        FakeCluster::plant_foreign(self, name);
    }

    async fn foreign_is_there(&self, name: &PreviewName) -> bool {
        FakeCluster::foreign_is_there(self, name)
    }
}

impl Subject for Machine {
    fn cluster(&self) -> &dyn Cluster {
        &self.cluster
    }

    async fn plant_foreign(&self, name: &PreviewName) {
        let directory = self.directory(name);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("precious"), "theirs").unwrap();
    }

    async fn foreign_is_there(&self, name: &PreviewName) -> bool {
        let theirs = std::fs::read_dir(self.directory(name)).unwrap();
        let theirs: Vec<_> = theirs.map(|entry| entry.unwrap().file_name()).collect();
        theirs == ["precious"]
    }
}

macro_rules! contract {
    ($($promise:ident,)*) => {
        mod contract_of_the_fake {
            $(#[tokio::test] async fn $promise() {
                super::$promise(&super::FakeCluster::new(super::Faults::default())).await;
            })*
        }
        mod contract_of_the_local_cluster {
            $(#[tokio::test] async fn $promise() {
                super::$promise(&super::Machine::new()).await;
            })*
        }
        mod contract_of_kubernetes {
            $(#[tokio::test] async fn $promise() {
                let Some(cluster) = super::RealCluster::new().await else { return };
                super::$promise(&cluster).await;
            })*
        }
    };
}

contract! {
    nothing_is_there_at_first,
    removing_what_is_absent_succeeds,
    a_namespace_made_twice_is_made_once,
    a_workload_needs_its_namespace,
    a_workload_ordered_twice_becomes_ready_once,
    migrations_need_their_namespace,
    migrations_ordered_twice_run_once_and_come_to_an_end,
    migrations_of_a_newer_revision_take_the_place_of_those_before,
    a_route_leads_to_a_ready_revision_only,
    a_new_revision_starts_beside_the_one_that_is_served,
    services_start_in_order_and_are_led_to_together,
    a_removed_namespace_leaves_and_then_is_absent,
    what_is_not_ours_is_never_touched,
    owned_are_exactly_our_own,
}

fn name(number: u32) -> PreviewName {
    PreviewName::parse(&format!("pr-{number}")).unwrap()
}

/// A revision whose commit is forty times this digit.
fn revision(digit: char) -> Revision {
    Revision { commit: CommitSha::parse(&digit.to_string().repeat(40)).unwrap(), restart: 0 }
}

/// The program that does on request what workloads do wrong.
pub fn target() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().unwrap().parent().unwrap().join("examples/probe-target")
}

fn shape() -> Shape {
    let image = format!("registry.test/probe-target@sha256:{}", "0".repeat(64));
    Shape {
        command: vec![target().to_str().unwrap().to_owned()],
        directory: None,
        env: vec![],
        migrations: None,
        probe_path: "/".to_owned(),
        proof: Proof::Header,
        image: None,
        pod: PodShape { image: Some(Image::parse(&image).unwrap()), ..PodShape::default() },
        ..Shape::default()
    }
}

/// The same, with migrations that run this.
fn migrating(command: &[&str]) -> Shape {
    let command = command.iter().map(|&word| word.to_owned()).collect();
    let timeout = Duration::from_secs(600);
    let migrations = Some(Migrations { command, timeout, directory: None });
    Shape { migrations, ..shape() }
}

fn migration(revision: &Revision, shape: Shape) -> WorkloadOrder {
    WorkloadOrder { shape, ..order(revision) }
}

/// Starts migrations, and waits for those before to be over where it has to.
async fn migrate(cluster: &dyn Cluster, name: &PreviewName, order: &WorkloadOrder) {
    until("the migrations are started", async || {
        cluster.ensure_migration(name, order).await.unwrap() == Progress::Done
    })
    .await;
}

async fn migrated(
    cluster: &dyn Cluster,
    name: &PreviewName,
    shape: &Shape,
) -> Option<(Revision, MigrationState)> {
    let seen = cluster.observe(name, shape).await.migration;
    seen.present().map(|it| (it.revision.clone(), it.state.clone()))
}

async fn until_migrated(cluster: &dyn Cluster, name: &PreviewName, order: &WorkloadOrder) -> Ended {
    let mut ended = None;
    until("the migrations end", async || match migrated(cluster, name, &order.shape).await {
        Some((revision, MigrationState::Ended(how))) if revision == order.revision => {
            ended = Some(how);
            true
        }
        _ => false,
    })
    .await;
    ended.unwrap()
}

fn order(revision: &Revision) -> WorkloadOrder {
    WorkloadOrder {
        revision: revision.clone(),
        shape: shape(),
        env: vec![("COMMIT_SHA".to_owned(), revision.commit.to_string())],
        objects: vec![],
        databases: vec![],
    }
}

fn order_with(revision: &Revision, env: &[(&str, &str)]) -> WorkloadOrder {
    let mut order = order(revision);
    order.env.extend(env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    order
}

/// Waits for a state, with a deadline.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn health(cluster: &dyn Cluster, name: &PreviewName) -> Option<(Revision, Health)> {
    let seen = cluster.observe(name, &shape()).await;
    seen.workload.present().map(|it| (it.revision.clone(), it.health.clone()))
}

async fn until_ready(cluster: &dyn Cluster, name: &PreviewName, revision: &Revision) {
    let ready = Some((revision.clone(), Health::Ready));
    until("the workload is ready", async || health(cluster, name).await == ready).await;
}

async fn until_gone(cluster: &dyn Cluster, name: &PreviewName) {
    until("the namespace is gone", async || {
        cluster.observe(name, &shape()).await.namespace.is_absent()
    })
    .await;
}

/// Namespace, workload and route, all in place.
async fn serve(cluster: &dyn Cluster, name: &PreviewName, order: &WorkloadOrder) {
    cluster.ensure_namespace(name, &shape(), &Default::default()).await.unwrap();
    cluster.ensure_workload(name, order).await.unwrap();
    until_ready(cluster, name, &order.revision).await;
    cluster.ensure_route(name, &shape(), &order.revision).await.unwrap();
}

async fn routed(cluster: &dyn Cluster, name: &PreviewName) -> Option<Revision> {
    cluster.observe(name, &shape()).await.route.present().and_then(|route| route.revision.clone())
}

async fn nothing_is_there_at_first(subject: &impl Subject) {
    let seen = subject.cluster().observe(&subject.name(7), &shape()).await;
    assert!(seen.namespace.is_absent() && seen.workload.is_absent() && seen.route.is_absent());
    assert_eq!(subject.cluster().owned().await.unwrap(), []);
}

async fn removing_what_is_absent_succeeds(subject: &impl Subject) {
    subject.cluster().remove_route(&subject.name(7)).await.unwrap();
    subject.cluster().remove_namespace(&subject.name(7)).await.unwrap();
    assert!(subject.cluster().observe(&subject.name(7), &shape()).await.namespace.is_absent());
}

async fn a_namespace_made_twice_is_made_once(subject: &impl Subject) {
    subject
        .cluster()
        .ensure_namespace(&subject.name(7), &shape(), &Default::default())
        .await
        .unwrap();
    subject
        .cluster()
        .ensure_namespace(&subject.name(7), &shape(), &Default::default())
        .await
        .unwrap();
    let seen = subject.cluster().observe(&subject.name(7), &shape()).await;
    assert_eq!(seen.namespace, Seen::Present(NamespaceSeen { fenced: true }));
    assert!(seen.workload.is_absent() && seen.route.is_absent());
}

async fn a_workload_needs_its_namespace(subject: &impl Subject) {
    let fault = subject.cluster().ensure_workload(&subject.name(7), &order(&revision('a'))).await;
    assert_eq!(fault.unwrap_err().disposition, Disposition::Transient);
    assert!(subject.cluster().observe(&subject.name(7), &shape()).await.workload.is_absent());
}

async fn a_workload_ordered_twice_becomes_ready_once(subject: &impl Subject) {
    let (cluster, name, order) = (subject.cluster(), subject.name(7), order(&revision('a')));
    cluster.ensure_namespace(&name, &shape(), &Default::default()).await.unwrap();
    cluster.ensure_workload(&name, &order).await.unwrap();
    cluster.ensure_workload(&name, &order).await.unwrap();
    until_ready(cluster, &name, &order.revision).await;
    cluster.ensure_workload(&name, &order).await.unwrap();
    assert_eq!(health(cluster, &name).await, Some((order.revision, Health::Ready)));
}

async fn migrations_need_their_namespace(subject: &impl Subject) {
    let (cluster, name) = (subject.cluster(), subject.name(7));
    let order = migration(&revision('a'), migrating(&["true"]));
    let fault = cluster.ensure_migration(&name, &order).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Transient);
    assert!(cluster.observe(&name, &order.shape).await.migration.is_absent());
}

async fn migrations_ordered_twice_run_once_and_come_to_an_end(subject: &impl Subject) {
    let (cluster, name) = (subject.cluster(), subject.name(7));
    let order = migration(&revision('a'), migrating(&["true"]));
    cluster.ensure_namespace(&name, &order.shape, &Default::default()).await.unwrap();
    assert!(cluster.observe(&name, &order.shape).await.migration.is_absent());
    for _ in 0..2 {
        assert_eq!(cluster.ensure_migration(&name, &order).await, Ok(Progress::Done));
    }
    assert_eq!(until_migrated(cluster, &name, &order).await, Ended::Done);
    // Over is over.
    assert_eq!(cluster.ensure_migration(&name, &order).await, Ok(Progress::Done));
    assert_eq!(until_migrated(cluster, &name, &order).await, Ended::Done);
    // The workload beside it is another thing.
    cluster.ensure_workload(&name, &order).await.unwrap();
    until_ready(cluster, &name, &order.revision).await;
    assert_eq!(until_migrated(cluster, &name, &order).await, Ended::Done);
    cluster.remove_namespace(&name).await.unwrap();
    until_gone(cluster, &name).await;
    assert!(cluster.observe(&name, &order.shape).await.migration.is_absent());
}

async fn migrations_of_a_newer_revision_take_the_place_of_those_before(subject: &impl Subject) {
    let (cluster, name) = (subject.cluster(), subject.name(7));
    let shape = migrating(&["true"]);
    let (a, b) = (migration(&revision('a'), shape.clone()), migration(&revision('b'), shape));
    cluster.ensure_namespace(&name, &a.shape, &Default::default()).await.unwrap();
    migrate(cluster, &name, &a).await;
    migrate(cluster, &name, &b).await;
    assert_eq!(until_migrated(cluster, &name, &b).await, Ended::Done);
}

async fn a_route_leads_to_a_ready_revision_only(subject: &impl Subject) {
    let (cluster, name, a) = (subject.cluster(), subject.name(7), revision('a'));
    assert!(cluster.ensure_route(&name, &shape(), &a).await.is_err());
    cluster.ensure_namespace(&name, &shape(), &Default::default()).await.unwrap();
    assert!(cluster.ensure_route(&name, &shape(), &a).await.is_err());
    cluster.ensure_workload(&name, &order(&a)).await.unwrap();
    until_ready(cluster, &name, &a).await;
    let fault = cluster.ensure_route(&name, &shape(), &revision('b')).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Transient);
    assert_eq!(routed(cluster, &name).await, None);
    cluster.ensure_route(&name, &shape(), &a).await.unwrap();
    cluster.ensure_route(&name, &shape(), &a).await.unwrap();
    assert_eq!(routed(cluster, &name).await, Some(a));
    cluster.remove_route(&name).await.unwrap();
    cluster.remove_route(&name).await.unwrap();
    assert_eq!(routed(cluster, &name).await, None);
}

async fn a_new_revision_starts_beside_the_one_that_is_served(subject: &impl Subject) {
    let (cluster, name, a, b) = (subject.cluster(), subject.name(7), revision('a'), revision('b'));
    serve(cluster, &name, &order(&a)).await;
    cluster.ensure_workload(&name, &order(&b)).await.unwrap();
    assert_eq!(routed(cluster, &name).await, Some(a));
    until_ready(cluster, &name, &b).await;
    cluster.ensure_route(&name, &shape(), &b).await.unwrap();
    assert_eq!(routed(cluster, &name).await, Some(b.clone()));
    cluster.remove_others(&name, &shape(), &b).await.unwrap();
    cluster.remove_others(&name, &shape(), &b).await.unwrap();
    let seen = cluster.observe(&name, &shape()).await;
    assert!(seen.workload.present().is_some_and(|it| !it.others), "{seen:?}");
    assert_eq!(seen.route.present().and_then(|it| it.revision.clone()), Some(b));
}

async fn a_removed_namespace_leaves_and_then_is_absent(subject: &impl Subject) {
    let (cluster, name) = (subject.cluster(), subject.name(7));
    serve(cluster, &name, &order(&revision('a'))).await;
    cluster.remove_route(&name).await.unwrap();
    cluster.remove_namespace(&name).await.unwrap();
    cluster.remove_namespace(&name).await.unwrap();
    until_gone(cluster, &name).await;
    let seen = cluster.observe(&name, &shape()).await;
    assert!(seen.workload.is_absent() && seen.route.is_absent());
    assert_eq!(cluster.owned().await.unwrap(), []);
    serve(cluster, &name, &order(&revision('b'))).await;
}

async fn what_is_not_ours_is_never_touched(subject: &impl Subject) {
    let (cluster, name, a) = (subject.cluster(), subject.name(7), revision('a'));
    subject.plant_foreign(&name).await;
    assert!(cluster.observe(&name, &shape()).await.namespace.is_foreign());
    for answer in [
        cluster.ensure_namespace(&name, &shape(), &Default::default()).await,
        cluster.ensure_migration(&name, &migration(&a, migrating(&["true"]))).await.map(drop),
        cluster.ensure_workload(&name, &order(&a)).await,
        cluster.ensure_route(&name, &shape(), &a).await,
        cluster.remove_namespace(&name).await,
    ] {
        assert_eq!(answer.unwrap_err().disposition, Disposition::NotOurs);
    }
    assert!(cluster.observe(&name, &shape()).await.namespace.is_foreign());
    assert!(subject.foreign_is_there(&name).await);
}

async fn owned_are_exactly_our_own(subject: &impl Subject) {
    let cluster = subject.cluster();
    subject.plant_foreign(&subject.name(9)).await;
    serve(cluster, &subject.name(7), &order(&revision('a'))).await;
    cluster.ensure_namespace(&subject.name(8), &shape(), &Default::default()).await.unwrap();
    assert_eq!(cluster.owned().await.unwrap(), [subject.name(7), subject.name(8)]);
    cluster.remove_namespace(&subject.name(8)).await.unwrap();
    until_gone(cluster, &subject.name(8)).await;
    assert_eq!(cluster.owned().await.unwrap(), [subject.name(7)]);
}
