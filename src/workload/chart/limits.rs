//! The programs that render, and the bounds within which they do.
//!
//! Refuses to render more at once than it was told: each may take the whole of its memory.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::RenderError;
use super::error::RenderErrorKind;

/// What one rendering may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderLimits {
    /// How long a program may run.
    pub timeout: Duration,
    /// How much memory it may have, in MiB.
    pub memory_mebibytes: u64,
    /// How much it may write, in bytes.
    pub output_bytes: usize,
    /// How many objects may come of it.
    pub max_objects: usize,
    /// How much a chart's directory or archive may hold, in bytes.
    pub source_bytes: u64,
    /// How many files and directories a chart may be.
    pub source_entries: usize,
}

impl Default for RenderLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            memory_mebibytes: 512,
            output_bytes: 4 * 1024 * 1024,
            max_objects: 200,
            source_bytes: 16 * 1024 * 1024,
            source_entries: 2000,
        }
    }
}

/// The programs, by their paths, and where they may write.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Helm 3.14 or newer.
    pub helm: PathBuf,
    /// kubectl, for its `kustomize`.
    pub kubectl: PathBuf,
    /// Mayfly itself, which expands plain manifests in a process of their own.
    pub mayfly: PathBuf,
    /// Where charts that were pulled are kept, and each rendering has a directory for its time.
    pub work_dir: PathBuf,
    /// Logins for OCI registries, as `helm registry login` or `docker login` writes them.
    pub registry_config: Option<PathBuf>,
    slots: Arc<Semaphore>,
}

/// How many renderings run at once; the others wait.
const RENDERINGS_AT_ONCE: usize = 2;

impl Tools {
    /// Takes the programs; nothing is run or made yet.
    pub fn new(helm: PathBuf, kubectl: PathBuf, mayfly: PathBuf, work_dir: PathBuf) -> Self {
        let slots = Arc::new(Semaphore::new(RENDERINGS_AT_ONCE));
        Self { helm, kubectl, mayfly, work_dir, registry_config: None, slots }
    }

    /// A place among those that render.
    pub(super) async fn slot(&self) -> SemaphorePermit<'_> {
        self.slots.acquire().await.expect("nobody closes this semaphore")
    }

    /// A directory for one rendering, which goes when it is dropped.
    pub(super) fn room(&self) -> Result<tempfile::TempDir, RenderError> {
        let made = private(&self.work_dir).and_then(|()| tempfile::tempdir_in(&self.work_dir));
        made.map_err(|error| self.unusable(&error))
    }

    /// Where charts that were pulled are kept.
    pub(super) fn charts(&self) -> Result<PathBuf, RenderError> {
        let charts = self.work_dir.join("charts");
        let made = private(&self.work_dir).and_then(|()| private(&charts));
        made.map_err(|error| self.unusable(&error)).map(|()| charts)
    }

    fn unusable(&self, error: &io::Error) -> RenderError {
        let words =
            format!("tools.work_dir cannot be used: {error}; name a directory of Mayfly's own");
        RenderError::new(RenderErrorKind::Tool, words)
    }
}

/// Makes a directory that nobody else can write into, or sees that it is one.
fn private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path)?;
    let found = std::fs::symlink_metadata(path)?;
    let ours = found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0;
    if found.is_dir() && ours {
        return Ok(());
    }
    Err(io::Error::other("others may write into it"))
}
