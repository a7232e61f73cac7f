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
use mayfly::preview::{PreviewName, Seen, Stamp};

use super::faults::Faults;

/// The records of one world; clones share them.
#[derive(Clone)]
pub struct FakeDns {
    instance: String,
    faults: Faults,
    records: Arc<Mutex<BTreeMap<String, String>>>,
    hidden: Arc<Mutex<BTreeMap<String, Resolution>>>,
    held: Arc<Mutex<BTreeSet<String>>>,
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

    /// Every namespace that has a record, and the stamp line beside it.
    pub fn records(&self) -> BTreeMap<String, String> {
        self.records.lock().unwrap().clone()
    }

    /// Puts a record there by hand, with this stamp line.
    pub fn plant(&self, name: &PreviewName, stamp_line: &str) {
        self.records.lock().unwrap().insert(name.namespace(), stamp_line.to_owned());
    }

    /// Removes a record by hand.
    pub fn erase(&self, name: &PreviewName) {
        self.records.lock().unwrap().remove(&name.namespace());
    }

    /// The host's record is right, and something keeps reviewers from it.
    pub fn hide(&self, name: &PreviewName, why: Resolution) {
        self.hidden.lock().unwrap().insert(name.namespace(), why);
    }

    /// Whatever kept reviewers from the host is over.
    pub fn unhide(&self, name: &PreviewName) {
        self.hidden.lock().unwrap().remove(&name.namespace());
    }

    /// A removal is asked for in vain, without a word, from now on: somebody else has to do it.
    pub fn hold(&self, name: &PreviewName) {
        self.held.lock().unwrap().insert(name.namespace());
    }

    /// Whoever had to do it does it.
    pub fn release(&self, name: &PreviewName) {
        self.held.lock().unwrap().remove(&name.namespace());
    }

    fn resolution(&self, name: &PreviewName) -> Resolution {
        if let Some(why) = self.hidden.lock().unwrap().get(&name.namespace()) {
            return why.clone();
        }
        match self.records.lock().unwrap().contains_key(&name.namespace()) {
            true => Resolution::Right { addresses: [IpAddr::from([192, 0, 2, 80])].into() },
            false => Resolution::NotYet("no such name".to_owned()),
        }
    }

    fn ours(&self, name: &PreviewName) -> String {
        Stamp::new(&self.instance, name).line()
    }

    fn change(&self, call: &str, name: &PreviewName, wanted: Option<String>) -> Result<(), Fault> {
        self.faults.run(call, || {
            let mut records = self.records.lock().unwrap();
            match records.get(&name.namespace()) {
                Some(stamp) if *stamp != self.ours(name) => {
                    return Err(Fault::not_ours(call, format!("the record carries {stamp:?}")));
                }
                _ => {}
            }
            match wanted.clone() {
                Some(stamp) => records.insert(name.namespace(), stamp),
                None if self.held.lock().unwrap().contains(&name.namespace()) => None,
                None => records.remove(&name.namespace()),
            };
            Ok(())
        })
    }
}

#[async_trait]
impl Dns for FakeDns {
    async fn observe(&self, name: &PreviewName) -> Seen<()> {
        let look = || {
            Ok(match self.records.lock().unwrap().get(&name.namespace()) {
                None => Seen::Absent,
                Some(stamp) if *stamp == self.ours(name) => Seen::Present(()),
                Some(stamp) => Seen::Foreign(format!("the record carries {stamp:?}")),
            })
        };
        self.faults.run("dns.observe", look).unwrap_or_else(|f| Seen::Unknown(f.to_string()))
    }

    async fn resolve(&self, name: &PreviewName) -> Resolution {
        match self.faults.run("dns.resolve", || Ok(self.resolution(name))) {
            Ok(resolution) => resolution,
            Err(fault) => Resolution::NotYet(fault.to_string()),
        }
    }

    async fn ensure_record(&self, name: &PreviewName) -> Result<Progress, Fault> {
        self.change("dns.ensure_record", name, Some(self.ours(name)))?;
        Ok(Progress::Done)
    }

    async fn remove_record(&self, name: &PreviewName) -> Result<(), Fault> {
        self.change("dns.remove_record", name, None)
    }

    async fn owned(&self) -> Result<Vec<PreviewName>, Fault> {
        self.faults.run("dns.owned", || {
            let records = self.records.lock().unwrap();
            let names = records.iter().filter_map(|(namespace, stamp)| {
                PreviewName::parse(namespace).filter(|name| self.ours(name) == *stamp)
            });
            Ok(names.collect())
        })
    }
}
