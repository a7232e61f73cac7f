//! Who we are to a registry: shown where it is wanted, kept while it is good, and nowhere else.

use std::sync::Arc;

use chrono::TimeDelta;
use mayfly::image::oci::{Limits, OciImages};
use mayfly::image::{Found, Images, Login, Registry};

use super::{Mood, PASSWORD, StandIn, ada, clock, images, refused, registry, tag};
use crate::world::HandClock;

fn images_at(registry: Registry, clock: Arc<HandClock>) -> OciImages {
    OciImages::new(vec![registry], Limits::default(), clock).unwrap()
}

fn private(stand_in: &StandIn) -> Registry {
    Registry { login: Some(ada()), ..registry(&stand_in.host) }
}

#[tokio::test]
async fn a_token_is_asked_for_once_for_everybody_and_kept_until_it_expires() {
    let stand_in = StandIn::start(Mood::Token).await;
    let clock = clock();
    let images = images_at(private(&stand_in), clock.clone());
    let tag = tag(&stand_in.host, "a");
    let image = stand_in.push(&tag, 1);
    let found = futures_util::future::join_all((0..20).map(|_| images.resolve(&tag))).await;
    assert!(found.iter().all(|it| *it == Found::Digest(image.clone())), "{found:?}");
    assert_eq!(stand_in.given(), 1, "one for twenty who asked at once");
    clock.advance(TimeDelta::seconds(280));
    images.resolve(&tag).await;
    assert_eq!(stand_in.given(), 1, "it is still good");
    clock.advance(TimeDelta::seconds(15));
    images.resolve(&tag).await;
    assert_eq!(stand_in.given(), 2, "it is not used in its last seconds");
    stand_in.revoke();
    assert_eq!(images.resolve(&tag).await, Found::Digest(image.clone()), "a new one, at once");
    assert_eq!(stand_in.given(), 3);
    stand_in.set_life(-5);
    stand_in.revoke();
    for given in 4..6 {
        assert_eq!(images.resolve(&tag).await, Found::Digest(image.clone()));
        assert_eq!(stand_in.given(), given, "one that is over already is used and not kept");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_one_repository_and_only_to_pull() {
    let stand_in = StandIn::start(Mood::Token).await;
    let images = images(private(&stand_in));
    images.resolve(&tag(&stand_in.host, "a")).await;
    let asked = stand_in.asked();
    let scope = "scope=repository%3Aacme%2Fshop%3Apull";
    assert_eq!(asked[0], ("HEAD acme/shop/manifests/a".to_owned(), None), "first as nobody");
    assert_eq!(asked[1].0, format!("GET token?service=stand-in&{scope}"));
    assert!(asked[1].1.as_ref().is_some_and(|it| it.starts_with("Basic ")), "{asked:?}");
    assert_eq!(asked[2].1.as_deref(), Some("Bearer hush-token-1"));
    assert_eq!(asked.len(), 3, "{asked:?}");
}

#[tokio::test]
async fn a_login_that_is_missing_or_wrong_is_said_with_the_key_and_not_repeated() {
    for mood in [Mood::Basic, Mood::Token] {
        let stand_in = StandIn::start(mood).await;
        let tag = tag(&stand_in.host, "a");
        stand_in.push(&tag, 1);
        let anonymous = images(registry(&stand_in.host));
        refused(anonymous.resolve(&tag).await, "set registries[0].username");
        let images = images(private(&stand_in));
        stand_in.set_password("another");
        for _ in 0..2 {
            let before = stand_in.asked().len();
            refused(images.resolve(&tag).await, "registries[0].password_file holds its password");
            let asked = stand_in.asked().len() - before;
            assert!(asked <= 3, "a login that is refused is not tried again and again: {asked}");
        }
        stand_in.set_password(PASSWORD);
        assert!(matches!(images.resolve(&tag).await, Found::Digest(_)), "and is tried later");
    }
}

#[tokio::test]
async fn a_password_that_was_rotated_in_its_file_is_read_again() {
    for mood in [Mood::Basic, Mood::Token] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush-new\n").unwrap();
        let stand_in = StandIn::start(mood).await;
        let tag = tag(&stand_in.host, "a");
        let image = stand_in.push(&tag, 1);
        let login = Login { password_file: Some(file.path().to_owned()), ..ada() };
        let images = images(Registry { login: Some(login), ..registry(&stand_in.host) });
        stand_in.set_password("hush-new");
        assert_eq!(
            images.resolve(&tag).await,
            Found::Digest(image.clone()),
            "before the first use"
        );
        std::fs::write(file.path(), "hush-newer").unwrap();
        stand_in.set_password("hush-newer");
        stand_in.revoke();
        assert_eq!(images.resolve(&tag).await, Found::Digest(image), "and while it is in use");
    }
}

#[tokio::test]
async fn a_right_that_is_missing_is_refused_and_a_strange_login_too() {
    let stand_in = StandIn::start(Mood::Status(403)).await;
    let tag = tag(&stand_in.host, "a");
    let images = images(private(&stand_in));
    refused(images.resolve(&tag).await, "may pull it");
    for mood in [Mood::Strange, Mood::Status(401)] {
        stand_in.be(mood);
        refused(images.resolve(&tag).await, "wants a login of a kind");
    }
}

#[test]
fn a_login_is_never_printed() {
    let printed = format!("{:?} {:?}", ada(), registry("r.test"));
    assert!(printed.contains("ada") && !printed.contains("hush"), "{printed}");
}
