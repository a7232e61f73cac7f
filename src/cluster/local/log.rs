//! The workload's log: where its output goes, and the one line of it that people are shown.
//!
//! Refuses to grow without bound over restarts, and to show a password of a URL.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const FILE: &str = "workload.log";
const MAX_BYTES: u64 = 10 * 1024 * 1024;
const TAIL_BYTES: u64 = 8 * 1024;
const MAX_SHOWN: usize = 200;

/// Opens the log for appending, and says where it ends now. A long one is put aside first; the one
/// put aside before is deleted.
pub(super) fn open(namespace: &Path) -> io::Result<(File, u64)> {
    let path = namespace.join(FILE);
    if fs::metadata(&path).is_ok_and(|it| it.len() > MAX_BYTES) {
        fs::rename(&path, namespace.join("workload.log.1"))?;
    }
    let file = OpenOptions::new().create(true).append(true).open(&path)?;
    let end = file.metadata()?.len();
    Ok((file, end))
}

/// The last line after `from` that is not blank, fit to be shown.
pub(super) fn last_line(namespace: &Path, from: u64) -> Option<String> {
    let mut file = File::open(namespace.join(FILE)).ok()?;
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
    let line = tail.lines().map(shown).rfind(|line| !line.is_empty())?;
    Some(line)
}

fn shown(line: &str) -> String {
    let clean: String = line.chars().filter(|c| !c.is_control()).collect();
    mask(clean.trim()).chars().take(MAX_SHOWN).collect()
}

/// Replaces the password of every `scheme://user:password@…`.
pub(super) fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        masked.push_str(before);
        // Up to the end of the word, not of the authority: a password may hold a bare `/`.
        let end = after.find(|c: char| c.is_whitespace() || "\"'<>".contains(c));
        let word = &after[..end.unwrap_or(after.len())];
        // Not beyond the next URL in the same word.
        let word = &word[..word.find("://").unwrap_or(word.len())];
        rest = &after[word.len()..];
        match (word.find(':'), word.rfind('@')) {
            (Some(colon), Some(at)) if colon < at => {
                masked.push_str(&word[..=colon]);
                masked.push_str("***");
                masked.push_str(&word[at..]);
            }
            _ => masked.push_str(word),
        }
    }
    masked.push_str(rest);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_masked_and_the_rest_is_kept() {
        let line = "connecting postgres://pr_7:s3cret@db:5432/pr_7, then http://x/?a:b";
        assert_eq!(mask(line), "connecting postgres://pr_7:***@db:5432/pr_7, then http://x/?a:b");
        assert_eq!(mask("postgres://a:p/w@h postgresql://b:q@i"), {
            "postgres://a:***@h postgresql://b:***@i"
        });
        assert_eq!(mask("no url: here@all"), "no url: here@all");
    }
}
