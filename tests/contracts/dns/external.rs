//! Records of ExternalDNS: somebody else writes them, into a real zone, from the route.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta};
use mayfly::clock::{Clock, ServerClock};
use mayfly::dns::Dns;
use mayfly::dns::external_dns::{ExternalDns, ExternalDnsConfig, Heed, RouteNote};
use mayfly::fault::{Disposition, Fault, Progress};
use mayfly::preview::observed::Resolution;
use mayfly::preview::{PreviewName, Seen};

use super::bind::{LED, gate, suffix};
use super::{SUFFIX, api, is_right, pr};
use crate::world::HandClock;
use crate::world::bind::{Bind, Wanted};

/// The routes, and whether ExternalDNS heeds them.
#[derive(Default)]
struct Routes {
    released: Mutex<Vec<(PreviewName, bool)>>,
    broken: Mutex<bool>,
    absent: Mutex<bool>,
}

#[async_trait]
impl RouteNote for Routes {
    async fn set_released(&self, name: &PreviewName, released: bool) -> Result<(), Fault> {
        if *self.broken.lock().unwrap() {
            return Err(Fault::transient("annotating the route", "no"));
        }
        self.released.lock().unwrap().push((name.clone(), released));
        Ok(())
    }

    async fn heed(&self, name: &PreviewName) -> Result<Heed, Fault> {
        if *self.broken.lock().unwrap() {
            return Err(Fault::transient("reading the route", "no"));
        }
        let all = self.released.lock().unwrap();
        let last = all.iter().rev().find(|(whose, _)| whose == name);
        Ok(match (*self.absent.lock().unwrap(), last) {
            (true, _) => Heed::Absent,
            (false, Some((_, true))) => Heed::Released,
            (false, _) => Heed::Heeded,
        })
    }
}

fn dns(bind: &Bind, prefix: &str, tail: &str, routes: &Arc<Routes>) -> ExternalDns {
    at(bind, (prefix, tail), routes, Arc::new(ServerClock::default()))
}

fn at(
    bind: &Bind,
    (prefix, tail): (&str, &str),
    routes: &Arc<Routes>,
    clock: Arc<dyn Clock>,
) -> ExternalDns {
    let config = ExternalDnsConfig {
        owner_id: "here".to_owned(),
        txt_prefix: prefix.to_owned(),
        txt_suffix: tail.to_owned(),
        gate: gate(bind, &[LED]),
    };
    ExternalDns::new(config, suffix(), clock, routes.clone())
}

/// What ExternalDNS writes for `pr-7`, with its registry at this label.
fn write(bind: &Bind, label: &str, owner: &str) {
    bind.edit(&[
        &format!("update add pr-7.{SUFFIX} 60 A {LED}"),
        &format!(
            "update add {label}.{SUFFIX} 60 TXT \"heritage=external-dns,external-dns/owner={owner},\
             external-dns/resource=httproute/pr-7/preview\""
        ),
    ]);
}

fn erase(bind: &Bind, label: &str) {
    bind.edit(&[
        &format!("update delete pr-7.{SUFFIX}"),
        &format!("update delete {label}.{SUFFIX}"),
    ]);
}

#[tokio::test]
async fn a_name_is_there_once_external_dns_wrote_it_and_gone_once_it_removed_it() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let (before, routes) = (bind.zone(), Arc::default());
    let dns = dns(&bind, "", "", &routes);
    assert_eq!(dns.observe(&pr(7)).await, Seen::Absent);
    assert!(
        matches!(dns.resolve(&pr(7)).await, Resolution::NotYet(why) if why.contains("ExternalDNS"))
    );
    let progress = dns.ensure_record(&pr(7)).await.unwrap();
    assert!(matches!(progress, Progress::Underway(what) if what.contains("ExternalDNS")));
    write(&bind, "a-pr-7", "here");
    assert_eq!(dns.observe(&pr(7)).await, Seen::Present(()));
    assert!(is_right(dns.resolve(&pr(7)).await));
    dns.remove_record(&pr(7)).await.unwrap();
    let seen = dns.observe(&pr(7)).await;
    assert!(matches!(&seen, Seen::Leaving(why) if why.contains("--policy=sync")), "{seen:?}");
    dns.ensure_record(&pr(7)).await.unwrap();
    assert_eq!(dns.observe(&pr(7)).await, Seen::Present(()), "it may stay after all");
    dns.remove_record(&pr(7)).await.unwrap();
    erase(&bind, "a-pr-7");
    assert_eq!(dns.observe(&pr(7)).await, Seen::Absent);
    assert_eq!(
        *routes.released.lock().unwrap(),
        [false, true, false, true].map(|r| (pr(7).name, r))
    );
    assert_eq!(dns.owned().await.unwrap(), []);
    assert_eq!(bind.zone(), before);
}

