//! The control plane: etcd, API server, controllers and scheduler, with real authentication, RBAC
//! and every admission plugin that is on by default.
//!
//! Refuses to take short cuts that a test would notice: no anonymous administrator, no token that
//! is not signed. Only the disk is not waited for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Node, ServiceAccount};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use super::certificates::{Authority, TokenKeys};
use super::kubeconfig;
use super::programs::Programs;
use super::run::{Run, free_ports};
use super::wait::until;

/// How long each part may take to answer on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// The name of the pretended node.
const NODE: &str = "pretended";

/// What pods meet on the pretended node, where `$FATE` is a query for which of them.
const STAGES: &str = include_str!("stages.yaml");

/// A pod's label decides, or else what is in the name of an image.
const FATE: &str = r#"'(.metadata.labels["mayfly.test/fate"] // ([.spec.containers[].image]
 | join(" ") | if test("crash-loop") then "crash" elif test("no-such-image") then "pull"
 elif test("never-ready") then "hang" else "ready" end))'"#;

/// Where a control plane stands, and what it hands out.
pub struct Addresses {
    /// The API server's address.
    pub server: String,
    /// Those of services.
    pub services: String,
    /// Those of pods, where there is a network for them.
    pub pods: Option<String>,
}

impl Addresses {
    /// Within this machine: there is no network for pods.
    pub fn local() -> Self {
        Self { server: "127.0.0.1".to_owned(), services: "10.96.0.0/16".to_owned(), pods: None }
    }
}

/// A running control plane.
pub struct ControlPlane {
    /// An administrator's.
    pub kubeconfig: PathBuf,
    /// The API server's address.
    pub server: String,
    /// Signs for whoever joins.
    pub authority: Authority,
    /// An administrator.
    pub client: Client,
}

impl ControlPlane {
    /// Starts it, and waits until it takes work.
    pub async fn start(run: &Run, programs: &Programs, at: &Addresses) -> Result<Self> {
        let [etcd, api] = free_ports()?;
        let etcd = format!("http://127.0.0.1:{etcd}");
        let server = format!("https://{}:{api}", at.server);
        let authority = Authority::make(run)?;
        let keys = TokenKeys::make(run)?;
        start_etcd(run, programs.path("etcd")?, &etcd)?;
        start_api_server(
            run,
            programs.path("kube-apiserver")?,
            &etcd,
            (at, api),
            &authority,
            &keys,
        )?;

        let admin = authority.client(run, "admin", Some("system:masters"))?;
        let kubeconfig = kubeconfig::write(run, "admin", &server, &admin)?;
        let client = client(&kubeconfig).await?;
        until(READY_WITHIN, "the API server", async || {
            run.check()?;
            let request = axum::http::Request::get("/readyz").body(Vec::new())?;
            Ok(client.request_text(request).await?)
        })
        .await?;

        let join = |user: &str| -> Result<PathBuf> {
            let identity = authority.client(run, user, None)?;
            kubeconfig::write(run, &user.replace(':', "-"), &server, &identity)
        };
        let controllers = join("system:kube-controller-manager")?;
        start_controllers(run, programs.path("kube-controller-manager")?, &controllers, &keys, at)?;
        let scheduler = join("system:kube-scheduler")?;
        let arguments = [
            option("kubeconfig", &scheduler),
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
        ];
        run.start("kube-scheduler", programs.path("kube-scheduler")?, arguments)?;
        until(READY_WITHIN, "the default namespace", async || {
            run.check()?;
            Api::<ServiceAccount>::default_namespaced(client.clone()).get("default").await?;
            Api::<ConfigMap>::default_namespaced(client.clone()).get("kube-root-ca.crt").await?;
            Ok(())
        })
        .await?;
        Ok(Self { kubeconfig, server, authority, client })
    }

