//! Mayfly: ephemeral preview environments for pull requests.

pub mod cluster;
pub mod database;
pub mod demo;
pub mod dns;
pub mod fault;
pub mod forge;
pub mod preview;
pub mod workload;
