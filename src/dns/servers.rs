//! Whom to ask: the zone's authoritative servers, and the resolvers that reviewers' machines ask.
//!
//! Refuses to ask a resolver for anything at or below the previews' hosts, and finds servers afresh
//! for each look: a zone that moved is noticed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;

use super::ask::{Answer, Server, absolute, plain};
use super::led::Led;

/// How many addresses of authoritative servers are asked: 13 root-like servers, twice.
const MAX_AUTHORITIES: usize = 26;

/// How many resolvers are asked.
const MAX_RESOLVERS: usize = 8;

/// Where DNS servers listen that say nothing else.
const DNS_PORT: u16 = 53;

/// An authoritative server, by one of its addresses.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    /// For people: `ns2.example.com (192.0.2.2)`.
    pub(super) label: String,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

/// The resolvers to ask.
#[derive(Debug)]
pub(super) struct Resolvers {
    /// In order.
    pub(super) addresses: Vec<SocketAddr>,
    /// Whether each of them counts. Of the system's own, the first that answers does, as for any
    /// program here.
    pub(super) each: bool,
}

impl Resolvers {
    /// The configured ones, or the system's.
    pub(super) fn of(configured: &[SocketAddr]) -> Result<Self, String> {
        if !configured.is_empty() {
            let addresses = configured.iter().take(MAX_RESOLVERS).copied().collect();
            return Ok(Self { addresses, each: true });
        }
        let (system, _) = read_system_conf()
            .map_err(|error| format!("this machine's resolvers are not known: {error}"))?;
        let ips = system.name_servers().iter().take(MAX_RESOLVERS);
        Ok(Self {
            addresses: ips.map(|server| SocketAddr::new(server.ip, DNS_PORT)).collect(),
            each: false,
        })
    }

    /// The addresses of a host that is not a preview's.
    pub(super) async fn addresses_of(&self, host: &Name) -> Result<BTreeSet<IpAddr>, String> {
        let v4 = self.lookup(host, RecordType::A).await?;
        let v6 = self.lookup(host, RecordType::AAAA).await?;
        Ok(Led::read(host, [v4, v6])?.addresses)
    }

    /// What the first resolver that answers says.
    async fn lookup(&self, name: &Name, kind: RecordType) -> Result<Answer, String> {
        let mut last = "there is no resolver to ask".to_owned();
        for address in &self.addresses {
            match Server::at(*address)?.recursive(name, kind).await {
                Ok(answer) => return Ok(answer),
                Err(why) => last = format!("resolver {}: {why}", shown(*address)),
            }
        }
        Err(format!("looking up {}: {last}", plain(name)))
    }
}

/// Every authoritative server of the zone, by each address: those that are configured, or else what
/// the resolvers know of the zone.
pub(super) async fn authorities(
    configured: &[SocketAddr],
    zone: &str,
    resolvers: &[SocketAddr],
) -> Result<Vec<Authority>, String> {
    if !configured.is_empty() {
        let all = configured.iter().take(MAX_AUTHORITIES);
        let label = |address: &SocketAddr| format!("server {}", shown(*address));
        return Ok(all.map(|a| Authority { label: label(a), address: *a }).collect());
    }
    let resolvers = Resolvers::of(resolvers)?;
    let names = name_servers(&resolvers, &absolute(zone)?).await?;
    let mut all = Vec::new();
    for name in names {
        let addresses = resolvers.addresses_of(&name).await?;
        // A machine without IPv6 can still ask a server that has both.
        let (near, far): (Vec<IpAddr>, Vec<_>) = addresses.into_iter().partition(|a| routed(*a));
        let asked = if near.is_empty() { far } else { near };
        if asked.is_empty() {
            return Err(format!("the name server {} has no address", plain(&name)));
        }
        all.extend(asked.into_iter().map(|ip| Authority {
            label: format!("{} ({ip})", plain(&name)),
            address: SocketAddr::new(ip, DNS_PORT),
        }));
        all.truncate(MAX_AUTHORITIES);
    }
    Ok(all)
}

/// The name servers of a zone, or of the zone that a name is in.
async fn name_servers(resolvers: &Resolvers, zone: &Name) -> Result<Vec<Name>, String> {
    let mut answer = resolvers.lookup(zone, RecordType::NS).await?;
    if let Some(soa) = answer.denied_by {
        answer = resolvers.lookup(&soa.zone, RecordType::NS).await?;
    }
    let names: BTreeSet<Name> = answer
        .records
        .iter()
        .filter_map(|record| match &record.data {
            RData::NS(name) => Some(name.0.clone()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        return Err(format!("no name server of {} is known", plain(zone)));
    }
    Ok(names.into_iter().collect())
}

/// Whether this machine has a way to an address. Connecting over UDP asks the routing table and
/// sends nothing.
fn routed(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).is_ok_and(|socket| socket.connect((address, DNS_PORT)).is_ok())
}

/// An address for people: the port only where it is not the usual one.
pub(super) fn shown(address: SocketAddr) -> String {
    if address.port() == DNS_PORT { address.ip().to_string() } else { address.to_string() }
}
