//! The gate before a URL is told, against a real primary, secondary and caching resolver.

use std::sync::Arc;

use chrono::{NaiveTime, TimeDelta};
use mayfly::clock::{Clock, ServerClock};
use mayfly::dns::wildcard::WildcardDns;
use mayfly::dns::{Dns, GateConfig};
use mayfly::fault::{Disposition, Progress};
use mayfly::preview::Seen;
use mayfly::preview::observed::Resolution;

use super::bind::{LED, dns, gate, suffix};
use super::{SUFFIX, is_right, pr};
use crate::world::bind::{Bind, Wanted, ZONE, is_free};
use crate::world::skip::Skipped;
use crate::world::wait::until;

const ALL: Wanted = Wanted {
    secondary: true,
    notify: true,
    resolver: true,
    negative_ttl: 600,
    records: "",
    updates: true,
    transfers: true,
    port: None,
};

fn wildcard(config: GateConfig) -> WildcardDns {
    WildcardDns::new(config, suffix(), Arc::new(ServerClock::default()))
}

fn host() -> String {
    format!("pr-7.{SUFFIX}")
}

#[track_caller]
fn waits(resolution: Resolution) -> String {
    match resolution {
        Resolution::NotYet(why) => why,
        other => panic!("it should wait: {other:?}"),
    }
}

#[tokio::test]
async fn no_resolver_is_asked_before_every_authoritative_server_has_it() {
    let Some(bind) = Bind::start(Wanted { notify: false, ..ALL }).await else { return };
    let dns = dns(&bind);
    let (secondary, resolver) = (bind.secondary.as_ref().unwrap(), bind.resolver.as_ref().unwrap());
    waits(dns.resolve(&pr(7)).await);
    dns.ensure_record(&pr(7)).await.unwrap();
    assert_eq!(dns.observe(&pr(7)).await, Seen::Present(()));
    for _ in 0..3 {
        let why = waits(dns.resolve(&pr(7)).await);
        let lags = format!("server {} does not have it yet", secondary.address);
        assert_eq!(why, lags);
    }
    assert_eq!(resolver.asked(&host()), Vec::<String>::new(), "nobody asked too early");
    bind.notify().await;
    until("all agree", async || is_right(dns.resolve(&pr(7)).await)).await;
    assert!(!resolver.asked(&host()).is_empty(), "the resolver was asked at last");
}

#[tokio::test]
async fn a_secondary_that_is_silent_or_behind_keeps_the_gate_shut() {
    let Some(bind) = Bind::start(Wanted { notify: false, ..ALL }).await else { return };
    let dns = dns(&bind);
    let secondary = bind.secondary.as_ref().unwrap();
    dns.ensure_record(&pr(7)).await.unwrap();
    secondary.freeze();
    let why = waits(dns.resolve(&pr(7)).await);
    assert!(why.contains(&secondary.address.to_string()), "{why}");
    secondary.thaw();
    bind.notify().await;
    until("all agree", async || is_right(dns.resolve(&pr(7)).await)).await;
    // Now the primary leads elsewhere than the secondary still does.
    let line = format!("update add {} 60 A 198.51.100.9", host());
    bind.edit(&[&format!("update delete {} A", host()), &line]);
    let shut = wildcard(gate(&bind, &["198.51.100.9"])).resolve(&pr(7)).await;
    assert_eq!(waits(shut), format!("server {} still leads to {LED}", secondary.address));
}

#[tokio::test]
async fn a_cached_no_such_name_is_reported_with_the_time_at_which_it_ends() {
    let Some(bind) = Bind::start(ALL).await else { return };
    let (dns, clock) = (dns(&bind), ServerClock::default());
    let resolver = bind.resolver.as_ref().unwrap();
    let early = clock.now();
    resolver.dig(&[&host(), "A"]); // a reviewer who could not wait
    let late = clock.now();
    dns.ensure_record(&pr(7)).await.unwrap();
    let mut why = String::new();
    until("the resolver is asked", async || {
        why = waits(dns.resolve(&pr(7)).await);
        why.contains("resolver")
    })
    .await;
    let start = format!("resolver {} has cached \"no such name\" until ", resolver.address);
    let end = why.strip_prefix(&start).unwrap_or_else(|| panic!("{why}"));
    let end = NaiveTime::parse_from_str(end.strip_suffix(" UTC").unwrap(), "%H:%M:%S").unwrap();
    let length = TimeDelta::seconds(ALL.negative_ttl.into());
    let after = end - (early + length).time();
    let before = (late + length).time() - end;
    let near = TimeDelta::seconds(-3)..TimeDelta::hours(20);
    let day = |d: TimeDelta| if d < TimeDelta::hours(-12) { d + TimeDelta::days(1) } else { d };
    assert!(near.contains(&day(after)) && near.contains(&day(before)), "{why}");
}

#[tokio::test]
async fn a_name_that_was_cached_as_missing_is_told_once_the_cache_forgot_it() {
    let Some(bind) = Bind::start(Wanted { negative_ttl: 3, ..ALL }).await else { return };
    let dns = dns(&bind);
    let resolver = bind.resolver.as_ref().unwrap();
    resolver.dig(&[&host(), "A"]);
    dns.ensure_record(&pr(7)).await.unwrap();
    until("the cache forgot", async || is_right(dns.resolve(&pr(7)).await)).await;
    assert_eq!(resolver.dig(&[&host(), "A", "+short"]).trim(), LED);
}

