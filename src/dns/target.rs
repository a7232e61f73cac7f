//! Where every preview's host is to lead: addresses, or one other host.
//!
//! Parsed once, from the configuration. Refuses a mixture: an alias stands alone at its name
//! (RFC 1034 §3.6.2).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use hickory_resolver::proto::rr::Name;

use super::ask::{absolute, plain};

/// How many addresses a host may have: an answer with all of them fits one UDP packet.
const MAX_ADDRESSES: usize = 8;

/// Where every preview's host leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To exactly these addresses, of either family.
    Addresses(BTreeSet<IpAddr>),
    /// To another host, such as a load balancer's.
    Host(String),
}

impl Target {
    /// Reads one host name, or addresses; the error is what is wrong with them.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let addresses: Option<BTreeSet<IpAddr>> = words.iter().map(|w| w.parse().ok()).collect();
        match (words, addresses) {
            ([], _) => Err("names no address and no host".to_owned()),
            (_, Some(addresses)) if addresses.len() > MAX_ADDRESSES => {
                Err(format!("has more than {MAX_ADDRESSES} addresses"))
            }
            (_, Some(addresses)) => match addresses.iter().find(|a| a.is_unspecified()) {
                Some(none) => Err(format!("{none} leads nowhere")),
                None => Ok(Self::Addresses(addresses)),
            },
            ([host], None) => {
                let name = absolute(host)?;
                let hosts = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
                if name.num_labels() < 2 || !host.chars().all(hosts) {
                    return Err(format!("{host:?} is neither an address nor a full host name"));
                }
                Ok(Self::Host(plain(&name).to_ascii_lowercase()))
            }
            _ => Err("is one host name, or addresses alone".to_owned()),
        }
    }

    /// The host as a name; `None` where there are addresses.
    pub(super) fn host(&self) -> Option<Name> {
        match self {
            Self::Addresses(_) => None,
            Self::Host(host) => absolute(host).ok(),
        }
    }

    /// The record that leads there, as a zone file has it after its name.
    pub(super) fn record(&self) -> String {
        match self {
            Self::Host(host) => format!("CNAME {host}."),
            Self::Addresses(all) => {
                let record = |a: &IpAddr| format!("{} {a}", if a.is_ipv4() { "A" } else { "AAAA" });
                all.iter().map(record).collect::<Vec<_>>().join(" and ")
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(all) => f.write_str(&list(all)),
            Self::Host(host) => f.write_str(host),
        }
    }
}

/// Addresses as people write them.
pub(super) fn list(addresses: &BTreeSet<IpAddr>) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}
