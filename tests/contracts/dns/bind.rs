//! Dynamic updates, against a real BIND: what it holds is asked of `dig`, and compared whole.

use std::sync::Arc;

use mayfly::clock::{Clock, ServerClock};
use mayfly::dns::rfc2136::{Key, Rfc2136Config, Rfc2136Dns};
use mayfly::dns::{Dns, GateConfig, Target};
use mayfly::fault::{Disposition, Fault, Progress};
use mayfly::preview::observed::Resolution;
use mayfly::preview::{Host, Seen, Suffix};

use super::{INSTANCE, SUFFIX, api, dns_contract, elsewhere, foreign, is_right, pr};
use crate::world::HandClock;
use crate::world::bind::{Bind, KEY, SECRET, WRONG_SECRET, Wanted, ZONE};
use crate::world::wait::until;

/// Where previews lead in these tests.
pub const LED: &str = "192.0.2.7";

pub fn target(words: &[&str]) -> Target {
    Target::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap()
}

pub fn suffix() -> Suffix {
    Suffix::parse(SUFFIX).unwrap()
}

/// Asks every server of the test that there is.
pub fn gate(bind: &Bind, words: &[&str]) -> GateConfig {
    let servers = std::iter::once(&bind.primary).chain(&bind.secondary);
    // Where no resolver runs, the primary stands in: an answer from there is as good.
    let resolver = bind.resolver.as_ref().unwrap_or(&bind.primary);
    GateConfig {
        target: target(words),
        zone: None,
        servers: servers.map(|named| named.address).collect(),
        resolvers: vec![resolver.address],
    }
}

pub fn config(bind: &Bind) -> Rfc2136Config {
    Rfc2136Config {
        server: bind.primary.address.to_string(),
        zone: ZONE.to_owned(),
        key: Key::new(KEY, "hmac-sha256", &SECRET.to_owned().into()).unwrap(),
        ttl_seconds: 60,
        gate: gate(bind, &[LED]),
    }
}

pub fn with(config: Rfc2136Config, instance: &str) -> Rfc2136Dns {
    Rfc2136Dns::new(config, suffix(), instance.to_owned(), Arc::new(ServerClock::default()))
}

pub fn dns(bind: &Bind) -> Rfc2136Dns {
    with(config(bind), INSTANCE)
}

fn host(number: i64) -> String {
    format!("pr-{number}.{SUFFIX}")
}

#[track_caller]
fn permanent<T: std::fmt::Debug>(outcome: Result<T, Fault>, cure: &str) {
    let fault = outcome.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Permanent, "{fault}");
    assert!(fault.to_string().contains(cure), "says {cure:?}: {fault}");
    assert!(!fault.to_string().contains(SECRET), "{fault}");
}

#[tokio::test]
async fn a_zone_with_dynamic_updates_keeps_the_contract() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let before = bind.zone();
    let plant = |host: &Host| {
        let full = host.full(&suffix());
        bind.edit(&[
            &format!("update add {full} 60 A {LED}"),
            &format!("update add _mayfly.{full} 60 TXT {}", elsewhere(host)),
        ]);
    };
    dns_contract(&dns(&bind), plant).await;
    for full in foreign().map(|host| host.full(&suffix())) {
        bind.edit(&[&format!("update delete {full}"), &format!("update delete _mayfly.{full}")]);
    }
    assert_eq!(bind.zone(), before, "nothing of ours is left, and nothing else was touched");
}

#[tokio::test]
async fn a_zone_with_dynamic_updates_keeps_the_contract_for_an_alias() {
    let more = "ingress A 192.0.2.9\ningress AAAA 2001:db8::9\n";
    let Some(bind) = Bind::start(Wanted { records: more, ..Wanted::default() }).await else {
        return;
    };
    let before = bind.zone();
    let mut config = config(&bind);
    config.gate.target = target(&["ingress.example.test"]);
    let plant = |host: &Host| {
        bind.edit(&[&format!("update add {} 60 CNAME ns1.{ZONE}.", host.full(&suffix()))]);
    };
    dns_contract(&with(config, INSTANCE), plant).await;
    for host in foreign() {
        bind.edit(&[&format!("update delete {}", host.full(&suffix()))]);
    }
    assert_eq!(bind.zone(), before);
}

