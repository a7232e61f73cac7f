//! The one real Kubernetes control plane of a test run, started when a test first asks for it.
//!
//! It ends with this process. Refuses to be quiet where there is none and none can be built: a test
//! that needs it says so, and the number of those is the last line of the run.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::PostParams;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;

use super::skip::Skipped;

static SHARED: OnceCell<Option<ControlPlane>> = OnceCell::const_new();
static SKIPPED: Skipped = Skipped::for_want_of(
    "a Kubernetes control plane; install Go (https://go.dev/dl), or set KUBECONFIG",
);

/// What the starter says when programs are missing and cannot be built.
const MISSING: i32 = 3;

/// Where it is, and what speaks to it.
#[derive(Deserialize)]
pub struct ControlPlane {
    /// An administrator's.
    pub kubeconfig: PathBuf,
    /// The program, where there is one.
    pub helm: Option<PathBuf>,
    /// The program, where there is one.
    pub kubectl: Option<PathBuf>,
    /// The node runs nothing, and a pod meets the fate that its label `mayfly.test/fate` says
    /// (`crash`, `pull`, `hang`), or that its image's name does (`crash-loop`, `no-such-image`,
    /// `never-ready`); otherwise it is ready at once. Not so in a cluster of somebody's own.
    pub pretended: bool,
    // Its standard input: closed when we end, and then it ends.
    #[serde(skip)]
    _starter: Option<Child>,
}

impl ControlPlane {
    /// The one of this run. `None` is said aloud and counted: the test that asked is skipped.
    pub async fn shared() -> Option<&'static Self> {
        let start = || async { tokio::task::spawn_blocking(start).await.unwrap() };
        let shared = SHARED.get_or_init(start).await.as_ref();
        if shared.is_none() {
            SKIPPED.count();
        }
        shared
    }

    /// An administrator's way in.
    pub async fn config(&self) -> Config {
        config(Kubeconfig::read_from(&self.kubeconfig).unwrap()).await
    }

    /// An administrator. Each test has a client of its own, as it has a runtime of its own.
    pub async fn client(&self) -> Client {
        Client::try_from(self.config().await).unwrap()
    }

    /// What a service account uses to come in: a token that ends after an hour.
    pub async fn kubeconfig_of(&self, namespace: &str, account: &str) -> Kubeconfig {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await, namespace);
        let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..Default::default() };
        let request = TokenRequest { spec, ..Default::default() };
        let made = accounts.create_token_request(account, &PostParams::default(), &request).await;
        let token = made.unwrap().status.unwrap().token;
        let mut kubeconfig = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        for user in &mut kubeconfig.auth_infos {
            let token = Some(token.clone().into());
            user.auth_info = Some(AuthInfo { token, ..AuthInfo::default() });
        }
        kubeconfig
    }

    /// A service account.
    pub async fn client_of(&self, namespace: &str, account: &str) -> Client {
        let kubeconfig = self.kubeconfig_of(namespace, account).await;
        Client::try_from(config(kubeconfig).await).unwrap()
    }

    /// A new namespace with these labels, by its name.
    pub async fn namespace(&self, labels: &[(&str, &str)]) -> String {
        let name = format!("test-{}-{}", std::process::id(), super::postgres::unique());
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let object = json!({ "metadata": { "name": name, "labels": labels } });
        let object: Namespace = serde_json::from_value(object).unwrap();
        let namespaces: Api<Namespace> = Api::all(self.client().await);
        namespaces.create(&PostParams::default(), &object).await.unwrap();
        name
    }
}

/// The program that starts clusters.
pub fn starter() -> Command {
    let path = std::env::current_exe().unwrap();
    let path = path.parent().unwrap().parent().unwrap().join("examples/test-cluster");
    assert!(path.exists(), "{} is not built: cargo build --examples", path.display());
    Command::new(path)
}

/// The line in which a starter says what it started; `None` when it ended without.
pub fn first_line(starter: &mut Child) -> Option<String> {
    let mut line = String::new();
    BufReader::new(starter.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (!line.is_empty()).then_some(line)
}

fn start() -> Option<ControlPlane> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut command = starter();
    command.arg("control-plane").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut starter = command.spawn().unwrap();
    let Some(line) = first_line(&mut starter) else {
        let status = starter.wait().unwrap();
        assert_eq!(status.code(), Some(MISSING), "the control plane did not start; it said why");
        return None;
    };
    let mut shared: ControlPlane = serde_json::from_str(&line).unwrap();
    shared._starter = Some(starter);
    Some(shared)
}

async fn config(kubeconfig: Kubeconfig) -> Config {
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}
