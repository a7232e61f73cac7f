//! Records that ExternalDNS writes from the route object.
//!
//! ExternalDNS watches routes and writes, for the hosts in them, the record and a TXT record of its
//! own that says whose it is (its TXT registry). Refuses to write any record: all that we do is to
//! let ExternalDNS see a route, or not. It ignores an object whose `controller` annotation is not
//! `dns-controller`, and with `--policy=sync` it then removes what it wrote; that is how a name goes
//! before its route.
//! <https://kubernetes-sigs.github.io/external-dns/latest/docs/annotations/annotations/>
//! <https://kubernetes-sigs.github.io/external-dns/latest/docs/registry/txt/>

use std::sync::Arc;

use async_trait::async_trait;
use hickory_resolver::proto::rr::RecordType;

use super::Dns;
use super::ask::{Server, absolute, text};
use super::gate::{Gate, GateConfig, Verdict};
use super::servers::Authority;
use crate::clock::Clock;
use crate::fault::{Fault, Progress};
use crate::preview::observed::Resolution;
use crate::preview::{PreviewName, Seen, Suffix};

/// The key of the annotation that keeps ExternalDNS from a route, as it is spelled by releases
/// before 0.22 and since: whoever sets one sets both.
pub const CONTROLLER_ANNOTATIONS: [&str; 2] =
    ["external-dns.alpha.kubernetes.io/controller", "external-dns.kubernetes.io/controller"];

/// The value that a released route's annotation has: any but `dns-controller` will do.
pub const RELEASED: &str = "mayfly-released";

/// The types whose records ExternalDNS may have written for a host, as its registry spells them.
const TYPES: [&str; 3] = ["a", "aaaa", "cname"];

/// What a template of an affix has where the type belongs.
const TYPE_TEMPLATE: &str = "%{record_type}";

/// Whoever holds the route objects.
#[async_trait]
pub trait RouteNote: Send + Sync {
    /// Annotates the preview's route so that ExternalDNS ignores it (`released`), or heeds it again.
    /// A route that is not there is a success.
    async fn set_released(&self, name: &PreviewName, released: bool) -> Result<(), Fault>;
}

/// How ExternalDNS is set up.
#[derive(Clone, Debug)]
pub struct ExternalDnsConfig {
    /// Its `--txt-owner-id`.
    pub owner_id: String,
    /// Its `--txt-prefix`; may hold `%{record_type}`.
    pub txt_prefix: String,
    /// Its `--txt-suffix`; likewise.
    pub txt_suffix: String,
    /// Where the names lead.
    pub gate: GateConfig,
}

/// The [`Dns`] seam to what ExternalDNS writes.
pub struct ExternalDns {
    config: ExternalDnsConfig,
    gate: Gate,
    routes: Arc<dyn RouteNote>,
}

impl ExternalDns {
    /// Lets ExternalDNS write the names under `suffix` from these routes.
    pub fn new(
        config: ExternalDnsConfig,
        suffix: Suffix,
        clock: Arc<dyn Clock>,
        routes: Arc<dyn RouteNote>,
    ) -> Self {
        Self { gate: Gate { config: config.gate.clone(), suffix, clock }, config, routes }
    }

    /// The names at which the registry may keep whose a host's record is. Before 0.18 there was one
    /// without the type beside those with it.
    fn registry(&self, name: &PreviewName) -> Vec<String> {
        let ExternalDnsConfig { txt_prefix, txt_suffix, .. } = &self.config;
        let (label, rest) = (name.namespace(), self.gate.suffix.as_str());
        let templated = [txt_prefix, txt_suffix].iter().any(|a| a.contains(TYPE_TEMPLATE));
        let with = |kind: &str, label: &str| {
            let [before, after] =
                [txt_prefix, txt_suffix].map(|affix| affix.replace(TYPE_TEMPLATE, kind));
            format!("{before}{label}{after}.{rest}")
        };
        let typed = TYPES.map(|kind| match templated {
            true => with(kind, &label),
            false => with(kind, &format!("{kind}-{label}")),
        });
        typed.into_iter().chain((!templated).then(|| with("", &label))).collect()
    }

    /// Whether the registry says that the host is its owner's.
    async fn is_registered(&self, at: &Authority, name: &PreviewName) -> Result<bool, String> {
        let server = Server::at(at.address)?;
        for place in self.registry(name) {
            let answer = server.authority(&absolute(&place)?, RecordType::TXT).await;
            let answer = answer.map_err(|why| format!("{}: {why}", at.label))?;
            let mut texts = answer.records.iter().filter_map(|record| text(&record.data));
            if texts.any(|text| is_owned_by(&text, &self.config.owner_id)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn look(&self, name: &PreviewName) -> Result<Seen<()>, String> {
        let told = self.gate.authorities(name).await?;
        let Some((at, led)) = told.iter().find(|(_, led)| !led.is_nowhere()) else {
            return Ok(Seen::Absent);
        };
        Ok(match self.is_registered(at, name).await? {
            true => Seen::Present(()),
            false => Seen::Foreign(format!(
                "it leads to {}, and no record of ExternalDNS says that its owner {:?} wrote that",
                led.words(),
                self.config.owner_id
            )),
        })
    }
}

/// Whether a registry's text names this owner: `"heritage=external-dns,external-dns/owner=…,…"`.
fn is_owned_by(text: &str, owner: &str) -> bool {
    let mut words = text.trim_matches('"').split(',');
    words.next() == Some("heritage=external-dns")
        && words.any(|word| word.strip_prefix("external-dns/owner=") == Some(owner))
}

#[async_trait]
impl Dns for ExternalDns {
    async fn observe(&self, name: &PreviewName) -> Seen<()> {
        self.look(name).await.unwrap_or_else(Seen::Unknown)
    }

    async fn resolve(&self, name: &PreviewName) -> Resolution {
        match self.gate.look(name).await {
            Verdict::Right(addresses) => Resolution::Right { addresses },
            Verdict::Waiting(why) => Resolution::NotYet(why),
            Verdict::Missing => Resolution::NotYet("ExternalDNS has not written it yet".to_owned()),
            Verdict::Elsewhere(whither) => Resolution::Wrong(format!(
                "ExternalDNS leads {} to {whither}, not to {}: mend the address of the ingress or \
                 gateway, or dns.external_dns.target",
                name.host(&self.gate.suffix),
                self.gate.config.target
            )),
        }
    }

    /// Lets ExternalDNS see the route; when it has written is for the next look to tell.
    async fn ensure_record(&self, name: &PreviewName) -> Result<Progress, Fault> {
        self.routes.set_released(name, false).await?;
        let host = name.host(&self.gate.suffix);
        Ok(Progress::Underway(format!("DNS: waiting for ExternalDNS to write {host}")))
    }

    /// Hides the route from ExternalDNS, which then removes what it wrote.
    async fn remove_record(&self, name: &PreviewName) -> Result<(), Fault> {
        self.routes.set_released(name, true).await
    }

    /// None: a record has no mark of ours but its route, which the cluster lists, and ExternalDNS
    /// removes what no route asks for.
    async fn owned(&self) -> Result<Vec<PreviewName>, Fault> {
        Ok(Vec::new())
    }
}
