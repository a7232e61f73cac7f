//! The local adapter over a directory of its own, whose processes do not outlive the test.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use mayfly::cluster::local::{LocalCluster, LocalConfig};
use mayfly::preview::{PreviewName, Suffix};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc::{Receiver, channel};

/// A data directory and a controller over it.
pub struct Machine {
    pub cluster: LocalCluster,
    pub changes: Receiver<PreviewName>,
    directory: tempfile::TempDir,
}

impl Machine {
    pub fn new() -> Self {
        Self::with_grace(Duration::from_secs(2))
    }

    pub fn with_grace(grace: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (cluster, changes) = open(&directory, grace);
        Self { cluster, changes, directory }
    }

    /// Another controller over the same directory.
    pub fn another(&self, grace: Duration) -> LocalCluster {
        open(&self.directory, grace).0
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    pub fn directory(&self, name: &PreviewName) -> PathBuf {
        self.data_dir().join("namespaces").join(name.namespace())
    }

    /// What an operator finds with nothing but `/proc`: living processes of the namespace.
    pub fn processes(&self, name: &PreviewName) -> Vec<i32> {
        self.marked(self.directory(name).as_os_str().as_bytes(), true)
    }

    fn marked(&self, value: &[u8], whole: bool) -> Vec<i32> {
        let mark = [b"MAYFLY_NAMESPACE=", value].concat();
        let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let mut entries = environ.split(|byte| *byte == 0);
            entries.any(|it| if whole { it == mark } else { it.starts_with(&mark) })
        })
        .collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for pid in self.marked(self.data_dir().as_os_str().as_bytes(), false) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }
}

fn open(directory: &tempfile::TempDir, grace: Duration) -> (LocalCluster, Receiver<PreviewName>) {
    let config = LocalConfig {
        data_dir: directory.path().to_owned(),
        suffix: Suffix::parse("preview.test").unwrap(),
        instance: "test".to_owned(),
        grace,
    };
    let (sender, changes) = channel(64);
    (LocalCluster::new(config, sender).unwrap(), changes)
}