#[tokio::test]
async fn a_record_and_its_stamp_are_written_and_removed_in_one_message_each() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let (before, dns) = (bind.zone(), dns(&bind));
    let serial =
        || bind.primary.dig(&[ZONE, "SOA", "+short"]).split(' ').nth(2).unwrap().to_owned();
    assert_eq!(serial(), "1");
    dns.ensure_record(&pr(7)).await.unwrap();
    assert_eq!(serial(), "2", "one change of the zone");
    let added: Vec<_> =
        bind.zone().lines().filter(|l| !before.contains(l)).map(str::to_owned).collect();
    let stamp = format!("_mayfly.{}. 60 IN TXT \"mayfly={INSTANCE}/pr-7\"", host(7));
    assert_eq!(added, [stamp, format!("{}. 60 IN A {LED}", host(7))]);
    dns.ensure_record(&pr(7)).await.unwrap();
    assert_eq!(serial(), "2", "what is right is not written again");
    dns.remove_record(&pr(7)).await.unwrap();
    dns.remove_record(&pr(7)).await.unwrap();
    assert_eq!(serial(), "3");
    assert_eq!(bind.zone(), before);
}

#[tokio::test]
async fn a_half_applied_change_is_seen_as_ours_repaired_and_removed() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let (before, dns) = (bind.zone(), dns(&bind));
    dns.ensure_record(&pr(7)).await.unwrap();
    let whole = bind.zone();
    for damage in [
        vec![format!("update delete {} A", host(7))],
        vec![
            format!("update delete {} A", host(7)),
            format!("update add {} 60 A 198.51.100.9", host(7)),
        ],
        vec![format!("update add {} 60 AAAA 2001:db8::1", host(7))],
        vec![
            format!("update delete {} A", host(7)),
            format!("update add {} 60 CNAME ns1.{ZONE}.", host(7)),
        ],
    ] {
        bind.edit(&damage.iter().map(String::as_str).collect::<Vec<_>>());
        assert_ne!(bind.zone(), whole, "{damage:?}");
        assert_eq!(dns.observe(&pr(7)).await, Seen::Present(()), "a removal has to see it");
        let resolution = dns.resolve(&pr(7)).await;
        assert!(matches!(resolution, Resolution::Wrong(_)), "or nobody repairs it: {resolution:?}");
        assert_eq!(dns.owned().await.unwrap(), [pr(7)]);
        dns.ensure_record(&pr(7)).await.unwrap();
        assert_eq!(bind.zone(), whole, "repaired after {damage:?}");
        assert!(is_right(dns.resolve(&pr(7)).await));
    }
    bind.edit(&[&format!("update delete {} A", host(7))]);
    dns.remove_record(&pr(7)).await.unwrap();
    assert_eq!(bind.zone(), before);
}

#[tokio::test]
async fn a_foreign_record_of_the_same_name_is_never_touched_in_a_zone() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    bind.edit(&[
        &format!("update add {} 60 A {LED}", host(1)),
        &format!("update add {} 60 CNAME ns1.{ZONE}.", host(2)),
        &format!("update add {} 60 A {LED}", host(3)),
        &format!("update add _mayfly.{} 60 TXT mayfly=elsewhere/pr-3", host(3)),
        &format!("update add _mayfly.{} 60 TXT mayfly={INSTANCE}/pr-99", host(4)),
        &format!("update add _mayfly.{} 60 TXT mayfly={INSTANCE}/pr-5", host(5)),
        &format!("update add _mayfly.{} 60 TXT mayfly=elsewhere/pr-5", host(5)),
        // Of a component, with the stamp of another preview of ours.
        &format!("update add _mayfly.{} 60 TXT mayfly={INSTANCE}/pr-99", api(7).full(&suffix())),
        // Of a type that nobody asks for.
        &format!("update add {} 60 MX 10 ns1.{ZONE}.", host(6)),
    ]);
    let (before, dns) = (bind.zone(), dns(&bind));
    for name in (1..=6).map(pr).chain([api(7)]) {
        if name != pr(6) {
            let seen = dns.observe(&name).await;
            assert!(seen.is_foreign(), "{name:?}: {seen:?}");
            let fault = dns.remove_record(&name).await.unwrap_err();
            assert_eq!(fault.disposition, Disposition::NotOurs, "{fault}");
        }
        let fault = dns.ensure_record(&name).await.unwrap_err();
        assert_eq!(fault.disposition, Disposition::NotOurs, "{name:?}: {fault}");
    }
    dns.remove_record(&pr(6)).await.expect("nothing of ours is there");
    assert_eq!(dns.owned().await.unwrap(), []);
    assert_eq!(bind.zone(), before);
}

