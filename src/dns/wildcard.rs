//! Names that a wildcard record of the zone leads to the target, without a record for each.
//!
//! There is nothing to write and nothing of ours to remove. Refuses to believe it: each host is
//! resolved before its URL is told, and a wildcard that is not there or leads elsewhere is a
//! fault that says what to write.

use std::sync::Arc;

use async_trait::async_trait;

use super::Dns;
use super::gate::{Gate, GateConfig};
use crate::clock::Clock;
use crate::fault::{Fault, Progress};
use crate::preview::observed::Resolution;
use crate::preview::{Host, Seen, Suffix};

/// The [`Dns`] seam to a zone with a wildcard.
pub struct WildcardDns {
    gate: Gate,
}

impl WildcardDns {
    /// Watches the wildcard of `suffix`; `clock` tells when what a resolver remembers ends.
    pub fn new(config: GateConfig, suffix: Suffix, clock: Arc<dyn Clock>) -> Self {
        Self { gate: Gate { config, suffix, clock } }
    }

    fn cure(&self) -> String {
        let (suffix, target) = (self.gate.suffix.as_str(), &self.gate.config.target);
        format!("the zone needs the record *.{suffix} {}", target.record())
    }
}

#[async_trait]
impl Dns for WildcardDns {
    async fn observe(&self, _: &Host) -> Seen<()> {
        Seen::Absent
    }

    async fn resolve(&self, host: &Host) -> Resolution {
        self.gate.resolution(host, &self.cure()).await
    }

    async fn ensure_record(&self, host: &Host) -> Result<Progress, Fault> {
        match self.resolve(host).await {
            Resolution::Right { .. } => Ok(Progress::Done),
            Resolution::NotYet(why) => Ok(Progress::Underway(format!("DNS: {why}"))),
            Resolution::Wrong(why) => Err(Fault::permanent("resolving the host", why)),
        }
    }

    async fn remove_record(&self, _: &Host) -> Result<(), Fault> {
        Ok(())
    }

    async fn owned(&self) -> Result<Vec<Host>, Fault> {
        Ok(Vec::new())
    }
}
