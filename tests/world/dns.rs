//! DNS records in memory, with faults to order.
//!
//! Refuses what the real one refuses: a name whose stamp is not ours is never changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mayfly::dns::Dns;
use mayfly::fault::{Fault, Progress};
use mayfly::preview::observed::Resolution;
use mayfly::preview::{Host, Seen, Stamp};

use super::faults::Faults;

/// The records of one world; clones share them.
#[derive(Clone)]
pub struct FakeDns {
    instance: String,
    faults: Faults,
    records: Arc<Mutex<BTreeMap<Host, String>>>,
    hidden: Arc<Mutex<BTreeMap<Host, Resolution>>>,
    held: Arc<Mutex<BTreeSet<Host>>>,
}

impl FakeDns {
    /// No records; what `instance` writes is ours.
    pub fn new(instance: &str, faults: Faults) -> Self {
        Self {
            instance: instance.to_owned(),
            faults,
            records: Arc::default(),
            hidden: Arc::default(),
            held: Arc::default(),
        }
    }

    /// The label of every host that has a record, and the stamp line beside it.
    pub fn records(&self) -> BTreeMap<String, String> {
        let records = self.records.lock().unwrap();
        records.iter().map(|(host, stamp)| (host.label(), stamp.clone())).collect()
    }

    /// Puts a record there by hand, with this stamp line.
    pub fn plant(&self, host: impl Into<Host>, stamp_line: &str) {
        self.records.lock().unwrap().insert(host.into(), stamp_line.to_owned());
    }

    /// Removes a record by hand.
    pub fn erase(&self, host: impl Into<Host>) {
        self.records.lock().unwrap().remove(&host.into());
    }

    /// The host's record is right, and something keeps reviewers from it.
    pub fn hide(&self, host: impl Into<Host>, why: Resolution) {
        self.hidden.lock().unwrap().insert(host.into(), why);
    }

    /// Whatever kept reviewers from the host is over.
    pub fn unhide(&self, host: impl Into<Host>) {
        self.hidden.lock().unwrap().remove(&host.into());
    }

    /// A removal is asked for in vain, without a word, from now on: somebody else has to do it.
    pub fn hold(&self, host: impl Into<Host>) {
        self.held.lock().unwrap().insert(host.into());
    }

    /// Whoever had to do it does it.
    pub fn release(&self, host: impl Into<Host>) {
        self.held.lock().unwrap().remove(&host.into());
    }

    fn resolution(&self, host: &Host) -> Resolution {
        if let Some(why) = self.hidden.lock().unwrap().get(host) {
            return why.clone();
        }
        match self.records.lock().unwrap().contains_key(host) {
            true => Resolution::Right { addresses: [IpAddr::from([192, 0, 2, 80])].into() },
            false => Resolution::NotYet("no such name".to_owned()),
        }
    }

    fn ours(&self, host: &Host) -> String {
        Stamp::new(&self.instance, &host.name).line()
    }

    fn change(&self, call: &str, host: &Host, wanted: Option<String>) -> Result<(), Fault> {
        self.faults.run(call, || {
            let mut records = self.records.lock().unwrap();
            match records.get(host) {
                Some(stamp) if *stamp != self.ours(host) => {
                    return Err(Fault::not_ours(call, format!("the record carries {stamp:?}")));
                }
                _ => {}
            }
            match wanted.clone() {
                Some(stamp) => records.insert(host.clone(), stamp),
                None if self.held.lock().unwrap().contains(host) => None,
                None => records.remove(host),
            };
            Ok(())
        })
    }
}

#[async_trait]
impl Dns for FakeDns {
    async fn observe(&self, host: &Host) -> Seen<()> {
        let look = || {
            Ok(match self.records.lock().unwrap().get(host) {
                None => Seen::Absent,
                Some(stamp) if *stamp == self.ours(host) => Seen::Present(()),
                Some(stamp) => Seen::Foreign(format!("the record carries {stamp:?}")),
            })
        };
        self.faults.run("dns.observe", look).unwrap_or_else(|f| Seen::Unknown(f.to_string()))
    }

    async fn resolve(&self, host: &Host) -> Resolution {
        match self.faults.run("dns.resolve", || Ok(self.resolution(host))) {
            Ok(resolution) => resolution,
            Err(fault) => Resolution::NotYet(fault.to_string()),
        }
    }

    async fn ensure_record(&self, host: &Host) -> Result<Progress, Fault> {
        self.change("dns.ensure_record", host, Some(self.ours(host)))?;
        Ok(Progress::Done)
    }

    async fn remove_record(&self, host: &Host) -> Result<(), Fault> {
        self.change("dns.remove_record", host, None)
    }

    async fn owned(&self) -> Result<Vec<Host>, Fault> {
        self.faults.run("dns.owned", || {
            let records = self.records.lock().unwrap();
            let ours = records.iter().filter(|(host, stamp)| self.ours(host) == **stamp);
            Ok(ours.map(|(host, _)| host.clone()).collect())
        })
    }
}
