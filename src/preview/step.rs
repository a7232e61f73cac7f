//! The closed list of things that the controller ever does to the world.
//!
//! A step carries everything that its execution needs to decide; it refuses to leave a choice
//! open. What is not in this list cannot happen.

use super::condition::Part;
use super::migration::Ended;
use super::notice::Notice;
use super::revision::Revision;

/// One thing to do. Doing it twice is the same as doing it once; removing what is absent succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The namespace, stamped as ours, with its fences.
    EnsureNamespace,
    /// The seeded database of this generation, and the role that may use it.
    EnsureDatabase {
        /// See [`super::desired::Overrides::data_generation`].
        generation: u32,
    },
    /// The migrations of this revision, run once, and watched.
    EnsureMigration(Revision),
    /// What they did, written down, with how they ended.
    EnsureReport {
        /// Whose migrations.
        revision: Revision,
        /// How they ended.
        ended: Ended,
    },
    /// The workload at this revision.
    EnsureWorkload(Revision),
    /// The route from the public host to the workload at this revision.
    EnsureRoute(Revision),
    /// The DNS record of the public host.
    EnsureRecord,
    /// Takes away what runs of other revisions than this one, which is served.
    RemoveOthers(Revision),
    /// Locks the login that what is served does not use, and ends its sessions.
    RemoveLogin,
    /// Tell the pull request.
    Publish(Notice),
    /// The DNS record goes first, so that nobody is led to a dead end.
    RemoveRecord,
    /// Then the route.
    RemoveRoute,
    /// Then the namespace and all that runs in it.
    RemoveNamespace,
    /// Then the database, when nothing of ours can be connected to it any more.
    RemoveDatabase,
    /// Then the role.
    RemoveRole,
}

impl Step {
    /// What [`Step::as_str`] says of a word to the pull request.
    pub const PUBLISH: &str = "publish";

    /// The part of the preview that it is about.
    pub fn part(&self) -> Part {
        match self {
            Self::EnsureNamespace | Self::RemoveNamespace => Part::Namespace,
            Self::EnsureDatabase { .. }
            | Self::RemoveDatabase
            | Self::RemoveLogin
            | Self::RemoveRole => Part::Database,
            Self::EnsureMigration(_) | Self::EnsureReport { .. } => Part::Migrations,
            Self::EnsureWorkload(_) | Self::RemoveOthers(_) => Part::Workload,
            Self::EnsureRoute(_) | Self::RemoveRoute => Part::Route,
            Self::EnsureRecord | Self::RemoveRecord => Part::Dns,
            Self::Publish(_) => Part::Notice,
        }
    }

    /// Whether it only takes away what is served no more: that it fails is no failure of what is.
    pub fn is_tidying(&self) -> bool {
        matches!(self, Self::RemoveOthers(_) | Self::RemoveLogin)
    }

    /// Whether it waits until this earlier step of the same pass is done. The namespace and the data
    /// stand in no order; all else has its place behind what it was planned after.
    pub fn stands_on(&self, earlier: &Self) -> bool {
        let lays = |it: &Self| matches!(it, Self::EnsureNamespace | Self::EnsureDatabase { .. });
        !(lays(self) && lays(earlier))
    }

    /// A word for logs, metrics and the journal.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::EnsureNamespace => "ensure_namespace",
            Self::EnsureDatabase { .. } => "ensure_database",
            Self::EnsureMigration(_) => "ensure_migration",
            Self::EnsureReport { .. } => "ensure_report",
            Self::EnsureWorkload(_) => "ensure_workload",
            Self::EnsureRoute(_) => "ensure_route",
            Self::EnsureRecord => "ensure_record",
            Self::RemoveOthers(_) => "remove_others",
            Self::RemoveLogin => "remove_login",
            Self::Publish(_) => Self::PUBLISH,
            Self::RemoveRecord => "remove_record",
            Self::RemoveRoute => "remove_route",
            Self::RemoveNamespace => "remove_namespace",
            Self::RemoveDatabase => "remove_database",
            Self::RemoveRole => "remove_role",
        }
    }
}
