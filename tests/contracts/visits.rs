//! What a visit to a preview's URL sees, asked of real servers that lie, fail and dawdle.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mayfly::preview::{CommitSha, PreviewName, Site, Suffix};
use mayfly::visit::{HttpVisitor, Visit, VisitConfig, Visitor};
use mayfly::workload::{Proof, Shape};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_rustls::TlsAcceptor;

use crate::world::repository;
use crate::world::wait::soon;

fn commit(digit: char) -> CommitSha {
    CommitSha::parse(&digit.to_string().repeat(40)).unwrap()
}

fn site(https: bool, port: u16) -> Site {
    Site { suffix: Suffix::parse("preview.example.test").unwrap(), https, port: Some(port) }
}

fn loopback() -> BTreeSet<IpAddr> {
    [IpAddr::V4(Ipv4Addr::LOCALHOST)].into()
}

/// A visit to pr-7 for the commit of `a`s.
async fn visit(visitor: &HttpVisitor, shape: &Shape) -> Result<(), String> {
    let name = PreviewName::parse("pr-7").unwrap();
    let (addresses, commit) = (loopback(), commit('a'));
    visitor
        .observe(Visit { host: &(&name).into(), shape, addresses: &addresses, commit: &commit })
        .await
}

fn shape(proof: Proof) -> Shape {
    Shape { probe_path: "/healthz".to_owned(), proof, ..repository().shape }
}

/// A server that answers every request with these words; it tells what it was asked.
struct Server {
    address: SocketAddr,
    asked: UnboundedReceiver<String>,
}

impl Server {
    async fn start(answer: String, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, asked) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let heard = match &tls {
                    None => serve(stream, &answer).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => serve(stream, &answer).await,
                        Err(_) => None,
                    },
                };
                heard.into_iter().for_each(|heard| drop(tell.send(heard)));
            }
        });
        Self { address, asked }
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> Option<String> {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(stream.read_u8().await.ok()?);
    }
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    Some(String::from_utf8(asked).unwrap())
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

fn says(digit: char) -> String {
    format!("x-preview-commit: {}\r\n", commit(digit))
}

#[tokio::test]
async fn a_commit_is_served_only_where_the_answer_says_so_and_is_fine() {
    let path = Proof::Path("/version".to_owned());
    let body = format!("{{\"version\": \"{}\"}}", commit('a'));
    let late = format!("{}{}", " ".repeat(70_000), commit('a'));
    for (answer, proof, said) in [
        (answer("200 OK", &says('a'), ""), Proof::Header, Ok(())),
        (answer("204 No Content", &says('a'), ""), Proof::Header, Ok(())),
        (answer("200 OK", &says('b'), ""), Proof::Header, Err("still serves bbbbbbb")),
        (answer("502 Bad Gateway", &says('a'), ""), Proof::Header, Err("answers 502")),
        (answer("404 Not Found", "", "404 page not found"), Proof::Header, Err("answers 404")),
        (answer("200 OK", "", &body), Proof::Header, Err("without the header")),
        (answer("200 OK", &(says('a') + &says('b')), ""), Proof::Header, Err("no commit")),
        (answer("200 OK", "", &body), path.clone(), Ok(())),
        (answer("200 OK", &says('a'), "hello"), path.clone(), Err("without the commit")),
        (answer("200 OK", "", &late), path.clone(), Err("without the commit")),
        ("nonsense".to_owned(), Proof::Header, Err("http://pr-7.preview.example.test")),
    ] {
        let server = Server::start(answer.clone(), None).await;
        let site = site(false, server.address.port());
        let visitor = HttpVisitor::new(site, &VisitConfig::default()).unwrap();
        let got = visit(&visitor, &shape(proof)).await;
        match said {
            Ok(()) => assert_eq!(got, Ok(()), "{answer}"),
            Err(words) => assert!(got.as_ref().is_err_and(|why| why.contains(words)), "{got:?}"),
        }
    }
}

