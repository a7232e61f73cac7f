//! The seam to the name that reviewers click.
//!
//! Domain words in and out; no resolver's type crosses this line. `observe` asks as a reviewer's
//! resolver would. A record without our ownership record beside it is never touched.

pub mod embedded;

use async_trait::async_trait;

use crate::fault::Fault;
use crate::preview::{PreviewName, Seen};

/// What makes a preview's host resolve.
#[async_trait]
pub trait Dns: Send + Sync {
    /// Resolves the host over the network; [`Seen::Absent`] only for an authoritative "no such
    /// name", never for a failed look.
    async fn observe(&self, name: &PreviewName) -> Seen<()>;

    /// Writes the host's record and its ownership record, or converges them.
    async fn ensure_record(&self, name: &PreviewName) -> Result<(), Fault>;

    /// Removes both.
    async fn remove_record(&self, name: &PreviewName) -> Result<(), Fault>;

    /// Every preview that has a record with our ownership record. All or a fault, never a part.
    async fn owned(&self) -> Result<Vec<PreviewName>, Fault>;
}
