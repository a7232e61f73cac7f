//! A real control plane: etcd, API server, controllers, and a node that is pretended, as the tests start them.
//!
//! Mayfly comes in as a service account of its own, so that its requests can be told from everybody else's.
//! Refuses to build what is not built: that takes longer than any bench.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::{Api, Client, Config};
use mayfly::workload::COMMIT_HEADER;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::api_server::CLASS;
use super::kinds::{OBJECTS, complete, kind};
use super::stage::{REAL, commit};
use super::target;

/// Mayfly's account, and what its requests are counted as.
const ACCOUNT: &str = "mayfly-bench";

type Seen = HashMap<(String, String, String), Instant>;

pub struct Plane {
    /// An administrator.
    pub client: Client,
    /// Mayfly's way in.
    pub kubeconfig: PathBuf,
    /// Where visitors come in.
    pub entry: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    starter: Child,
    _tasks: JoinSet<()>,
}

impl Drop for Plane {
    fn drop(&mut self) {
        drop(self.starter.stdin.take());
        // It ends when its input does, and leaves nothing behind.
        let _ = self.starter.wait();
    }
}

impl Plane {
    /// `None` where its programs are not built.
    pub async fn start(directory: &Path) -> Result<Option<Self>> {
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/build");
        let mut built = Command::new(build);
        built.args(["--no-build", "control-plane"]).stdout(Stdio::null());
        if !built.status().is_ok_and(|it| it.success()) {
            return Ok(None);
        }
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut starter = Command::new(target()?.join("debug/examples/test-cluster"));
        starter.arg("control-plane").env_remove("KUBECONFIG");
        starter.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut starter = starter.spawn().context("cargo build --example test-cluster")?;
        let said = starter.stdout.take().context("it has an output")?;
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(said).read_line(&mut line).map(|_| line)
        });
        let started: Value = serde_json::from_str(&line.await??).context("no control plane")?;
        let admin = started["kubeconfig"].as_str().context("no kubeconfig")?;
        let admin = Kubeconfig::read_from(admin)?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(admin.clone(), &options).await?;
        let client = Client::try_from(config)?;
        for object in surroundings() {
            apply(&client, &object).await?;
        }
        let kubeconfig = directory.join("real-kubeconfig");
        std::fs::write(&kubeconfig, serde_json::to_vec(&account(&client, admin).await?)?)?;
        let (seen, mut tasks) = (Arc::<Mutex<Seen>>::default(), JoinSet::new());
        for (resource, _) in OBJECTS {
            tasks.spawn(watch(client.clone(), resource, seen.clone()));
        }
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let entry = listener.local_addr()?;
        tasks.spawn(async move {
            let _ = axum::serve(listener, Router::new().fallback(visit)).await;
        });
        Ok(Some(Self { client, kubeconfig, entry, seen, starter, _tasks: tasks }))
    }

    /// When the last of a preview's objects was seen, if all of them were.
    pub fn there(&self, namespace: &str) -> Option<Instant> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = seen.iter().filter(|((_, it, _), _)| it == namespace);
        complete(of_it.map(|((resource, ..), at)| (resource.clone(), *at)))
    }

    /// How many requests Mayfly has made.
    pub async fn asked(&self) -> Result<f64> {
        let request = axum::http::Request::get("/metrics").body(Vec::new())?;
        let text = self.client.request_text(request).await?;
        let schema = format!("flow_schema=\"{ACCOUNT}\"");
        let counts = text.lines().filter(|line| {
            line.starts_with("apiserver_flowcontrol_dispatched_requests_total{")
                && line.contains(&schema)
        });
        Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

/// How objects of a resource are reached.
pub fn api(client: &Client, resource: &str, namespace: Option<&str>) -> Result<Api<DynamicObject>> {
    let (_, version, name) = kind(resource).with_context(|| format!("no resource {resource}"))?;
    let at = described(version, name, resource);
    Ok(match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &at),
        None => Api::all_with(client.clone(), &at),
    })
}

