//! One look at a name, through the network, as a resolver would.
//!
//! Refuses to remember: every look has its own resolver, so that no cache and no question that is
//! already under way can answer for it. Refuses to take anything but an authority's word: what
//! is not a positive answer or a denial with the zone's SOA is no answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::zone::Zone;

/// How long to wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What a name has; nothing at all where the authority said so.
#[derive(Debug)]
pub(super) struct Found {
    /// Its addresses, of both families.
    pub(super) addresses: Vec<IpAddr>,
    /// Its TXT records.
    pub(super) texts: Vec<String>,
}

/// Asks `server` what a label of the zone has; the error is a sentence for people.
pub(super) async fn look(server: SocketAddr, zone: &Zone, label: &str) -> Result<Found, String> {
    let host = zone.host(label).map_err(|e| e.to_string())?;
    let resolver = resolver(server).map_err(|e| e.to_string())?;
    let ask = |kind| ask(&resolver, zone.apex(), &host, kind);
    let (v4, v6, texts) =
        tokio::try_join!(ask(RecordType::A), ask(RecordType::AAAA), ask(RecordType::TXT))
            .map_err(|why| format!("asking {server} for {host}: {why}"))?;
    Ok(Found {
        addresses: v4.iter().chain(&v6).filter_map(RData::ip_addr).collect(),
        texts: texts.iter().filter_map(text).collect(),
    })
}

async fn ask(
    resolver: &TokioResolver,
    apex: &Name,
    host: &Name,
    kind: RecordType,
) -> Result<Vec<RData>, String> {
    match resolver.lookup(host.clone(), kind).await {
        Ok(answer) => {
            let told = &answer.message().metadata;
            let data: Vec<_> = answer
                .answers()
                .iter()
                .filter(|record| record.record_type() == kind && record.name == *host)
                .map(|record| record.data.clone())
                .collect();
            if !told.authoritative || told.response_code != ResponseCode::NoError || data.is_empty()
            {
                return Err(format!("{kind}: not an authority's answer"));
            }
            Ok(data)
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(denial)))
            if denial.soa.as_ref().is_some_and(|soa| soa.name == *apex) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(format!("{kind}: {error}")),
    }
}

fn resolver(server: SocketAddr) -> Result<TokioResolver, NetError> {
    let mut udp = ConnectionConfig::udp();
    udp.port = server.port();
    let only = NameServerConfig::new(server.ip(), true, vec![udp]);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![only]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = TIMEOUT;
    options.attempts = 0; // counts the retries after the first
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.recursion_desired = false;
    builder.build()
}

fn text(data: &RData) -> Option<String> {
    match data {
        RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
        _ => None,
    }
}
