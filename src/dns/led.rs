//! Where one server says that a host leads.
//!
//! Refuses to take a cache's word for an authority's, and to follow aliases without end.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::ask::{Answer, Server, addresses, plain};
use super::target::list;

/// How many aliases may follow one another.
const MAX_ALIASES: usize = 8;

/// Where a host leads, by one server.
#[derive(Debug, Default)]
pub(super) struct Led {
    /// The addresses at the end.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// The hosts on the way, in order.
    pub(super) aliases: Vec<Name>,
    /// Whether the server says that there is no such name at all.
    pub(super) no_such_name: bool,
    /// How much longer this may be remembered, in seconds; `None` where nothing says it.
    pub(super) ttl_seconds: Option<u32>,
}

impl Led {
    /// Asks an authority for its own word.
    pub(super) async fn by_authority(server: &Server, host: &Name) -> Result<Self, String> {
        let ask = |kind| server.authority(host, kind);
        let (v4, v6) = tokio::try_join!(ask(RecordType::A), ask(RecordType::AAAA))?;
        Self::read(host, [v4, v6])
    }

    /// Asks a resolver to find out, or to remember.
    pub(super) async fn by_resolver(server: &Server, host: &Name) -> Result<Self, String> {
        let ask = |kind| server.recursive(host, kind);
        let (v4, v6) = tokio::try_join!(ask(RecordType::A), ask(RecordType::AAAA))?;
        Self::read(host, [v4, v6])
    }

    /// Reads what was answered for a host's two families.
    pub(super) fn read(host: &Name, answers: [Answer; 2]) -> Result<Self, String> {
        let mut led = Self::default();
        for answer in &answers {
            let mut end = host.clone();
            let mut way = Vec::new();
            while let Some(next) = answer.records.iter().find_map(|record| match &record.data {
                RData::CNAME(next) if record.name == end => Some(next.0.clone()),
                _ => None,
            }) {
                if way.len() == MAX_ALIASES {
                    return Err(format!("{} has aliases without end", plain(host)));
                }
                end = next;
                way.push(end.clone());
            }
            let at_end: Vec<_> =
                answer.records.iter().filter(|record| record.name == end).cloned().collect();
            led.addresses.extend(addresses(&at_end));
            if way.len() > led.aliases.len() {
                led.aliases = way;
            }
            led.no_such_name |= answer.no_such_name && answer.records.is_empty();
        }
        // What is remembered of what is there ends with the first record of it, what is
        // remembered of what is not there with the last denial.
        let records = || answers.iter().flat_map(|answer| &answer.records);
        led.ttl_seconds = if led.is_nowhere() {
            answers.iter().filter_map(|a| a.denied_by.as_ref()).map(|soa| soa.ttl_seconds).max()
        } else {
            records().map(|record| record.ttl).min()
        };
        Ok(led)
    }

    /// Whether there is neither an address nor an alias.
    pub(super) fn is_nowhere(&self) -> bool {
        self.addresses.is_empty() && self.aliases.is_empty()
    }

    /// For people.
    pub(super) fn words(&self) -> String {
        match self.aliases.last() {
            _ if !self.addresses.is_empty() => list(&self.addresses),
            Some(alias) => plain(alias),
            None => "nothing".to_owned(),
        }
    }
}
