//! An independent look: what is there, asked of the kernel, the file system, PostgreSQL and DNS,
//! never of the controller.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use sqlx::{Connection, PgConnection};
use tokio::net::UdpSocket;

use super::leftovers::processes_of;
use super::postgres::Postgres;

/// Everything of any preview that is still there.
pub async fn leftovers(
    data: &Path,
    postgres: &Postgres,
    dns: SocketAddr,
    hosts: &[String],
) -> anyhow::Result<Vec<String>> {
    let mut left: Vec<String> =
        processes_of(data).into_iter().map(|pid| format!("process {pid}")).collect();
    for kind in ["namespaces", "routes", "trash"] {
        for entry in std::fs::read_dir(data.join(kind)).into_iter().flatten() {
            left.push(format!("directory {}", entry?.path().display()));
        }
    }
    let mut session = PgConnection::connect(&postgres.url("postgres")).await?;
    // The seed's template belongs to the controller, not to a preview.
    let databases: Vec<String> =
        sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE datname ~ 'pr_[0-9]+$'")
            .fetch_all(&mut session)
            .await?;
    let roles: Vec<String> =
        sqlx::query_scalar("SELECT rolname::text FROM pg_roles WHERE rolname ~ 'pr_[0-9]+(_b)?$'")
            .fetch_all(&mut session)
            .await?;
    session.close().await?;
    left.extend(databases.into_iter().map(|name| format!("database {name}")));
    left.extend(roles.into_iter().map(|name| format!("role {name}")));
    for host in hosts {
        if let Some(address) = resolve(dns, host).await? {
            left.push(format!("DNS record {host} {address}"));
        }
    }
    Ok(left)
}

/// Asks a DNS server for a host's address, over UDP; `None` where it says that there is none.
pub async fn resolve(server: SocketAddr, host: &str) -> anyhow::Result<Option<IpAddr>> {
    let mut question = Message::new(4711, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(Name::from_ascii(format!("{host}."))?, RecordType::A));
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect(server).await?;
    socket.send(&question.to_vec()?).await?;
    let mut buffer = [0; 1500];
    let received = tokio::time::timeout(Duration::from_secs(2), socket.recv(&mut buffer));
    let length = received.await.context("the DNS server does not answer")??;
    let answer = Message::from_vec(&buffer[..length])?;
    match answer.metadata.response_code {
        ResponseCode::NoError => Ok(answer.answers.iter().find_map(|record| record.data.ip_addr())),
        ResponseCode::NXDomain => Ok(None),
        other => bail!("the DNS server answered {other}"),
    }
}
