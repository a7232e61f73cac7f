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
use crate::preview::{ComponentName, PreviewName, Seen};
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
    /// The databases that its components have of their own, as many as are there.
    pub components: Vec<(ComponentName, Seen<DatabaseSeen>)>,
}

impl DatabasesSeen {
    /// A look that failed.
    pub fn unknown(why: &str) -> Self {
        let (database, role) = (Seen::Unknown(why.to_owned()), Seen::Unknown(why.to_owned()));
        Self { database, role, components: Vec::new() }
    }

    /// All its databases as one. While they are wanted (`Up`), the preview's own and one for each of
    /// these components; on the way down, something is there as long as one is.
    pub fn together(&self, wanted: Option<&[ComponentName]>) -> Seen<DatabaseSeen> {
        let ours = |seen: &Seen<DatabaseSeen>| matches!(seen, Seen::Present(_) | Seen::Leaving(_));
        let Some(wanted) = wanted else {
            let left = self.components.iter().find(|(_, seen)| ours(seen));
            let own = self.database.is_gone().then_some(left).flatten();
            return own.map_or(&self.database, |(_, seen)| seen).clone();
        };
        let Seen::Present(own) = &self.database else { return self.database.clone() };
        let mut ready = own.ready;
        for name in wanted {
            let there = self.components.iter().find(|(component, _)| component == name);
            match there.map(|(_, seen)| seen) {
                Some(Seen::Present(it)) => ready &= it.ready && it.generation == own.generation,
                // A drop that was cut off is done again, of that one alone.
                Some(Seen::Absent | Seen::Leaving(_)) | None => ready = false,
                Some(Seen::Foreign(whose)) => return Seen::Foreign(format!("{name}: {whose}")),
                Some(Seen::Unknown(why)) => return Seen::Unknown(format!("{name}: {why}")),
            }
        }
        Seen::Present(DatabaseSeen { ready, ..own.clone() })
    }
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
    /// The components that have one of their own, seeded alike.
    pub components: &'a [ComponentName],
}

/// What makes seeded databases.
#[async_trait]
pub trait Databases: Send + Sync {
    /// Looks. What cannot be looked at, or is being worked on by somebody, is [`Seen::Unknown`]; a
    /// database that was not finished for this login with this password is not ready.
    async fn observe(&self, name: &PreviewName, password: &Password) -> DatabasesSeen;

    /// Makes the role and its seeded databases, or converges them, the preview's own last. Long work
    /// goes on in the background and pokes the preview when it is done.
    async fn ensure_database(
        &self,
        name: &PreviewName,
        order: &DatabaseOrder<'_>,
    ) -> Result<Progress, Fault>;

    /// Ends every session on the databases and drops them, the preview's own last.
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

    /// The URL with which a component connects that has a database of its own.
    fn component_url(
        &self,
        name: &PreviewName,
        password: &Password,
        component: &ComponentName,
    ) -> String;
}
