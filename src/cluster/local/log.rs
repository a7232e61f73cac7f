//! The services' logs and the migrations': where output goes, and what of it people are shown.
//!
//! Refuses to grow without bound over restarts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::files;
use crate::workload::WEB;
use crate::workload::lines::{last, shown};

/// A service's log; the preview's own has no name in it.
fn file(service: &str) -> String {
    if service == WEB { "workload.log".to_owned() } else { format!("workload-{service}.log") }
}

const MAX_BYTES: u64 = 10 * 1024 * 1024;
const TAIL_BYTES: u64 = 8 * 1024;

/// Opens the log for appending, and says where it ends now. A long one is put aside first; the one
/// put aside before is deleted.
pub(super) fn open(namespace: &Path, service: &str) -> io::Result<(File, u64)> {
    let path = namespace.join(file(service));
    if fs::metadata(&path).is_ok_and(|it| it.len() > MAX_BYTES) {
        fs::rename(&path, path.with_extension("log.1"))?;
    }
    let file = OpenOptions::new().create(true).append(true).open(&path)?;
    let end = file.metadata()?.len();
    Ok((file, end))
}

/// Opens a log of its own for one run, in place of the one before.
pub(super) fn fresh(path: &Path) -> io::Result<File> {
    // Another file, so that whoever still writes to the one before does not write into this one.
    files::remove(path)?;
    OpenOptions::new().create_new(true).append(true).open(path)
}

/// The last few lines of such a log, fit to be shown.
pub(super) fn last_lines(path: &Path) -> String {
    tail(path, 0).map_or(String::new(), |tail| last(&tail))
}

/// The last line after `from` that is not blank, fit to be shown.
pub(super) fn last_line(namespace: &Path, service: &str, from: u64) -> Option<String> {
    let tail = tail(&namespace.join(file(service)), from)?;
    let line = tail.lines().map(shown).rfind(|line| !line.is_empty())?;
    Some(line)
}

fn tail(path: &Path, from: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let end = file.metadata().ok()?.len();
    let start = from.max(end.saturating_sub(TAIL_BYTES));
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail).ok()?;
    let mut tail = String::from_utf8_lossy(&tail).into_owned();
    if start > from {
        // Cut within a word, which may be a URL that can no longer be recognized as one.
        tail = tail.split_once(char::is_whitespace).map_or(String::new(), |cut| cut.1.to_owned());
    }
    Some(tail)
}
