//! The words that a person reads on a pull request.
//!
//! Refuses to let text from outside be markup: it is shown as code, in which Markdown knows no
//! HTML, links, mentions or references. Equal announcements give equal words, so that an unchanged
//! comment is not edited.

mod rehearsal;

use chrono::{DateTime, Utc};

use super::Announcement;
use crate::preview::desired::Reason;
use crate::preview::{Choice, Notice, PreviewName};

/// The longest comment that GitHub accepts, in characters.
pub const MAX_COMMENT_CHARS: usize = 65_536;
/// The longest description of a deployment status that GitHub accepts, in characters.
pub const MAX_DESCRIPTION_CHARS: usize = 140;

const MAX_QUOTE_CHARS: usize = 500;
const MAX_RECEIPT_LINES: usize = 50;

/// The hidden first line by which we find our comment again.
pub fn marker(instance: &str, name: &PreviewName) -> String {
    format!("<!-- mayfly:{instance}:{name} -->")
}

/// The sticky comment.
pub fn markdown(announcement: &Announcement, instance: &str) -> String {
    let name = &announcement.name;
    let mut text = format!("{}\n{}\n", marker(instance, name), words(announcement));
    if let Some(report) = &announcement.rehearsal {
        text.push_str(&format!("\n{}\n", rehearsal::paragraph(report)));
    }
    if !announcement.receipt.is_empty() {
        text.push_str("\nWhat each backend answered when it was asked again:\n\n");
        for line in announcement.receipt.iter().take(MAX_RECEIPT_LINES) {
            text.push_str(&format!("- {}\n", quoted(line)));
        }
        let more = announcement.receipt.len().saturating_sub(MAX_RECEIPT_LINES);
        if more > 0 {
            text.push_str(&format!("- and {more} more\n"));
        }
    }
    debug_assert!(text.chars().count() <= MAX_COMMENT_CHARS);
    text
}

/// What could not be done beside the comment, and the cure; at the comment's end.
pub fn caveat(why: &str) -> String {
    format!("\nThis is not shown as a deployment of the pull request:\n\n- {}\n", quoted(why))
}

fn words(announcement: &Announcement) -> String {
    let name = &announcement.name;
    match &announcement.notice {
        Notice::Preparing { commit } => format!(
            "### Preview `{name}` is on its way\n\nPreparing commit `{}`. \
             This comment will carry the link as soon as it answers.",
            commit.short()
        ),
        Notice::Ready { revision, choice, expires_at, expiring } => {
            let (title, until) = if *expiring {
                ("will expire soon", "**It will be removed on")
            } else {
                ("is ready", "It expires on")
            };
            let end = if *expiring { ".**" } else { "." };
            let back = match &announcement.rolled_back_from {
                Some(head) => {
                    format!(", and not the head `{}`: somebody went back to it", head.short())
                }
                None => String::new(),
            };
            format!(
                "### Preview `{name}` {title}\n\n{}{}\n\nServes commit `{}`{back}{}. {until} {}{end} \
                 To keep it longer, push a commit or ask Mayfly to extend `{name}`.{}",
                link(&announcement.url),
                beside(&announcement.components),
                revision.commit.short(),
                chosen(choice),
                instant(*expires_at),
                passed_over(choice)
            )
        }
        Notice::Failing { commit, why, serves } => {
            let meanwhile = match serves {
                Some(served) => {
                    format!("{} still serves commit `{}`.", link(&announcement.url), served.short())
                }
                None => "Nothing is served yet.".to_owned(),
            };
            format!(
                "### Preview `{name}` does not start\n\nCommit `{}` cannot be served:\n\n- {}\n\n\
                 {meanwhile} A push or a redeploy starts it anew.",
                commit.short(),
                quoted(why)
            )
        }
        Notice::Blocked { conflict } => format!(
            "### Preview `{name}` is blocked\n\nSomething that is not Mayfly's holds a name that \
             this preview needs, and was left untouched:\n\n- {}\n\n\
             Once that is removed or renamed, the preview continues by itself.",
            quoted(conflict)
        ),
        Notice::AwaitingApproval { commit } => format!(
            "### Preview `{name}` awaits approval\n\nThis pull request comes from a fork, so \
             nothing runs until a maintainer has looked at commit `{}` and approved it. \
             Another commit needs another approval.\n\nFull commit: `{commit}`",
            commit.short()
        ),
        Notice::Stopping { reason } => {
            format!("### Preview `{name}` is being removed\n\n{}", sentence(*reason))
        }
        Notice::Gone { reason } => {
            format!("### Preview `{name}` is gone\n\n{} Nothing of it is left.", sentence(*reason))
        }
    }
}

