//! One look at a name of the embedded server, through the network, as a resolver would.
//!
//! Refuses to take anything but an authority's word: what is not a positive answer or a denial with
//! the zone's SOA is no answer.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::super::ask::{Server, text};
use super::zone::Zone;

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
    let asked = Server::at(server)?;
    let ask = |kind| ask(&asked, zone.apex(), &host, kind);
    let (v4, v6, texts) =
        tokio::try_join!(ask(RecordType::A), ask(RecordType::AAAA), ask(RecordType::TXT))
            .map_err(|why| format!("asking {server} for {host}: {why}"))?;
    Ok(Found {
        addresses: v4.iter().chain(&v6).filter_map(RData::ip_addr).collect(),
        texts: texts.iter().filter_map(text).collect(),
    })
}

async fn ask(
    server: &Server,
    apex: &Name,
    host: &Name,
    kind: RecordType,
) -> Result<Vec<RData>, String> {
    let answer = server.authority(host, kind).await?;
    let wanted = answer.records.into_iter();
    let wanted = wanted.filter(|record| record.record_type() == kind && record.name == *host);
    let data: Vec<_> = wanted.map(|record| record.data).collect();
    match answer.denied_by {
        Some(soa) if soa.zone == *apex => Ok(Vec::new()),
        None if !answer.no_such_name && !data.is_empty() => Ok(data),
        _ => Err(format!("{kind}: not an authority's answer")),
    }
}
