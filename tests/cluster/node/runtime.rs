//! What runs containers: containerd with runc and a routed network for pods, and the kubelet.
//!
//! Debian's programs with configuration, directories and sockets of our own. Refuses to use, or to
//! be seen by, a containerd that the machine may run.

use std::fs;

use anyhow::Result;
use serde_json::json;

use super::Node;
use crate::run::Run;

/// Where Debian puts the plugins.
const CNI: &str = "/usr/lib/cni";

/// Below the node's own `/run`.
const SOCKET: &str = "/run/containerd/containerd.sock";

/// Starts containerd. Pods are routed, each over a link of its own: there is no bridge.
pub fn start_containerd(run: &Run, node: &Node, registry: &str) -> Result<()> {
    let ipam = json!({
        "type": "host-local",
        "dataDir": "/run/cni",
        "ranges": [[{ "subnet": node.network.pods() }]],
        "routes": [{ "dst": "0.0.0.0/0" }],
    });
    let plugins = json!([{ "type": "ptp", "ipam": ipam }]);
    let network = json!({ "cniVersion": "0.4.0", "name": "pods", "plugins": plugins });
    fs::create_dir_all(run.path("cni"))?;
    run.write("cni/pods.conflist", network.to_string())?;
    fs::create_dir_all(run.path(&format!("registries/{registry}")))?;
    let hosts = format!("server = \"http://{registry}\"\n[host.\"http://{registry}\"]\n");
    run.write(&format!("registries/{registry}/hosts.toml"), hosts)?;

    let place = |name: &str| run.path(name).display().to_string();
    let config = format!(
        r#"version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
path = "{opt}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{registry}/pause:latest"
# Without the right to lower it, no sandbox starts.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI}"
conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{registries}"
"#,
        root = place("containerd"),
        opt = place("opt"),
        cni = place("cni"),
        registries = place("registries"),
    );
    let config = run.write("containerd.toml", config)?;
    node.run_inside(run, "containerd", "containerd", [format!("--config={}", config.display())])
}

/// Starts the kubelet.
pub fn start_kubelet(run: &Run, node: &Node) -> Result<()> {
    let ip = node.network.node();
    let tls = node.control_plane.authority.server(run, "kubelet", &[&ip])?;
    let kubeconfig =
        node.join(run, &format!("system:node:{}", super::NAME), Some("system:nodes"))?;
    let resolv = run.write("resolv.conf", format!("nameserver {}\n", node.network.dns()))?;
    let never = json!({ "memory.available": "0%", "nodefs.available": "0%",
                        "nodefs.inodesFree": "0%", "imagefs.available": "0%" });
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ip,
        "authentication": { "x509": { "clientCAFile": run.path("ca.crt") },
                            "webhook": { "enabled": true }, "anonymous": { "enabled": false } },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": tls.certificate,
        "tlsPrivateKeyFile": tls.key,
        "clusterDNS": [node.network.dns()],
        "clusterDomain": "cluster.local",
        "resolvConf": resolv,
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", run.make_cgroup()?),
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        "evictionHard": never,
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": false,
        "nodeStatusUpdateFrequency": "2s",
        "volumePluginDir": run.path("volume-plugins"),
        "podLogsDir": "/var/log/pods",
    });
    let config = run.write("kubelet.json", config.to_string())?;
    let arguments = [
        format!("--config={}", config.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={}", super::NAME),
        format!("--node-ip={ip}"),
        // Below a directory of the node's own: what is mounted there is gone with it.
        "--root-dir=/var/lib/kubelet".to_owned(),
    ];
    node.run_inside(run, "kubelet", "kubelet", arguments)
}
