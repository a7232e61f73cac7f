//! How long a record may stand without a word in the registry before it counts as somebody else's.
//!
//! ExternalDNS sends records before the TXT records that say whose they are, and where it sends many
//! these are in a later message to the DNS server. Refuses to be a memory of anything else:
//! forgetting all of it puts a conflict off, once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use crate::preview::Host;

/// How long ExternalDNS may take from a record to its TXT record, in seconds; a batch takes one or two.
pub const REGISTRY_LAG_SECONDS: i64 = 30;

/// Since when which host has had a record that the registry does not know. No more entries than
/// hosts: an answer of any other kind takes the host off.
#[derive(Default)]
pub(super) struct Lag(Mutex<HashMap<Host, DateTime<Utc>>>);

impl Lag {
    /// Notes that a host's record is not in the registry now; whether it may yet come there.
    pub(super) fn allows(&self, host: &Host, now: DateTime<Utc>) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *since.entry(host.clone()).or_insert(now);
        now - since < TimeDelta::seconds(REGISTRY_LAG_SECONDS)
    }

    /// Notes that it is, or that there is no record.
    pub(super) fn end(&self, host: &Host) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
    }
}
