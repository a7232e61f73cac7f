//! The Kubernetes adapter over a real control plane, and an administrator who sees and meddles.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::IngressClass;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use mayfly::clock::Clock;
use mayfly::cluster::kubernetes::KubernetesCluster;
use mayfly::cluster::kubernetes::config::{Entry, KubernetesConfig, Network, Peer, Tls};
use mayfly::preview::name::Prefix;
use mayfly::preview::{PullNumber, Suffix};
use mayfly::visit::{Visit, Visitor};
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, channel};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::world::HandClock;
use crate::world::control_plane::ControlPlane;
use crate::world::postgres::unique;

/// The adapter, under an instance and a prefix that no other test uses.
pub struct RealCluster {
    pub cluster: Arc<KubernetesCluster>,
    pub changes: Receiver<PreviewName>,
    pub client: Client,
    pub clock: Arc<HandClock>,
    /// The cluster is of this run alone.
    pub pretended: bool,
    prefix: String,
    stop: CancellationToken,
}

impl RealCluster {
    /// `None`, said aloud and counted, where no control plane can be had.
    pub async fn new() -> Option<Self> {
        Self::with(|_| {}).await
    }

    /// With this changed in its configuration.
    pub async fn with(change: impl FnOnce(&mut KubernetesConfig)) -> Option<Self> {
        let plane = ControlPlane::shared().await?;
        let client = plane.client().await;
        make_class(&client, "test").await;
        let unique = unique();
        let prefix = format!("t{unique}");
        let mut config = KubernetesConfig {
            kubeconfig: Some(plane.kubeconfig.clone()),
            timeout: Duration::from_secs(10),
            instance: format!("test{}x{unique}", std::process::id()),
            suffix: Suffix::parse("preview.example.test").unwrap(),
            entry: Entry::Ingress { class: "test".to_owned(), annotations: BTreeMap::new() },
            tls: Tls::None,
            network: Network {
                ingress: Some(peer("ingress")),
                dns: peer("kube-system"),
                database: Vec::new(),
                forbidden: Vec::new(),
            },
            template_namespace: None,
            image_pull_secret: None,
            progress_deadline_seconds: 60,
        };
        change(&mut config);
        let (sender, changes) = channel(256);
        let stop = CancellationToken::new();
        let clock = Arc::new(HandClock::at(chrono::DateTime::UNIX_EPOCH));
        let told: Arc<dyn Clock> = clock.clone();
        let cluster = Arc::new(KubernetesCluster::connect(config, told).await.unwrap());
        cluster.watch(&sender, &stop);
        let pretended = plane.pretended;
        Some(Self { cluster, changes, client, clock, pretended, prefix, stop })
    }

    /// What is there, as an administrator sees it.
    pub async fn read(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let found = self.api(kind, namespace).get_opt(name).await.unwrap();
        found.map(|object| serde_json::to_value(object).unwrap())
    }

    /// Somebody changes something by hand.
    pub async fn meddle(&self, kind: &str, namespace: &str, name: &str, patch: Value) {
        let params = PatchParams::default();
        self.api(kind, namespace).patch(name, &params, &Patch::Merge(patch)).await.unwrap();
    }

    /// Somebody makes something by hand.
    pub async fn make(&self, kind: &str, namespace: &str, name: &str, more: Value) {
        let mut object = json!({ "metadata": { "name": name } });
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        self.api(kind, namespace).create(&PostParams::default(), &object).await.unwrap();
    }

