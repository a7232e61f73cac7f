//! The loop: lease a due row, look, plan, act, record, and say when to look again.
//!
//! The only room that changes the outside world, in `apply`. Refuses to know why a row is due, and
//! to wait for the world inside a pass.

mod act;
mod apply;
mod fresh;
mod hosts;
mod image;
mod observe;
mod outcome;
pub mod pace;
mod pass;
mod rehearsal;
mod render;
mod room;
mod run;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::database::{Databases, Rehearsals};
use crate::dns::Dns;
use crate::forge::Forge;
use crate::image::Images;
use crate::ledger::{Ledger, Preview};
use crate::preview::Site;
use crate::repository::{Repositories, Repository};
use crate::telemetry::Metrics;
use crate::visit::Visitor;
pub use pace::Pacing;
pub use render::{Renderer, Wanted};
pub use room::Room;

/// The seams, as they are wired in this process.
#[derive(Clone)]
pub struct Seams {
    /// What runs previews.
    pub cluster: Arc<dyn Cluster>,
    /// What holds their data.
    pub databases: Arc<dyn Databases>,
    /// What watches migrations of it, and reads what they left.
    pub rehearsals: Arc<dyn Rehearsals>,
    /// What makes their names resolve.
    pub dns: Arc<dyn Dns>,
    /// Where pull requests live.
    pub forge: Arc<dyn Forge>,
    /// What knows the images of commits.
    pub images: Arc<dyn Images>,
    /// What asks their URLs.
    pub visitor: Arc<dyn Visitor>,
}

/// Bounds of the loop.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many passes run at once in this process.
    pub concurrent_passes: usize,
    /// How long a lease lasts. Longer than [`Limits::pass_deadline`], so that a pass that was cut
    /// off has let go of the world before another begins.
    pub lease: TimeDelta,
    /// How long a pass may take.
    pub pass_deadline: Duration,
    /// How often to look for due rows when nothing wakes the loop.
    pub poll: Duration,
    /// Whether to hear other replicas' wake-ups; the poll finds the same, later.
    pub listen: bool,
    /// How long a URL may answer something else, with all in place behind it, before people are told.
    pub serve_patience: TimeDelta,
    /// How long a commit's image may take to be built before people are told.
    pub image_patience: TimeDelta,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent_passes: 16,
            lease: TimeDelta::seconds(60),
            pass_deadline: Duration::from_secs(45),
            poll: Duration::from_secs(1),
            listen: true,
            serve_patience: TimeDelta::seconds(60),
            image_patience: TimeDelta::minutes(30),
        }
    }
}

/// The loop and what it needs.
pub struct Reconciler {
    /// Mayfly's memory.
    pub ledger: Ledger,
    /// The outside world.
    pub seams: Seams,
    /// The configured repositories.
    pub repositories: Repositories,
    /// What turns a repository's chart into objects.
    pub renderer: Renderer,
    /// Where previews are reached.
    pub site: Site,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// When to look again.
    pub pacing: Pacing,
    /// Bounds.
    pub limits: Limits,
    /// Counts what happened.
    pub metrics: Arc<Metrics>,
    /// Wakes the loop from inside this process.
    pub wake: Arc<Notify>,
    /// Told of each pass of this process that was recorded.
    pub recorded: Notify,
    /// For the passes of this process.
    pub room: Room,
    /// This replica, as the owner of leases.
    pub replica: Uuid,
}

impl Reconciler {
    /// The configured repository of a preview.
    pub fn repository_of(&self, preview: &Preview) -> Option<&Repository> {
        let id = preview.memory.facts.key.repository;
        self.repositories.of(id, &preview.repository, &preview.name)
    }
}
