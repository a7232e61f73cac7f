//! Mayfly: ephemeral preview environments for pull requests.
//!
//! # The shape
//!
//! Facts about a pull request are *learned* into one row of a PostgreSQL ledger; the row becomes
//! *due*; one loop leases it, looks at the world, asks a pure function what is missing, does that,
//! and says when to look again.
//!
//! ```text
//! webhook ─┐                                        ┌─ Cluster    namespace, workload, route
//! sweeps ──┼► learn, poke ► row ► due? ► look ► plan ► apply ├─ Databases  seeded clone, role
//! API ─────┘        ▲        │                (pure)  ├─ Dns        the name
//!                   └────────┴── record: conditions, wake_at  └─ Forge      comment, deployment
//! ```
//!
//! # What holds, stated as what is absent
//!
//! - No job queue, no cron, no reaper: the row and its `wake_at` are all of them.
//! - No undo and no clean-up in error paths: removal is a goal that the same loop walks to.
//! - No step on anything that was not *seen* in place, and none on what could not be seen.
//! - No removal because something was not listed, not found, or not answered.
//! - No outside thing without a mark of ours, and none touched that lacks it.
//! - No change of the outside world but from `reconcile/apply.rs`.
//! - No SQL about previews outside `ledger`, and no transaction across a network call.
//! - No clock, chance or global limit inside: they come in as arguments.
//!
//! `tests/architecture.rs` keeps the edges between the rooms honest. The reasons are in
//! `docs/decisions`, one action traced through the rooms in `docs/walkthrough.md`.
//!
//! # The rooms, in reading order

// What a preview is, whether it should exist, and what is missing.
pub mod preview;
// The loop.
pub mod reconcile;
// What nobody told us.
pub mod sweep;
// Mayfly's memory.
pub mod ledger;
// The four seams and their adapters.
pub mod cluster;
pub mod database;
pub mod dns;
pub mod forge;
// The proof behind "Ready".
pub mod visit;
// A fifth, which only looks: a tag becomes a digest.
pub mod image;
// Words that they share.
pub mod address;
pub mod clock;
pub mod fault;
pub mod repository;
pub mod workload;
// The rim.
pub mod config;
pub mod door;
pub mod http;
pub mod telemetry;
// Putting it together.
pub mod app;
pub mod cli;
// Stand-ins and a story; nothing above may use it but the command line.
pub mod demo;
