//! Every test of Mayfly, in one binary: it links once, and shares one PostgreSQL server.

#![allow(clippy::unwrap_used, missing_docs)]

mod api;
mod contracts;
mod convergence;
mod faults;
mod forge_wire;
mod lifecycle;
mod webhooks;
mod world;
