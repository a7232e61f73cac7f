//! Lines that a workload or a tool wrote, fit to be shown to people.
//!
//! Refuses to show a password of a URL, control characters, or more than a few short lines.

const MAX_SHOWN: usize = 200;
const MAX_LINES: usize = 5;

/// The last few lines that are not blank.
pub(crate) fn last(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(shown).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(MAX_LINES)..].join("\n")
}

/// One line, fit to be shown.
pub(crate) fn shown(line: &str) -> String {
    let clean: String = line.chars().filter(|c| !c.is_control()).collect();
    mask(clean.trim()).chars().take(MAX_SHOWN).collect()
}

/// Replaces the password of every `scheme://user:password@…`.
fn mask(text: &str) -> String {
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