#[tokio::test]
async fn two_controllers_at_once_make_one_record_and_the_other_one_yields() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let before = bind.zone();
    let (here, replica, elsewhere) = (dns(&bind), dns(&bind), with(config(&bind), "elsewhere"));
    for number in 1..=8 {
        let name = pr(number);
        let (one, two) = tokio::join!(here.ensure_record(&name), replica.ensure_record(&name));
        assert_eq!((one.unwrap(), two.unwrap()), (Progress::Done, Progress::Done));
        let (one, two) = tokio::join!(here.remove_record(&name), replica.remove_record(&name));
        one.unwrap();
        two.unwrap();
        assert_eq!(bind.zone(), before);
        let (one, two) = tokio::join!(here.ensure_record(&name), elsewhere.ensure_record(&name));
        assert_ne!(one.is_ok(), two.is_ok(), "one of them: {one:?} {two:?}");
        let (maker, other) = if one.is_ok() { (&here, &elsewhere) } else { (&elsewhere, &here) };
        let fault = one.and(two).unwrap_err();
        assert_eq!(fault.disposition, Disposition::NotOurs, "{fault}");
        let fault = other.remove_record(&name).await.unwrap_err();
        assert_eq!(fault.disposition, Disposition::NotOurs, "{fault}");
        maker.remove_record(&name).await.unwrap();
        assert_eq!(bind.zone(), before);
    }
}

#[tokio::test]
async fn a_key_that_the_server_refuses_is_a_fault_with_its_cure() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let before = bind.zone();
    let good = config(&bind);
    let key = |name, algorithm, secret: &str| Key::new(name, algorithm, &secret.to_owned().into());
    for (key, cure) in [
        (key("no-such-key", "hmac-sha256", SECRET), "knows no such key"),
        (key(KEY, "hmac-sha512", SECRET), "refused the signature"),
        (key(KEY, "hmac-sha256", WRONG_SECRET), "the secret differs"),
        (key("looks-only", "hmac-sha256", SECRET), "update-policy { grant looks-only"),
    ] {
        let dns = with(Rfc2136Config { key: key.unwrap(), ..good.clone() }, INSTANCE);
        assert_eq!(dns.observe(&pr(7)).await, Seen::Absent, "a look needs no key");
        permanent(dns.ensure_record(&pr(7)).await, cure);
        let first = dns.ensure_record(&pr(7)).await.unwrap_err();
        assert_eq!(first, dns.ensure_record(&pr(7)).await.unwrap_err(), "told once");
        if cure != "update-policy { grant looks-only" {
            permanent(dns.owned().await, cure);
        }
    }
    assert_eq!(bind.zone(), before);
}

#[tokio::test]
async fn clocks_that_differ_are_told_from_a_wrong_secret() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let clock: Arc<dyn Clock> = Arc::new(HandClock::at("2020-01-01T00:00:00Z".parse().unwrap()));
    let dns = Rfc2136Dns::new(config(&bind), suffix(), INSTANCE.to_owned(), clock);
    permanent(dns.ensure_record(&pr(7)).await, "the clocks differ");
}

