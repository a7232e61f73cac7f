//! Names that are minted fit everywhere, and are read back to what they were minted from.

use mayfly::preview::name::{MAX_NAME_BYTES, Prefix};
use mayfly::preview::{
    CommitSha, ComponentName, Host, PreviewName, PullNumber, Revision, Stamp, Suffix,
};
use proptest::prelude::*;

fn names() -> impl Strategy<Value = PreviewName> {
    let prefix = proptest::option::of("[a-z][a-z0-9]{0,39}");
    (prefix, 1..=u32::MAX).prop_map(|(prefix, number)| {
        let prefix = prefix.and_then(|text| Prefix::parse(&text).ok());
        PreviewName::new(prefix, PullNumber::new(i64::from(number)).unwrap())
    })
}

fn hosts() -> impl Strategy<Value = Host> {
    let component = proptest::option::of("[a-z][a-z0-9-]{0,14}[a-z0-9]|pr-[1-9]|x-pr-[1-9]");
    (names(), component).prop_map(|(name, component)| Host {
        name,
        component: component.map(|text| ComponentName::parse(&text).unwrap()),
    })
}

proptest! {
    #[test]
    fn every_name_fits_a_label_a_namespace_and_an_identifier(name in names()) {
        for text in [name.namespace(), name.database(), name.role()] {
            prop_assert!(text.len() <= MAX_NAME_BYTES, "{text} would be cut and could collide");
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        prop_assert!(name.namespace().chars().all(|c| plain(c) || c == '-'));
        prop_assert!(name.database().chars().all(|c| plain(c) || c == '_'));
    }

    #[test]
    fn every_name_is_read_back_as_itself(name in names()) {
        prop_assert_eq!(PreviewName::parse(&name.namespace()), Some(name.clone()));
        prop_assert_eq!(PreviewName::parse_database(&name.database()), Some(name.clone()));
        let stamp = Stamp::new("here", &name);
        prop_assert_eq!(Stamp::parse(&stamp.line()), Some(stamp));
    }

    #[test]
    fn two_previews_never_share_a_name(one in names(), other in names()) {
        prop_assert_eq!(one == other, one.namespace() == other.namespace());
        prop_assert_eq!(one == other, one.database() == other.database());
    }

    #[test]
    fn every_host_is_one_label_that_is_read_back_as_itself_and_is_nobody_elses(
        (one, other) in (hosts(), hosts()),
    ) {
        let fits = |it: &Host| it.component.as_ref().is_none_or(|of| of.fits(it.name.prefix()));
        prop_assume!(fits(&one));
        prop_assert!(one.label().len() <= MAX_NAME_BYTES && !one.label().contains('.'));
        prop_assert_eq!(Host::parse(&one.label()), Some(one.clone()));
        prop_assert_eq!(one == other, one.label() == other.label());
        prop_assert_eq!(PreviewName::parse(&one.label()).is_some(), one.component.is_none());
        if let Some(component) = &one.component {
            let database = component.database(&one.name);
            prop_assert!(database.len() <= MAX_NAME_BYTES, "{database} would be cut");
            let read = ComponentName::parse_database(&database);
            prop_assert_eq!(read, Some((one.name.clone(), component.clone())));
            prop_assert_eq!(PreviewName::parse_role(&database), None);
        }
    }

    #[test]
    fn no_text_makes_reading_a_name_panic_or_lie(text in ".{0,80}") {
        if let Some(host) = Host::parse(&text) {
            prop_assert_eq!(host.label(), text.clone());
        }
        if let Some(name) = PreviewName::parse(&text) {
            prop_assert_eq!(name.namespace(), text);
        }
    }

    #[test]
    fn every_revision_is_read_back_as_itself(hex in "[0-9a-f]{40}", restart in any::<u32>()) {
        let revision = Revision { commit: CommitSha::parse(&hex).unwrap(), restart };
        prop_assert_eq!(Revision::parse(&revision.to_string()), Some(revision));
    }
}

#[test]
fn what_we_would_not_have_minted_is_not_ours() {
    for text in [
        "",
        "pr-",
        "pr-0",
        "pr-01",
        "pr--1",
        "pr-+1",
        "pr-1 ",
        " pr-1",
        "PR-1",
        "pr-4294967296",
        "pr-1-pr-2",
        "pr_1",
        "-pr-1",
        "pr-pr-1",
        "1a-pr-1",
        "a_b-pr-1",
        "a-b-pr-1",
        "kube-system",
        "pr-٣",
        "pr-1\n",
        "pr-1\0",
        "../pr-1",
    ] {
        assert_eq!(PreviewName::parse(text), None, "{text:?}");
    }
}

#[test]
fn a_suffix_under_which_no_host_would_work_is_refused() {
    let long = format!("{}.com", "a".repeat(64));
    let deep = vec!["abcdefghij"; 18].join(".");
    for text in
        ["", ".", "a.", ".a", "a..b", "-a.b", "a-.b", "A.b", "a_b.c", "10.0.0.1", &long, &deep]
    {
        assert!(Suffix::parse(text).is_err(), "{text:?}");
    }
    for text in ["localhost", "preview.localhost", "p.example.com", "xn--bcher-kva.example"] {
        assert!(Suffix::parse(text).is_ok(), "{text:?}");
    }
}
