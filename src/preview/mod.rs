//! The domain: what a preview is, whether it should exist, and what is missing.
//!
//! Everything here is pure and synchronous. This room refuses to do I/O, to read a clock, to
//! draw random numbers, and to know any wire format: no tokio, sqlx, kube, octocrab or serde.

pub mod brake;
pub mod choice;
pub mod condition;
pub mod desired;
pub mod facts;
pub mod host;
pub mod memory;
pub mod migration;
pub mod name;
pub mod notice;
pub mod observed;
pub mod parity;
pub mod phase;
pub mod plan;
pub mod receipt;
pub mod rehearsal;
pub mod revision;
pub mod stamp;
pub mod step;
pub mod together;

pub use choice::{Choice, Choices};
pub use condition::{Condition, Part, Status};
pub use desired::{Desired, Life, Overrides, Policy, Reason, RolledBack, Spec};
pub use facts::{CommitSha, PullFacts, PullKey, PullNumber, PullState, RepositoryId};
pub use host::{ComponentName, Host};
pub use memory::Memory;
pub use migration::{Ended, MigrationSeen, MigrationState, MigrationsSeen, Rehearsal};
pub use name::{PreviewName, Site, Suffix};
pub use notice::{Notice, Told};
pub use observed::{Observed, Seen};
pub use parity::{Parity, Production};
pub use phase::Phase;
pub use plan::{Outlook, Plan, plan};
pub use receipt::Receipt;
pub use revision::Revision;
pub use stamp::Stamp;
pub use step::Step;
