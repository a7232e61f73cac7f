//! Statements without the contents of their literals, and short.
//!
//! A migration may say `ALTER ROLE … PASSWORD '…'`, or insert a key. What a literal holds is not
//! what a rehearsal is about, so none is kept: refuses to tell a secret one from another. The
//! bodies of dollar-quoted literals (functions, `DO`) are left out whole, since their language is
//! not known. Lexical structure: PostgreSQL, "SQL Syntax", 4.1.

/// How long the text of a statement is at most, in bytes. The server keeps 1,023 by default
/// (`track_activity_query_size`).
pub const TEXT_MAX_BYTES: usize = 1_000;

/// What stands where something was left out.
const HIDDEN: char = '…';

/// Masks the literals of a statement, drops its comments, joins white space, and cuts it.
pub fn mask(sql: &str) -> String {
    let mut masked = String::new();
    let mut rest = sql;
    // Whether the last character is a part of a word, in which a dollar sign begins nothing.
    let mut in_word = false;
    while let Some(first) = rest.chars().next() {
        if masked.len() > TEXT_MAX_BYTES {
            break;
        }
        let was_in_word = std::mem::take(&mut in_word);
        let after = if rest.starts_with("--") {
            space(&mut masked);
            rest.find(['\n', '\r']).map_or("", |end| &rest[end..])
        } else if rest.starts_with("/*") {
            space(&mut masked);
            after_comment(rest)
        } else if first == '\'' {
            let escapes = masked.ends_with(['e', 'E']) && !ends_with_longer_word(&masked);
            masked.push_str("'…'");
            after_quoted(&rest[1..], '\'', escapes)
        } else if first == '"' {
            let after = after_quoted(&rest[1..], '"', false);
            masked.push_str(&rest[..rest.len() - after.len()]);
            after
        } else if first == '$'
            && !was_in_word
            && let Some(tag) = dollar_tag(rest)
        {
            masked.push_str(&format!("{tag}{HIDDEN}{tag}"));
            let body = &rest[tag.len()..];
            body.find(tag).map_or("", |end| &body[end + tag.len()..])
        } else if first.is_whitespace() {
            space(&mut masked);
            rest.trim_start()
        } else {
            in_word = first.is_alphanumeric() || "_$".contains(first);
            masked.push(first);
            &rest[first.len_utf8()..]
        };
        rest = after;
    }
    cut(masked.trim_end())
}

fn space(text: &mut String) {
    if !text.is_empty() && !text.ends_with(' ') {
        text.push(' ');
    }
}

/// Whether more than one letter of a word stands at the end: `type'x'` is no `E'x'`.
fn ends_with_longer_word(text: &str) -> bool {
    text.chars().rev().nth(1).is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// What follows a comment; comments nest.
fn after_comment(text: &str) -> &str {
    let (mut depth, mut rest) = (0_u32, text);
    while !rest.is_empty() {
        if rest.starts_with("/*") {
            depth += 1;
            rest = &rest[2..];
        } else if rest.starts_with("*/") {
            depth -= 1;
            rest = &rest[2..];
            if depth == 0 {
                return rest;
            }
        } else {
            let skipped = rest.chars().next().map_or(0, char::len_utf8);
            rest = &rest[skipped..];
        }
    }
    rest
}

/// What follows the closing quote; a doubled quote is none, nor one after a backslash where those
/// escape.
fn after_quoted(text: &str, quote: char, escapes: bool) -> &str {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => {
                    chars.next();
                }
                _ => return &text[at + 1..],
            }
        }
    }
    ""
}

/// `$$` or `$tag$`, if the text begins with one.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 1;
    let tag = &text[1..end];
    let fine = tag.chars().all(|c| c.is_alphanumeric() || c == '_');
    (fine && !tag.starts_with(|c: char| c.is_ascii_digit())).then(|| &text[..=end])
}

fn cut(text: &str) -> String {
    if text.len() <= TEXT_MAX_BYTES {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(TEXT_MAX_BYTES);
    format!("{}{HIDDEN}", &text[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{TEXT_MAX_BYTES, mask};

    #[test]
    fn what_a_literal_holds_is_not_kept() {
        for (sql, expected) in [
            ("ALTER ROLE r PASSWORD 'hunter2'", "ALTER ROLE r PASSWORD '…'"),
            ("ALTER ROLE r PASSWORD 'hunter2", "ALTER ROLE r PASSWORD '…'"),
            ("ALTER ROLE r PASSWORD $$hunter2$$ LOGIN", "ALTER ROLE r PASSWORD $$…$$ LOGIN"),
            ("ALTER ROLE r PASSWORD $x$hunter2", "ALTER ROLE r PASSWORD $x$…$x$"),
            ("SELECT 'it''s hunter2', 1", "SELECT '…', 1"),
            (r"SELECT E'\'hunter2', 1", "SELECT E'…', 1"),
            (r"SELECT 'C:\', 'hunter2'", "SELECT '…', '…'"),
            (r"SELECT type'C:\', 'hunter2'", "SELECT type'…', '…'"),
            ("-- don't\nSELECT 'hunter2'", "SELECT '…'"),
            ("SELECT /* it's /* nested */ ' */ 'hunter2'", "SELECT '…'"),
            (r#"SELECT "it's", 'hunter2'"#, r#"SELECT "it's", '…'"#),
            ("DO $body$ 'hunter2' $body$;", "DO $body$…$body$;"),
            ("UPDATE t\n  SET a = $1, b$c$ = 2", "UPDATE t SET a = $1, b$c$ = 2"),
            ("PREPARE p AS SELECT $1 || 'hunter2' || $2", "PREPARE p AS SELECT $1 || '…' || $2"),
        ] {
            assert_eq!(mask(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_long_statement_is_cut_and_says_so() {
        let masked = mask(&format!("SELECT {}", "ä, ".repeat(1_000)));
        assert!(masked.len() <= TEXT_MAX_BYTES + '…'.len_utf8() && masked.ends_with('…'));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail_and_a_masked_one_stays(sql in ".{0,200}") {
            let once = mask(&sql);
            prop_assert_eq!(mask(&once), once.clone());
        }

        #[test]
        fn a_secret_in_quotes_is_hidden_whatever_stands_around_it(
            before in r#"([a-z ,;()=]|--[a-z']*\n|/\*[a-z']*\*/|"[a-z']*"| '[a-z\\]*'| \$\$[a-z']*\$\$ ){0,12}"#,
            secret in "[0-9]{6,9}",
        ) {
            let masked = mask(&format!("{before} '{secret}'"));
            prop_assert!(!masked.contains(&secret), "{}", masked);
        }
    }
}
