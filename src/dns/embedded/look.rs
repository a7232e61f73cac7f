//! One look at a name, through the network, as a resolver would.
//!
//! Refuses to remember: every look has its own connections, so that no cache and no question that is
//! already under way can answer for it; and hickory's resolver itself would answer for `localhost`
//! without asking anybody (RFC 6761), so its name server pool is asked directly. Refuses to take anything but an authority's word: what
//! is not a positive answer or a denial with the zone's SOA is no answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::DnsHandle;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};

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
    let pool = pool(server).map_err(|e| e.to_string())?;
    let ask = |kind| ask(&pool, zone.apex(), &host, kind);
    let (v4, v6, texts) =
        tokio::try_join!(ask(RecordType::A), ask(RecordType::AAAA), ask(RecordType::TXT))
            .map_err(|why| format!("asking {server} for {host}: {why}"))?;
    Ok(Found {
        addresses: v4.iter().chain(&v6).filter_map(RData::ip_addr).collect(),
        texts: texts.iter().filter_map(text).collect(),
    })
}

async fn ask(
    pool: &NameServerPool<TokioRuntimeProvider>,
    apex: &Name,
    host: &Name,
    kind: RecordType,
) -> Result<Vec<RData>, String> {
    let mut options = DnsRequestOptions::default();
    options.recursion_desired = false;
    let mut answers = pool.lookup(Query::query(host.clone(), kind), options);
    match answers.next().await {
        Some(Ok(answer)) => {
            let told = &answer.metadata;
            let data: Vec<_> = answer
                .answers
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
        Some(Err(NetError::Dns(DnsError::NoRecordsFound(denial))))
            if denial.soa.as_ref().is_some_and(|soa| soa.name == *apex) =>
        {
            Ok(Vec::new())
        }
        Some(Err(error)) => Err(format!("{kind}: {error}")),
        None => Err(format!("{kind}: no answer")),
    }
}

fn pool(server: SocketAddr) -> Result<NameServerPool<TokioRuntimeProvider>, NetError> {
    let mut udp = ConnectionConfig::udp();
    udp.port = server.port();
    let only = NameServerConfig::new(server.ip(), true, vec![udp]);
    let mut options = ResolverOpts::default();
    options.timeout = TIMEOUT;
    options.attempts = 0; // counts the retries after the first
    let context = PoolContext::new(options, TlsConfig::new()?);
    Ok(NameServerPool::from_config([only], context.into(), TokioRuntimeProvider::default()))
}

fn text(data: &RData) -> Option<String> {
    match data {
        RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
        _ => None,
    }
}
