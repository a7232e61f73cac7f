//! A node that really runs pods, on a control plane of its own.
//!
//! Needs root. Refuses to change the machine: all of it is in namespaces that end with it, but for
//! one link, the control groups, and the run's directory.

mod capsule;
mod network;
mod runtime;
mod surroundings;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Value, json};

use crate::control_plane::{Addresses, ControlPlane, until_node_ready};
use crate::image::Image;
use crate::kubeconfig;
use crate::programs::{Missing, Programs};
use crate::run::Run;
use crate::wait::until;
use capsule::Capsule;
pub use network::LINK;
use network::Network;

/// The name of the node.
const NAME: &str = "node";

/// How long each part may take on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// A running node.
pub struct Node<'a> {
    programs: &'a Programs,
    capsule: Capsule,
    network: Network,
    control_plane: ControlPlane,
}

/// Makes sure that this machine has, and that we may use, what a node takes.
pub fn prepare() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "a node takes root; run this as root");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/node-deps.sh");
    let status = Command::new(script).status().context("running scripts/node-deps.sh")?;
    match status.code() {
        Some(0) => Ok(()),
        Some(3) => Err(Missing.into()),
        _ => bail!("scripts/node-deps.sh: {status}"),
    }
}

impl<'a> Node<'a> {
    /// Starts it with all that stands around it, and waits until it serves.
    pub async fn start(run: &Run, programs: &'a Programs) -> Result<Self> {
        let capsule = Capsule::make(run).await?;
        let network = Network::make(run, &capsule)?;
        let addresses = Addresses {
            server: network.machine(),
            services: network.services(),
            pods: Some(network.pods()),
        };
        let control_plane = ControlPlane::start(run, programs, &addresses).await?;
        let node = Self { programs, capsule, network, control_plane };

        let registry = node.registry();
        surroundings::start_registry(run, &node, &registry)?;
        runtime::start_containerd(run, &node, &registry)?;
        surroundings::start_proxy(run, &node)?;
        until(READY_WITHIN, "the registry", async || {
            run.check()?;
            surroundings::answers(&format!("http://{registry}/v2/")).await
        })
        .await?;
        node.push("pause")?;
        runtime::start_kubelet(run, &node)?;
        let coredns = node.push("coredns")?;
        surroundings::apply_objects(run, &node, &coredns)?;
        surroundings::start_traefik(run, &node, &node.ingress())?;

        let client = &node.control_plane.client;
        until_node_ready(run, client, NAME).await?;
        // It asks for the node at its start, and only once.
        surroundings::start_policies(run, &node)?;
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), "kube-system");
        until(READY_WITHIN, "CoreDNS", async || {
            run.check()?;
            let status = deployments.get("coredns").await?.status.unwrap_or_default();
            ensure!(status.available_replicas == Some(1), "{status:?}");
            Ok(())
        })
        .await?;
        until(READY_WITHIN, "the ingress", async || {
            run.check()?;
            surroundings::answers(&format!("http://{}/", node.ingress())).await
        })
        .await?;
        Ok(node)
    }

    /// What whoever started us needs to know.
    pub fn described(&self) -> Result<Value> {
        let mut all = self.programs.described(&self.control_plane.kubeconfig, false);
        let more = json!({
            "crane": self.program("crane")?,
            "probe": self.program("probe")?,
            "registry": self.registry(),
            "ingress": self.ingress(),
            "gateway": "ingress/shared",
            "node_ip": self.network.node(),
            "machine_ip": self.network.machine(),
            "pods": self.network.pods(),
            "services": self.network.services(),
            "dns": self.network.dns(),
        });
        if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
            all.extend(more);
        }
        Ok(all)
    }

    fn registry(&self) -> String {
        format!("{}:5000", self.network.node())
    }

    fn ingress(&self) -> String {
        format!("{}:80", self.network.node())
    }

    /// Pushes one of the programs as an image.
    fn push(&self, name: &str) -> Result<String> {
        let (binary, crane) = (self.programs.path(name)?, self.programs.path("crane")?);
        Image::of(&self.registry(), name, binary, crane).push()
    }

    fn program(&self, name: &str) -> Result<String> {
        Ok(self.programs.path(name)?.display().to_string())
    }

    /// Starts one of the programs, or one of the machine's, inside of the node.
    fn run_inside(
        &self,
        run: &Run,
        name: &str,
        program: &str,
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<()> {
        let program = self.programs.path(program).unwrap_or(Path::new(program));
        self.capsule.start(run, name, program, arguments)
    }

    /// A kubeconfig for whoever joins as this user.
    fn join(&self, run: &Run, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let identity = self.control_plane.authority.client(run, user, group)?;
        kubeconfig::write(run, &user.replace(':', "-"), &self.control_plane.server, &identity)
    }
}
