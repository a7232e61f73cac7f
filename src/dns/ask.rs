//! One question to one DNS server, over the network.
//!
//! Refuses to remember: every set of questions has its own connections, so that no cache and no
//! question that is already under way can answer for it; and hickory's resolver itself would answer
//! for `localhost` without asking anybody (RFC 6761), so its name server pool is asked directly.
//! Refuses to judge: what an answer means is the caller's business, and no answer is an error.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::DnsHandle;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};

/// How long to wait for an answer, the second try over TCP included.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a server says of one name and type.
#[derive(Debug)]
pub(super) struct Answer {
    /// The records of the answer, aliases on the way included; empty where there are none.
    pub(super) records: Vec<Record>,
    /// Whether the server vouches for them itself. Says nothing where there are none.
    authoritative: bool,
    /// Where there are none: the SOA of the zone that denies them (RFC 2308 §2).
    pub(super) denied_by: Option<Soa>,
    /// Whether the name has no record of any type (NXDOMAIN).
    pub(super) no_such_name: bool,
}

/// The SOA beside a denial.
#[derive(Debug)]
pub(super) struct Soa {
    /// The zone.
    pub(super) zone: Name,
    /// How much longer the denial may be remembered, in seconds: RFC 2308 §5 has caches count the
    /// SOA's TTL down.
    pub(super) ttl_seconds: u32,
}

/// Connections to one server, for one look.
pub(super) struct Server(NameServerPool<TokioRuntimeProvider>);

impl Server {
    /// UDP, and TCP where an answer is cut short.
    pub(super) fn at(address: SocketAddr) -> Result<Self, String> {
        let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
        (udp.port, tcp.port) = (address.port(), address.port());
        let only = NameServerConfig::new(address.ip(), true, vec![udp, tcp]);
        let mut options = ResolverOpts::default();
        options.timeout = TIMEOUT;
        options.attempts = 0; // counts the retries after the first
        let tls = TlsConfig::new().map_err(|error| error.to_string())?;
        let context = PoolContext::new(options, tls);
        let provider = TokioRuntimeProvider::default();
        Ok(Self(NameServerPool::from_config([only], context.into(), provider)))
    }

    /// Asks for the server's own word; what it only remembers is an error.
    pub(super) async fn authority(&self, name: &Name, kind: RecordType) -> Result<Answer, String> {
        let answer = self.ask(name, kind, false).await?;
        let own = match &answer.denied_by {
            Some(soa) => soa.zone.zone_of(name),
            None => answer.authoritative,
        };
        if own { Ok(answer) } else { Err(format!("{kind}: not an authority's answer")) }
    }

    /// Asks the server to find out.
    pub(super) async fn recursive(&self, name: &Name, kind: RecordType) -> Result<Answer, String> {
        self.ask(name, kind, true).await
    }

    async fn ask(&self, name: &Name, kind: RecordType, recurse: bool) -> Result<Answer, String> {
        let mut options = DnsRequestOptions::default();
        options.recursion_desired = recurse;
        let mut answers = self.0.lookup(Query::query(name.clone(), kind), options);
        // The pool's own bound does not hold for a TCP connection that is never accepted.
        let answer = tokio::time::timeout(TIMEOUT, answers.next()).await;
        match answer.unwrap_or(Some(Err(NetError::Timeout))) {
            Some(Ok(answer)) => {
                let code = answer.metadata.response_code;
                if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
                    return Err(format!("{kind}: it answers {code}"));
                }
                Ok(Answer {
                    authoritative: answer.metadata.authoritative,
                    records: answer.answers.clone(),
                    denied_by: None,
                    no_such_name: code == ResponseCode::NXDomain,
                })
            }
            Some(Err(NetError::Dns(DnsError::NoRecordsFound(denial)))) => Ok(Answer {
                records: Vec::new(),
                authoritative: false,
                denied_by: denial.soa.map(|soa| Soa { zone: soa.name, ttl_seconds: soa.ttl }),
                no_such_name: denial.response_code == ResponseCode::NXDomain,
            }),
            Some(Err(error)) => Err(format!("{kind}: {}", words(&error))),
            None => Err(format!("{kind}: no answer")),
        }
    }
}

fn words(error: &NetError) -> String {
    match error {
        NetError::Timeout => "no answer in time".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("it answers {code}"),
        NetError::Io(io) if io.kind() == ErrorKind::ConnectionRefused => {
            "nothing listens there".to_owned()
        }
        other => other.to_string(),
    }
}

/// The addresses among records, in order.
pub(super) fn addresses(records: &[Record]) -> impl Iterator<Item = IpAddr> {
    records.iter().filter_map(|record| record.data.ip_addr())
}

/// The text of a TXT record, its character-strings joined.
pub(super) fn text(data: &RData) -> Option<String> {
    match data {
        RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
        _ => None,
    }
}

/// A configured name, absolute.
pub(super) fn absolute(name: &str) -> Result<Name, String> {
    let mut parsed = Name::from_ascii(name).map_err(|error| format!("{name}: {error}"))?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

/// A name as people write it, without the dot at its end.
pub(super) fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}
