//! Records that ExternalDNS writes from the route object.
//!
//! ExternalDNS watches routes and writes, for the hosts in them, the record and a TXT record of its
//! own that says whose it is (its TXT registry). Refuses to write any record: all that we do is to
//! let ExternalDNS see a route, or not. It ignores an object whose `controller` annotation is not
//! `dns-controller`, and with `--policy=sync` it then removes what it wrote; that is how a name goes
//! before its route.
//! <https://kubernetes-sigs.github.io/external-dns/latest/docs/annotations/annotations/>
//! <https://kubernetes-sigs.github.io/external-dns/latest/docs/registry/txt/>

mod lag;
mod registry;

use std::sync::Arc;

use async_trait::async_trait;
use hickory_resolver::proto::rr::RecordType;

use self::lag::Lag;
pub use self::lag::REGISTRY_LAG_SECONDS;
use self::registry::{is_owned_by, places};
use super::Dns;
use super::ask::{Server, absolute, text};
use super::gate::{Gate, GateConfig, Verdict};
use super::servers::Authority;
use crate::clock::Clock;
use crate::fault::{Fault, Progress};
use crate::preview::observed::Resolution;
use crate::preview::{Host, PreviewName, Seen, Suffix};

/// The key of the annotation that keeps ExternalDNS from a route, as it is spelled by releases
/// before 0.22 and since: whoever sets one sets both.
pub const CONTROLLER_ANNOTATIONS: [&str; 2] =
    ["external-dns.alpha.kubernetes.io/controller", "external-dns.kubernetes.io/controller"];

/// The value that a released route's annotation has: any but `dns-controller` will do.
pub const RELEASED: &str = "mayfly-released";

/// What ExternalDNS makes of a preview's route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heed {
    /// Nothing: there is no route of ours.
    Absent,
    /// It writes, and keeps, the record.
    Heeded,
    /// It removes the record: the route is annotated so that it is ignored.
    Released,
}

/// Whoever holds the route objects.
#[async_trait]
pub trait RouteNote: Send + Sync {
    /// Annotates the preview's route so that ExternalDNS ignores it (`released`), or heeds it again.
    /// A route that is not there is a success.
    async fn set_released(&self, name: &PreviewName, released: bool) -> Result<(), Fault>;

    /// What ExternalDNS makes of the preview's route as it is annotated now.
    async fn heed(&self, name: &PreviewName) -> Result<Heed, Fault>;
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
    lag: Lag,
}

impl ExternalDns {
    /// Lets ExternalDNS write the names under `suffix` from these routes.
    pub fn new(
        config: ExternalDnsConfig,
        suffix: Suffix,
        clock: Arc<dyn Clock>,
        routes: Arc<dyn RouteNote>,
    ) -> Self {
        let gate = Gate { config: config.gate.clone(), suffix, clock };
        Self { gate, config, routes, lag: Lag::default() }
    }

    /// Whether the registry says that the host is its owner's.
    async fn is_registered(&self, at: &Authority, host: &Host) -> Result<bool, String> {
        let server = Server::at(at.address)?;
        let ExternalDnsConfig { txt_prefix, txt_suffix, .. } = &self.config;
        let (label, rest) = (host.label(), self.gate.suffix.as_str());
        for place in places(txt_prefix, txt_suffix, &label, rest) {
            let answer = server.authority(&absolute(&place)?, RecordType::TXT).await;
            let answer = answer.map_err(|why| format!("{}: {why}", at.label))?;
            let mut texts = answer.records.iter().filter_map(|record| text(&record.data));
            if texts.any(|text| is_owned_by(&text, &self.config.owner_id)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn look(&self, host: &Host) -> Result<Seen<()>, String> {
        let told = self.gate.authorities(host).await?;
        let Some((at, led)) = told.iter().find(|(_, led)| !led.is_nowhere()) else {
            self.lag.end(host);
            return Ok(Seen::Absent);
        };
        let registered = self.is_registered(at, host).await?;
        let heed = self.routes.heed(&host.name).await.map_err(|fault| fault.to_string())?;
        if registered || heed == Heed::Absent {
            self.lag.end(host);
        }
        let (leads, now) = (led.words(), self.gate.clock.now());
        match (registered, heed) {
            (true, Heed::Heeded) => Ok(Seen::Present(())),
            (true, _) => Ok(Seen::Leaving(
                "ExternalDNS has yet to remove it, as it does when it runs with --policy=sync"
                    .to_owned(),
            )),
            // Without a route ExternalDNS writes nothing that it could have yet to register.
            (false, Heed::Heeded | Heed::Released) if self.lag.allows(host, now) => Err(format!(
                "it leads to {leads}, and ExternalDNS has yet to say whether it wrote that"
            )),
            (false, _) => Ok(Seen::Foreign(format!(
                "it leads to {leads}, and no record of ExternalDNS says that its owner {:?} wrote \
                 that; remove it, or set dns.external_dns.owner_id, txt_prefix and txt_suffix as \
                 ExternalDNS has them",
                self.config.owner_id
            ))),
        }
    }
}

#[async_trait]
impl Dns for ExternalDns {
    async fn observe(&self, host: &Host) -> Seen<()> {
        self.look(host).await.unwrap_or_else(Seen::Unknown)
    }

    async fn resolve(&self, host: &Host) -> Resolution {
        match self.gate.look(host).await {
            Verdict::Right(addresses) => Resolution::Right { addresses },
            Verdict::Waiting(why) => Resolution::NotYet(why),
            Verdict::Missing => Resolution::NotYet("ExternalDNS has not written it yet".to_owned()),
            Verdict::Elsewhere(whither) => Resolution::Wrong(format!(
                "ExternalDNS leads {} to {whither}, not to {}: mend the address of the ingress or \
                 gateway, or dns.external_dns.target",
                host.full(&self.gate.suffix),
                self.gate.config.target
            )),
        }
    }

    /// Lets ExternalDNS see the route; when it has written is for the next look to tell.
    async fn ensure_record(&self, host: &Host) -> Result<Progress, Fault> {
        self.routes.set_released(&host.name, false).await?;
        let full = host.full(&self.gate.suffix);
        Ok(Progress::Underway(format!("DNS: waiting for ExternalDNS to write {full}")))
    }

    /// Hides the route from ExternalDNS, which then removes what it wrote: for every host of the
    /// preview, whose routes are released together.
    async fn remove_record(&self, host: &Host) -> Result<(), Fault> {
        self.routes.set_released(&host.name, true).await
    }

    /// None: a record has no mark of ours but its route, which the cluster lists, and ExternalDNS
    /// removes what no route asks for.
    async fn owned(&self) -> Result<Vec<Host>, Fault> {
        Ok(Vec::new())
    }
}
