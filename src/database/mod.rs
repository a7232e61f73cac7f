//! The seam to the server that holds the previews' own databases.
//!
//! Domain words in and out. The server of the previews is not the ledger's: nothing here reads or
//! writes what Mayfly remembers. A database or role without our mark is never touched.

pub mod catalogue;
pub mod history;
pub mod listed;
mod mask;
pub mod password;
pub mod postgres;
pub mod rehearsal;
pub mod seed;
mod statements;

use async_trait::async_trait;

use crate::fault::{Fault, Progress};
use crate::preview::observed::DatabaseSeen;
use crate::preview::{PreviewName, Seen};
pub use password::{Login, Password};
pub use rehearsal::Rehearsals;
pub use seed::Seed;

/// One look at a preview's database and role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabasesSeen {
    /// The database.
    pub database: Seen<DatabaseSeen>,
    /// Its roles: absent when both are.
    pub role: Seen<()>,
}

/// What a preview's database should be.
#[derive(Clone, Debug)]
pub struct DatabaseOrder<'a> {
    /// What it is seeded with.
    pub seed: &'a Seed,
    /// The data generation that it is for.
    pub generation: u32,
    /// The password of the login whose turn it is.
    pub password: &'a Password,
}

/// What makes seeded databases.
#[async_trait]
pub trait Databases: Send + Sync {
    /// Looks. What cannot be looked at, or is being worked on by somebody, is [`Seen::Unknown`]; a
    /// database that was not finished for this login with this password is not ready.
    async fn observe(&self, name: &PreviewName, password: &Password) -> DatabasesSeen;

    /// Makes the role and its seeded database, or converges them. Long work goes on in the
    /// background and pokes the preview when it is done.
    async fn ensure_database(
        &self,
        name: &PreviewName,
        order: &DatabaseOrder<'_>,
    ) -> Result<Progress, Fault>;

    /// Ends every session on the database and drops it.
    async fn remove_database(&self, name: &PreviewName) -> Result<(), Fault>;

    /// Locks the login that this is not the password of, and ends its sessions. What its role made is
    /// the first role's afterwards.
    async fn remove_login(&self, name: &PreviewName, password: &Password) -> Result<(), Fault>;

    /// Drops the roles of both logins.
    async fn remove_role(&self, name: &PreviewName) -> Result<(), Fault>;

    /// Every preview of which a database or role with our mark is here. All or a fault.
    async fn owned(&self) -> Result<Vec<PreviewName>, Fault>;

    /// The server's major version, as the last look found it; asks nothing.
    fn major_version(&self) -> Seen<u32>;

    /// The URL with which the preview's workload connects.
    fn url(&self, name: &PreviewName, password: &Password) -> String;
}
