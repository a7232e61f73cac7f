//! A copy of a chart's directory as it is now, so that nothing changes or leads out of it meanwhile.
//!
//! Links are followed only to what is in the directory itself (a mounted ConfigMap is made of such).
//! Refuses devices, pipes, and more than it was told to take. Hidden directories, such as `.git`, are
//! left out.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{RenderError, RenderLimits};

/// Copies a directory's content into a new one.
pub(super) async fn copy(
    from: &Path,
    to: PathBuf,
    limits: &RenderLimits,
) -> Result<(), RenderError> {
    let (from, limits) = (from.to_owned(), limits.clone());
    let copied = tokio::task::spawn_blocking(move || {
        let root = from.canonicalize().map_err(|error| unreadable(Path::new(""), &error))?;
        let mut copy =
            Copy { root, to, bytes: limits.source_bytes, entries: limits.source_entries };
        copy.all()
    });
    copied.await.map_err(|error| RenderError::source(error.to_string()))?
}

struct Copy {
    root: PathBuf,
    to: PathBuf,
    /// What may still come.
    bytes: u64,
    entries: usize,
}

impl Copy {
    fn all(&mut self) -> Result<(), RenderError> {
        let mut open = vec![PathBuf::new()];
        while let Some(relative) = open.pop() {
            let failed = |error: io::Error| unreadable(&relative, &error);
            fs::create_dir_all(self.to.join(&relative)).map_err(failed)?;
            for entry in fs::read_dir(self.root.join(&relative)).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                let hidden = name.to_string_lossy().starts_with('.');
                let entry = relative.join(name);
                self.entries = self.entries.checked_sub(1).ok_or_else(too_many)?;
                let found = self.inside(&entry)?;
                let kind = fs::metadata(&found).map_err(|error| unreadable(&entry, &error))?;
                match (kind.is_dir(), kind.is_file()) {
                    (true, _) if hidden => {}
                    (true, _) => open.push(entry),
                    (_, true) => self.file(&found, &entry)?,
                    _ => return Err(strange(&entry, "is neither a file nor a directory")),
                }
            }
        }
        Ok(())
    }

    /// Where an entry really is, which has to be below the root.
    fn inside(&self, entry: &Path) -> Result<PathBuf, RenderError> {
        let found = self.root.join(entry).canonicalize();
        let found = found.map_err(|error| unreadable(entry, &error))?;
        match found.starts_with(&self.root) {
            true => Ok(found),
            false => Err(strange(entry, "leads out of the chart's directory; put the file there")),
        }
    }

    fn file(&mut self, found: &Path, entry: &Path) -> Result<(), RenderError> {
        let failed = |error: io::Error| unreadable(entry, &error);
        let mut from = File::open(found).map_err(failed)?.take(self.bytes + 1);
        let mut to = File::create_new(self.to.join(entry)).map_err(failed)?;
        let copied = io::copy(&mut from, &mut to).map_err(failed)?;
        self.bytes = self.bytes.checked_sub(copied).ok_or_else(too_much)?;
        Ok(())
    }
}

fn strange(entry: &Path, why: &str) -> RenderError {
    RenderError::source(why).at(&entry.display().to_string(), None)
}

fn unreadable(entry: &Path, error: &io::Error) -> RenderError {
    if entry.as_os_str().is_empty() {
        let words = format!("the chart's directory cannot be read: {error}; see workload.chart");
        return RenderError::source(words);
    }
    strange(entry, &format!("cannot be read: {error}"))
}

fn too_many() -> RenderError {
    RenderError::limit(
        "the chart is too many files; keep what is not its own elsewhere, or raise \
                        tools.source_entries",
    )
}

fn too_much() -> RenderError {
    RenderError::limit(
        "the chart is too big; keep what is not its own elsewhere, or raise \
                        tools.source_bytes",
    )
}
