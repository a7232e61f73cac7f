//! The one adapter of DNS that the configuration names, started.
//!
//! Refuses to know what the adapters do.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::DnsConfig;
use crate::dns::Dns;
use crate::dns::embedded::EmbeddedDns;
use crate::dns::external_dns::{ExternalDns, RouteNote};
use crate::dns::rfc2136::Rfc2136Dns;
use crate::dns::wildcard::WildcardDns;
use crate::fault::Fault;
use crate::preview::Suffix;

/// The seam, and the server in this process where there is one.
type Started = (Arc<dyn Dns>, Option<Arc<EmbeddedDns>>);

/// Starts it; the embedded server once more by its own type, since it has to be stopped in the end.
/// `routes` is whoever holds the routes that ExternalDNS reads, where there is one.
pub(super) fn start(
    config: DnsConfig,
    suffix: Suffix,
    instance: String,
    clock: Arc<dyn Clock>,
    routes: Option<Arc<dyn RouteNote>>,
) -> Result<Started, Fault> {
    let seam: Arc<dyn Dns> = match config {
        DnsConfig::Embedded(config) => {
            std::fs::create_dir_all(&config.data_dir).map_err(|error| {
                let doing = format!("making dns.embedded.data_dir {}", config.data_dir.display());
                Fault::permanent(doing, error)
            })?;
            let file = config.data_dir.join("zone.json");
            let server =
                Arc::new(EmbeddedDns::start(config.listen, suffix, instance, config.target, file)?);
            return Ok((server.clone(), Some(server)));
        }
        DnsConfig::Wildcard(config) => Arc::new(WildcardDns::new(config, suffix, clock)),
        DnsConfig::Rfc2136(config) => Arc::new(Rfc2136Dns::new(config, suffix, instance, clock)),
        DnsConfig::ExternalDns(config) => {
            let routes = routes.ok_or_else(|| {
                let why = "the routes of this cluster cannot be annotated for ExternalDNS; choose \
                           another section of dns";
                Fault::permanent("starting dns.external_dns", why)
            })?;
            Arc::new(ExternalDns::new(config, suffix, clock, routes))
        }
    };
    Ok((seam, None))
}
