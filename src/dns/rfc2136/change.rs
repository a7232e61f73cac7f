//! The messages that change a host's records: each is one update with prerequisites (RFC 2136).
//!
//! Pure. The server applies a message whole or not at all (§3.7), and only where its prerequisites
//! hold, so that a crash, a repetition or a second controller finds a whole state. Refuses to build a
//! change that could overwrite what does not carry our stamp.

use hickory_net::proto::op::update_message::UpdateMessage;
use hickory_net::proto::op::{Message, MessageType, OpCode, Query};
use hickory_net::proto::rr::rdata::{CNAME, TXT};
use hickory_net::proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::super::target::Target;

/// What a host has from us: an address or an alias, of these types.
const LEADING: [RecordType; 3] = [RecordType::A, RecordType::AAAA, RecordType::CNAME];

/// One host in a zone.
pub(super) struct Place {
    pub(super) zone: Name,
    pub(super) host: Name,
    /// Where the stamp is: beside the host and not at it, since nothing may stand beside an alias
    /// (RFC 2181 §10.1), and so in the same place whatever the target is.
    pub(super) mark: Name,
    /// The stamp's line.
    pub(super) stamp: String,
}

impl Place {
    /// Writes both where neither name is in use.
    pub(super) fn create(&self, id: u16, target: &Target, ttl: u32) -> Message {
        let mut message = self.update(id);
        for name in [&self.host, &self.mark] {
            let mut free = Record::update0(name.clone(), 0, RecordType::ANY);
            free.dns_class = DNSClass::NONE; // §2.4.5: name is not in use
            message.add_pre_requisite(free);
        }
        message.add_updates(self.leading(target, ttl));
        message.add_update(self.marking(ttl));
        message
    }

    /// Leads the host to the target where the stamp is ours.
    pub(super) fn converge(&self, id: u16, target: &Target, ttl: u32) -> Message {
        let mut message = self.only_ours(id);
        message.add_updates(LEADING.map(|kind| none_of(&self.host, kind)));
        message.add_updates(self.leading(target, ttl));
        message
    }

    /// Removes both where the stamp is ours.
    pub(super) fn remove(&self, id: u16) -> Message {
        let mut message = self.only_ours(id);
        message.add_updates(LEADING.map(|kind| none_of(&self.host, kind)));
        message.add_update(none_of(&self.mark, RecordType::TXT));
        message
    }

    fn only_ours(&self, id: u16) -> Message {
        let mut message = self.update(id);
        message.add_pre_requisite(self.marking(0)); // §2.4.2: RRset exists (value dependent)
        message
    }

    fn update(&self, id: u16) -> Message {
        let mut message = Message::new(id, MessageType::Query, OpCode::Update);
        message.add_zone(Query::query(self.zone.clone(), RecordType::SOA));
        message
    }

    fn marking(&self, ttl: u32) -> Record {
        let text = TXT::new(vec![self.stamp.clone()]);
        Record::from_rdata(self.mark.clone(), ttl, RData::TXT(text))
    }

    fn leading(&self, target: &Target, ttl: u32) -> Vec<Record> {
        let data: Vec<RData> = match (target, target.host()) {
            (Target::Addresses(all), _) => all.iter().copied().map(RData::from).collect(),
            (_, alias) => alias.into_iter().map(|name| RData::CNAME(CNAME(name))).collect(),
        };
        data.into_iter().map(|data| Record::from_rdata(self.host.clone(), ttl, data)).collect()
    }
}

/// §2.5.2: delete an RRset.
fn none_of(name: &Name, kind: RecordType) -> Record {
    let mut none = Record::update0(name.clone(), 0, kind);
    none.dns_class = DNSClass::ANY;
    none
}

/// Asks for the whole zone.
pub(super) fn transfer(id: u16, zone: &Name) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(zone.clone(), RecordType::AXFR));
    message
}
