//! What any registry must keep, on the fake, on a stand-in that can be rude, and on the real
//! `registry` program.

mod login;
mod real;
mod rude;
mod stand_in;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeZone, Utc};
use ipnet::IpNet;
use mayfly::address::Reach;
use mayfly::image::oci::{Limits, OciImages};
use mayfly::image::{Found, Images, Login, Registry};
use mayfly::workload::{Image, ImageTag};

use self::stand_in::{Mood, StandIn};
use crate::world::HandClock;
use crate::world::faults::{Faults, Mode};
use crate::world::images::FakeImages;

/// A password that no answer may repeat.
const PASSWORD: &str = "hush-hush";

fn tag(registry: &str, tag: &str) -> ImageTag {
    ImageTag::parse(&format!("{registry}/acme/shop:{tag}")).unwrap()
}

/// A registry of this machine, which speaks plain HTTP.
fn registry(host: &str) -> Registry {
    Registry {
        host: host.to_owned(),
        key: "registries[0]".to_owned(),
        login: None,
        insecure: true,
        reach: Reach::only(vec![loopback()]),
        ca_pem: None,
    }
}

fn loopback() -> IpNet {
    "127.0.0.0/8".parse().unwrap()
}

fn ada() -> Login {
    let (username, password) = ("ada".to_owned(), PASSWORD.to_owned().into());
    Login { username, password, password_file: None }
}

fn clock() -> Arc<HandClock> {
    Arc::new(HandClock::at(Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).unwrap()))
}

fn images(registry: Registry) -> OciImages {
    images_within(registry, Duration::from_secs(20))
}

fn images_within(registry: Registry, answer_within: Duration) -> OciImages {
    let limits = Limits { answer_within, ..Limits::default() };
    OciImages::new(vec![registry], limits, clock()).unwrap()
}

#[track_caller]
fn refused(found: Found, words: &str) {
    let Found::Refused(why) = &found else { panic!("not refused: {found:?}") };
    assert!(why.contains(words), "says {words:?}: {why}");
    assert!(!why.contains("hush"), "repeats a secret: {why}");
}

#[track_caller]
fn unknown(found: Found, words: &str) {
    let Found::Unknown(why) = &found else { panic!("not unknown: {found:?}") };
    assert!(why.contains(words), "says {words:?}: {why}");
}

/// What the loop relies on. `push` makes a tag name an image of this number.
async fn images_contract(
    images: &dyn Images,
    registry: &str,
    push: impl AsyncFn(&ImageTag, u8) -> Image,
) {
    let (one, two) = (tag(registry, "one"), tag(registry, "two"));
    for _ in 0..2 {
        let found = images.resolve(&one).await;
        let Found::NotYet(why) = &found else { panic!("{found:?}") };
        assert!(why.contains(&one.to_string()), "{why}");
    }
    let first = push(&one, 1).await;
    assert_eq!(first.name(), one.name());
    for _ in 0..2 {
        assert_eq!(images.resolve(&one).await, Found::Digest(first.clone()), "it appeared late");
    }
    assert!(matches!(images.resolve(&two).await, Found::NotYet(_)), "one tag is not another");
    let second = push(&one, 2).await;
    assert_ne!(second, first);
    assert_eq!(images.resolve(&one).await, Found::Digest(second.clone()), "the tag was moved");
    push(&two, 1).await;
    assert_eq!(images.resolve(&two).await, Found::Digest(first), "the same image by another tag");
    assert_eq!(images.resolve(&one).await, Found::Digest(second));
    refused(images.resolve(&tag("elsewhere.example.com", "one")).await, "registries");
}

#[tokio::test]
async fn the_fake_registry_keeps_the_contract() {
    let faults = Faults::default();
    for mode in [None, Some(Mode::Repeat)] {
        let images = FakeImages::new("registry.test", faults.clone());
        if let Some(mode) = mode {
            faults.always("images.resolve", mode);
        }
        let push = async |tag: &ImageTag, n: u8| images.push(tag, char::from(b'0' + n));
        images_contract(&images, "registry.test", push).await;
    }
}

#[tokio::test]
async fn a_failed_look_of_the_fake_registry_is_unknown_and_never_not_yet() {
    let faults = Faults::default();
    let images = FakeImages::new("registry.test", faults.clone());
    for mode in [Mode::FailBefore, Mode::FailAfter] {
        faults.always("images.resolve", mode);
        unknown(images.resolve(&tag("registry.test", "a")).await, "told to fail");
    }
    faults.always("images.resolve", Mode::Refuse);
    refused(images.resolve(&tag("registry.test", "a")).await, "change the configuration");
}

#[tokio::test]
async fn a_registry_keeps_the_contract_however_it_wants_a_login_and_whatever_it_leaves_out() {
    for mood in
        [Mood::Open, Mood::Basic, Mood::Token, Mood::NoDigest, Mood::NoHead, Mood::NoTypeForHead]
    {
        let stand_in = StandIn::start(mood).await;
        let mut registry = registry(&stand_in.host);
        registry.login = matches!(mood, Mood::Basic | Mood::Token).then(ada);
        let images = images(registry);
        let push = async |tag: &ImageTag, n: u8| stand_in.push(tag, n);
        images_contract(&images, &stand_in.host, push).await;
    }
}
