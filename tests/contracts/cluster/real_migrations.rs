//! What the Kubernetes adapter promises of migrations, asked of a real API server and its controllers.

use serde_json::{Value, json};

use super::kubernetes::web;
use super::*;

/// Migrations of an image that meets this fate.
fn fated(image: &str, digit: char) -> WorkloadOrder {
    let mut shape = migrating(&["migrate", "up"]);
    let image = format!("registry.test/{image}@sha256:{}", "0".repeat(64));
    shape.pod.image = Some(Image::parse(&image).unwrap());
    let mut order = migration(&revision(digit), shape);
    order.env.push(("DATABASE_URL".to_owned(), "postgres://pr:hush@db/pr".to_owned()));
    order.env.push(("PGAPPNAME".to_owned(), "mayfly-migration".to_owned()));
    order
}

fn job(digit: char) -> String {
    format!("migrate-{}-0", digit.to_string().repeat(40))
}

async fn begin(it: &RealCluster, order: &WorkloadOrder) {
    it.cluster.ensure_namespace(&it.name(7), &order.shape, &Default::default()).await.unwrap();
    migrate(&*it.cluster, &it.name(7), order).await;
}

#[tokio::test]
async fn a_job_runs_once_as_the_workload_does_and_is_not_taken_for_it() {
    let Some(it) = RealCluster::new().await else { return };
    let (name, order) = (it.name(7), fated("shop", 'a'));
    let here = name.namespace();
    begin(&it, &order).await;
    let job = it.read("Job", &here, &job('a')).await.unwrap();
    assert_eq!((&job["spec"]["backoffLimit"], &job["spec"]["completions"]), (&json!(0), &json!(1)));
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Never");
    assert_eq!(pod["activeDeadlineSeconds"], 600);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["serviceAccountName"], "preview");
    let container = &pod["containers"][0];
    assert_eq!(container["command"], json!(["migrate", "up"]));
    assert_eq!(container["image"], json!(order.shape.pod.image.as_ref().unwrap().to_string()));
    let env = |key: &str| {
        let all = container["env"].as_array().unwrap();
        all.iter().find(|it| it["name"] == key).cloned().unwrap_or(Value::Null)
    };
    assert_eq!(env("PGAPPNAME")["value"], "mayfly-migration");
    assert_eq!(env("DATABASE_URL")["valueFrom"]["secretKeyRef"]["name"], "database");
    assert!(!job.to_string().contains("hush"), "the password is the Secret's alone");
    // Neither the Service nor the Deployment of the revision selects its pods.
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels.get("mayfly.dev/revision"), None);
    assert_eq!(labels["mayfly.dev/migration"], json!(order.revision.to_string()));
    assert_eq!(until_migrated(&*it.cluster, &name, &order).await, Ended::Done);
    it.cluster.ensure_workload(&name, &order).await.unwrap();
    until_ready(&*it.cluster, &name, &order.revision).await;
    let deployment = it.read("Deployment", &here, &web('a')).await.unwrap();
    assert_eq!(deployment["status"]["replicas"], 1, "the Job's pod is not one of its own");
    assert_eq!(migrated(&*it.cluster, &name, &order.shape).await.unwrap().0, order.revision);
}

#[tokio::test]
async fn a_job_that_fails_says_why_and_stays_with_its_pod_until_a_newer_one_comes() {
    let Some(it) = RealCluster::new().await else { return };
    if !it.pretended {
        return;
    }
    let (name, a) = (it.name(7), fated("crash-loop", 'a'));
    let here = name.namespace();
    begin(&it, &a).await;
    let Ended::Failed { why, .. } = until_migrated(&*it.cluster, &name, &a).await else {
        panic!("they did not fail")
    };
    let told = "its migrations failed: exit code 1; a new commit or a redeploy runs them again";
    assert_eq!(why, told);
    assert_eq!(it.cluster.ensure_migration(&name, &a).await, Ok(Progress::Done));
    assert_eq!(it.names("Pod", &here).await.len(), 1, "one try, whose log is kept");
    let b = fated("shop", 'b');
    migrate(&*it.cluster, &name, &b).await;
    assert_eq!(until_migrated(&*it.cluster, &name, &b).await, Ended::Done);
    assert_eq!(it.names("Job", &here).await, [job('b')]);
}

#[tokio::test]
async fn a_job_whose_image_is_not_there_is_stuck_and_one_that_hangs_gives_way_to_a_newer() {
    let Some(it) = RealCluster::new().await else { return };
    if !it.pretended {
        return;
    }
    let (name, a) = (it.name(7), fated("no-such-image", 'a'));
    begin(&it, &a).await;
    until("it is stuck", async || {
        matches!(migrated(&*it.cluster, &name, &a.shape).await,
            Some((_, MigrationState::Stuck(why))) if why.contains("cannot be pulled"))
    })
    .await;
    let b = fated("never-ready", 'b');
    migrate(&*it.cluster, &name, &b).await;
    until("it runs", async || {
        let state = migrated(&*it.cluster, &name, &b.shape).await;
        state == Some((b.revision.clone(), MigrationState::Running("its migrations run".into())))
    })
    .await;
    let c = fated("shop", 'c');
    let first = it.cluster.ensure_migration(&name, &c).await.unwrap();
    assert!(matches!(first, Progress::Underway(_)), "not beside those before: {first:?}");
    migrate(&*it.cluster, &name, &c).await;
    assert_eq!(until_migrated(&*it.cluster, &name, &c).await, Ended::Done);
}
