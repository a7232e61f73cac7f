//! What is there, asked of those who hold it: the API server, the kubelet, PostgreSQL, the zone's server.
//!
//! Refuses to ask Mayfly.

use sqlx::{Connection, PgConnection};

use super::cluster::Cluster;
use super::stage::Servers;

/// Kinds that an installation or a preview could leave behind, beside what is in a namespace.
const KINDS: &str = "namespaces,clusterroles,clusterrolebindings,validatingadmissionpolicies,\
                     validatingadmissionpolicybindings,ingressclasses,persistentvolumes,ingresses,\
                     deployments,pods,secrets,networkpolicies";

/// Everything that could be left.
#[derive(Debug, PartialEq)]
pub struct Ground {
    objects: Vec<String>,
    pub containers: Vec<String>,
    databases: Vec<String>,
    roles: Vec<String>,
    records: Vec<String>,
}

impl Ground {
    pub async fn look(cluster: &Cluster, servers: &Servers) -> Self {
        // What clones are made of, and the marker roles, are the installation's and no preview's.
        let databases = "SELECT datname::text FROM pg_database
                         WHERE datname !~ '^mayfly_(seed_[0-9a-f]{16}|spare_[0-9a-f]{16}_[0-9a-f]{8})$' ORDER BY 1";
        let roles = "SELECT rolname::text FROM pg_roles
                     WHERE rolname NOT IN ('mayfly_owner', 'mayfly_app') ORDER BY 1";
        Self {
            objects: cluster.names(KINDS).await,
            containers: cluster.containers().await,
            databases: ask(servers, databases).await,
            roles: ask(servers, roles).await,
            records: servers.zone.records().await,
        }
    }
}

/// The databases and roles of one preview: nothing, or both.
pub async fn of_preview(servers: &Servers, name: &str) -> Vec<String> {
    let name = name.replace('-', "_");
    let sql = "SELECT 'database ' || datname FROM pg_database WHERE datname = '$NAME'
               UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname = '$NAME'";
    ask(servers, &sql.replace("$NAME", &name)).await
}

async fn ask(servers: &Servers, sql: &str) -> Vec<String> {
    let mut session = PgConnection::connect(&servers.previews.url("postgres")).await.unwrap();
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    let found = sqlx::query_scalar(sql).fetch_all(&mut session).await.unwrap();
    session.close().await.unwrap();
    found
}
