//! Images' names, tags and templates: whatever parses is printed as it was, nothing outside the
//! grammar passes, and a tag that is another commit's too is refused with the cure.

use mayfly::preview::{CommitSha, PullNumber};
use mayfly::workload::{Image, ImageError, ImageName, ImageTag, ImageTemplate};
use proptest::prelude::*;

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

fn number(n: u32) -> PullNumber {
    PullNumber::new(n.into()).unwrap()
}

fn rendered(template: &str) -> String {
    match ImageTemplate::parse(template).unwrap() {
        ImageTemplate::Tagged(it) => {
            it.render(&CommitSha::parse(SHA).unwrap(), number(7)).to_string()
        }
        ImageTemplate::Pinned(image) => panic!("pinned: {image}"),
    }
}

#[test]
fn a_template_becomes_the_tag_of_its_commit() {
    for (template, tag) in [
        ("ghcr.io/acme/shop:{{ sha }}", format!("ghcr.io/acme/shop:{SHA}")),
        ("ghcr.io/acme/shop:{{sha}}", format!("ghcr.io/acme/shop:{SHA}")),
        ("r.io:5000/a:pr-{{ pr }}-{{ short_sha }}", "r.io:5000/a:pr-7-0123456".to_owned()),
        ("r.io/a:{{ pr }}.{{ sha }}_x", format!("r.io/a:7.{SHA}_x")),
    ] {
        assert_eq!(rendered(template), tag);
    }
    let longest = CommitSha::parse(&"a".repeat(64)).unwrap();
    let template = format!("r.io/a:{{{{ sha }}}}{{{{ pr }}}}{}", "x".repeat(54));
    let ImageTemplate::Tagged(it) = ImageTemplate::parse(&template).unwrap() else { panic!() };
    assert_eq!(it.render(&longest, number(u32::MAX)).tag().len(), 128);
    let error = ImageTemplate::parse(&format!("{template}x")).unwrap_err();
    assert!(error.to_string().contains("at most 128"), "{error}");
}

#[test]
fn a_digest_is_a_pinned_image_and_the_same_for_every_commit() {
    let text = format!("ghcr.io/acme/shop@sha256:{}", "0a".repeat(32));
    let template = ImageTemplate::parse(&text).unwrap();
    assert_eq!(template, ImageTemplate::Pinned(Image::parse(&text).unwrap()));
    assert_eq!((template.to_string(), template.name().registry()), (text, "ghcr.io"));
}

#[test]
fn a_tag_that_names_another_image_tomorrow_is_refused_with_the_cure() {
    for moving in ["r.io/a:latest", "r.io/a:v1.2", "r.io/a:pr-{{ pr }}", "r.io:5000/a:main"] {
        let error = ImageTemplate::parse(moving).unwrap_err();
        assert_eq!(error, ImageError::Moving(moving.to_owned()));
        assert!(error.to_string().contains("{{ sha }}"), "{error}");
        assert!(error.to_string().contains("@sha256:"), "{error}");
    }
}

#[test]
fn a_template_that_is_none_is_refused_with_the_cure() {
    for (template, cure) in [
        ("shop:{{ sha }}", "does not say its registry"),
        ("acme/shop:{{ sha }}", "ghcr.io/acme/shop"),
        ("r.io/a:{{ branch }}", "{{ short_sha }}"),
        ("r.io/a:{{ sha", "is no placeholder"),
        ("r.io/a:{{ sha }", "is no placeholder"),
        ("r.io/a:{{{ sha }}}", "is no placeholder"),
        ("r.io/a:{{ sha | upper }}", "is no placeholder"),
        ("r.io/a:{{ sha }}}}", "is not a tag"),
        ("r.io/a:-{{ sha }}", "is not a tag"),
        ("r.io/a:{{ sha }} ", "is not a tag"),
        ("r.io/a:{{ sha }}+1", "is not a tag"),
        ("r.io/{{ sha }}", "no tag"),
        ("r.io/{{ sha }}:{{ sha }}", "is not an image's name"),
        ("{{ sha }}", "no tag"),
        ("r.io/a", "by digest"),
        ("", "by digest"),
        ("r.io/a:{{ sha }}@sha256:00", "by digest"),
    ] {
        let error = ImageTemplate::parse(template).unwrap_err().to_string();
        assert!(error.contains(cure), "{template:?} says {cure:?}: {error}");
    }
}

