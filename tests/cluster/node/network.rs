//! The node's network: one link between it and the machine, and the addresses on both sides.
//!
//! The machine reaches pods and services through the node, as a router in front of a cluster would.
//! Refuses to touch any other link or route.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::capsule::Capsule;
use crate::run::Run;

/// The file in the run's directory that names the link.
pub const LINK: &str = "link";

/// Second bytes of 10.x.0.0/16 that are tried; each node has one of these networks.
const NETWORKS: std::ops::Range<u8> = 201..217;

/// The addresses of a node, all below 10.x.
pub struct Network(u8);

impl Network {
    /// Takes the first network that no other node has, and links the node to the machine.
    pub fn make(run: &Run, capsule: &Capsule) -> Result<Self> {
        for number in NETWORKS {
            let (network, link) = (Self(number), format!("mayfly{number}"));
            let first = capsule.first.to_string();
            let peer = ["type", "veth", "peer", "name", "eth0", "netns", &first];
            // Two at once cannot both make it.
            let made = Command::new("ip").args(["link", "add", &link]).args(peer).output();
            if !made.context("running ip")?.status.success() {
                continue;
            }
            run.write(LINK, &link)?;
            ip(None, &["addr", "add", &format!("{}/30", network.machine()), "dev", &link])?;
            ip(None, &["link", "set", &link, "up"])?;
            ip(Some(&first), &["addr", "add", &format!("{}/30", network.node()), "dev", "eth0"])?;
            ip(Some(&first), &["link", "set", "eth0", "up"])?;
            ip(Some(&first), &["route", "add", "default", "via", &network.machine()])?;
            for range in [network.pods(), network.services()] {
                ip(None, &["route", "add", &range, "via", &network.node()])?;
            }
            return Ok(network);
        }
        bail!(
            "no network is free: are nodes of others running? `test-cluster clean` removes dead ones"
        )
    }

    /// The machine, as pods see it.
    pub fn machine(&self) -> String {
        format!("10.{}.0.1", self.0)
    }

    /// The node.
    pub fn node(&self) -> String {
        format!("10.{}.0.2", self.0)
    }

    /// Addresses of pods.
    pub fn pods(&self) -> String {
        format!("10.{}.1.0/24", self.0)
    }

    /// Addresses of services.
    pub fn services(&self) -> String {
        format!("10.{}.64.0/18", self.0)
    }

    /// The service of the cluster's DNS server.
    pub fn dns(&self) -> String {
        format!("10.{}.64.10", self.0)
    }
}

/// Runs `ip`, inside of a process's network where one is given.
fn ip(inside: Option<&str>, arguments: &[&str]) -> Result<()> {
    let mut command = match inside {
        None => Command::new("ip"),
        Some(pid) => {
            let mut enter = Command::new("nsenter");
            enter.args([&format!("--target={pid}"), "--net", "--", "ip"]);
            enter
        }
    };
    let output = command.args(arguments).output().context("running ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
