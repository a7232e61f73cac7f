//! The node that the product runs on, and an administrator's hands on it.
//!
//! What is true is asked of the API server and of the kubelet. Refuses to know anything of Mayfly.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// What the starter says when this machine has no node to give.
const MISSING: i32 = 3;

/// A running node, as its starter describes it.
#[derive(Deserialize)]
pub struct Cluster {
    pub kubeconfig: PathBuf,
    pub helm: PathBuf,
    kubectl: PathBuf,
    pub crane: PathBuf,
    pub probe: PathBuf,
    pub registry: String,
    /// Where the ingress takes requests.
    pub ingress: String,
    pub node_ip: Ipv4Addr,
    /// This machine, as pods see it.
    pub machine_ip: Ipv4Addr,
    #[serde(skip)]
    starter: Option<Child>,
}

impl Cluster {
    /// `None` where there can be none: its starter has said why.
    pub async fn start(base: &Path) -> Option<Self> {
        let mut command = Command::new(example("test-cluster"));
        command.arg("node").arg("--dir").arg(base).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut starter = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(starter.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        if line.is_empty() {
            let status = starter.wait().await.unwrap();
            assert_eq!(status.code(), Some(MISSING), "the node did not start; it said why");
            return None;
        }
        let mut cluster: Self = serde_json::from_str(&line).unwrap();
        cluster.starter = Some(starter);
        Some(cluster)
    }

    /// Closes its input, and waits until it has ended by itself.
    pub async fn stop(mut self) {
        let mut starter = self.starter.take().unwrap();
        drop(starter.stdin.take());
        assert!(starter.wait().await.unwrap().success());
    }

    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments)
            .await
            .unwrap_or_else(|why| panic!("kubectl {arguments:?}: {why}"))
    }

    /// What it prints, or says when it fails.
    pub async fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.kubectl_command();
        let output = command.args(arguments).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    /// An object, as the API server has it; `Null` where there is none.
    pub async fn get(&self, namespace: &str, what: &str) -> Value {
        let words = ["-n", namespace, "get", what, "-o", "json", "--ignore-not-found"];
        let text = self.kubectl(&words).await;
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }

    /// Brings objects about, which secrets may be among: nothing is in an argument.
    pub async fn apply(&self, objects: &[Value]) {
        let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let mut command = self.kubectl_command();
        command.args(["apply", "--server-side", "--filename", "-"]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(list.to_string().as_bytes()).await.unwrap();
        drop(input);
        assert!(child.wait().await.unwrap().success(), "kubectl said why");
    }

    /// Runs it; where it fails, what is in that namespace says more than it does.
    pub async fn helm(&self, namespace: &str, arguments: &[&str]) {
        let mut command = Command::new(&self.helm);
        command.env("KUBECONFIG", &self.kubeconfig).args(arguments);
        let output = command.args(["--namespace", namespace]).output().await.unwrap();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            panic!("helm {arguments:?}: {said}\n{}", self.story_of(namespace).await);
        }
    }

    /// For people: events, pods and their last words.
    pub async fn story_of(&self, namespace: &str) -> String {
        let mut story = String::new();
        let logs = ["logs", "--all-containers", "--prefix", "--tail=40", "--selector"];
        let mut logs = Vec::from(logs);
        logs.push("app.kubernetes.io/name=mayfly");
        for words in [&["get", "pods", "-o", "wide"][..], &["get", "events"], &logs] {
            let told = self.try_kubectl(&[&["-n", namespace], words].concat()).await;
            story.push_str(&told.unwrap_or_else(|why| why));
            story.push('\n');
        }
        story
    }

    /// The sorted names of everything of these kinds, in all namespaces.
    pub async fn names(&self, kinds: &str) -> Vec<String> {
        let words = ["get", kinds, "--all-namespaces", "-o", "name"];
        let mut names: Vec<_> = self.kubectl(&words).await.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// The containers that run, as the kubelet hears it from the container runtime.
    pub async fn containers(&self) -> Vec<String> {
        let path = "/api/v1/nodes/node/proxy/runningpods/";
        let text = self.kubectl(&["get", "--raw", path]).await;
        let pods: Value = serde_json::from_str(&text).unwrap();
        let mut found = Vec::new();
        for pod in pods["items"].as_array().into_iter().flatten() {
            let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
            for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
                found.push(format!("{namespace} {} {}", container["name"], container["image"]));
            }
        }
        found.sort();
        found
    }

    fn kubectl_command(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }
}

/// What a program prints; a panic with what it said when it fails.
pub async fn output(command: &mut Command) -> String {
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}: {printed}\n{said}");
    printed.trim().to_owned()
}

/// One of the examples, built beside this test.
pub fn example(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap();
    let path = path.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: cargo build --examples", path.display());
    path
}