fn name() -> impl Strategy<Value = String> {
    let host = "[a-z0-9]{1,5}(-[a-z0-9]{1,3})?\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?";
    let component = "[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}";
    (host, proptest::collection::vec(component, 1..4))
        .prop_map(|(host, path)| format!("{host}/{}", path.join("/")))
}

/// By the specification's own expressions, in words of ours.
fn is_lawful(name: &str, tag: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let component = |part: &str| {
        let bytes = part.as_bytes();
        let edges = [bytes.first(), bytes.last()];
        edges.iter().all(|it| it.is_some_and(|c| plain(char::from(*c))))
            && part.chars().all(|c| plain(c) || ".-_".contains(c))
            && !["..", "___", "._", "_.", ".-", "-.", "_-", "-_"].iter().any(|it| part.contains(it))
    };
    let (host, path) = name.split_once('/').unwrap_or(("", name));
    let starts = tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    host.chars().all(|c| plain(c) || ".-:".contains(c))
        && path.split('/').all(component)
        && starts
        && tag.len() <= 128
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

proptest! {
    #[test]
    fn a_lawful_tag_is_printed_as_it_was_read(name in name(), tag in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}") {
        let text = format!("{name}:{tag}");
        let parsed = ImageTag::parse(&text).unwrap();
        prop_assert_eq!(parsed.to_string(), text);
        prop_assert_eq!(parsed.name().to_string(), name);
        prop_assert_eq!(parsed.tag(), tag);
        let digest = format!("sha256:{}", "0f".repeat(32));
        let image = Image::pin(&parsed, &digest).unwrap();
        prop_assert_eq!(Image::parse(&image.to_string()).unwrap(), image);
    }

    #[test]
    fn nothing_outside_the_grammar_passes(text in "[a-zA-Z0-9:/@._ \\-{}]{0,40}|\\PC{0,30}") {
        if let Ok(tag) = ImageTag::parse(&text) {
            prop_assert!(is_lawful(&tag.name().to_string(), tag.tag()), "{}", text);
            prop_assert_eq!(tag.to_string(), text.clone());
        }
        if let Ok(name) = ImageName::parse(&text) {
            prop_assert!(is_lawful(&text, "x"), "{}", text);
            prop_assert_eq!(name.to_string(), text.clone());
        }
        if let Ok(image) = Image::parse(&text) {
            prop_assert_eq!(image.to_string(), text);
        }
    }

    #[test]
    fn what_nearly_is_a_name_passes_only_where_it_is_one(
        name in name(), at in any::<prop::sample::Index>(), stray in "[A-Z_.:/@ -]|\\PC",
    ) {
        let mut text = name;
        text.insert_str(at.index(text.len() + 1).min(text.len()), &stray);
        if let Ok(parsed) = ImageName::parse(&text) {
            prop_assert!(is_lawful(&text, "x"), "{}", text);
            prop_assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn a_template_that_parses_is_printed_equal_and_renders_a_lawful_tag(
        name in name(), pieces in "([a-z0-9._-]{1,3}|\\{\\{ ?(sha|short_sha|pr) ?\\}\\}){1,5}",
        sha in "[0-9a-f]{40}|[0-9a-f]{64}", n in 1..=u32::MAX,
    ) {
        let Ok(template) = ImageTemplate::parse(&format!("{name}:{pieces}")) else { return Ok(()) };
        prop_assert_eq!(&ImageTemplate::parse(&template.to_string()).unwrap(), &template);
        let ImageTemplate::Tagged(tagged) = template else { return Err(TestCaseError::fail("pinned")) };
        let tag = tagged.render(&CommitSha::parse(&sha).unwrap(), number(n));
        prop_assert!(is_lawful(&name, tag.tag()), "{}", tag);
        prop_assert!(tag.tag().contains(&sha[..7]), "{} names its commit", tag);
        prop_assert_eq!(ImageTag::parse(&tag.to_string()).unwrap(), tag);
    }

    #[test]
    fn no_text_makes_a_template_panic(text in "[a-z.:/@{} ]{0,40}|\\PC{0,40}") {
        let _ = ImageTemplate::parse(&text);
        let _ = ImageTag::parse(&text);
    }
}
