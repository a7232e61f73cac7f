//! A namespace: a directory with our stamp in it.
//!
//! Refuses to take a directory without our stamp for its own, whatever its name.

use std::fs;
use std::io;
use std::path::Path;

use super::files::{self, Layout};
use crate::preview::{PreviewName, Stamp};

const STAMP: &str = "stamp";
const LEAVING: &str = "leaving";

/// How a namespace's directory stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Nothing of that name is there.
    Absent,
    /// Ours.
    Present,
    /// Ours, and its removal was begun at this time.
    Leaving(u64),
    /// Something else has the name.
    Foreign(String),
}

/// Looks.
pub(super) fn look(namespace: &Path, stamp: &Stamp) -> io::Result<Stand> {
    let there = |kind: &dyn Fn(fs::FileType) -> bool| match fs::symlink_metadata(namespace) {
        Ok(it) => Ok(Some(kind(it.file_type()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    match there(&|kind| kind.is_dir())? {
        None => return Ok(Stand::Absent),
        Some(false) => return Ok(Stand::Foreign("a file of its name".to_owned())),
        Some(true) => {}
    }
    let whose = match files::read(&namespace.join(STAMP)) {
        Ok(Some(line)) => line,
        // It may have been taken away, whole, between the two looks.
        Ok(None) if there(&|_| true)?.is_none() => return Ok(Stand::Absent),
        Ok(None) => return Ok(Stand::Foreign("a directory without a stamp".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
        Err(error) => return Err(error),
    };
    if Stamp::parse(&whose).as_ref() != Some(stamp) {
        return Ok(Stand::Foreign(format!("a directory stamped {:?}", whose.trim())));
    }
    Ok(match files::read(&namespace.join(LEAVING))? {
        None => Stand::Present,
        Some(since) => Stand::Leaving(since.trim().parse().unwrap_or(0)),
    })
}

/// Makes the directory with its stamp, at once.
pub(super) fn create(layout: &Layout, namespace: &Path, stamp: &Stamp) -> io::Result<()> {
    layout.make_directory(namespace, STAMP, &stamp.line())
}

/// Writes down that the removal has begun; there is no way back.
pub(super) fn leave(layout: &Layout, namespace: &Path) -> io::Result<()> {
    layout.write(&namespace.join(LEAVING), files::unix_ms().to_string().as_bytes())
}

/// Every preview of which there is a directory with this instance's stamp.
pub(super) fn owned(layout: &Layout, instance: &str) -> io::Result<Vec<PreviewName>> {
    let mut owned = Vec::new();
    for entry in fs::read_dir(layout.namespaces())? {
        let file = entry?.file_name();
        let Some(name) = file.to_str().and_then(PreviewName::parse) else { continue };
        match look(&layout.namespace(&name), &Stamp::new(instance, &name))? {
            Stand::Present | Stand::Leaving(_) => owned.push(name),
            Stand::Absent | Stand::Foreign(_) => {}
        }
    }
    Ok(owned)
}