#[tokio::test]
async fn each_host_has_a_word_in_the_registry_and_all_go_with_the_route() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let routes = Arc::default();
    let dns = dns(&bind, "", "", &routes);
    write(&bind, "a-pr-7", "here");
    assert_eq!(dns.observe(&api(7)).await, Seen::Absent);
    bind.edit(&[&format!("update add pr-7-api.{SUFFIX} 60 A {LED}")]);
    let seen = dns.observe(&api(7)).await;
    assert!(
        matches!(seen, Seen::Unknown(_)),
        "the preview's word is not its component's: {seen:?}"
    );
    write(&bind, "a-pr-7-api", "here");
    assert_eq!(dns.observe(&api(7)).await, Seen::Present(()));
    dns.remove_record(&api(7)).await.unwrap();
    assert_eq!(*routes.released.lock().unwrap(), [(pr(7).name, true)]);
    for host in [pr(7), api(7)] {
        assert!(matches!(dns.observe(&host).await, Seen::Leaving(_)), "{host:?}");
    }
}

#[tokio::test]
async fn the_registry_is_read_wherever_external_dns_may_keep_it() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let routes = Arc::default();
    for (prefix, tail, label) in [
        ("", "", "pr-7"),
        ("", "", "cname-pr-7"),
        ("own-", "", "own-a-pr-7"),
        ("own-", "", "own-pr-7"),
        ("", "-own", "a-pr-7-own"),
        ("%{record_type}-own.", "", "a-own.pr-7"),
    ] {
        let dns = dns(&bind, prefix, tail, &routes);
        write(&bind, label, "here");
        assert_eq!(dns.observe(&pr(7)).await, Seen::Present(()), "{label}");
        erase(&bind, label);
    }
}

#[tokio::test]
async fn an_address_that_external_dns_does_not_own_for_us_is_foreign() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let routes: Arc<Routes> = Arc::default();
    let dns = dns(&bind, "", "", &routes);
    // Before there is a route nobody can be about to say that it is ours.
    *routes.absent.lock().unwrap() = true;
    bind.edit(&[&format!("update add pr-7.{SUFFIX} 60 A {LED}")]);
    let seen = dns.observe(&pr(7)).await;
    let cured = |why: &str| why.contains(LED) && why.contains("dns.external_dns.owner_id");
    assert!(matches!(&seen, Seen::Foreign(why) if cured(why)), "nobody says whose: {seen:?}");
    write(&bind, "a-pr-7", "elsewhere");
    assert!(dns.observe(&pr(7)).await.is_foreign(), "another owner's");
    write(&bind, "a-pr-7", "here");
    let seen = dns.observe(&pr(7)).await;
    assert!(matches!(seen, Seen::Leaving(_)), "ours, and no route asks for it: {seen:?}");
    *routes.absent.lock().unwrap() = false;
    assert_eq!(dns.observe(&pr(7)).await, Seen::Present(()));
}

#[tokio::test]
async fn a_record_is_nobodys_until_external_dns_had_time_to_say_whose() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let clock = Arc::new(HandClock::at(DateTime::UNIX_EPOCH));
    let dns = at(&bind, ("", ""), &Arc::default(), clock.clone());
    let unknown = |seen: &Seen<()>| matches!(seen, Seen::Unknown(why) if why.contains(LED));
    for _ in 0..2 {
        bind.edit(&[&format!("update add pr-7.{SUFFIX} 60 A {LED}")]);
        assert!(unknown(&dns.observe(&pr(7)).await), "its TXT record may follow");
        clock.advance(TimeDelta::seconds(20));
        let seen = dns.observe(&pr(7)).await;
        assert!(unknown(&seen), "{seen:?}");
        write(&bind, "a-pr-7", "here");
        assert_eq!(dns.observe(&pr(7)).await, Seen::Present(()));
        erase(&bind, "a-pr-7");
        assert_eq!(dns.observe(&pr(7)).await, Seen::Absent, "and the next time counts anew");
    }
    bind.edit(&[&format!("update add pr-7.{SUFFIX} 60 A {LED}")]);
    assert!(unknown(&dns.observe(&pr(7)).await));
    clock.advance(TimeDelta::seconds(31));
    for _ in 0..2 {
        assert!(dns.observe(&pr(7)).await.is_foreign(), "it did not follow");
    }
}

#[tokio::test]
async fn a_name_that_external_dns_leads_elsewhere_is_wrong_with_its_cure() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let dns = dns(&bind, "", "", &Arc::default());
    write(&bind, "a-pr-7", "here");
    bind.edit(&[
        &format!("update delete pr-7.{SUFFIX} A"),
        &format!("update add pr-7.{SUFFIX} 60 A 198.51.100.9"),
    ]);
    let resolution = dns.resolve(&pr(7)).await;
    let cured = |why: &str| why.contains("198.51.100.9") && why.contains("dns.external_dns.target");
    assert!(matches!(&resolution, Resolution::Wrong(why) if cured(why)), "{resolution:?}");
}

#[tokio::test]
async fn blind_looks_and_routes_that_cannot_be_marked_are_faults_and_not_absence() {
    let Some(mut bind) = Bind::start(Wanted::default()).await else { return };
    let routes: Arc<Routes> = Arc::default();
    let dns = dns(&bind, "", "", &routes);
    *routes.broken.lock().unwrap() = true;
    for outcome in [dns.ensure_record(&pr(7)).await.map(drop), dns.remove_record(&pr(7)).await] {
        assert_eq!(outcome.unwrap_err().disposition, Disposition::Transient);
    }
    bind.primary.kill();
    let seen = dns.observe(&pr(7)).await;
    assert!(matches!(seen, Seen::Unknown(_)), "{seen:?}");
}
