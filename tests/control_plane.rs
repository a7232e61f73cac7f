//! The control plane of the tests is what it says: a real Kubernetes whose node is pretended. And
//! it leaves nothing behind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMap, ContainerStatus, Namespace, Pod, Secret, ServiceAccount,
};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};

use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::world::control_plane::{ControlPlane, first_line, starter};
use crate::world::wait::{until, within};

/// The controllers wait five seconds before they look at a deleted namespace at all.
const NAMESPACE_GONE: Duration = Duration::from_secs(60);

async fn create<K>(client: &Client, namespace: &str, object: Value) -> kube::Result<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let object = serde_json::from_value(object).unwrap();
    Api::<K>::namespaced(client.clone(), namespace).create(&PostParams::default(), &object).await
}

fn pod(name: &str, image: &str, fate: Option<&str>) -> Value {
    let labels = fate.map_or(json!({}), |fate| json!({ "mayfly.test/fate": fate }));
    let container = json!({ "name": "app", "image": image });
    json!({ "metadata": { "name": name, "labels": labels }, "spec": { "containers": [container] } })
}

#[tokio::test]
async fn a_deployment_becomes_available_and_scales_to_nothing() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let (client, namespace) = (plane.client().await, plane.namespace(&[]).await);
    let labels = json!({ "app": "shop" });
    let template = json!({ "metadata": { "labels": labels }, "spec": {
        "containers": [{ "name": "app", "image": "registry.test/shop:1" }] } });
    let spec =
        json!({ "replicas": 2, "selector": { "matchLabels": labels }, "template": template });
    let object = json!({ "metadata": { "name": "shop" }, "spec": spec });
    create::<Deployment>(&client, &namespace, object).await.unwrap();

    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    until("both replicas are available", async || {
        let status = deployments.get_status("shop").await.unwrap().status.unwrap_or_default();
        status.available_replicas == Some(2)
    })
    .await;
    deployments.delete("shop", &DeleteParams::default()).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    until("its pods are gone", async || {
        pods.list(&ListParams::default()).await.unwrap().items.is_empty()
    })
    .await;
}

#[tokio::test]
async fn pod_security_restricted_refuses_a_privileged_pod() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let restricted = [("pod-security.kubernetes.io/enforce", "restricted")];
    let (client, namespace) = (plane.client().await, plane.namespace(&restricted).await);
    let mut privileged = pod("privileged", "registry.test/shop:1", None);
    privileged["spec"]["containers"][0]["securityContext"] = json!({ "privileged": true });
    let refused = create::<Pod>(&client, &namespace, privileged).await.unwrap_err();
    let kube::Error::Api(status) = refused else { panic!("{refused}") };
    assert_eq!(status.code, 403);
    assert!(status.message.contains("violates PodSecurity \"restricted"), "{}", status.message);
}

#[tokio::test]
async fn a_deleted_namespace_is_gone_in_the_end() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let (client, namespace) = (plane.client().await, plane.namespace(&[]).await);
    create::<Pod>(&client, &namespace, pod("app", "registry.test/shop:1", None)).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
    within(NAMESPACE_GONE, "the namespace is gone", async || {
        namespaces.get_opt(&namespace).await.unwrap().is_none()
    })
    .await;
}

#[tokio::test]
async fn a_pod_meets_the_fate_that_its_label_or_image_says() {
    let Some(plane) = ControlPlane::shared().await else { return };
    if !plane.pretended {
        return;
    }
    let (client, namespace) = (plane.client().await, plane.namespace(&[]).await);
    let any = "registry.test/shop:1";
    let pods = [
        ("fine", any, None),
        ("crash", any, Some("crash")),
        ("crash-image", "registry.test/crash-loop:1", None),
        ("pull", any, Some("pull")),
        ("pull-image", "registry.test/no-such-image:1", None),
        ("hang", any, Some("hang")),
        ("hang-image", "registry.test/never-ready:1", None),
    ];
    for (name, image, fate) in pods {
        create::<Pod>(&client, &namespace, pod(name, image, fate)).await.unwrap();
    }
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let status = async |name: &str| -> ContainerStatus {
        until("the pod has a status", async || {
            let status = pods.get(name).await.unwrap().status.unwrap_or_default();
            status.container_statuses.is_some()
        })
        .await;
        let status = pods.get(name).await.unwrap().status.unwrap();
        status.container_statuses.unwrap().remove(0)
    };
    let waiting = |status: &ContainerStatus| {
        let waiting = status.state.clone().unwrap().waiting.unwrap();
        (waiting.reason.unwrap(), waiting.message.unwrap())
    };

    assert!(status("fine").await.ready);
    for name in ["crash", "crash-image"] {
        let status = status(name).await;
        let (reason, message) = waiting(&status);
        assert_eq!(reason, "CrashLoopBackOff");
        assert!(message.starts_with("back-off 40s restarting failed container=app"), "{message}");
        assert_eq!((status.ready, status.restart_count), (false, 3));
        assert_eq!(status.last_state.unwrap().terminated.unwrap().exit_code, 1);
    }
    for name in ["pull", "pull-image"] {
        let (reason, message) = waiting(&status(name).await);
        assert_eq!(reason, "ImagePullBackOff");
        assert!(message.starts_with("Back-off pulling image \"registry.test/"), "{message}");
        assert_eq!(pods.get(name).await.unwrap().status.unwrap().phase.unwrap(), "Pending");
    }
    for name in ["hang", "hang-image"] {
        let status = status(name).await;
        assert!(status.state.unwrap().running.is_some() && !status.ready);
    }
}