    /// Adds a node that runs nothing and says of every pod what its label wants.
    pub async fn pretend_a_node(&self, run: &Run, programs: &Programs) -> Result<()> {
        let kwok = self.authority.client(run, "kwok", Some("system:masters"))?;
        let kwok = kubeconfig::write(run, "kwok", &self.server, &kwok)?;
        let stages = run.write("stages.yaml", STAGES.replace("$FATE", &FATE.replace('\n', "")))?;
        let arguments = [
            option("kubeconfig", &kwok),
            option("config", &stages),
            format!("--manage-single-node={NODE}"),
            "--node-lease-duration-seconds=40".to_owned(),
        ];
        run.start("kwok", programs.path("kwok")?, arguments)?;
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": NODE, "labels": { "kubernetes.io/hostname": NODE } },
            "status": { "capacity": { "cpu": "64", "memory": "256Gi", "pods": "2000" },
                        "allocatable": { "cpu": "64", "memory": "256Gi", "pods": "2000" } },
        }))?;
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.create(&kube::api::PostParams::default(), &node).await?;
        until_node_ready(run, &self.client, NODE).await
    }
}

/// Waits until a node takes pods.
pub async fn until_node_ready(run: &Run, client: &Client, name: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    until(READY_WITHIN, "the node", async || {
        run.check()?;
        let node = nodes.get(name).await?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let ready = conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True");
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        if ready && taints.is_empty() { Ok(()) } else { bail!("{conditions:?} {taints:?}") }
    })
    .await
}

fn start_etcd(run: &Run, program: &Path, url: &str) -> Result<()> {
    let arguments = [
        option("data-dir", &run.path("etcd")),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    run.start("etcd", program, arguments).map(|_| ())
}

fn start_api_server(
    run: &Run,
    program: &Path,
    etcd: &str,
    (at, port): (&Addresses, u16),
    authority: &Authority,
    keys: &TokenKeys,
) -> Result<()> {
    // The first address of services is the API server's.
    let (range, _) = at.services.split_once(".0/").context("services are a range")?;
    let inside = format!("{range}.1");
    let names = [&at.server, "localhost", "kubernetes.default.svc", &inside];
    let tls = authority.server(run, "kube-apiserver", &names)?;
    let kubelets =
        authority.client(run, "kube-apiserver-kubelet-client", Some("system:masters"))?;
    let arguments = [
        format!("--etcd-servers={etcd}"),
        format!("--bind-address={}", at.server),
        format!("--advertise-address={}", at.server),
        format!("--secure-port={port}"),
        option("tls-cert-file", &tls.certificate),
        option("tls-private-key-file", &tls.key),
        option("client-ca-file", &run.path("ca.crt")),
        option("service-account-key-file", &keys.verifying),
        option("service-account-signing-key-file", &keys.signing),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-cluster-ip-range={}", at.services),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        // A loopback address is no endpoint that a pod could reach.
        format!("--endpoint-reconciler-type={}", at.pods.as_ref().map_or("none", |_| "lease")),
        // Nobody here resolves the names of nodes.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        option("kubelet-certificate-authority", &run.path("ca.crt")),
        option("kubelet-client-certificate", &kubelets.certificate),
        option("kubelet-client-key", &kubelets.key),
        "--allow-privileged=true".to_owned(),
    ];
    run.start("kube-apiserver", program, arguments).map(|_| ())
}

fn start_controllers(
    run: &Run,
    program: &Path,
    kubeconfig: &Path,
    keys: &TokenKeys,
    at: &Addresses,
) -> Result<()> {
    let mut arguments = vec![
        option("kubeconfig", kubeconfig),
        option("root-ca-file", &run.path("ca.crt")),
        option("service-account-private-key-file", &keys.signing),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
    ];
    if let Some(pods) = &at.pods {
        arguments.push("--allocate-node-cidrs=true".to_owned());
        arguments.push(format!("--cluster-cidr={pods}"));
    }
    run.start("kube-controller-manager", program, arguments).map(|_| ())
}

/// A client with what this kubeconfig says.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig).context("reading our own kubeconfig")?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn option(name: &str, value: &Path) -> String {
    format!("--{name}={}", value.display())
}