#[tokio::test]
async fn the_host_is_asked_where_dns_leads_and_as_a_browser_asks_it() {
    let mut server = Server::start(answer("200 OK", &says('a'), ""), None).await;
    let port = server.address.port();
    let visitor = HttpVisitor::new(site(false, port), &VisitConfig::default()).unwrap();
    assert_eq!(visit(&visitor, &shape(Proof::Header)).await, Ok(()));
    let asked = soon("it is asked", server.asked.recv()).await.unwrap().to_lowercase();
    assert!(asked.starts_with("get /healthz http/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: pr-7.preview.example.test:{port}\r\n")), "{asked}");
    // Where the controller cannot go the public way, it goes another, and says the same.
    let config = VisitConfig { address: Some(server.address), ..VisitConfig::default() };
    let public = Site { port: None, ..site(false, 1) };
    let visitor = HttpVisitor::new(public, &config).unwrap();
    assert_eq!(visit(&visitor, &shape(Proof::Header)).await, Ok(()));
    let asked = soon("it is asked", server.asked.recv()).await.unwrap().to_lowercase();
    assert!(asked.contains("host: pr-7.preview.example.test\r\n"), "{asked}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let target = Server::start(answer("200 OK", &says('a'), ""), None).await;
    let mut target = target;
    let to = format!("location: http://{}/\r\n", target.address);
    let server = Server::start(answer("302 Found", &to, ""), None).await;
    let port = server.address.port();
    let visitor = HttpVisitor::new(site(false, port), &VisitConfig::default()).unwrap();
    let why = visit(&visitor, &shape(Proof::Header)).await.unwrap_err();
    assert!(why.contains("without the header"), "{why}");
    assert!(target.asked.try_recv().is_err(), "nobody went there");
}

#[tokio::test]
async fn a_server_that_is_silent_or_away_is_told_in_words_that_stay_the_same() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = away.local_addr().unwrap().port();
    drop(away);
    for (port, words) in
        [(silent.local_addr().unwrap().port(), "no answer in time"), (port, "refused")]
    {
        let visitor = HttpVisitor::new(site(false, port), &VisitConfig::default()).unwrap();
        let visits = async {
            (
                visit(&visitor, &shape(Proof::Header)).await,
                visit(&visitor, &shape(Proof::Header)).await,
            )
        };
        let (one, two) = tokio::time::timeout(Duration::from_secs(20), visits).await.unwrap();
        assert!(one.as_ref().is_err_and(|why| why.contains(words)), "{one:?}");
        assert_eq!(one, two);
    }
}

#[tokio::test]
async fn a_certificate_that_a_browser_would_not_trust_is_no_proof() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = |host: &str| {
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.signed_by(&key, &authority).unwrap()
    };
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), authority.pem()).unwrap();
    let trusting = VisitConfig { ca_file: Some(ca.path().to_owned()), ..VisitConfig::default() };
    for (host, config, fine) in [
        ("*.preview.example.test", &trusting, true),
        ("other.example.test", &trusting, false),
        ("*.preview.example.test", &VisitConfig::default(), false),
    ] {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate(host).der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(tls));
        let server = Server::start(answer("200 OK", &says('a'), ""), Some(tls)).await;
        let visitor = HttpVisitor::new(site(true, server.address.port()), config).unwrap();
        let got = visit(&visitor, &shape(Proof::Header)).await;
        match fine {
            true => assert_eq!(got, Ok(())),
            false => assert!(
                got.as_ref().is_err_and(|why| why.contains("does not trust its certificate")),
                "{host}: {got:?}"
            ),
        }
    }
}

#[test]
fn a_certificate_file_that_holds_none_is_refused_by_its_key() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for path in [empty.path(), std::path::Path::new("/no/such/file")] {
        let config = VisitConfig { ca_file: Some(path.to_owned()), ..VisitConfig::default() };
        let fault = HttpVisitor::new(site(true, 443), &config).err().unwrap();
        assert!(fault.why.contains("previews.proof.ca_file"), "{fault}");
    }
}
