//! One suite per seam. Each runs on the stateful fake and on the real adapter.

mod cluster;
mod database;
mod database_server;
mod dns;
mod forge;
mod forge_github;
mod forge_github_faults;
mod forge_stage;
