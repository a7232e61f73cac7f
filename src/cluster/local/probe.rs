//! Asks a workload whether it is ready.
//!
//! Refuses to follow redirects, to read bodies, and to wait longer than a second.

use std::io;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(1);

/// `Ok` when the path answers 2xx or 3xx; otherwise a few words about why not.
///
/// It is asked for by its public host, since frameworks refuse hosts that they do not know.
pub(super) async fn ready(port: u16, host: &str, path: &str) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, ask(port, host, path)).await {
        Ok(answer) => answer,
        Err(_) => Err("no answer within 1 s".to_owned()),
    }
}

async fn ask(port: u16, host: &str, path: &str) -> Result<(), String> {
    let path: Uri = path.parse().map_err(|_| "the probe path is not a path".to_owned())?;
    let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|e| words(&e))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, "mayfly-probe")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer.map_err(|error| error.to_string())?,
        Err(error) = connection => return Err(error.to_string()),
    };
    let status = answer.status();
    if status.is_success() || status.is_redirection() {
        return Ok(());
    }
    Err(format!("it answered {}", status.as_u16()))
}

/// An error's kind ("connection refused"), without the system's number.
pub(super) fn words(error: &io::Error) -> String {
    error.kind().to_string()
}
