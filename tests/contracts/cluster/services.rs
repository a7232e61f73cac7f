//! Several services in one preview, asked of every cluster, and of each what only it can show.

use mayfly::preview::observed::Standing;
use mayfly::preview::{ComponentName, Suffix};
use mayfly::workload::{self, Component};
use serde_json::Value;

use super::*;

/// `api`, which the public reaches, and `worker`, which needs it; the preview's own needs both.
pub fn several() -> Shape {
    let component = |name: &str, is_public: bool, needs: &[&str]| Component {
        name: ComponentName::parse(name).unwrap(),
        is_on: true,
        is_public,
        has_database: false,
        needs: needs.iter().map(|it| ComponentName::parse(it).unwrap()).collect(),
        command: vec![target().to_str().unwrap().to_owned()],
        directory: None,
        env: vec![("WHO".to_owned(), name.to_owned())],
        probe_path: "/env".to_owned(),
        proof: Proof::Header,
        image: None,
        pod: PodShape::default(),
    };
    let needs = ["worker", "api"].map(|it| ComponentName::parse(it).unwrap()).to_vec();
    let components = vec![component("worker", false, &["api"]), component("api", true, &[])];
    Shape { needs, components, ..shape() }
}

pub fn several_of(name: &PreviewName, revision: &Revision) -> WorkloadOrder {
    let suffix = Suffix::parse("preview.example.test").unwrap();
    workload::order(&several(), name, &suffix, revision, "postgres://somewhere/pr")
}

/// Does what the loop does until the workload is ready.
pub async fn bring(cluster: &dyn Cluster, name: &PreviewName, order: &WorkloadOrder) {
    until("every service is ready", async || {
        let found = cluster.observe(name, &order.shape).await.workload;
        match found.present().filter(|it| it.revision == order.revision).map(|it| &it.health) {
            Some(Health::Ready) => return true,
            Some(Health::Progressing(_) | Health::Failing { .. }) => {}
            Some(Health::Dead(_)) | None => cluster.ensure_workload(name, order).await.unwrap(),
        }
        false
    })
    .await;
}

pub async fn services_start_in_order_and_are_led_to_together(subject: &impl Subject) {
    let (cluster, name) = (subject.cluster(), subject.name(7));
    let (a, b) = (several_of(&name, &revision('a')), several_of(&name, &revision('b')));
    cluster.ensure_namespace(&name, &a.shape, &Default::default()).await.unwrap();
    cluster.ensure_workload(&name, &a).await.unwrap();
    let fault = cluster.ensure_route(&name, &a.shape, &a.revision).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Transient, "not before every service is ready");
    bring(cluster, &name, &a).await;
    cluster.ensure_route(&name, &a.shape, &a.revision).await.unwrap();
    let led = async |order: &WorkloadOrder| {
        let seen = cluster.observe(&name, &order.shape).await.route;
        let route = seen.present().filter(|it| it.standing == Standing::Served);
        route.and_then(|it| it.revision.clone())
    };
    assert_eq!(led(&a).await, Some(a.revision.clone()));
    // The next one starts beside all of it, and takes its place at once.
    bring(cluster, &name, &b).await;
    assert_eq!(led(&b).await, Some(a.revision.clone()));
    cluster.ensure_route(&name, &b.shape, &b.revision).await.unwrap();
    assert_eq!(led(&b).await, Some(b.revision.clone()));
    cluster.remove_others(&name, &b.shape, &b.revision).await.unwrap();
    let seen = cluster.observe(&name, &b.shape).await;
    assert!(seen.workload.present().is_some_and(|it| !it.others), "{seen:?}");
    cluster.remove_route(&name).await.unwrap();
    assert!(cluster.observe(&name, &b.shape).await.route.is_absent());
    cluster.remove_namespace(&name).await.unwrap();
    until_gone(cluster, &name).await;
}

async fn ask(port: u64, path: &str) -> Option<Value> {
    reqwest::get(format!("http://127.0.0.1:{port}{path}")).await.ok()?.json().await.ok()
}

