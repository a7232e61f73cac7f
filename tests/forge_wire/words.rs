//! People read our words, and nobody else's markup.

use chrono::{DateTime, Utc};
use mayfly::forge::{Announcement, notice};
use mayfly::preview::desired::Reason;
use mayfly::preview::{Choice, CommitSha, Notice, PreviewName, Revision};
use proptest::prelude::*;

use super::SHA;

fn announcement(notice: Notice, receipt: &[&str]) -> Announcement {
    Announcement {
        name: PreviewName::parse("shop-pr-7").unwrap(),
        url: "https://shop-pr-7.preview.example.com".to_owned(),
        components: Vec::new(),
        notice,
        rolled_back_from: None,
        rehearsal: None,
        receipt: receipt.iter().map(|&line| line.to_owned()).collect(),
    }
}

fn commit() -> CommitSha {
    CommitSha::parse(SHA).unwrap()
}

fn ready(expiring: bool) -> Notice {
    let expires_at = "2026-01-02T03:04:05Z".parse::<DateTime<Utc>>().unwrap();
    let revision = Revision { commit: commit(), restart: 0 };
    Notice::Ready { revision, choice: Choice::default(), expires_at, expiring }
}

fn notices() -> [(Notice, &'static str, &'static [&'static str]); 8] {
    let conflict = "namespace: made by hand".to_owned();
    [
        (Notice::Preparing { commit: commit() }, "in_progress", &["0123456", "on its way"]),
        (
            ready(false),
            "success",
            &[
                "<https://shop-pr-7.preview.example.com>",
                "0123456",
                "2026-01-02 03:04 UTC",
                "extend",
            ],
        ),
        (ready(true), "success", &["expire soon", "2026-01-02 03:04 UTC", "extend"]),
        (
            Notice::Failing {
                commit: commit(),
                why: "workload: its image is not there".to_owned(),
                serves: None,
            },
            "failure",
            &[
                "0123456",
                "does not start",
                "`workload: its image is not there`",
                "Nothing is served",
            ],
        ),
        (Notice::Blocked { conflict }, "failure", &["blocked", "`namespace: made by hand`"]),
        (Notice::AwaitingApproval { commit: commit() }, "inactive", &["approv", SHA]),
        (
            Notice::Stopping { reason: Reason::Idle },
            "inactive",
            &["being removed", "Nobody pushed"],
        ),
        (Notice::Gone { reason: Reason::Merged }, "inactive", &["gone", "was merged"]),
    ]
}

#[test]
fn each_notice_has_its_words_its_state_and_one_line() {
    for (notice, state, words) in notices() {
        let text = notice::markdown(&announcement(notice.clone(), &[]), "prod");
        assert!(text.starts_with("<!-- mayfly:prod:shop-pr-7 -->\n"), "{text}");
        for word in words {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert_eq!(notice::deployment_state(&notice), state);
        let line = notice::description(&notice);
        assert!(!line.is_empty() && !line.contains('\n') && line.chars().count() <= 140);
    }
}

#[test]
fn no_marker_is_the_start_of_another() {
    let of = |name| notice::marker("prod", &PreviewName::parse(name).unwrap());
    assert!(!of("pr-77").starts_with(&of("pr-7")));
}

#[test]
fn the_receipt_is_a_list_of_bounded_length() {
    let gone = Notice::Gone { reason: Reason::Closed };
    let text = notice::markdown(&announcement(gone.clone(), &["DNS: absent", "role: absent"]), "i");
    assert!(text.ends_with("- `DNS: absent`\n- `role: absent`\n"), "{text}");
    let long = "x".repeat(70_000);
    let text = notice::markdown(&announcement(gone, &[&long[..]; 200]), "i");
    assert!(text.chars().count() <= notice::MAX_COMMENT_CHARS);
    assert!(text.ends_with("- and 150 more\n"));
}

#[test]
fn a_url_that_could_end_its_own_markup_is_not_a_link() {
    for url in ["javascript:alert(1)", "https://x> @all", "https://x\n# Title"] {
        let odd = Announcement { url: url.to_owned(), ..announcement(ready(false), &[]) };
        let text = notice::markdown(&odd, "i");
        assert!(!text.contains("**<") && !text.contains("\n# Title"), "{text}");
    }
}

/// Splits at the code span that holds the outside text, and checks that it is one.
fn around_the_quote(text: &str, before: &str) -> (String, String) {
    let (head, rest) = text.split_once(before).unwrap();
    let (inside, tail) = rest.strip_prefix('`').unwrap().split_once('`').unwrap();
    assert!(!inside.is_empty() && !inside.chars().any(char::is_control), "{inside:?}");
    (head.to_owned(), tail.to_owned())
}

fn hostile() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "`",
        "``",
        "```\n",
        "\n\n# ",
        "<script>",
        "<!-- mayfly:i:pr-8 -->",
        "-->",
        "@octavia",
        "#1",
        "[a](https://b)",
        "![",
        "\\",
        "|",
        "\r",
        "\u{2028}",
        "\u{202e}",
        "~~~",
        "    ",
        "&#64;",
    ]);
    prop::collection::vec(prop_oneof![known.prop_map(str::to_owned), ".{0,9}"], 0..9)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn outside_text_stays_within_its_quote(text in hostile()) {
        let shown = |conflict: &str| {
            let notice = Notice::Blocked { conflict: conflict.to_owned() };
            let text = notice::markdown(&announcement(notice, &[]), "i");
            around_the_quote(&text, "untouched:\n\n- ")
        };
        prop_assert_eq!(shown(&text), shown("plain"));
        let shown = |line: &str| {
            let notice = Notice::Gone { reason: Reason::Closed };
            let text = notice::markdown(&announcement(notice, &[line]), "i");
            around_the_quote(&text, "asked again:\n\n- ")
        };
        prop_assert_eq!(shown(&text), shown("plain"));
        let line = notice::description(&Notice::Blocked { conflict: text });
        prop_assert!(line.chars().count() <= 140 && !line.chars().any(char::is_control));
    }
}

#[test]
fn what_migrations_did_is_one_paragraph_of_the_comment_that_says_ready() {
    let revision = Revision { commit: commit(), restart: 0 };
    let report = crate::world::rehearsals::report(&revision, true);
    let ready = Announcement { rehearsal: Some(report), ..announcement(ready(false), &[]) };
    let text = notice::markdown(&ready, "test");
    let paragraph = "**Migrations:** 1 statement, 1.2 s; strongest lock `AccessExclusive` on \
                     `shop.orders` (stops reads); 1 table rewritten (`shop.orders`); schema: 1 \
                     column altered.";
    assert!(text.contains(paragraph), "{text}");
    // What nobody watched is told as such.
    let report = crate::world::rehearsals::report(&revision, false);
    let partial = Announcement { rehearsal: Some(report), ..ready };
    let text = notice::markdown(&partial, "test");
    assert!(text.contains("This is not all of it: `nobody watched`."), "{text}");
}
