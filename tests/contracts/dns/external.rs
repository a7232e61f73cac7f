//! Records of ExternalDNS: somebody else writes them, into a real zone, from the route.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mayfly::clock::ServerClock;
use mayfly::dns::Dns;
use mayfly::dns::external_dns::{ExternalDns, ExternalDnsConfig, RouteNote};
use mayfly::fault::{Disposition, Fault, Progress};
use mayfly::preview::observed::Resolution;
use mayfly::preview::{PreviewName, Seen};

use super::bind::{LED, gate, suffix};
use super::{SUFFIX, is_right, pr};
use crate::world::bind::{Bind, Wanted};

/// The routes, and whether ExternalDNS heeds them.
#[derive(Default)]
struct Routes {
    released: Mutex<Vec<(PreviewName, bool)>>,
    broken: Mutex<bool>,
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
}

fn dns(bind: &Bind, prefix: &str, tail: &str, routes: &Arc<Routes>) -> ExternalDns {
    let config = ExternalDnsConfig {
        owner_id: "here".to_owned(),
        txt_prefix: prefix.to_owned(),
        txt_suffix: tail.to_owned(),
        gate: gate(bind, &[LED]),
    };
    ExternalDns::new(config, suffix(), Arc::new(ServerClock::default()), routes.clone())
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
    assert_eq!(dns.observe(&pr(7)).await, Seen::Present(()), "until it is gone it is there");
    erase(&bind, "a-pr-7");
    assert_eq!(dns.observe(&pr(7)).await, Seen::Absent);
    assert_eq!(*routes.released.lock().unwrap(), [(pr(7), false), (pr(7), true)]);
    assert_eq!(dns.owned().await.unwrap(), []);
    assert_eq!(bind.zone(), before);
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
    let dns = dns(&bind, "", "", &Arc::default());
    bind.edit(&[&format!("update add pr-7.{SUFFIX} 60 A {LED}")]);
    assert!(dns.observe(&pr(7)).await.is_foreign(), "nobody says whose");
    write(&bind, "a-pr-7", "elsewhere");
    assert!(dns.observe(&pr(7)).await.is_foreign(), "another owner's");
    write(&bind, "a-pr-7", "here");
    assert_eq!(dns.observe(&pr(7)).await, Seen::Present(()));
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
