//! The node of the tests is what it says: pods really run on it, policies really deny, and the
//! machine is afterwards as it was. Takes root; run it with `cargo test --test node`.

#![allow(clippy::unwrap_used, missing_docs)]

mod machine;
// It offers more ways to wait than are used here.
#[allow(dead_code)]
#[path = "../world/wait.rs"]
mod wait;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;

use machine::Machine;
use wait::within;

/// How long a change may take to reach rules and routes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One node at a time: what a machine has in common with itself is compared here.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A running node, and how to get at it.
#[derive(Deserialize)]
struct Node {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    crane: PathBuf,
    probe: PathBuf,
    registry: String,
    ingress: String,
    #[serde(skip)]
    starter: Option<Child>,
}

impl Node {
    /// Starts one; its directory is below this one.
    fn start(base: &Path) -> Self {
        let mut command = test_cluster("node", base);
        let mut starter = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(starter.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the node did not start; it said why");
        let mut node: Self = serde_json::from_str(&line).unwrap();
        node.starter = Some(starter);
        node
    }

    /// Closes its input, and waits until it has ended by itself.
    fn stop(mut self) {
        let mut starter = self.starter.take().unwrap();
        drop(starter.stdin.take());
        assert!(starter.wait().unwrap().success());
    }

    /// Kills whoever started it.
    fn kill(mut self) {
        let mut starter = self.starter.take().unwrap();
        starter.kill().unwrap();
        starter.wait().unwrap();
    }

    /// Pushes the probe as an image; its name with the digest.
    fn push_probe(&self) -> String {
        let mut command = Command::new(program());
        command.args(["push-image", "--name", "probe", "--registry", &self.registry]);
        output(command.arg("--binary").arg(&self.probe).arg("--crane").arg(&self.crane))
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.kubectl);
        output(command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments))
    }

    fn apply(&self, text: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        self.kubectl(&["apply", "--server-side", "--filename", file.path().to_str().unwrap()]);
    }
}

fn program() -> PathBuf {
    let path = std::env::current_exe().unwrap();
    let path = path.parent().unwrap().parent().unwrap().join("examples/test-cluster");
    assert!(path.exists(), "{} is not built: cargo build --examples", path.display());
    path
}

fn test_cluster(what: &str, base: &Path) -> Command {
    let mut command = Command::new(program());
    command.arg(what).arg("--dir").arg(base);
    command
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What a URL answers, for a host where one is given.
async fn get(url: &str, host: Option<&str>) -> (u16, String) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    let mut request = client.get(url);
    if let Some(host) = host {
        request = request.header("Host", host);
    }
    match request.send().await {
        Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
        Err(error) => (0, error.to_string()),
    }
}

#[tokio::test]
async fn pods_run_and_are_reached_and_kept_apart_for_real() {
    let _alone = ALONE.lock().await;
    let base = tempfile::tempdir().unwrap();
    let node = Node::start(&base.path().join("clusters"));
    let image = node.push_probe();
    assert!(image.contains("/probe@sha256:"), "{image}");
    for namespace in ["one", "two"] {
        let workload = include_str!("workload.yaml");
        node.apply(&workload.replace("$NAMESPACE", namespace).replace("$IMAGE", &image));
    }
    for namespace in ["one", "two"] {
        let wait = ["wait", "pod/probe", "--for=condition=Ready", "--timeout=60s", "-n"];
        node.kubectl(&[&wait[..], &[namespace]].concat());
    }
    let address = ["get", "pod/probe", "-o", "jsonpath={.status.podIP}", "-n", "one"];
    let inside = format!("http://{}:8080", node.kubectl(&address));

    assert_eq!(node.kubectl(&["logs", "pod/probe", "-n", "one"]), "listening on 8080");

    // A service is found by name, and answers.
    let service = ["get", "service/probe", "-o", "jsonpath={.spec.clusterIP}", "-n", "two"];
    let service = node.kubectl(&service);
    let name = "probe.two.svc.cluster.local";
    let resolved = async || get(&format!("{inside}/resolve?name={name}"), None).await;
    within(PATIENCE, "a pod resolves a service", async || {
        resolved().await == (200, format!("{service}\n"))
    })
    .await;
    let reach = async || get(&format!("{inside}/fetch?url=http://{name}:8080/"), None).await;
    within(PATIENCE, "a pod reaches a service", async || {
        reach().await == (200, "200 probe\n\n".to_owned())
    })
    .await;

    // From outside, by ingress and by gateway.
    for kind in ["ingress", "gateway"] {
        let host = format!("{kind}.one.example.test");
        within(PATIENCE, kind, async || {
            let (status, body) = get(&format!("http://{}/", node.ingress), Some(&host)).await;
            (status, body.trim()) == (200, "probe")
        })
        .await;
    }

    // What is denied does not pass, and everything else still does.
    node.apply(&include_str!("deny.yaml").replace("$NAMESPACE", "two").replace("$WAY", "Ingress"));
    within(PATIENCE, "nothing gets in where that is denied", async || reach().await.0 == 502).await;
    assert_eq!(resolved().await.0, 200);
    node.kubectl(&["delete", "networkpolicy", "deny", "-n", "two"]);
    within(PATIENCE, "it gets in again", async || reach().await.0 == 200).await;
    node.apply(&include_str!("deny.yaml").replace("$NAMESPACE", "one").replace("$WAY", "Egress"));
    within(PATIENCE, "nothing gets out where that is denied", async || reach().await.0 == 502)
        .await;
    let (status, why) = resolved().await;
    assert_eq!(status, 502, "{why}");

    node.stop();
}

#[tokio::test]
async fn a_node_that_stops_leaves_the_machine_as_it_was() {
    let _alone = ALONE.lock().await;
    let base = tempfile::tempdir().unwrap();
    let clusters = base.path().canonicalize().unwrap().join("clusters");
    let before = Machine::look(&clusters);
    let node = Node::start(&clusters);
    assert_ne!(Machine::look(&clusters), before, "a node can be seen");
    machine::kill(&clusters, "containerd");
    node.stop();
    assert_eq!(Machine::look(&clusters), before);
}

#[tokio::test]
async fn a_node_that_is_killed_is_removed_later() {
    let _alone = ALONE.lock().await;
    let base = tempfile::tempdir().unwrap();
    let clusters = base.path().canonicalize().unwrap().join("clusters");
    let before = Machine::look(&clusters);
    let node = Node::start(&clusters);
    machine::kill(&clusters, "containerd");
    node.kill();
    assert!(test_cluster("clean", &clusters).status().unwrap().success());
    assert_eq!(Machine::look(&clusters), before);
}
