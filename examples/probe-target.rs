//! The workload of the cluster's contract tests: it does on request what workloads do wrong.
//!
//! `EXIT_AT_START` exits at once with that message, `IGNORE_TERM` ignores SIGTERM, `FORK_CHILD`
//! leaves a child behind in a session of its own. Refuses to live longer than two minutes, should
//! a test fail to end it.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router, body::Body};
use futures_util::stream;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    if let Ok(message) = std::env::var("EXIT_AT_START") {
        println!("{message}");
        std::process::exit(3);
    }
    tokio::spawn(async {
        tokio::time::sleep(Duration::from_secs(120)).await;
        std::process::exit(4);
    });
    if std::env::var_os("DETACHED").is_some() {
        rustix::process::setsid()?;
        std::future::pending::<()>().await;
    }
    if std::env::var_os("FORK_CHILD").is_some() {
        let mut child = Command::new(std::env::current_exe()?);
        child.env("DETACHED", "1").stdin(Stdio::null()).spawn()?;
    }
    if std::env::var_os("IGNORE_TERM").is_some() {
        let mut ignored = signal(SignalKind::terminate())?;
        tokio::spawn(async move { while ignored.recv().await.is_some() {} });
    }
    let port: u16 = std::env::var("PORT")?.parse()?;
    let app = Router::new()
        .route("/", get(async || std::env::var("COMMIT_SHA").unwrap_or_default()))
        .route("/env", get(async || Json(std::env::vars().collect::<BTreeMap<_, _>>())))
        .route("/stream", get(slow))
        .route("/ws", get(echo));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, app).await?;
    Ok(())
}

/// "first", and "last" only when nobody can have waited for the whole.
async fn slow() -> Body {
    Body::from_stream(stream::unfold(0, |at| async move {
        match at {
            0 => Some((Ok::<_, std::convert::Infallible>("first"), 1)),
            1 => {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                Some((Ok("last"), 2))
            }
            _ => None,
        }
    }))
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket: WebSocket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    })
}
