//! What a node could leave on a machine, as an operator sees it with the machine's own tools.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

/// Commands whose output says what is there; one that is missing has nothing to say.
const LOOKS: [(&str, &str); 10] = [
    ("links", "ip -brief link | awk '{ print $1 }'"),
    ("addresses and routes", "ip -brief address | awk '{ print $1, $3 }'; ip route"),
    ("network namespaces", "ls /run/netns"),
    ("nft", "nft list ruleset"),
    ("iptables", "iptables-save | grep -v '^#'; iptables-legacy-save | grep -v '^#'"),
    ("address sets", "ipset -name list"),
    ("mounts", "cat /proc/self/mounts"),
    (
        "control groups",
        "find /sys/fs/cgroup -type d -name 'mayfly-*' -o -type d -name k8s.io -o -type d -name 'kubepods*'",
    ),
    (
        "sockets and state",
        "ls /run /run/containerd /run/containerd/s /var/lib /var/lib/cni /var/log/pods /opt",
    ),
    (
        "settings",
        "sysctl vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys net.ipv4.ip_forward net.netfilter.nf_conntrack_max net.netfilter.nf_conntrack_tcp_timeout_established",
    ),
];

/// The state of the machine, and of the clusters below a directory.
#[derive(Debug, PartialEq)]
pub struct Machine {
    looks: Vec<(&'static str, String)>,
    processes: Vec<String>,
    directory: bool,
}

impl Machine {
    pub fn look(clusters: &Path) -> Self {
        let look = |(what, command): &(&'static str, &str)| {
            let output = Command::new("sh").args(["-c", command]).output().unwrap();
            (*what, String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let processes = processes_of(clusters).into_iter().map(|(_, name)| name).collect();
        Self { looks: LOOKS.iter().map(look).collect(), processes, directory: clusters.exists() }
    }
}

/// Kills the programs of this name that belong to a cluster below this directory.
pub fn kill(clusters: &Path, name: &str) {
    let mut killed = 0;
    for (pid, _) in processes_of(clusters).into_iter().filter(|(_, it)| it == name) {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        killed += 1;
    }
    assert!(killed > 0, "no {name} is running");
}

fn processes_of(clusters: &Path) -> Vec<(i32, String)> {
    let mark = format!("MAYFLY_TEST_CLUSTER={}/", clusters.display());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let marked = |pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|entry| entry.starts_with(mark.as_bytes()))
    };
    let name = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    pids.filter(marked).map(|pid| (pid, name(&pid).trim().to_owned())).collect()
}
