//! The zone's records on disk, whole at every moment.
//!
//! A change is written beside the file, flushed and renamed over it: a kill at any point leaves
//! the old records or the new ones. Refuses a file that it cannot read in full, and one that
//! another server has open.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::preview::name::MAX_NAME_BYTES;

/// The label of the zone's own name server, which no record may take.
pub(super) const NAME_SERVER: &str = "ns";

/// The longest character-string of a TXT record (RFC 1035 §3.3), in bytes.
const MAX_STAMP_BYTES: usize = 255;

/// One name's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Where the name leads.
    pub(super) address: IpAddr,
    /// Whose it is, as a line; none where nobody said.
    pub(super) stamp: Option<String>,
}

/// Every record, by its label under the apex.
pub(super) type Entries = BTreeMap<String, Entry>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    records: Entries,
}

/// The file, held open against other servers until this is dropped.
pub(super) struct ZoneFile {
    path: PathBuf,
    /// Beside the file and not the file itself, which every change replaces.
    _lock: File,
}

impl ZoneFile {
    /// Takes the file and reads it; one that is not there yet has no records.
    pub(super) fn open(path: PathBuf) -> Result<(Self, Entries), Fault> {
        let doing = format!("reading the zone file {}", path.display());
        let lock = File::create(beside(&path, ".lock")).map_err(|e| {
            Fault::permanent(&doing, format!("{e}; its directory must be there and writable"))
        })?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => Fault::transient(&doing, "another server has it open"),
            TryLockError::Error(e) => Fault::transient(&doing, e),
        })?;
        let entries = read(&path).map_err(|why| {
            Fault::permanent(&doing, format!("{why}; mend it, or move it away to begin with none"))
        })?;
        Ok((Self { path, _lock: lock }, entries))
    }

    /// Replaces the records; they outlive a power cut once this returns. Blocks.
    pub(super) fn save(&self, entries: &Entries) -> Result<(), Fault> {
        self.replace(entries).map_err(|e| {
            Fault::transient(format!("writing the zone file {}", self.path.display()), e)
        })
    }

    fn replace(&self, entries: &Entries) -> io::Result<()> {
        let content = Content { records: entries.clone() };
        let temporary = beside(&self.path, ".new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(&content)?)?;
        file.sync_all()?;
        // Opened before the rename, so that less can fail once the new records are in place.
        let directory = File::open(directory(&self.path))?;
        std::fs::rename(&temporary, &self.path)?;
        directory.sync_all()
    }
}

fn read(path: &Path) -> Result<Entries, String> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Entries::new()),
        Err(e) => return Err(e.to_string()),
    };
    let content: Content = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    for (label, entry) in &content.records {
        if !is_label(label) {
            return Err(format!("{label:?} is not a lower-case label of its own"));
        }
        if entry.stamp.as_ref().is_some_and(|stamp| stamp.len() > MAX_STAMP_BYTES) {
            return Err(format!("the stamp of {label:?} has more than {MAX_STAMP_BYTES} bytes"));
        }
    }
    Ok(content.records)
}

fn is_label(text: &str) -> bool {
    let well = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(well) && text != NAME_SERVER
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().map_or_else(Default::default, OsStr::to_owned);
    name.push(ending);
    path.with_file_name(name)
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
