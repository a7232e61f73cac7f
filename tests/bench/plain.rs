//! A plain client of an API server: one connection, one request after the other.
//!
//! Refuses to be clever: it is what Mayfly is measured against.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::kinds::path_of;
use super::protocol::BARE;

/// How many objects a page of a list has, as kubectl and client-go ask for them.
const PAGE: usize = 500;

/// One connection over which requests go one after the other.
pub async fn connect(to: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

pub struct Plain(SendRequest<Full<Bytes>>);

impl Plain {
    pub async fn connect(to: SocketAddr) -> Result<Self> {
        Ok(Self(connect(to).await?))
    }

    /// Applies an object.
    pub async fn apply(
        &mut self,
        resource: &str,
        namespace: Option<&str>,
        object: &Value,
    ) -> Result<()> {
        let name = object["metadata"]["name"].as_str().context("an object without a name")?;
        let path = path_of(resource, namespace);
        let request = Request::patch(format!("{path}/{name}?fieldManager=bench&force=true"))
            .header("content-type", "application/apply-patch+yaml");
        self.ask(request, object.to_string().into()).await.map(drop)
    }

    /// Lists the metadata of all of a resource that have a label, page by page; how many there are.
    pub async fn list(&mut self, resource: &str, label: &str) -> Result<usize> {
        let (mut count, mut next) = (0, String::new());
        loop {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("labelSelector", label)
                .append_pair("limit", &PAGE.to_string())
                .append_pair("continue", &next)
                .finish();
            let path = path_of(resource, None);
            let request = Request::get(format!("{path}?{query}")).header("accept", BARE);
            let page: Value = serde_json::from_slice(&self.ask(request, Bytes::new()).await?)?;
            count += page["items"].as_array().map_or(0, Vec::len);
            next = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            if next.is_empty() {
                return Ok(count);
            }
        }
    }

    async fn ask(&mut self, request: hyper::http::request::Builder, body: Bytes) -> Result<Bytes> {
        let request = request.header("host", "127.0.0.1").body(Full::new(body))?;
        self.0.ready().await?;
        let answer = self.0.send_request(request).await?;
        let status = answer.status();
        let said = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&said));
        Ok(said)
    }
}
