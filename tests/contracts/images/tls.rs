//! Registries with TLS: whom we trust, and that a login is never shown without it.

use std::sync::Arc;

use axum::serve::Listener;
use mayfly::address::Reach;
use mayfly::image::{Images, Registry};
use mayfly::workload::ImageTag;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Mood, StandIn, ada, images, images_contract, loopback, refused, registry, tag};

/// A stand-in behind a certificate of an authority of its own.
struct Secured {
    stand_in: StandIn,
    /// The authority's certificate.
    ca_pem: Vec<u8>,
    server: AbortHandle,
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            // Whoever does not trust us hangs up.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

impl Secured {
    async fn start(mood: Mood, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let tcp = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let host = format!("localhost:{}", tcp.local_addr().unwrap().port());
        let stand_in = StandIn::at(&host, "https", mood);
        let listener = TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let router = stand_in.router();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let (ca_pem, server) = (issuer.pem().into_bytes(), server.abort_handle());
        Self { stand_in, ca_pem, server }
    }

    fn registry(&self, ca_pem: Option<&[u8]>) -> Registry {
        Registry {
            login: Some(ada()),
            ca_pem: ca_pem.map(<[u8]>::to_vec),
            ..over_tls(&self.stand_in.host)
        }
    }
}

fn over_tls(host: &str) -> Registry {
    let reach = Reach::internet_and(vec![loopback(), "::1/128".parse().unwrap()], &[]);
    Registry { insecure: false, reach, ..registry(host) }
}

#[tokio::test]
async fn a_registry_behind_an_authority_that_is_named_keeps_the_contract() {
    let secured = Secured::start(Mood::Token, "localhost").await;
    let images = images(secured.registry(Some(&secured.ca_pem)));
    let push = async |tag: &ImageTag, n: u8| secured.stand_in.push(tag, n);
    images_contract(&images, &secured.stand_in.host, push).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_anothers_is_refused_with_the_cure() {
    let secured = Secured::start(Mood::Basic, "localhost").await;
    let tag = tag(&secured.stand_in.host, "a");
    let strangers = Secured::start(Mood::Basic, "localhost").await;
    for ca_pem in [None, Some(&*strangers.ca_pem)] {
        let found = images(secured.registry(ca_pem)).resolve(&tag).await;
        refused(found, "registries[0].ca_file");
    }
    let anothers = Secured::start(Mood::Basic, "registry.example.com").await;
    let at = super::tag(&anothers.stand_in.host, "a");
    let found = images(anothers.registry(Some(&anothers.ca_pem))).resolve(&at).await;
    refused(found, "is not trusted");
    assert_eq!(secured.stand_in.asked(), [], "nothing was asked, and no password shown");
    assert_eq!(anothers.stand_in.asked(), []);
}

#[tokio::test]
async fn plain_http_is_never_spoken_where_it_is_not_configured() {
    let plain = StandIn::start(Mood::Basic).await;
    let tag = tag(&plain.host, "a");
    let found =
        images(Registry { login: Some(ada()), ..over_tls(&plain.host) }).resolve(&tag).await;
    refused(found, "does not speak TLS");
    let secured = Secured::start(Mood::Basic, "localhost").await;
    let realm = format!("http://{}/token", plain.host);
    secured.stand_in.be(Mood::Realm(Box::leak(realm.into_boxed_str())));
    let found = images(secured.registry(Some(&secured.ca_pem)));
    let found = found.resolve(&super::tag(&secured.stand_in.host, "a")).await;
    refused(found, "without TLS");
    assert_eq!(plain.asked(), [], "nothing was asked, and no password shown");
}
