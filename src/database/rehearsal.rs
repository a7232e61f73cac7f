//! The seam to what migrations do: watching them, and reading what they left.
//!
//! Refuses to be a reason for a migration to fail: whatever cannot be seen is said in the report.
//! Nothing here runs a migration.

use async_trait::async_trait;

use super::history::History;
use super::{Password, Seed};
use crate::fault::Fault;
use crate::preview::rehearsal::Report;
use crate::preview::{PreviewName, Revision};

/// The `application_name` under which the migrations should connect (libpq: `PGAPPNAME`). Where a
/// session has it, only such sessions are reported: the last good revision serves meanwhile, and
/// its statements are no migration's.
pub const MIGRATION_APPLICATION: &str = "mayfly-migration";

/// What watches migrations.
#[async_trait]
pub trait Rehearsals: Send + Sync {
    /// Begins to watch, before the migrations of a revision are started. Twice is once; after a
    /// report of the same revision it begins anew. What hinders it is said in the report.
    async fn watch(&self, name: &PreviewName, revision: &Revision);

    /// Ends the watch and reads what the migrations left. Again, it says again what was watched,
    /// until the next watch of this preview; without a watch of this revision in this process, the
    /// report says so, and has what needs no memory.
    async fn report(&self, name: &PreviewName, revision: &Revision, seed: &Seed) -> Report;

    /// Which migrations a preview's database has had, by the tables of the tools that are known.
    /// Read as the preview's own role, since such a table may be a view that runs something.
    ///
    /// # Errors
    /// Transient while the database does not let us in, as when it is not there; permanent where a
    /// table is not what its tool makes, or has more rows than are read.
    async fn history(&self, name: &PreviewName, password: &Password)
    -> Result<Vec<History>, Fault>;
}
