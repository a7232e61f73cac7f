//! Why nothing was rendered, in words that are fit for the pull request.
//!
//! Refuses to say more than a few lines, a path of this machine, or the password of a URL.

use std::fmt;
use std::path::Path;

use crate::workload::lines;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RenderErrorKind {
    /// The chart, the overlay or the values are wrong: the team's.
    Source,
    /// It took more time, memory or room than [`super::RenderLimits`] allow: the team's, or the
    /// configuration's.
    Limit,
    /// The program is missing or cannot be run: whoever runs Mayfly.
    Tool,
    /// The chart could not be fetched from its registry; trying again may help.
    Pull,
}

/// A line of a file, as its author knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, relative to what was rendered.
    pub file: String,
    /// The line, counted from 1, where it is known.
    pub line: Option<u32>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// Why nothing was rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderError {
    /// Whose turn it is.
    pub kind: RenderErrorKind,
    /// Where it went wrong, where that is known.
    pub place: Option<Place>,
    /// What went wrong and, where possible, what to do about it; the tool's own words, cut short.
    pub words: String,
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            // The words of a tool name the place themselves.
            Some(place) if !self.words.contains(&place.file) => {
                write!(f, "{place}: {}", self.words)
            }
            _ => f.write_str(&self.words),
        }
    }
}

impl std::error::Error for RenderError {}

impl RenderError {
    pub(super) fn new(kind: RenderErrorKind, words: impl AsRef<str>) -> Self {
        Self { kind, place: None, words: lines::last(words.as_ref()) }
    }

    pub(super) fn source(words: impl AsRef<str>) -> Self {
        Self::new(RenderErrorKind::Source, words)
    }

    pub(super) fn limit(words: impl AsRef<str>) -> Self {
        Self::new(RenderErrorKind::Limit, words)
    }

    pub(super) fn at(mut self, file: &str, line: Option<u32>) -> Self {
        self.place = Some(Place { file: lines::shown(file), line });
        self
    }

    /// What a tool said that ran in this private directory, and failed.
    pub(super) fn said(kind: RenderErrorKind, words: &str, room: &Path) -> Self {
        let words = words.replace(&format!("{}/", room.display()), "");
        // Advice for somebody at a terminal.
        let words: Vec<_> = words.lines().filter(|line| !line.starts_with("Use --debug")).collect();
        let words = words.join("\n");
        let mut error = Self::new(kind, &words);
        error.place = place(&error.words);
        error
    }
}

/// The first `file:line` in a tool's words, or the first file and the first `line N` after it.
fn place(words: &str) -> Option<Place> {
    let word = |c: char| c.is_alphanumeric() || "._-/:".contains(c);
    let is_file = |file: &str| {
        [".yaml", ".yml", ".tpl", ".json", ".txt"].iter().any(|end| file.ends_with(end))
    };
    let mut found: Option<Place> = None;
    for part in words.split(|c: char| !word(c)) {
        let (file, rest) = part.split_once(':').unwrap_or((part, ""));
        if found.is_none() && is_file(file) {
            let line = rest.split(':').next().and_then(|line| line.parse().ok());
            found = Some(Place { file: file.to_owned(), line });
        }
    }
    let found = found.as_mut()?;
    if found.line.is_none() {
        let after = words.split_once("line ").map(|(_, after)| after);
        let digits = after.and_then(|after| after.split(|c: char| !c.is_ascii_digit()).next());
        found.line = digits.and_then(|digits| digits.parse().ok());
    }
    Some(found.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_found_in_the_words_of_each_tool() {
        let cases = [
            (
                "Error: execution error at (shop/templates/web.yaml:4:6): image is missing",
                Some(("shop/templates/web.yaml", Some(4))),
            ),
            (
                "Error: template: shop/templates/web.yaml:12:20: executing \"shop/templates/web.yaml\"",
                Some(("shop/templates/web.yaml", Some(12))),
            ),
            (
                "Error: YAML parse error on shop/templates/web.yaml: error converting YAML to JSON: \
                 yaml: line 7: did not find expected key",
                Some(("shop/templates/web.yaml", Some(7))),
            ),
            (
                "error: accumulating resources from 'web.yaml': missing metadata.name",
                Some(("web.yaml", None)),
            ),
            ("Error: chart.metadata.version is required", None),
        ];
        for (words, expected) in cases {
            let found = place(words);
            let found = found.as_ref().map(|it| (it.file.as_str(), it.line));
            assert_eq!(found, expected, "{words}");
        }
    }

    #[test]
    fn words_for_the_pull_request_hold_no_password_and_no_path_of_this_machine() {
        let room = Path::new("/tmp/private");
        let words = "Error: postgres://a:s3cret@db/x in /tmp/private/tree/values.yaml\nline two";
        let error = RenderError::said(RenderErrorKind::Source, words, room);
        let text = error.to_string();
        assert!(!text.contains("s3cret") && !text.contains("/tmp/private"), "{text}");
        assert!(text.contains("tree/values.yaml") && text.contains("line two"), "{text}");
    }
}