#[tokio::test]
async fn a_resolver_that_does_not_answer_keeps_the_gate_shut() {
    let Some(mut bind) = Bind::start(ALL).await else { return };
    let dns = dns(&bind);
    bind.resolver.as_mut().unwrap().kill();
    dns.ensure_record(&pr(7)).await.unwrap();
    until("the resolver is asked", async || {
        waits(dns.resolve(&pr(7)).await).starts_with("resolver ")
    })
    .await;
}

#[tokio::test]
async fn a_wildcard_that_leads_here_is_right_and_has_nothing_to_write() {
    let records = "*.preview A 192.0.2.7\n";
    let Some(bind) = Bind::start(Wanted { records, ..ALL }).await else { return };
    let (before, dns) = (bind.zone(), wildcard(gate(&bind, &[LED])));
    assert_eq!(dns.observe(&pr(7)).await, Seen::Absent, "nothing of ours");
    assert!(is_right(dns.resolve(&pr(7)).await));
    assert_eq!(dns.ensure_record(&pr(7)).await.unwrap(), Progress::Done);
    dns.remove_record(&pr(7)).await.unwrap();
    assert_eq!(dns.owned().await.unwrap(), []);
    assert_eq!(bind.zone(), before);
}

#[tokio::test]
async fn a_wildcard_that_leads_elsewhere_is_a_fault_with_its_cure() {
    let records = "*.preview A 198.51.100.9\n";
    let Some(bind) = Bind::start(Wanted { records, ..ALL }).await else { return };
    let dns = wildcard(gate(&bind, &[LED]));
    let told = format!(
        "{} resolves to 198.51.100.9, not to {LED}: the zone needs the record *.{SUFFIX} A {LED}",
        host()
    );
    assert_eq!(dns.resolve(&pr(7)).await, Resolution::Wrong(told.clone()));
    let fault = dns.ensure_record(&pr(7)).await.unwrap_err();
    assert_eq!((fault.disposition, &fault.why), (Disposition::Permanent, &told));
    assert_eq!(fault, dns.ensure_record(&pr(7)).await.unwrap_err(), "told once");
    let resolver = bind.resolver.as_ref().unwrap();
    assert_eq!(resolver.asked(&host()), Vec::<String>::new());
}

#[tokio::test]
async fn a_wildcard_that_is_not_there_is_a_fault_that_says_what_to_write() {
    let Some(bind) = Bind::start(ALL).await else { return };
    let dns = wildcard(gate(&bind, &[LED, "2001:db8::7"]));
    let fault = dns.ensure_record(&pr(7)).await.unwrap_err();
    let cure = format!("the zone needs the record *.{SUFFIX} A {LED} and AAAA 2001:db8::7");
    assert_eq!(fault.why, format!("{} does not exist: {cure}", host()));
    bind.edit(&[
        &format!("update add *.{SUFFIX} 60 A {LED}"),
        &format!("update add *.{SUFFIX} 60 AAAA 2001:db8::7"),
    ]);
    until("what was written is seen", async || is_right(dns.resolve(&pr(7)).await)).await;
}

#[tokio::test]
async fn a_host_may_lead_to_another_host_by_alias_or_by_its_addresses() {
    let records = "ingress A 192.0.2.9\nother A 192.0.2.10\n*.preview CNAME ingress\n\
                   straight.preview A 192.0.2.9\npr-7.preview A 192.0.2.9\npr-8.preview CNAME other\n";
    let Some(bind) = Bind::start(Wanted { records, ..ALL }).await else { return };
    let dns = wildcard(gate(&bind, &["ingress.example.test"]));
    assert!(is_right(dns.resolve(&pr(1)).await), "by alias");
    assert!(is_right(dns.resolve(&pr(7)).await), "by its address");
    let resolution = dns.resolve(&pr(8)).await;
    assert!(
        matches!(&resolution, Resolution::Wrong(why) if why.contains("192.0.2.10")),
        "{resolution:?}"
    );
}

#[tokio::test]
async fn a_server_without_the_zone_is_no_authority() {
    let records = "*.preview A 192.0.2.7\n";
    let Some(bind) = Bind::start(Wanted { records, ..ALL }).await else { return };
    let mut config = gate(&bind, &[LED]);
    config.servers = config.resolvers.clone();
    let why = waits(wildcard(config).resolve(&pr(7)).await);
    assert!(why.contains("not an authority's answer"), "{why}");
}

/// Name servers are looked up at their own port, which only root may have.
#[tokio::test]
async fn the_zones_name_servers_are_found_and_asked_by_name() {
    static SKIPPED: Skipped = Skipped::for_want_of("to listen on 127.0.0.1:53, which takes root");
    if !is_free(([127, 0, 0, 1], 53).into()) {
        return SKIPPED.count();
    }
    let records = "*.preview A 192.0.2.7\n";
    let wanted = Wanted { records, port: Some(53), secondary: false, ..ALL };
    let Some(bind) = Bind::start(wanted).await else { return };
    let mut config = gate(&bind, &[LED]);
    config.servers = Vec::new();
    // The suffix is no zone itself: its denial says which zone it is in.
    for zone in [None, Some(ZONE.to_owned())] {
        config.zone = zone;
        assert!(is_right(wildcard(config.clone()).resolve(&pr(7)).await));
    }
    bind.primary.freeze();
    let why = waits(wildcard(config).resolve(&pr(7)).await);
    assert!(why.starts_with("ns1.example.test (127.0.0.1): "), "{why}");
}
