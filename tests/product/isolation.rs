//! Who reaches whom, by real packets from running pods.
//!
//! Every way that has to be closed to a preview is first shown to be open to a pod that no policy
//! holds: what nobody reaches proves nothing.

use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::cluster::{Cluster, output};
use super::install::RELEASE;
use super::stage::{PATIENCE, Stage};
use super::wait::within;

/// Where clouds keep what a machine may do.
const METADATA: &str = "169.254.169.254";

/// A pod that no policy holds.
const BYSTANDER: &str = "bystander";

/// Holds for `pr-1`, while `pr-2` runs beside it.
pub async fn hold(stage: &Stage, image: &str) {
    let (cluster, servers) = (&stage.cluster, &stage.servers);
    let _metadata = serve_metadata(cluster).await;
    start_bystander(cluster, image).await;
    let preview = pod_of(cluster, "pr-1").await;
    let other = cluster.get("pr-2", &pod_of(cluster, "pr-2").await).await;
    let other = other["status"]["podIP"].as_str().unwrap().to_owned();
    let service = async |namespace: &str, name: &str| {
        let service = cluster.get(namespace, &format!("service/{name}")).await;
        service["spec"]["clusterIP"].as_str().unwrap().to_owned()
    };
    let web = web_of(cluster, "pr-2").await;
    let machine = cluster.machine_ip;
    let stranger = cluster.get(BYSTANDER, "pod/probe").await;
    let stranger = stranger["status"]["podIP"].as_str().unwrap().to_owned();
    let closed = [
        ("somebody's pod", format!("{stranger}:8080")),
        ("the API server's service", "kubernetes.default.svc.cluster.local:443".to_owned()),
        ("the API server itself", format!("{machine}:{}", servers.api_port)),
        ("the kubelet", format!("{}:10250", cluster.node_ip)),
        ("the registry", cluster.registry.clone()),
        ("metadata", format!("{METADATA}:80")),
        ("Mayfly's own memory", servers.ledger.address().to_string()),
        ("GitHub, which Mayfly has a token of", format!("{machine}:{}", servers.github_port)),
        ("Mayfly", format!("{}:80", service(RELEASE, RELEASE).await)),
        // From here on also closed to the bystander: whom these let in is their own to say.
        ("Mayfly's metrics", format!("{}:9090", service(RELEASE, "mayfly-operations").await)),
        ("another preview's pod", format!("{other}:8080")),
        ("another preview's service", format!("{}:80", service("pr-2", &web).await)),
        ("another preview by name", format!("{web}.pr-2.svc.cluster.local:80")),
    ];
    let targets: Vec<_> = closed.iter().map(|(_, target)| target.as_str()).collect();
    let answers = ask(cluster, BYSTANDER, "pod/probe", "connect", &targets).await;
    let met = closed.iter().position(|(what, _)| *what == "Mayfly's metrics").unwrap();
    for (at, (target, answer)) in answers.iter().enumerate() {
        let word = if at < met { "yes" } else { "no" };
        assert!(answer.starts_with(word), "for a bystander, {target}: {answer}");
    }
    for ((what, target), (_, answer)) in
        closed.iter().zip(ask(cluster, "pr-1", &preview, "connect", &targets).await)
    {
        assert!(answer.starts_with("no"), "pr-1 reaches {what} at {target}: {answer}");
    }
    let names = ["kubernetes.default.svc.cluster.local"];
    let database = servers.previews.address().to_string();
    for (what, targets) in [("resolve", &names[..]), ("connect", &[database.as_str()])] {
        for (target, answer) in ask(cluster, "pr-1", &preview, what, targets).await {
            assert!(answer.starts_with("yes"), "pr-1 does not {what} {target}: {answer}");
        }
    }
    // Nor does anybody come in but by the ingress.
    let own = cluster.get("pr-1", &preview).await;
    let own = format!("{}:8080", own["status"]["podIP"].as_str().unwrap());
    for (target, answer) in ask(cluster, BYSTANDER, "pod/probe", "connect", &[&own]).await {
        assert!(answer.starts_with("no"), "a stranger's pod reaches pr-1 at {target}: {answer}");
    }
    each_logs_in_to_its_own_database_alone(stage).await;
    cluster.kubectl(&["delete", "namespace", BYSTANDER, "--timeout=60s"]).await;
}

/// What is asked of the API server is what a pod would have: the variable of its container.
async fn each_logs_in_to_its_own_database_alone(stage: &Stage) {
    let mut urls = Vec::new();
    for preview in ["pr-1", "pr-2"] {
        let template = "go-template={{ .data.DATABASE_URL | base64decode }}";
        let words = ["-n", preview, "get", "secret/database", "-o", template];
        let url = stage.cluster.kubectl(&words).await;
        urls.push(url.parse::<PgConnectOptions>().unwrap());
    }
    for (at, own) in urls.iter().enumerate() {
        let session = PgConnection::connect_with(own).await;
        session.expect("its own database lets it in").close().await.unwrap();
        let other = urls[1 - at].get_database().unwrap();
        for other in [other, "postgres", "template1", "mayfly_admin"] {
            let refused = PgConnection::connect_with(&own.clone().database(other)).await;
            let why = refused.err().unwrap_or_else(|| panic!("it is let into {other}")).to_string();
            assert!(why.contains("permission denied"), "{other}: {why}");
        }
    }
}

/// The address is this machine's for as long as the node's link is there.
async fn serve_metadata(cluster: &Cluster) -> tokio::task::JoinHandle<()> {
    let link = format!("mayfly{}", cluster.machine_ip.octets()[1]);
    let address = format!("{METADATA}/32");
    output(Command::new("ip").args(["address", "add", &address, "dev", &link])).await;
    let listener = TcpListener::bind((METADATA, 80)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    })
}

async fn start_bystander(cluster: &Cluster, image: &str) {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": BYSTANDER },
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "probe", "namespace": BYSTANDER },
        "spec": { "automountServiceAccountToken": false,
                  "terminationGracePeriodSeconds": 0,
                  "containers": [{ "name": "probe", "image": image, "command": ["/program"] }] },
    });
    cluster.apply(&[namespace, pod]).await;
    let wait = ["wait", "pod/probe", "--for=condition=Ready", "--timeout=60s", "-n", BYSTANDER];
    cluster.kubectl(&wait).await;
}

/// The Service that a preview's route leads to.
async fn web_of(cluster: &Cluster, preview: &str) -> String {
    let route = cluster.get(preview, "ingress/web").await;
    let path = &route["spec"]["rules"][0]["http"]["paths"][0];
    path["backend"]["service"]["name"].as_str().unwrap().to_owned()
}

/// The one pod of a preview, as `kubectl` names it.
pub async fn pod_of(cluster: &Cluster, preview: &str) -> String {
    let mut found = String::new();
    within(PATIENCE, "one pod alone", async || {
        let words = ["-n", preview, "get", "pods", "-o", "name"];
        found = cluster.kubectl(&words).await;
        found.lines().count() == 1
    })
    .await;
    found
}

/// What a pod's probe says, started in that very pod: each target with its answer.
async fn ask(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    what: &str,
    targets: &[&str],
) -> Vec<(String, String)> {
    let exec = ["-n", namespace, "exec", pod, "--", "/program", what];
    let said = cluster.kubectl(&[&exec[..], targets].concat()).await;
    let answers: Vec<_> = said.lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), targets.len(), "{said}");
    targets.iter().map(|target| (*target).to_owned()).zip(answers).collect()
}