fn described(api_version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// What there is beside previews: an account that may do all, whose requests are a flow of their own, and
/// a class of Ingresses.
fn surroundings() -> [Value; 4] {
    let account = json!({ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": "default" });
    let group = "rbac.authorization.k8s.io";
    [
        json!({ "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": { "name": ACCOUNT, "namespace": "default" } }),
        json!({ "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding",
                "metadata": { "name": ACCOUNT }, "subjects": [account],
                "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin" } }),
        json!({ "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
                "metadata": { "name": ACCOUNT },
                "spec": { "matchingPrecedence": 500,
                    "priorityLevelConfiguration": { "name": "workload-high" },
                    "distinguisherMethod": { "type": "ByUser" },
                    "rules": [{
                        "subjects": [{ "kind": "ServiceAccount",
                            "serviceAccount": { "name": ACCOUNT, "namespace": "default" } }],
                        "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                            "clusterScope": true, "namespaces": ["*"] }],
                        "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
                    }] } }),
        json!({ "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
                "metadata": { "name": CLASS }, "spec": { "controller": "mayfly.test/bench" } }),
    ]
}

async fn apply(client: &Client, object: &Value) -> Result<()> {
    let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let plural = format!("{}{}", kind.to_lowercase(), if kind.ends_with('s') { "es" } else { "s" });
    let at = described(&version, &kind, &plural);
    let metadata = &object["metadata"];
    let api: Api<DynamicObject> = match metadata["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &at),
        None => Api::all_with(client.clone(), &at),
    };
    let params = PatchParams::apply("bench");
    api.patch(&text(&metadata["name"]), &params, &Patch::Apply(object)).await?;
    Ok(())
}

/// The administrator's way in, with the account's token.
async fn account(client: &Client, mut admin: Kubeconfig) -> Result<Kubeconfig> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let spec = TokenRequestSpec { expiration_seconds: Some(7200), ..Default::default() };
    let request = TokenRequest { spec, ..Default::default() };
    let made = accounts.create_token_request(ACCOUNT, &PostParams::default(), &request).await?;
    let token = made.status.context("no token")?.token;
    for user in &mut admin.auth_infos {
        let token = Some(token.clone().into());
        user.auth_info = Some(AuthInfo { token, ..AuthInfo::default() });
    }
    Ok(admin)
}

/// Notes when each object of a resource was first seen, for ever.
async fn watch(client: Client, resource: &'static str, seen: Arc<Mutex<Seen>>) {
    let mut version = "0".to_owned();
    loop {
        if follow(&client, resource, &seen, &mut version).await.is_err() {
            "0".clone_into(&mut version);
        }
    }
}

async fn follow(
    client: &Client,
    resource: &'static str,
    seen: &Mutex<Seen>,
    version: &mut String,
) -> Result<()> {
    let label = format!("mayfly.dev/instance={}", REAL.instance);
    let params = WatchParams::default().labels(&label);
    let changes = api(client, resource, None)?.watch_metadata(&params, version).await?;
    let mut changes = std::pin::pin!(changes);
    while let Some(change) = changes.try_next().await? {
        let (WatchEvent::Added(it) | WatchEvent::Modified(it)) = change else {
            if let WatchEvent::Error(error) = change {
                return Err(anyhow::anyhow!("{}", error.message));
            }
            continue;
        };
        let PartialObjectMeta { metadata, .. } = it;
        *version = metadata.resource_version.unwrap_or_default();
        let name = metadata.name.unwrap_or_default();
        // A namespace is in itself.
        let namespace = metadata.namespace.unwrap_or_else(|| name.clone());
        let key = (resource.to_owned(), namespace, name);
        let now = Instant::now();
        seen.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(now);
    }
    Ok(())
}

/// What an app answers that is there: which commit it is.
async fn visit(headers: HeaderMap) -> Response {
    let host = headers.get("host").and_then(|it| it.to_str().ok()).unwrap_or_default();
    let number = host.strip_prefix("pr-").and_then(|it| it.split_once('.')?.0.parse().ok());
    match number {
        Some(number) => [(COMMIT_HEADER, commit(number))].into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
