//! The section `dns`: which of the adapters makes names resolve, and how.
//!
//! Refuses none and several at once, and a target that nothing can lead to.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

use super::ConfigError;
use super::values::{absolute, fixed, secret};
use crate::dns::external_dns::ExternalDnsConfig;
use crate::dns::rfc2136::{Key, Rfc2136Config};
use crate::dns::{GateConfig, Target};
use crate::preview::Suffix;

/// The longest time for which a record may be remembered, in seconds.
const MAX_TTL_SECONDS: u32 = 86_400;

/// How names are made to resolve.
#[derive(Clone, Debug)]
pub enum DnsConfig {
    /// A server inside this process.
    Embedded(EmbeddedDnsConfig),
    /// A wildcard record that a person wrote.
    Wildcard(GateConfig),
    /// ExternalDNS, from the routes.
    ExternalDns(ExternalDnsConfig),
    /// Dynamic updates of somebody's zone.
    Rfc2136(Rfc2136Config),
}

/// The embedded DNS server.
#[derive(Clone, Debug)]
pub struct EmbeddedDnsConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The address that every preview's host resolves to.
    pub target: IpAddr,
    /// Where its zone file is.
    pub data_dir: PathBuf,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct DnsPart {
    pub(super) embedded: Option<EmbeddedPart>,
    pub(super) wildcard: Option<WildcardPart>,
    pub(super) external_dns: Option<ExternalDnsPart>,
    pub(super) rfc2136: Option<Rfc2136Part>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct EmbeddedPart {
    pub(super) listen: SocketAddr,
    pub(super) target: IpAddr,
    pub(super) data_dir: Option<PathBuf>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct WildcardPart {
    pub(super) target: TargetPart,
    pub(super) zone: Option<String>,
    pub(super) servers: Option<Vec<SocketAddr>>,
    pub(super) resolvers: Option<Vec<SocketAddr>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct ExternalDnsPart {
    pub(super) target: TargetPart,
    pub(super) zone: Option<String>,
    pub(super) servers: Option<Vec<SocketAddr>>,
    pub(super) resolvers: Option<Vec<SocketAddr>>,
    pub(super) owner_id: String,
    pub(super) txt_prefix: Option<String>,
    pub(super) txt_suffix: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Rfc2136Part {
    pub(super) server: String,
    pub(super) zone: String,
    pub(super) key_name: String,
    pub(super) key_algorithm: Option<String>,
    pub(super) secret: Option<SecretString>,
    pub(super) secret_file: Option<PathBuf>,
    pub(super) target: TargetPart,
    pub(super) ttl_seconds: Option<u32>,
    pub(super) servers: Option<Vec<SocketAddr>>,
    pub(super) resolvers: Option<Vec<SocketAddr>>,
}

/// One or a list.
#[derive(Deserialize, Debug)]
#[serde(untagged)]
pub(super) enum TargetPart {
    One(String),
    Many(Vec<String>),
}

/// Checks the section. `data_dir` is the cluster's, where it has one on this machine.
pub(super) fn dns(
    part: DnsPart,
    suffix: &Suffix,
    data_dir: Option<&Path>,
) -> Result<DnsConfig, ConfigError> {
    match (part.embedded, part.wildcard, part.external_dns, part.rfc2136) {
        (Some(part), None, None, None) => embedded(part, data_dir).map(DnsConfig::Embedded),
        (None, Some(part), None, None) => {
            let WildcardPart { target, zone, servers, resolvers } = part;
            gate("dns.wildcard", suffix, target, zone, servers, resolvers).map(DnsConfig::Wildcard)
        }
        (None, None, Some(part), None) => {
            if part.owner_id.is_empty() {
                let why = "is empty; it is ExternalDNS's --txt-owner-id";
                return Err(ConfigError::new("dns.external_dns.owner_id", why));
            }
            Ok(DnsConfig::ExternalDns(ExternalDnsConfig {
                owner_id: part.owner_id,
                txt_prefix: part.txt_prefix.unwrap_or_default(),
                txt_suffix: part.txt_suffix.unwrap_or_default(),
                gate: gate(
                    "dns.external_dns",
                    suffix,
                    part.target,
                    part.zone,
                    part.servers,
                    part.resolvers,
                )?,
            }))
        }
        (None, None, None, Some(part)) => rfc2136(part, suffix).map(DnsConfig::Rfc2136),
        _ => {
            let why = "needs exactly one of embedded, wildcard, external_dns and rfc2136";
            Err(ConfigError::new("dns", why))
        }
    }
}

fn embedded(part: EmbeddedPart, data_dir: Option<&Path>) -> Result<EmbeddedDnsConfig, ConfigError> {
    let key = "dns.embedded.data_dir";
    let Some(data_dir) = part.data_dir.or_else(|| data_dir.map(Path::to_owned)) else {
        return Err(ConfigError::new(
            key,
            "is missing: where should the zone be kept, with no cluster on this machine?",
        ));
    };
    Ok(EmbeddedDnsConfig {
        listen: fixed("dns.embedded.listen", part.listen)?,
        target: part.target,
        data_dir: absolute(key, data_dir)?,
    })
}

fn rfc2136(part: Rfc2136Part, suffix: &Suffix) -> Result<Rfc2136Config, ConfigError> {
    let secret = secret(&["dns", "rfc2136", "secret"], part.secret, part.secret_file.as_deref())?;
    let algorithm = part.key_algorithm.as_deref().unwrap_or("hmac-sha256");
    let key = Key::new(&part.key_name, algorithm, &secret)
        .map_err(|(key, why)| ConfigError::new(&format!("dns.rfc2136.{key}"), why))?;
    let port = part.server.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none_or(|port| port == 0) {
        let why = format!("{:?} is not host:port, such as ns1.example.com:53", part.server);
        return Err(ConfigError::new("dns.rfc2136.server", why));
    }
    let ttl_seconds = part.ttl_seconds.unwrap_or(60);
    if ttl_seconds > MAX_TTL_SECONDS {
        let why = format!("is more than a day ({MAX_TTL_SECONDS})");
        return Err(ConfigError::new("dns.rfc2136.ttl_seconds", why));
    }
    let Rfc2136Part { server, zone, target, servers, resolvers, .. } = part;
    let gate = gate("dns.rfc2136", suffix, target, Some(zone.clone()), servers, resolvers)?;
    Ok(Rfc2136Config { server, zone, key, ttl_seconds, gate })
}

fn gate(
    section: &str,
    suffix: &Suffix,
    target: TargetPart,
    zone: Option<String>,
    servers: Option<Vec<SocketAddr>>,
    resolvers: Option<Vec<SocketAddr>>,
) -> Result<GateConfig, ConfigError> {
    let words = match target {
        TargetPart::One(word) => vec![word],
        TargetPart::Many(words) => words,
    };
    let target =
        Target::parse(&words).map_err(|why| ConfigError::new(&format!("{section}.target"), why))?;
    if let Some(zone) = &zone {
        let host = format!(".{}", suffix.as_str());
        if !host.ends_with(&format!(".{zone}")) {
            let why = format!("previews.suffix ({}) is not in the zone {zone:?}", suffix.as_str());
            return Err(ConfigError::new(&format!("{section}.zone"), why));
        }
    }
    if let Target::Host(host) = &target
        && format!(".{host}").ends_with(&format!(".{}", suffix.as_str()))
    {
        let why = "is itself under previews.suffix; name a host outside";
        return Err(ConfigError::new(&format!("{section}.target"), why));
    }
    for (key, list) in [("servers", &servers), ("resolvers", &resolvers)] {
        if list.iter().flatten().any(|address| address.port() == 0) {
            let why = "port 0 leads nowhere; DNS has port 53";
            return Err(ConfigError::new(&format!("{section}.{key}"), why));
        }
    }
    Ok(GateConfig {
        target,
        zone,
        servers: servers.unwrap_or_default(),
        resolvers: resolvers.unwrap_or_default(),
    })
}