#[tokio::test]
async fn a_zone_that_may_not_be_changed_or_transferred_says_what_it_needs() {
    let wanted = Wanted { updates: false, transfers: false, ..Wanted::default() };
    let Some(bind) = Bind::start(wanted).await else { return };
    let dns = dns(&bind);
    permanent(dns.ensure_record(&pr(7)).await, "update-policy { grant mayfly-key zonesub ANY; };");
    permanent(dns.owned().await, "allow-transfer { key mayfly-key; };");
    let mut elsewhere = config(&bind);
    elsewhere.zone = "test".to_owned();
    permanent(with(elsewhere, INSTANCE).ensure_record(&pr(7)).await, "dns.rfc2136.server or zone");
}

#[tokio::test]
async fn a_server_that_does_not_have_the_zone_is_no_word_about_it() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let outside = Suffix::parse("preview.example.org").unwrap();
    let clock = Arc::new(ServerClock::default());
    let dns = Rfc2136Dns::new(config(&bind), outside, INSTANCE.to_owned(), clock);
    let seen = dns.observe(&pr(7)).await;
    assert!(matches!(seen, Seen::Unknown(_)), "nobody there is an authority for it: {seen:?}");
}

#[tokio::test]
async fn a_primary_that_is_frozen_or_dead_is_unknown_and_tried_again() {
    let Some(mut bind) = Bind::start(Wanted::default()).await else { return };
    let (before, dns) = (bind.zone(), dns(&bind));
    dns.ensure_record(&pr(7)).await.unwrap();
    bind.primary.freeze();
    for name in [pr(7), pr(8)] {
        let seen = dns.observe(&name).await;
        assert!(matches!(seen, Seen::Unknown(_)), "{seen:?}");
        assert!(matches!(dns.resolve(&name).await, Resolution::NotYet(_)));
        for outcome in [dns.ensure_record(&name).await.map(drop), dns.remove_record(&name).await] {
            assert_eq!(outcome.unwrap_err().disposition, Disposition::Transient);
        }
    }
    bind.primary.thaw();
    until("it answers again", async || dns.observe(&pr(7)).await == Seen::Present(())).await;
    dns.remove_record(&pr(7)).await.unwrap();
    assert_eq!(bind.zone(), before);
    bind.primary.kill();
    let seen = dns.observe(&pr(7)).await;
    assert!(matches!(seen, Seen::Unknown(_)), "{seen:?}");
    for outcome in [dns.ensure_record(&pr(7)).await.map(drop), dns.owned().await.map(drop)] {
        assert_eq!(outcome.unwrap_err().disposition, Disposition::Transient);
    }
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_found_by_the_next_look() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let (before, dns) = (bind.zone(), dns(&bind));
    let mut config = config(&bind);
    config.server = super::thief::steal_answers(bind.primary.address).await.to_string();
    let robbed = with(config, INSTANCE);
    let fault = robbed.ensure_record(&pr(7)).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Transient, "{fault}");
    until("the change arrives", async || dns.observe(&pr(7)).await == Seen::Present(())).await;
    let whole = bind.zone();
    robbed.ensure_record(&pr(7)).await.expect("it is there: nothing to send");
    assert_eq!(bind.zone(), whole);
    let fault = robbed.remove_record(&pr(7)).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Transient, "{fault}");
    until("the removal arrives", async || dns.observe(&pr(7)).await == Seen::Absent).await;
    robbed.remove_record(&pr(7)).await.expect("it is gone: nothing to send");
    assert_eq!(bind.zone(), before);
}

#[tokio::test]
async fn a_zone_of_many_messages_is_read_to_its_end() {
    let Some(bind) = Bind::start(Wanted::default()).await else { return };
    let dns = dns(&bind);
    let filler = "x".repeat(200);
    for chunk in (0..2000).collect::<Vec<_>>().chunks(200) {
        let lines: Vec<_> = chunk
            .iter()
            .map(|n| format!("update add filler-{n}.{ZONE} 60 TXT {filler}{n}"))
            .collect();
        bind.edit(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let names: Vec<_> = (1..=20).map(pr).collect();
    for name in &names {
        dns.ensure_record(name).await.unwrap();
    }
    assert_eq!(dns.owned().await.unwrap(), names);
}
