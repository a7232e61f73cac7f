//! What the proxy in front of local previews promises to people and browsers.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use mayfly::cluster::local::proxy::{Fate, HostBook, Proxy};
use mayfly::preview::{Site, Suffix};
use reqwest::{Client, RequestBuilder, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::*;

/// 1 is starting, 2 is gone, 7 is served and starting when down; others are unknown.
struct Book;

#[async_trait]
impl HostBook for Book {
    async fn fate(&self, name: &PreviewName) -> Fate {
        match name.number().get() {
            1 | 7 => Fate::Starting { detail: "waiting for <b>honey</b>".to_owned() },
            2 => Fate::Gone,
            _ => Fate::Unknown,
        }
    }
}

struct Served {
    proxy: Proxy,
    machine: Machine,
    client: Client,
}

impl Served {
    /// Preview 7 at revision a, and the proxy before it.
    async fn new() -> Self {
        let machine = Machine::with_grace(Duration::from_millis(500));
        serve(&machine.cluster, &name(7), &order(&revision('a'))).await;
        let suffix = Suffix::parse("preview.test").unwrap();
        let site = Site { suffix, https: true, port: None };
        let listen = "127.0.0.1:0".parse().unwrap();
        let proxy = Proxy::start(listen, &machine.data_dir(), &site, Arc::new(Book)).unwrap();
        Self { proxy, machine, client: Client::builder().no_proxy().build().unwrap() }
    }

    fn get(&self, host: &str, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.proxy.local_addr());
        self.client.get(url).header("host", host)
    }

    /// Sends exactly these bytes, and reads the first bytes of the answer.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.proxy.local_addr()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 64];
        let length = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }
}

const HOST: &str = "pr-7.preview.test";

#[tokio::test]
async fn a_preview_is_served_with_its_commit_and_hidden_from_crawlers() {
    let served = Served::new().await;
    let answer = served.get(HOST, "/?a=b").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["x-robots-tag"], "noindex, nofollow");
    assert_eq!(answer.headers()["x-preview-commit"], revision('a').commit.as_str());
    assert_eq!(answer.text().await.unwrap(), revision('a').commit.as_str());
}

#[tokio::test]
async fn the_first_bytes_arrive_before_the_last_are_sent() {
    let served = Served::new().await;
    let begun = std::time::Instant::now();
    let mut answer = served.get(HOST, "/stream").send().await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "first");
    assert!(begun.elapsed() < Duration::from_millis(1200));
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "last");
}

#[tokio::test]
async fn a_web_socket_passes_through_and_ends_with_the_proxy() {
    let served = Served::new().await;
    let stream = TcpStream::connect(served.proxy.local_addr()).await.unwrap();
    let url = format!("ws://{HOST}/ws");
    let (mut socket, answer) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    assert_eq!(answer.headers()["x-robots-tag"], "noindex, nofollow");
    for text in ["larva", "imago"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    let ended = tokio::time::timeout(Duration::from_secs(4), served.proxy.shutdown());
    ended.await.expect("a tunnel does not hold the shutdown up");
}

#[tokio::test]
async fn a_preview_without_a_route_says_what_became_of_it() {
    let served = Served::new().await;
    for (host, status, text) in [
        ("pr-1.preview.test", StatusCode::SERVICE_UNAVAILABLE, "waiting for &lt;b&gt;honey"),
        ("pr-2.preview.test", StatusCode::GONE, "gone"),
        ("pr-3.preview.test", StatusCode::NOT_FOUND, "no such preview"),
    ] {
        let answer = served.get(host, "/").send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["x-robots-tag"], "noindex, nofollow");
        let waits = status == StatusCode::SERVICE_UNAVAILABLE;
        let retry = answer.headers().get("retry-after").map(|it| it.to_str().unwrap().to_owned());
        assert_eq!(retry.as_deref(), waits.then_some("1"));
        let page = answer.text().await.unwrap();
        assert!(page.contains(text), "{page}");
        assert_eq!(page.contains("http-equiv=\"refresh\""), waits);
    }
}