/// The state of a deployment status, in GitHub's words.
pub fn deployment_state(notice: &Notice) -> &'static str {
    match notice {
        Notice::Preparing { .. } => "in_progress",
        Notice::Ready { .. } => "success",
        Notice::Failing { .. } | Notice::Blocked { .. } => "failure",
        Notice::AwaitingApproval { .. } | Notice::Stopping { .. } | Notice::Gone { .. } => {
            "inactive"
        }
    }
}

/// One line for a deployment status. Plain text: GitHub does not render it.
pub fn description(notice: &Notice) -> String {
    let line = match notice {
        Notice::Preparing { commit } => format!("Preparing {}", commit.short()),
        Notice::Ready { revision, expires_at, expiring, .. } => {
            let verb = if *expiring { "expires soon, on" } else { "expires on" };
            format!("Serves {}; {verb} {}", revision.commit.short(), instant(*expires_at))
        }
        Notice::Failing { commit, why, .. } => {
            format!("{} does not start: {}", commit.short(), one_line(why))
        }
        Notice::Blocked { conflict } => format!("Blocked: {}", one_line(conflict)),
        Notice::AwaitingApproval { commit } => format!("Awaits approval of {}", commit.short()),
        Notice::Stopping { reason } => format!("Being removed. {}", sentence(*reason)),
        Notice::Gone { reason } => format!("Removed. {}", sentence(*reason)),
    };
    shortened(&line, MAX_DESCRIPTION_CHARS)
}

/// What the labels chose of what is served.
fn chosen(choice: &Choice) -> String {
    let tier = choice.tier.iter().map(|tier| format!(" in tier {}", quoted(tier)));
    let on: Vec<_> = choice.on().map(quoted).collect();
    let on = match on.is_empty() {
        true => String::new(),
        false => format!(" with {}", on.join(", ")),
    };
    tier.chain([on]).collect()
}

/// What they asked for in vain.
fn passed_over(choice: &Choice) -> String {
    let (Some(tier), false) = (&choice.tier, choice.passed_over.is_empty()) else {
        return String::new();
    };
    let others: Vec<_> = choice.passed_over.iter().map(|it| quoted(it)).collect();
    format!(
        "\n\nLabels ask for tier {} too; {} comes first in Mayfly's configuration. Remove a label \
         to have the other.",
        others.join(", "),
        quoted(tier)
    )
}

fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::Closed => "The pull request was closed.",
        Reason::Merged => "The pull request was merged.",
        Reason::Idle => "Nobody pushed to it or extended it for a while; a push brings it back.",
        Reason::MaxLife => "It reached the longest life that a preview may have.",
        Reason::Stopped => "Somebody stopped it; it can be started again.",
        Reason::Deleted => "Somebody deleted it; a new commit brings it back.",
        Reason::AwaitingApproval => "The commit of this fork is not approved.",
        Reason::Draft => "The pull request is a draft; it comes back when it is ready for review.",
        Reason::NotSelected => "The pull request's labels leave it out.",
    }
}

fn instant(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// Where the components are, a line each.
fn beside(components: &[(String, String)]) -> String {
    let line = |(name, url): &(String, String)| format!("\n- `{name}`: {}", link(url));
    let lines: String = components.iter().map(line).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// A link to a URL, which is shown as code instead when it could end its own markup.
fn link(url: &str) -> String {
    let http = url.starts_with("https://") || url.starts_with("http://");
    let fine = |c: char| c.is_ascii_graphic() && !"<>()[]{}\"'`\\|*_@".contains(c);
    if http && url.chars().all(fine) { format!("**<{url}>**") } else { quoted(url) }
}

/// Outside text as a code span: nothing in it is a backtick or a line break, so nothing ends it.
fn quoted(text: &str) -> String {
    match shortened(&one_line(text).replace('`', "'"), MAX_QUOTE_CHARS) {
        text if text.is_empty() => "`(no details)`".to_owned(),
        text => format!("`{text}`"),
    }
}

/// Without line breaks, other controls, and the characters that turn the reading direction.
fn one_line(text: &str) -> String {
    let visible = |c: char| {
        let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if c.is_control() || turns { ' ' } else { c }
    };
    let text: String = text.chars().map(visible).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shortened(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars - 1).chain(['…']).collect()
}
