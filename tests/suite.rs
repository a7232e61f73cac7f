//! Every test of Mayfly, in one binary: it links once, and shares one PostgreSQL server.

#![allow(clippy::unwrap_used, missing_docs)]

mod api;
mod architecture;
mod bad_input;
mod chart;
mod charted;
mod choices;
mod config;
mod contracts;
mod control_plane;
mod convergence;
mod faults;
mod forge_wire;
mod image;
mod image_names;
mod images;
mod leases;
mod ledger_model;
mod lifecycle;
mod lifecycle_external_dns;
mod lifecycle_kubernetes;
mod lifecycle_migrations;
mod migrations;
mod names;
mod observability;
mod parity;
mod races;
mod rollback;
mod rotation;
mod served;
mod sigkill;
mod told;
mod webhooks;
mod workload;
mod world;