#[tokio::test]
async fn a_workload_that_is_down_is_a_503_and_not_a_broken_connection() {
    let served = Served::new().await;
    let pid = served.machine.processes(&name(7))[0];
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("it is down", async || {
        served.get(HOST, "/").send().await.unwrap().status() == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
}

#[tokio::test]
async fn a_host_is_read_leniently_where_dns_is_and_strictly_otherwise() {
    let served = Served::new().await;
    for (host, status) in [
        ("PR-7.Preview.Test", StatusCode::OK),
        ("pr-7.preview.test.", StatusCode::OK),
        ("pr-7.preview.test:8080", StatusCode::OK),
        ("pr-7.elsewhere.test", StatusCode::NOT_FOUND),
        ("a.pr-7.preview.test", StatusCode::NOT_FOUND),
        ("preview.test", StatusCode::NOT_FOUND),
        ("pr-007.preview.test", StatusCode::NOT_FOUND),
        // Nothing that comes by waiting: the preview has no such service.
        ("pr-7-api.preview.test", StatusCode::NOT_FOUND),
        ("..%2fpr-7.preview.test", StatusCode::BAD_REQUEST),
        ("pr-7.preview.test:x", StatusCode::BAD_REQUEST),
        ("me@pr-7.preview.test", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(served.get(host, "/").send().await.unwrap().status(), status, "{host}");
    }
    for request in [
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\n\r\n"),
        format!("GET http://pr-8.preview.test/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
    ] {
        assert!(served.raw(&request).await.starts_with("HTTP/1.1 400"), "{request}");
    }
    let absolute = format!("GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    assert!(served.raw(&absolute).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_hundred_visitors_at_once_are_all_served() {
    let served = Served::new().await;
    let visits = (0..100)
        .map(|_| async { served.get(HOST, "/").send().await.unwrap().text().await.unwrap() });
    for body in futures_util::future::join_all(visits).await {
        assert_eq!(body, revision('a').commit.as_str());
    }
}

#[tokio::test]
async fn no_visitor_sees_an_error_while_the_revision_changes() {
    let served = Served::new().await;
    let visits = async {
        let mut seen = std::collections::BTreeMap::<String, usize>::new();
        // At least so many, and until the new one answers.
        while seen.values().sum::<usize>() < 200 || seen.len() < 2 {
            let four = [(); 4].map(|()| served.get(HOST, "/").send());
            for answer in futures_util::future::join_all(four).await {
                let answer = answer.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
                let commit = answer.headers()["x-preview-commit"].to_str().unwrap().to_owned();
                assert_eq!(answer.text().await.unwrap(), commit);
                *seen.entry(commit).or_default() += 1;
            }
        }
    };
    let (name, next) = (name(7), order(&revision('b')));
    let change = serve(&served.machine.cluster, &name, &next);
    tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(visits, change) })
        .await
        .unwrap();
    let old_is_gone = async || served.machine.processes(&name).len() == 1;
    until("the old revision is gone", old_is_gone).await;
}

/// Leads preview 7 to a workload that takes a request and, once the route leads back to the real
/// one, hangs up without an answer. Returns the status that the visitor gets.
async fn visit_while_the_workload_stops(method: reqwest::Method) -> StatusCode {
    let served = Served::new().await;
    let stopping = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let path = served.machine.data_dir().join(format!("routes/{HOST}.json"));
    let route = std::fs::read_to_string(&path).unwrap();
    let mut moved: serde_json::Value = serde_json::from_str(&route).unwrap();
    moved["port"] = stopping.local_addr().unwrap().port().into();
    std::fs::write(&path, moved.to_string()).unwrap();
    let url = format!("http://{}/", served.proxy.local_addr());
    let visit = served.client.request(method, url).header("host", HOST).send();
    let stop = async {
        let (mut stream, _) = stopping.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        std::fs::write(&path, &route).unwrap();
    };
    tokio::join!(visit, stop).0.unwrap().status()
}

#[tokio::test]
async fn a_visitor_whose_workload_stops_is_served_by_the_next() {
    assert_eq!(visit_while_the_workload_stops(reqwest::Method::GET).await, StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_may_have_had_an_effect_is_not_sent_twice() {
    let status = visit_while_the_workload_stops(reqwest::Method::POST).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
}
