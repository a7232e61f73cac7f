//! Registries that are not what they should be: each is a word with its cure, and none gets us to
//! go where we may not.

use std::sync::Arc;
use std::time::Duration;

use mayfly::address::Reach;
use mayfly::image::oci::{Limits, OciImages};
use mayfly::image::{Found, Images, Registry};

use super::{
    Mood, StandIn, ada, clock, images, images_within, loopback, refused, registry, tag, unknown,
};
use crate::world::wait::{PATIENCE, until};

#[tokio::test]
async fn what_is_no_manifest_is_refused_with_the_cure() {
    for (mood, words) in [
        (Mood::Page, "text/html"),
        (Mood::NoManifest, "is no image"),
        (Mood::WrongDigest, "a digest that is not its content's"),
        (Mood::Endless, "4194304 bytes"),
        (Mood::Status(400), "see that it is a registry"),
        (Mood::Status(200), "is no image"),
        (Mood::RedirectForEver, "for ever"),
    ] {
        let stand_in = StandIn::start(mood).await;
        let tag = tag(&stand_in.host, "a");
        stand_in.push(&tag, 1);
        refused(images(registry(&stand_in.host)).resolve(&tag).await, words);
    }
}

#[tokio::test]
async fn a_registry_that_cannot_answer_now_is_unknown() {
    let stand_in = StandIn::start(Mood::Open).await;
    let tag = tag(&stand_in.host, "a");
    let images = images(registry(&stand_in.host));
    for status in [408, 429, 500, 502, 503, 504] {
        stand_in.be(Mood::Status(status));
        unknown(images.resolve(&tag).await, &status.to_string());
    }
    stand_in.be(Mood::Open);
    let image = stand_in.push(&tag, 1);
    assert_eq!(images.resolve(&tag).await, Found::Digest(image), "and is asked again");
}

#[tokio::test]
async fn a_registry_that_is_silent_or_not_there_is_unknown_within_its_time() {
    let stand_in = StandIn::start(Mood::Silent).await;
    let tag = tag(&stand_in.host, "a");
    let images = images_within(registry(&stand_in.host), Duration::from_millis(200));
    let found = tokio::time::timeout(PATIENCE, images.resolve(&tag)).await;
    unknown(found.expect("it has a bound of its own"), "no answer within 0.2 seconds");
    // A port that was free a moment ago, and a name that is nobody's (RFC 2606).
    let socket = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let nobody = socket.local_addr().unwrap().to_string();
    drop(socket);
    for host in [&*nobody, "registry.invalid"] {
        let images = images_within(registry(host), Duration::from_secs(5));
        unknown(images.resolve(&super::tag(host, "a")).await, host);
    }
}

#[tokio::test]
async fn no_more_is_asked_at_once_than_is_configured() {
    let stand_in = StandIn::start(Mood::Silent).await;
    let tag = tag(&stand_in.host, "a");
    let limits = Limits { asks_at_once: 2, answer_within: 2 * PATIENCE };
    let images = OciImages::new(vec![registry(&stand_in.host)], limits, clock()).unwrap();
    let images = Arc::new(images);
    let mut asks: Vec<_> = (0..3)
        .map(|_| {
            let (images, tag) = (images.clone(), tag.clone());
            tokio::spawn(async move { images.resolve(&tag).await })
        })
        .collect();
    until("two ask", async || stand_in.asked().len() == 2).await;
    asks.remove(0).abort();
    until("the third has a place", async || stand_in.asked().len() == 3).await;
    asks.iter().for_each(|ask| ask.abort());
}

#[tokio::test]
async fn a_redirect_is_followed_at_home_and_nowhere_else() {
    let elsewhere = StandIn::start(Mood::Open).await;
    let there: &'static str =
        Box::leak(format!("http://{}/v2/acme/shop/manifests/a", elsewhere.host).into_boxed_str());
    let stand_in = StandIn::start(Mood::RedirectHome).await;
    let tag = tag(&stand_in.host, "a");
    let image = stand_in.push(&tag, 1);
    elsewhere.push(&tag, 2);
    let images = images(Registry { login: Some(ada()), ..registry(&stand_in.host) });
    assert_eq!(images.resolve(&tag).await, Found::Digest(image));
    for there in
        [there, "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "//", "http://["]
    {
        stand_in.be(Mood::Redirect(there));
        refused(images.resolve(&tag).await, "redirects to another host");
    }
    assert_eq!(elsewhere.asked(), [], "nothing was asked there, and no password shown");
}

#[tokio::test]
async fn no_address_that_is_out_of_reach_is_asked_by_its_number_or_by_a_name() {
    let stand_in = StandIn::start(Mood::Open).await;
    let port = stand_in.host.rsplit_once(':').unwrap().1.to_owned();
    let internet = || Reach::internet_and(Vec::new(), &[]);
    // The last three are other spellings of 127.0.0.1, for whoever only reads them.
    for host in ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1"] {
        let host = format!("{host}:{port}");
        let tag = tag(&host, "a");
        stand_in.push(&tag, 1);
        for (reach, fine) in [
            (internet(), false),
            (Reach::only(vec!["10.0.0.0/8".parse().unwrap()]), false),
            (Reach::internet_and(vec![loopback(), "::1/128".parse().unwrap()], &[]), true),
        ] {
            let before = stand_in.asked().len();
            let found = images(Registry { reach, ..registry(&host) }).resolve(&tag).await;
            if fine {
                assert!(matches!(found, Found::Digest(_)), "{host}: {found:?}");
            } else {
                refused(found, "allow it in registries[0].addresses");
                assert_eq!(stand_in.asked().len(), before, "{host} was asked");
            }
        }
    }
    for host in ["169.254.169.254", "10.0.0.1", "0.0.0.0"] {
        let found = images(registry(host)).resolve(&tag(host, "a")).await;
        refused(found, &format!("leads to {host}"));
    }
}

#[tokio::test]
async fn a_token_server_is_held_to_the_same_rule() {
    let stand_in = StandIn::start(Mood::Open).await;
    let tag = tag(&stand_in.host, "a");
    let images = images(Registry { login: Some(ada()), ..registry(&stand_in.host) });
    for (realm, words) in [
        ("http://169.254.169.254/token", "leads to 169.254.169.254"),
        ("http://10.0.0.1/token", "leads to 10.0.0.1"),
        ("http://[::ffff:169.254.169.254]/token", "no registry may be asked"),
        ("https://[fd00:ec2::254]/token", "no registry may be asked"),
        ("ftp://127.0.0.1/token", "without TLS"),
        ("file:///etc/passwd", "without TLS"),
    ] {
        stand_in.be(Mood::Realm(realm));
        refused(images.resolve(&tag).await, words);
    }
    // A token server's answer is read no further than it needs to be, and followed nowhere.
    for (mood, words) in [(Mood::Page, "gives no token"), (Mood::Status(404), "404")] {
        let server = StandIn::start(mood).await;
        let realm = format!("http://{}/v2/acme/shop/manifests/token", server.host);
        stand_in.be(Mood::Realm(Box::leak(realm.into_boxed_str())));
        refused(images.resolve(&tag).await, words);
    }
    for mood in [Mood::Redirect("http://169.254.169.254/"), Mood::Endless] {
        let server = StandIn::start(mood).await;
        let realm = format!("http://{}/v2/acme/shop/manifests/token", server.host);
        stand_in.be(Mood::Realm(Box::leak(realm.into_boxed_str())));
        refused(images.resolve(&tag).await, "answers");
    }
}
