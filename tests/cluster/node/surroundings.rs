//! What stands around the kubelet: services, policies, names, images and the way in from outside.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Node;
use crate::image::output;
use crate::run::Run;

/// Starts the registry; it speaks HTTP.
pub fn start_registry(run: &Run, node: &Node, address: &str) -> Result<()> {
    let config = json!({
        "version": 0.1,
        "log": { "level": "warn" },
        "storage": { "filesystem": { "rootdirectory": run.path("registry") },
                     "delete": { "enabled": true } },
        "http": { "addr": address },
    });
    let config = run.write("registry.json", config.to_string())?;
    let arguments = ["OTEL_TRACES_EXPORTER=none".to_owned(), node.program("registry")?]
        .into_iter()
        .chain(["serve".to_owned(), config.display().to_string()]);
    node.run_inside(run, "registry", "env", arguments)
}

/// Starts what makes services answer.
pub fn start_proxy(run: &Run, node: &Node) -> Result<()> {
    let kubeconfig = node.join(run, "system:kube-proxy", None)?;
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": { "kubeconfig": kubeconfig },
        "hostnameOverride": super::NAME,
        "mode": "nftables",
        "clusterCIDR": node.network.pods(),
        "detectLocalMode": "ClusterCIDR",
        // The machine's own limits stay.
        "conntrack": { "maxPerCore": 0, "min": 0,
                       "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s" },
        "nftables": { "minSyncPeriod": "100ms", "syncPeriod": "10s" },
    });
    let config = run.write("kube-proxy.json", config.to_string())?;
    node.run_inside(run, "kube-proxy", "kube-proxy", [format!("--config={}", config.display())])
}

/// Starts what keeps network policies.
pub fn start_policies(run: &Run, node: &Node) -> Result<()> {
    let kubeconfig = node.join(run, "kube-router", Some("system:masters"))?;
    let arguments = [
        "--run-firewall=true".to_owned(),
        "--run-router=false".to_owned(),
        "--run-service-proxy=false".to_owned(),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={}", super::NAME),
        format!("--service-cluster-ip-range={}", node.network.services()),
        "--health-port=0".to_owned(),
    ];
    node.run_inside(run, "kube-router", "kube-router", arguments)
}

/// Starts the way in: an ingress and a gateway, in the node's own network.
pub fn start_traefik(run: &Run, node: &Node, address: &str) -> Result<()> {
    let kubeconfig = node.join(run, "traefik", Some("system:masters"))?;
    let ip = node.network.node();
    let arguments = [
        format!("KUBECONFIG={}", kubeconfig.display()),
        node.program("traefik")?,
        format!("--entrypoints.web.address={address}"),
        "--providers.kubernetesingress=true".to_owned(),
        "--providers.kubernetesingress.ingressclass=traefik".to_owned(),
        format!("--providers.kubernetesingress.ingressendpoint.ip={ip}"),
        "--providers.kubernetesgateway=true".to_owned(),
        format!("--providers.kubernetesgateway.statusaddress.ip={ip}"),
        "--providers.providersthrottleduration=100ms".to_owned(),
        "--global.checknewversion=false".to_owned(),
        "--global.sendanonymoususage=false".to_owned(),
        "--log.level=INFO".to_owned(),
    ];
    node.run_inside(run, "traefik", "env", arguments)
}

/// Applies what these programs look for: definitions, DNS, the classes of the way in.
pub fn apply_objects(run: &Run, node: &Node, coredns: &str) -> Result<()> {
    let objects = include_str!("objects.yaml")
        .replace("$COREDNS", coredns)
        .replace("$DNS", &node.network.dns());
    let objects = run.write("objects.yaml", objects)?;
    apply(node, Path::new(&node.program("gateway-api")?))?;
    apply(node, &objects)
}

fn apply(node: &Node, file: &Path) -> Result<()> {
    let mut kubectl = Command::new(node.program("kubectl")?);
    kubectl.args(["apply", "--server-side", "--filename"]).arg(file);
    kubectl.arg("--kubeconfig").arg(&node.control_plane.kubeconfig);
    output(&mut kubectl).map(|_| ())
}

/// Whether something answers there, whatever it says.
pub async fn answers(url: &str) -> Result<u16> {
    let status = reqwest::get(url).await.context("no answer")?.status();
    ensure!(!status.is_server_error(), "{url}: {status}");
    Ok(status.as_u16())
}
