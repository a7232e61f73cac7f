//! Mayfly: ephemeral preview environments for pull requests.

pub mod app;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod database;
pub mod demo;
pub mod dns;
pub mod fault;
pub mod forge;
pub mod http;
pub mod ledger;
pub mod preview;
pub mod reconcile;
pub mod repository;
pub mod sweep;
pub mod telemetry;
pub mod workload;