    /// Somebody deletes something by hand.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) {
        self.api(kind, namespace).delete(name, &Default::default()).await.unwrap();
    }

    pub async fn names(&self, kind: &str, namespace: &str) -> Vec<String> {
        let all = self.api(kind, namespace).list(&ListParams::default()).await.unwrap();
        all.items.into_iter().filter_map(|object| object.metadata.name).collect()
    }

    /// Whether the API server knows this kind by now.
    pub async fn can_list(&self, kind: &str, namespace: &str) -> bool {
        self.api(kind, namespace).list(&ListParams::default()).await.is_ok()
    }

    fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (group, version) = match kind {
            "Deployment" | "StatefulSet" => ("apps", "v1"),
            "Job" => ("batch", "v1"),
            "CustomResourceDefinition" => ("apiextensions.k8s.io", "v1"),
            "Certificate" => ("cert-manager.io", "v1"),
            "ExternalSecret" => ("external-secrets.io", "v1"),
            "Ingress" | "IngressClass" | "NetworkPolicy" => ("networking.k8s.io", "v1"),
            _ => ("", "v1"),
        };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match kind {
            "Namespace" | "IngressClass" | "CustomResourceDefinition" => {
                Api::all_with(self.client.clone(), &resource)
            }
            _ => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }
}

impl Drop for RealCluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Subject for RealCluster {
    fn cluster(&self) -> &dyn Cluster {
        &*self.cluster
    }

    fn name(&self, number: u32) -> PreviewName {
        let prefix = Prefix::parse(&self.prefix).unwrap();
        PreviewName::new(Some(prefix), PullNumber::new(number.into()).unwrap())
    }

    async fn plant_foreign(&self, name: &PreviewName) {
        let object =
            json!({ "metadata": { "name": name.namespace(), "labels": { "whose": "theirs" } } });
        let object: Namespace = serde_json::from_value(object).unwrap();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.create(&PostParams::default(), &object).await.unwrap();
    }

    async fn foreign_is_there(&self, name: &PreviewName) -> bool {
        let found = self.read("Namespace", "", &name.namespace()).await;
        found.is_some_and(|it| {
            it["metadata"]["labels"]["whose"] == "theirs"
                && it["metadata"]["labels"].get("mayfly.dev/instance").is_none()
                && it["metadata"].get("deletionTimestamp").is_none()
        })
    }
}

/// Follows a route as an ingress controller does, from what the API server says.
pub struct PretendedIngress(pub Arc<RealCluster>);

#[async_trait]
impl Visitor for PretendedIngress {
    async fn observe(&self, visit: Visit<'_>) -> Result<(), String> {
        let (here, suffix) =
            (visit.host.name.namespace(), Suffix::parse("preview.example.test").unwrap());
        let route = self.0.read("Ingress", &here, "web").await.ok_or("404")?;
        let rules = route["spec"]["rules"].as_array().unwrap();
        let of_host = |rule: &&Value| rule["host"] == visit.host.full(&suffix);
        let rule = rules.iter().find(of_host).ok_or("404: no such host")?;
        let service = rule["http"]["paths"][0]["backend"]["service"]["name"].as_str().unwrap();
        let service = self.0.read("Service", &here, service).await.ok_or("503: no service")?;
        let revision = service["spec"]["selector"]["mayfly.dev/revision"].as_str().unwrap();
        // A service's objects are called alike.
        let name = service["metadata"]["name"].as_str().unwrap().to_owned();
        match self.0.read("Deployment", &here, &name).await {
            Some(it) if it["status"]["availableReplicas"] == 1 => {}
            _ => return Err("503: no pod".to_owned()),
        }
        match revision.split_once('.') {
            Some((commit, _)) if commit == visit.commit.as_str() => Ok(()),
            _ => Err(format!("still serves {revision}")),
        }
    }
}

fn peer(namespace: &str) -> Peer {
    Peer { namespace: namespace.to_owned(), labels: BTreeMap::new() }
}

/// Makes an IngressClass that nobody serves.
pub async fn make_class(client: &Client, name: &str) {
    let class = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": { "name": name },
        "spec": { "controller": "example.test/none" },
    });
    let classes: Api<IngressClass> = Api::all(client.clone());
    classes.patch(name, &PatchParams::apply("tests"), &Patch::Apply(class)).await.unwrap();
}

/// The name of the Deployment of the commit that is forty times this digit.
pub fn web(digit: char) -> String {
    format!("web-{}-0", digit.to_string().repeat(40))
}
