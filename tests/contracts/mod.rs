//! One suite per seam. Each runs on the stateful fake and on the real adapter.

pub mod cluster;
#[macro_use]
mod database;
mod database_cut;
mod database_outage;
mod database_rotation;
mod database_server;
mod database_spares;
pub mod description;
pub mod dns;
mod forge;
pub mod forge_github;
mod forge_github_described;
mod forge_github_faults;
pub mod forge_github_login;
mod forge_github_rights;
pub mod forge_stage;
mod github_app;
mod images;
mod migration_history;
mod rehearsal;
mod visits;
