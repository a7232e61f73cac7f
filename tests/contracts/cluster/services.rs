//! Several services in one preview, asked of every cluster, and of each what only it can show.

use mayfly::preview::ComponentName;
use mayfly::preview::observed::Standing;
use mayfly::workload::Component;
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

pub fn several_of(revision: &Revision) -> WorkloadOrder {
    WorkloadOrder { shape: several(), ..order(revision) }
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
    let (a, b) = (several_of(&revision('a')), several_of(&revision('b')));
    cluster.ensure_namespace(&name, &a.shape).await.unwrap();
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
    let (cluster, name, a) = (&machine.cluster, name(7), several_of(&revision('a')));
    cluster.ensure_namespace(&name, &a.shape).await.unwrap();
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
    let mut b = several_of(&revision('b'));
    b.shape.components.retain(|it| it.name.as_str() != "worker");
    b.shape.needs.clear();
    bring(cluster, &name, &b).await;
    cluster.ensure_route(&name, &b.shape, &b.revision).await.unwrap();
    until("two are left", async || machine.processes(&name).len() == 2).await;
    assert!(!machine.directory(&name).join("workload-worker.json").exists());
}

#[tokio::test]
async fn on_this_machine_one_that_does_not_start_keeps_those_that_need_it_and_says_so() {
    let machine = Machine::new();
    let (cluster, name, mut a) = (&machine.cluster, name(7), several_of(&revision('a')));
    let broken = ("EXIT_AT_START".to_owned(), "no such table".to_owned());
    a.shape.components.iter_mut().find(|it| it.name.as_str() == "api").unwrap().env.push(broken);
    cluster.ensure_namespace(&name, &a.shape).await.unwrap();
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
    let (name, a) = (cluster.name(7), several_of(&revision('a')));
    let here = name.namespace();
    cluster.cluster().ensure_namespace(&name, &a.shape).await.unwrap();
    cluster.cluster().ensure_workload(&name, &a).await.unwrap();
    let called = |service: &str| format!("{service}-{}-0", "a".repeat(40));
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
    let web = cluster.read("Deployment", &here, &called("web")).await.unwrap();
    cluster.delete("Deployment", &here, &called("worker")).await;
    bring(cluster.cluster(), &name, &a).await;
    assert!(cluster.read("Deployment", &here, &called("worker")).await.is_some());
    let after = cluster.read("Deployment", &here, &called("web")).await.unwrap();
    assert_eq!(web["metadata"]["generation"], after["metadata"]["generation"]);
}
