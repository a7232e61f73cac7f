//! What any DNS must keep, on the fake, the embedded server and a real zone.

pub mod bind;
mod external;
mod gate;
mod kept;
mod life;
mod thief;
mod wire;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mayfly::dns::Dns;
use mayfly::dns::embedded::EmbeddedDns;
use mayfly::fault::{Disposition, Fault};
use mayfly::preview::observed::Resolution;
use mayfly::preview::{ComponentName, Host, PreviewName, PullNumber, Seen, Stamp, Suffix};
use tempfile::TempDir;

use crate::world::dns::FakeDns;
use crate::world::faults::{Faults, Mode};

const INSTANCE: &str = "here";
pub const SUFFIX: &str = "preview.example.test";
const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const FOREIGN: i64 = 666;
const DEADLINE: Duration = Duration::from_secs(10);

/// A preview's own host.
fn pr(number: i64) -> Host {
    Host::from(&PreviewName::new(None, PullNumber::new(number).unwrap()))
}

/// The host of its component `api`.
fn api(number: i64) -> Host {
    Host { component: Some(ComponentName::parse("api").unwrap()), ..pr(number) }
}

/// What is not ours in the contract: all of a preview, and one component's host of another.
fn foreign() -> [Host; 2] {
    [pr(FOREIGN), api(2)]
}

/// The stamp that somebody else gave a host.
fn elsewhere(host: &Host) -> String {
    Stamp::new("elsewhere", &host.name).line()
}

fn is_right(resolution: Resolution) -> bool {
    matches!(&resolution, Resolution::Right { addresses } if !addresses.is_empty())
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it ends before the deadline")
}

/// What the loop relies on.
async fn dns_contract(dns: &dyn Dns, plant_foreign: impl Fn(&Host)) {
    let (one, two) = (pr(1), pr(2));
    assert_eq!(dns.observe(&one).await, Seen::Absent, "absent at first");
    assert!(matches!(dns.resolve(&one).await, Resolution::NotYet(_)), "and leads nowhere");
    assert_eq!(dns.owned().await.unwrap(), [], "nothing is ours at first");
    dns.remove_record(&one).await.expect("removing what is absent succeeds");

    for _ in 0..2 {
        dns.ensure_record(&one).await.expect("twice is the same as once");
        assert_eq!(dns.observe(&one).await, Seen::Present(()));
        assert!(is_right(dns.resolve(&one).await));
        assert_eq!(dns.owned().await.unwrap(), std::slice::from_ref(&one));
    }
    assert_eq!(dns.observe(&two).await, Seen::Absent, "one name's record is not another's");

    dns.ensure_record(&two).await.unwrap();
    let mut seen = Vec::new();
    for host in foreign() {
        plant_foreign(&host);
        let before = dns.observe(&host).await;
        assert!(before.is_foreign(), "{before:?}");
        for attempt in [dns.ensure_record(&host).await.map(drop), dns.remove_record(&host).await] {
            assert_eq!(attempt.unwrap_err().disposition, Disposition::NotOurs);
            assert_eq!(dns.observe(&host).await, before, "it was not touched");
        }
        seen.push((host, before));
    }
    assert_eq!(dns.observe(&two).await, Seen::Present(()), "its component's host is not it");
    assert_eq!(dns.owned().await.unwrap(), [one.clone(), two.clone()], "ours, and only ours");

    for name in [&one, &two, &one] {
        dns.remove_record(name).await.unwrap();
        assert_eq!(dns.observe(name).await, Seen::Absent);
    }
    assert_eq!(dns.owned().await.unwrap(), []);
    hosts_are_apart(dns).await;
    for (host, before) in seen {
        assert_eq!(dns.observe(&host).await, before, "it outlives all of ours");
    }
}

/// The hosts of one preview come and go each by itself.
async fn hosts_are_apart(dns: &dyn Dns) {
    for [first, second] in [[pr(7), api(7)], [api(7), pr(7)]] {
        dns.ensure_record(&first).await.unwrap();
        assert_eq!(dns.observe(&second).await, Seen::Absent);
        assert!(matches!(dns.resolve(&second).await, Resolution::NotYet(_)));
        assert_eq!(dns.owned().await.unwrap(), std::slice::from_ref(&first));
        dns.ensure_record(&second).await.unwrap();
        for host in [&first, &second] {
            assert_eq!(dns.observe(host).await, Seen::Present(()));
            assert!(is_right(dns.resolve(host).await));
        }
        assert_eq!(dns.owned().await.unwrap(), [pr(7), api(7)]);
        dns.remove_record(&first).await.unwrap();
        assert_eq!(dns.observe(&first).await, Seen::Absent);
        assert_eq!(dns.observe(&second).await, Seen::Present(()));
        assert_eq!(dns.owned().await.unwrap(), std::slice::from_ref(&second));
        dns.remove_record(&second).await.unwrap();
        assert_eq!(dns.owned().await.unwrap(), []);
    }
}

