//! The seam to the name that reviewers click.
//!
//! Domain words in and out; no resolver's type crosses this line. `resolve` asks as a
//! reviewer would, and is the gate before a URL is told. A record without our ownership record beside it is never touched.

mod ask;
pub mod embedded;
pub mod external_dns;
mod gate;
mod led;
pub mod rfc2136;
mod servers;
mod target;
pub mod wildcard;

use async_trait::async_trait;

use crate::fault::{Fault, Progress};
use crate::preview::observed::Resolution;
use crate::preview::{Host, Seen};

pub use self::gate::GateConfig;
pub use self::target::Target;

/// What makes a preview's hosts resolve. Each has a record of its own, under the stamp of its preview.
#[async_trait]
pub trait Dns: Send + Sync {
    /// Asks over the network for the record that we wrote; [`Seen::Absent`] only for an
    /// authoritative "no such name", never for a failed look. Where there is nothing to write, there
    /// is nothing of ours.
    async fn observe(&self, host: &Host) -> Seen<()>;

    /// Whether the host leads reviewers to us: asked of every authoritative server, and only when
    /// they agree of the configured resolver, which would remember a "no such name".
    async fn resolve(&self, host: &Host) -> Resolution;

    /// Writes the host's record and its ownership record, or converges them; or sees that whoever
    /// writes them has what it takes.
    async fn ensure_record(&self, host: &Host) -> Result<Progress, Fault>;

    /// Removes both.
    async fn remove_record(&self, host: &Host) -> Result<(), Fault>;

    /// Every host that has a record with our ownership record. All or a fault, never a part.
    async fn owned(&self) -> Result<Vec<Host>, Fault>;
}
