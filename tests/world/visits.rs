//! A visitor in memory: it gets what the fakes of cluster and DNS lead to, a few visits late.
//!
//! Refuses to be told what to answer: what is served is what the route leads to and what runs there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mayfly::preview::{Host, PreviewName};
use mayfly::visit::{Visit, Visitor};

use super::cluster::FakeCluster;
use super::faults::Faults;

#[derive(Default)]
struct Inner {
    /// After how many visits whoever serves routes has heard of another one.
    hears_after: u32,
    /// What each host is known to serve, and the visits since its route became another.
    heard: BTreeMap<PreviewName, (String, u32)>,
    /// Hosts behind which nothing answers.
    silent: BTreeSet<Host>,
}

/// The visitor; clones share what they saw.
#[derive(Clone)]
pub struct FakeVisitor {
    cluster: FakeCluster,
    faults: Faults,
    inner: Arc<Mutex<Inner>>,
}

impl FakeVisitor {
    /// Visits what this cluster serves.
    pub fn new(cluster: FakeCluster, faults: Faults) -> Self {
        Self { cluster, faults, inner: Arc::default() }
    }

    /// Whoever serves routes hears of each change this many visits late; at once, unless told.
    pub fn hears_after(&self, visits: u32) {
        self.inner.lock().unwrap().hears_after = visits;
    }

    /// Whether nothing answers behind this host, whatever leads there.
    pub fn silence(&self, host: Host, is_silent: bool) {
        let silent = &mut self.inner.lock().unwrap().silent;
        if is_silent {
            silent.insert(host)
        } else {
            silent.remove(&host)
        };
    }

    /// The commit that a visitor gets, and why none.
    fn get(&self, host: &Host) -> Result<String, String> {
        let name = &host.name;
        if self.inner.lock().unwrap().silent.contains(host) {
            return Err(format!("{}: nothing answers", host.label()));
        }
        let routes = self.cluster.routes();
        let route = routes.into_iter().find(|(route, _)| route == name);
        let (_, revision) = route.ok_or("404: no route")?;
        let commit = revision.commit.to_string();
        let mut inner = self.inner.lock().unwrap();
        let late = inner.hears_after;
        let (heard, visits) = inner.heard.entry(name.clone()).or_default();
        if *heard != commit {
            *visits += 1;
            if *visits <= late {
                return if heard.is_empty() { Err("404".to_owned()) } else { Ok(heard.clone()) };
            }
            (*heard, *visits) = (commit, 0);
        }
        match self.cluster.serving(name) {
            Some(runs) if runs.commit.as_str() == heard.as_str() => Ok(heard.clone()),
            _ => Err("502: nothing answers".to_owned()),
        }
    }
}

#[async_trait]
impl Visitor for FakeVisitor {
    async fn observe(&self, visit: Visit<'_>) -> Result<(), String> {
        let got = self.faults.run("visitor.observe", || Ok(self.get(visit.host)));
        match got.map_err(|fault| fault.to_string())?? {
            commit if commit == visit.commit.as_str() => Ok(()),
            other => Err(format!("still serves {}", &other[..7])),
        }
    }
}