#[tokio::test]
async fn the_fake_keeps_the_contract() {
    let dns = FakeDns::new(INSTANCE, Faults::default());
    dns_contract(&dns, |host| dns.plant(host.clone(), &elsewhere(host))).await;
    assert_eq!(dns.records().len(), foreign().len(), "the foreign ones");
}

#[tokio::test]
async fn the_fake_keeps_the_contract_when_everything_happens_twice() {
    let faults = Faults::default();
    let dns = FakeDns::new(INSTANCE, faults.clone());
    for call in ["dns.observe", "dns.ensure_record", "dns.remove_record", "dns.owned"] {
        faults.always(call, Mode::Repeat);
    }
    dns_contract(&dns, |host| dns.plant(host.clone(), &elsewhere(host))).await;
}

#[tokio::test]
async fn a_failed_look_of_the_fake_is_unknown() {
    let faults = Faults::default();
    let dns = FakeDns::new(INSTANCE, faults.clone());
    for mode in [Mode::FailBefore, Mode::FailAfter] {
        faults.always("dns.observe", mode);
        assert!(matches!(dns.observe(&pr(1)).await, Seen::Unknown(_)));
    }
}

/// A zone file in a directory of its own.
struct Place {
    dir: TempDir,
}

impl Place {
    fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// With records that somebody else wrote: label, address, stamp.
    fn with(records: &[(&str, IpAddr, Option<&str>)]) -> Self {
        let place = Self::empty();
        let records: serde_json::Map<_, _> = records
            .iter()
            .map(|(label, address, stamp)| {
                let entry = serde_json::json!({ "address": address, "stamp": stamp });
                ((*label).to_owned(), entry)
            })
            .collect();
        std::fs::write(place.file(), serde_json::json!({ "records": records }).to_string())
            .unwrap();
        place
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("zone.json")
    }

    fn serve(&self) -> EmbeddedDns {
        serve(&self.file(), TARGET).unwrap()
    }
}

fn serve(file: &Path, target: IpAddr) -> Result<EmbeddedDns, Fault> {
    let suffix = Suffix::parse(SUFFIX).unwrap();
    EmbeddedDns::start(LOOPBACK, suffix, INSTANCE.to_owned(), target, file.to_owned())
}

#[tokio::test]
async fn the_embedded_server_keeps_the_contract() {
    let place = Place::with(&[
        ("pr-666", TARGET, Some("mayfly=elsewhere/pr-666")),
        ("pr-2-api", TARGET, Some("mayfly=elsewhere/pr-2")),
    ]);
    dns_contract(&place.serve(), |_| ()).await; // planted before the start
}

#[tokio::test]
async fn the_embedded_server_keeps_the_contract_over_ipv6() {
    let target = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let place = Place::with(&[("pr-666", target, None), ("pr-2-api", target, None)]);
    dns_contract(&serve(&place.file(), target).unwrap(), |_| ()).await;
}

#[tokio::test]
async fn a_record_without_our_stamp_is_never_touched() {
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let records = [
        ("pr-1", TARGET, None),
        ("pr-2", v6, None),
        ("pr-3", TARGET, Some("mayfly=elsewhere/pr-3")),
        ("pr-4", TARGET, Some("mayfly=here/pr-99")), // ours, and another preview's
        ("pr-5", TARGET, Some("")),
        ("pr-7-api", TARGET, Some("mayfly=here/pr-7-api")), // no preview is called so
    ];
    let place = Place::with(&records);
    for _ in 0..2 {
        let dns = place.serve();
        for name in (1..=5).map(pr).chain([api(7)]) {
            assert!(dns.observe(&name).await.is_foreign());
            for attempt in
                [dns.ensure_record(&name).await.map(drop), dns.remove_record(&name).await]
            {
                assert_eq!(attempt.unwrap_err().disposition, Disposition::NotOurs);
            }
            assert!(dns.observe(&name).await.is_foreign());
        }
        assert_eq!(dns.owned().await.unwrap(), []);
        dns.ensure_record(&pr(6)).await.unwrap(); // writes the whole file again
        dns.remove_record(&pr(6)).await.unwrap();
        dns.shutdown().await;
    }
}