#[tokio::test]
async fn a_service_account_may_do_no_more_than_its_role() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let (admin, namespace) = (plane.client().await, plane.namespace(&[]).await);
    let name = json!({ "name": "reader" });
    create::<ServiceAccount>(&admin, &namespace, json!({ "metadata": name })).await.unwrap();
    let rule = json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"] });
    create::<Role>(&admin, &namespace, json!({ "metadata": name, "rules": [rule] })).await.unwrap();
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader" });
    let subject = json!({ "kind": "ServiceAccount", "name": "reader" });
    let binding = json!({ "metadata": name, "roleRef": role, "subjects": [subject] });
    create::<RoleBinding>(&admin, &namespace, binding).await.unwrap();

    let reader = plane.client_of(&namespace, "reader").await;
    let listed = Api::<ConfigMap>::namespaced(reader.clone(), &namespace);
    until("its role lets it read", async || listed.list(&ListParams::default()).await.is_ok())
        .await;
    let secrets = Api::<Secret>::namespaced(reader.clone(), &namespace);
    let elsewhere = Api::<ConfigMap>::namespaced(reader.clone(), "kube-system");
    let made = create::<Pod>(&reader, &namespace, pod("app", "registry.test/shop:1", None)).await;
    for refused in [
        secrets.list(&ListParams::default()).await.map(|_| ()),
        elsewhere.list(&ListParams::default()).await.map(|_| ()),
        made.map(|_| ()),
    ] {
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));
    }
}

#[tokio::test]
async fn a_control_plane_whose_starter_is_killed_leaves_nothing() {
    if ControlPlane::shared().await.is_none_or(|plane| !plane.pretended) {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let clusters = base.path().join("clusters");
    let mut command = starter();
    command.args(["control-plane", "--dir"]).arg(&clusters);
    let mut killed = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let line = first_line(&mut killed).unwrap();
    assert!(processes_in(&clusters) >= 5, "the control plane runs: {line}");
    killed.kill().unwrap();
    killed.wait().unwrap();
    until("its programs ended with it", async || processes_in(&clusters) == 0).await;

    assert!(starter().args(["clean", "--dir"]).arg(&clusters).status().unwrap().success());
    assert!(!clusters.exists());
}

#[test]
fn where_go_is_missing_one_line_says_how_to_get_it() {
    let base = tempfile::tempdir().unwrap();
    let bin = base.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in [
        "bash",
        "env",
        "dirname",
        "awk",
        "cut",
        "mkdir",
        "cat",
        "sha256sum",
        "find",
        "sort",
        "xargs",
    ] {
        let path = ["/bin", "/usr/bin"].iter().map(|dir| Path::new(dir).join(name));
        symlink(path.into_iter().find(|path| path.exists()).unwrap(), bin.join(name)).unwrap();
    }
    let mut command = starter();
    command.args(["control-plane", "--dir"]).arg(base.path().join("clusters"));
    command.env("PATH", &bin).env("XDG_CACHE_HOME", base.path());
    let output =
        command.env_remove("KUBECONFIG").env_remove("KUBEBUILDER_ASSETS").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("install Go (https://go.dev/dl)"), "{said}");
    assert!(output.stdout.is_empty());
}

/// Living processes that were started for a cluster below this directory.
fn processes_in(base: &Path) -> usize {
    let mark = format!("MAYFLY_TEST_CLUSTER={}/", base.display());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let environs = entries.filter_map(|entry| fs::read(entry.path().join("environ")).ok());
    environs
        .filter(|all| all.split(|byte| *byte == 0).any(|it| it.starts_with(mark.as_bytes())))
        .count()
}
