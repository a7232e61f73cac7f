//! One suite per seam. Each runs on the stateful fake and on the real adapter.

pub mod cluster;
#[macro_use]
mod database;
mod database_server;
pub mod description;
mod dns;
mod forge;
mod forge_github;
mod forge_github_described;
mod forge_github_faults;
mod forge_github_login;
mod forge_github_rights;
mod forge_stage;
mod github_app;
mod migration_history;
mod rehearsal;