/// What is written down of a service on this machine.
fn written(machine: &Machine, service: &str) -> Value {
    let file = match service {
        "web" => "workload.json".to_owned(),
        other => format!("workload-{other}.json"),
    };
    let text = std::fs::read(machine.directory(&name(7)).join(file)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[tokio::test]
async fn on_this_machine_each_finds_the_others_and_keeps_its_place_when_it_is_started_again() {
    let machine = Machine::with_grace(Duration::from_millis(200));
    let (cluster, name) = (&machine.cluster, name(7));
    let a = several_of(&name, &revision('a'));
    cluster.ensure_namespace(&name, &a.shape, &Default::default()).await.unwrap();
    bring(cluster, &name, &a).await;
    cluster.ensure_route(&name, &a.shape, &a.revision).await.unwrap();
    let port = |service: &str| written(&machine, service)["port"].as_u64().unwrap();
    let started =
        |service: &str| written(&machine, service)["last_start_unix_ms"].as_u64().unwrap();
    assert!(started("api") < started("worker") && started("worker") < started("web"));
    let env = ask(port("worker"), "/env").await.unwrap();
    for service in ["web", "api", "worker"] {
        let url = format!("http://127.0.0.1:{}", port(service));
        assert_eq!(env[format!("{}_URL", service.to_uppercase())], url);
    }
    assert_eq!(env["WHO"], "worker");
    assert_eq!(ask(port("web"), "/env").await.unwrap()["WHO"], Value::Null);

    // One that ends is started again where its neighbours look for it; nobody else is.
    let (before, web) = (written(&machine, "api"), written(&machine, "web"));
    let pid = before["leaders"][0]["process"]["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    bring(cluster, &name, &a).await;
    until("it is another start", async || written(&machine, "api")["start"] == 1).await;
    bring(cluster, &name, &a).await;
    assert_eq!(written(&machine, "api")["port"], before["port"]);
    assert_eq!(written(&machine, "web")["last_start_unix_ms"], web["last_start_unix_ms"]);
    let route = machine.data_dir().join("routes/pr-7.preview.test.json");
    let route: Value = serde_json::from_slice(&std::fs::read(route).unwrap()).unwrap();
    assert_eq!(route["components"]["api"]["start"], 1, "the route goes with it: {route}");
    assert_eq!(machine.processes(&name).len(), 3);

    // What a later configuration goes without ends with the next revision.
    let mut b = several_of(&name, &revision('b'));
    b.shape.components.retain(|it| it.name.as_str() != "worker");
    b.shape.needs.clear();
    bring(cluster, &name, &b).await;
    cluster.ensure_route(&name, &b.shape, &b.revision).await.unwrap();
    until("two are left", async || machine.processes(&name).len() == 2).await;
    assert!(!machine.directory(&name).join("workload-worker.json").exists());
}

#[tokio::test]
async fn on_this_machine_a_component_that_hides_is_found_and_ended_when_it_is_wanted_no_more() {
    let machine = Machine::with_grace(Duration::from_millis(200));
    let (cluster, name) = (&machine.cluster, name(7));
    let mut a = several_of(&name, &revision('a'));
    // As programs do that show a title in `ps`: nothing of our marks is left in it.
    let target = target().to_str().unwrap().to_owned();
    let hidden = ["/usr/bin/env", "-u", "MAYFLY_NAMESPACE", &target].map(str::to_owned).to_vec();
    a.shape.components.retain(|it| it.name.as_str() == "api");
    a.shape.needs.clear();
    a.shape.components[0].command = hidden;
    cluster.ensure_namespace(&name, &a.shape, &Default::default()).await.unwrap();
    bring(cluster, &name, &a).await;
    cluster.ensure_route(&name, &a.shape, &a.revision).await.unwrap();
    let pid = written(&machine, "api")["leaders"][0]["process"]["pid"].as_i64().unwrap();
    let lives = || std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(lives() && !machine.processes(&name).contains(&i32::try_from(pid).unwrap()));
    let b = order(&revision('b'));
    bring(cluster, &name, &b).await;
    assert!(lives(), "it is served with what is served");
    cluster.ensure_route(&name, &b.shape, &b.revision).await.unwrap();
    until("it is gone", async || !lives()).await;
}

#[tokio::test]
async fn on_this_machine_a_service_is_started_again_when_a_neighbour_is_not_where_it_was_told() {
    let machine = Machine::with_grace(Duration::from_millis(200));
    let (cluster, name) = (&machine.cluster, name(7));
    let a = several_of(&name, &revision('a'));
    // What the configuration adds to a commit that runs is told to it.
    let bare = order(&revision('a'));
    serve(cluster, &name, &bare).await;
    bring(cluster, &name, &a).await;
    let port = |service: &str| written(&machine, service)["port"].as_u64().unwrap();
    let told = async || {
        let env = ask(port("web"), "/env").await?;
        env["API_URL"].as_str().map(str::to_owned)
    };
    assert_eq!(told().await, Some(format!("http://127.0.0.1:{}", port("api"))));

    // A port that somebody else took while its service was down is no dead end.
    cluster.ensure_route(&name, &a.shape, &a.revision).await.unwrap();
    let before = port("api");
    let pid = written(&machine, "api")["leaders"][0]["process"]["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let mut taken = None;
    until("the port is taken", async || {
        let at = ("127.0.0.1", u16::try_from(before).unwrap());
        taken = taken.take().or_else(|| std::net::TcpListener::bind(at).ok());
        taken.is_some()
    })
    .await;
    bring(cluster, &name, &a).await;
    assert_ne!(port("api"), before);
    assert_eq!(told().await, Some(format!("http://127.0.0.1:{}", port("api"))));
}

#[tokio::test]
async fn on_this_machine_a_record_that_cannot_be_read_is_written_anew() {
    let machine = Machine::with_grace(Duration::from_millis(200));
    let (cluster, name) = (&machine.cluster, name(7));
    let a = several_of(&name, &revision('a'));
    cluster.ensure_namespace(&name, &a.shape, &Default::default()).await.unwrap();
    bring(cluster, &name, &a).await;
    cluster.ensure_route(&name, &a.shape, &a.revision).await.unwrap();
    for file in ["workload-api.json", "workload.json"] {
        std::fs::write(machine.directory(&name).join(file), "garbage").unwrap();
        bring(cluster, &name, &a).await;
        cluster.ensure_route(&name, &a.shape, &a.revision).await.unwrap();
        until("three run, and each is written down", async || {
            machine.processes(&name).len() == 3
                && ["web", "api", "worker"].iter().all(|it| written(&machine, it)["port"] != 0)
        })
        .await;
    }
}

#[tokio::test]
async fn on_this_machine_one_that_does_not_start_keeps_those_that_need_it_and_says_so() {
    let machine = Machine::new();
    let (cluster, name) = (&machine.cluster, name(7));
    let mut a = several_of(&name, &revision('a'));
    let broken = ("EXIT_AT_START".to_owned(), "no such table".to_owned());
    a.shape.components.iter_mut().find(|it| it.name.as_str() == "api").unwrap().env.push(broken);
    cluster.ensure_namespace(&name, &a.shape, &Default::default()).await.unwrap();
    cluster.ensure_workload(&name, &a).await.unwrap();
    let mut told = String::new();
    until("it has failed for good", async || {
        let seen = cluster.observe(&name, &a.shape).await.workload;
        match &seen.present().unwrap().health {
            Health::Dead(_) => cluster.ensure_workload(&name, &a).await.unwrap(),
            Health::Failing { why, log } => told = format!("{why} / {log}"),
            _ => {}
        }
        !told.is_empty()
    })
    .await;
    assert!(told.starts_with("api: ") && told.contains("no such table"), "{told}");
    assert!(machine.processes(&name).is_empty(), "nobody else was started");
    for waits in ["worker", "web"] {
        assert_eq!(written(&machine, waits)["is_held"], true);
    }
}

#[tokio::test]
async fn in_kubernetes_each_service_has_its_objects_and_one_ingress_leads_to_those_that_are_public()
{
    let Some(cluster) = RealCluster::new().await else { return };
    let name = cluster.name(7);
    let a = several_of(&name, &revision('a'));
    let here = name.namespace();
    cluster.cluster().ensure_namespace(&name, &a.shape, &Default::default()).await.unwrap();
    cluster.cluster().ensure_workload(&name, &a).await.unwrap();
    let called = |service: &str| match service {
        "web" => format!("web-{}-0", "a".repeat(40)),
        component => format!("{component}-{}-0", "a".repeat(24)),
    };
    assert!(cluster.read("Deployment", &here, &called("api")).await.is_some());
    assert!(cluster.read("Deployment", &here, &called("web")).await.is_none(), "it needs others");
    bring(cluster.cluster(), &name, &a).await;
    cluster.cluster().ensure_route(&name, &a.shape, &a.revision).await.unwrap();
    for service in ["web", "api", "worker"] {
        let deployment = cluster.read("Deployment", &here, &called(service)).await.unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["name"], service);
        let env = container["env"].as_array().unwrap();
        let variable = |name: &str| env.iter().find(|it| it["name"] == name).cloned();
        assert_eq!(variable("API_URL").unwrap()["value"], format!("http://{}", called("api")));
        let selector = &deployment["spec"]["selector"]["matchLabels"];
        assert_eq!(selector["app.kubernetes.io/component"], service);
        let found = cluster.read("Service", &here, &called(service)).await.unwrap();
        assert_eq!(found["spec"]["selector"], *selector);
    }
    let ingress = cluster.read("Ingress", &here, "web").await.unwrap();
    let rules = ingress["spec"]["rules"].as_array().unwrap();
    let led: Vec<_> = rules
        .iter()
        .map(|rule| {
            let host = rule["host"].as_str().unwrap().split('.').next().unwrap();
            (host.to_owned(), rule["http"]["paths"][0]["backend"]["service"]["name"].clone())
        })
        .collect();
    let expected = [(format!("{here}-api"), called("api")), (here.clone(), called("web"))];
    assert_eq!(led, expected.map(|(host, to)| (host, Value::from(to))));
    let quota = cluster.read("ResourceQuota", &here, "preview").await.unwrap();
    assert_eq!(quota["spec"]["hard"]["pods"], "9", "three services, three generations");

    // One that somebody takes away is put back, and nothing else is touched.
    let ordered = async || {
        let web = cluster.read("Deployment", &here, &called("web")).await.unwrap();
        web["metadata"]["annotations"]["mayfly.dev/ordered"].clone()
    };
    let before = ordered().await;
    cluster.delete("Deployment", &here, &called("worker")).await;
    bring(cluster.cluster(), &name, &a).await;
    assert!(cluster.read("Deployment", &here, &called("worker")).await.is_some());
    assert_eq!(ordered().await, before);

    // What the configuration has no more makes room before what comes has to fit.
    let b = order(&revision('b'));
    let seen = cluster.cluster().observe(&name, &b.shape).await;
    assert!(seen.workload.present().is_some_and(|it| it.others), "{seen:?}");
    cluster.cluster().ensure_namespace(&name, &b.shape, &Default::default()).await.unwrap();
    cluster.cluster().ensure_workload(&name, &b).await.unwrap();
    let mut left = cluster.names("Service", &here).await;
    left.sort();
    assert_eq!(left, [called("web"), called("web").replace('a', "b")], "what is served stays");
}

#[tokio::test]
async fn in_kubernetes_a_component_that_comes_by_the_configuration_is_told_to_those_that_run() {
    let Some(cluster) = RealCluster::new().await else { return };
    let (name, bare) = (cluster.name(7), order(&revision('a')));
    serve(cluster.cluster(), &name, &bare).await;
    let with = several_of(&name, &revision('a'));
    cluster.clock.advance(chrono::TimeDelta::minutes(1));
    cluster.cluster().ensure_namespace(&name, &with.shape, &Default::default()).await.unwrap();
    bring(cluster.cluster(), &name, &with).await;
    let (here, web) = (name.namespace(), format!("web-{}-0", "a".repeat(40)));
    let web = cluster.read("Deployment", &here, &web).await.unwrap();
    let env = web["spec"]["template"]["spec"]["containers"][0]["env"].to_string();
    for told in ["API_URL", "WORKER_URL", "API_HOST", "WEB_HOST"] {
        assert!(env.contains(told), "{told}: {env}");
    }
    let seen = cluster.cluster().observe(&name, &with.shape).await.route;
    assert!(
        seen.present().is_some_and(|it| it.revision.is_none()),
        "it has one host less: {seen:?}"
    );
}

#[tokio::test]
async fn in_kubernetes_a_deployment_keeps_the_selector_that_it_was_made_with() {
    let Some(cluster) = RealCluster::new().await else { return };
    let (name, a) = (cluster.name(7), order(&revision('a')));
    let (here, web) = (name.namespace(), format!("web-{}-0", "a".repeat(40)));
    serve(cluster.cluster(), &name, &a).await;
    // As the version before made it.
    let made = cluster.read("Deployment", &here, &web).await.unwrap();
    cluster.delete("Deployment", &here, &web).await;
    let mut spec = made["spec"].clone();
    let selector = serde_json::json!({ "mayfly.dev/revision": a.revision.to_string() });
    spec["selector"] = serde_json::json!({ "matchLabels": selector });
    let mut metadata = serde_json::json!({ "name": web, "labels": made["metadata"]["labels"] });
    let applied = &made["metadata"]["annotations"]["mayfly.dev/applied"];
    let mut applied: Value = serde_json::from_str(applied.as_str().unwrap()).unwrap();
    applied["spec"]["selector"] = spec["selector"].clone();
    metadata["annotations"] = serde_json::json!({
        "mayfly.dev/applied": applied.to_string(),
        "mayfly.dev/ordered": made["metadata"]["annotations"]["mayfly.dev/ordered"],
    });
    let whole = serde_json::json!({ "metadata": metadata, "spec": spec });
    cluster.make("Deployment", &here, &web, whole).await;
    let uid = async || {
        let live = cluster.read("Deployment", &here, &web).await.unwrap();
        live["metadata"]["uid"].clone()
    };
    let before = uid().await;
    cluster.clock.advance(chrono::TimeDelta::minutes(1));
    until_ready(cluster.cluster(), &name, &a.revision).await;
    // Whatever has it applied again.
    let patch = serde_json::json!({ "spec": { "replicas": 0 } });
    cluster.meddle("Deployment", &here, &web, patch).await;
    bring(cluster.cluster(), &name, &a).await;
    assert_eq!(uid().await, before, "what is served is not taken away");
}
