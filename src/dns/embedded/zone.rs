//! What the zone says: its apex, and one address and one stamp per record.
//!
//! Pure. Refuses anything that the apex and a preview do not need: no wildcard, no alias.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_server::proto::ProtoError;
use hickory_server::proto::rr::rdata::{NS, SOA, TXT};
use hickory_server::proto::rr::{LowerName, Name, RData, Record, RecordSet, RrKey};

use super::zone_file::{Entries, NAME_SERVER};
use crate::preview::Suffix;

/// How long a resolver may remember a record, or that there is none, in seconds: a preview that
/// is opened again is found at once.
const TTL: u32 = 1;

/// The SOA's timers for secondaries, of which there are none: RFC 1912 §2.2.
const REFRESH: i32 = 1200;
const RETRY: i32 = 180;
const EXPIRE: i32 = 1_209_600;

/// The zone without its previews.
pub(super) struct Zone {
    apex: Name,
    server: Name,
    contact: Name,
    address: IpAddr,
}

impl Zone {
    /// The zone of `suffix`, served at `address`.
    pub(super) fn new(suffix: &Suffix, address: IpAddr) -> Result<Self, ProtoError> {
        let apex = Name::from_ascii(format!("{}.", suffix.as_str()))?;
        let server = apex.prepend_label(NAME_SERVER)?;
        let contact = apex.prepend_label("hostmaster")?;
        Ok(Self { apex, server, contact, address })
    }

    /// The zone's own name.
    pub(super) fn apex(&self) -> &Name {
        &self.apex
    }

    /// The full name of a label under the apex.
    pub(super) fn host(&self, label: &str) -> Result<Name, ProtoError> {
        self.apex.prepend_label(label)
    }

    /// Everything that is served.
    pub(super) fn records(
        &self,
        entries: &Entries,
    ) -> Result<BTreeMap<RrKey, Arc<RecordSet>>, ProtoError> {
        // The serial stands still: it is for secondaries, and transfers are refused.
        let (server, contact) = (self.server.clone(), self.contact.clone());
        let soa = SOA::new(server, contact, 1, REFRESH, RETRY, EXPIRE, TTL);
        let mut all = vec![
            (self.apex.clone(), RData::SOA(soa)),
            (self.apex.clone(), RData::NS(NS(self.server.clone()))),
            (self.server.clone(), RData::from(self.address)),
        ];
        for (label, entry) in entries {
            let host = self.host(label)?;
            all.push((host.clone(), RData::from(entry.address)));
            if let Some(stamp) = &entry.stamp {
                all.push((host, RData::TXT(TXT::new(vec![stamp.clone()]))));
            }
        }
        let sets = all.into_iter().map(|(name, data)| {
            let key = RrKey::new(LowerName::from(&name), data.record_type());
            (key, Arc::new(RecordSet::from(Record::from_rdata(name, TTL, data))))
        });
        Ok(sets.collect())
    }
}
