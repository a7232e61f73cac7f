//! Where the adapter keeps what it knows, and how it writes it: whole or not at all.
//!
//! Refuses to leave half of anything behind: a file or directory is made aside, on the same file
//! system, and renamed into place, so that a crash at any instruction leaves the old or the new.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::clock::machine_time;
use crate::preview::PreviewName;

/// The directories below the data directory.
#[derive(Clone, Debug)]
pub(super) struct Layout(PathBuf);

impl Layout {
    /// Makes the directories. The path is made absolute, since it is part of what marks our
    /// processes: two controllers must spell it alike.
    pub(super) fn create(data_dir: &Path) -> io::Result<Self> {
        for part in ["namespaces", "routes", "trash"] {
            fs::create_dir_all(data_dir.join(part))?;
        }
        Ok(Self(data_dir.canonicalize()?))
    }

    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    pub(super) fn namespaces(&self) -> PathBuf {
        self.0.join("namespaces")
    }

    pub(super) fn namespace(&self, name: &PreviewName) -> PathBuf {
        self.namespaces().join(name.namespace())
    }

    pub(super) fn routes(&self) -> PathBuf {
        self.0.join("routes")
    }

    /// A path in the trash that nothing else uses.
    fn aside(&self) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        self.0.join("trash").join(format!("{}-{}-{next}", std::process::id(), unix_ms()))
    }

    /// Writes a file whole. It reaches the disk before it gets its name, so that a power cut does
    /// not leave an empty file that nobody recognizes.
    pub(super) fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let aside = self.aside();
        let mut file = fs::File::create_new(&aside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    }

    /// Makes a directory with one file in it, unless something of that name is there already.
    pub(super) fn make_directory(&self, path: &Path, file: &str, content: &str) -> io::Result<()> {
        let aside = self.aside();
        fs::DirBuilder::new().mode(0o700).create(&aside)?;
        fs::write(aside.join(file), content)?;
        // Plain rename would replace somebody's empty directory.
        let renamed = renameat_with(CWD, &aside, CWD, path, RenameFlags::NOREPLACE);
        if renamed.is_err() {
            fs::remove_dir_all(&aside)?;
        }
        Ok(renamed?)
    }

    /// Takes a directory away at once; its content is deleted afterwards.
    pub(super) fn discard(&self, path: &Path) -> io::Result<()> {
        let aside = self.aside();
        fs::rename(path, &aside)?;
        fs::remove_dir_all(&aside)
    }

    /// Deletes what a crashed controller left behind. Each leftover is claimed by a rename first:
    /// if its maker is alive after all, one of the two renames fails and nothing is half deleted.
    pub(super) fn empty_trash(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.0.join("trash"))? {
            let claimed = self.aside();
            if fs::rename(entry?.path(), &claimed).is_err() {
                continue;
            }
            match fs::symlink_metadata(&claimed)?.is_dir() {
                true => fs::remove_dir_all(&claimed)?,
                false => fs::remove_file(&claimed)?,
            }
        }
        Ok(())
    }
}

/// Reads a file; `None` when there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file, where there is one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Milliseconds since 1970.
pub(super) fn unix_ms() -> u64 {
    u64::try_from(machine_time().timestamp_millis()).unwrap_or(0)
}
