//! Charts out of an OCI registry, by digest: the real `helm pull` against a registry of the test's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mayfly::workload::chart::{ChartSource, HelmChart, RenderErrorKind};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use super::programs::{Kitchen, fixture};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// Blobs by digest, with their types, and how often anything was asked.
#[derive(Default)]
struct Registry {
    blobs: Vec<(String, &'static str, Vec<u8>)>,
    asked: AtomicUsize,
}

impl Registry {
    fn put(&mut self, kind: &'static str, bytes: Vec<u8>) -> (String, usize) {
        let hex: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let (digest, size) = (format!("sha256:{hex}"), bytes.len());
        self.blobs.push((digest.clone(), kind, bytes));
        (digest, size)
    }

    async fn start(self) -> (String, Arc<Self>) {
        let registry = Arc::new(self);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let routes = Router::new()
            .route("/v2/", get(|| async { StatusCode::OK }))
            .route("/v2/acme/plain/{kind}/{digest}", get(blob))
            .with_state(registry.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (host, registry)
    }
}

async fn blob(
    State(registry): State<Arc<Registry>>,
    Path((_, wanted)): Path<(String, String)>,
) -> Response {
    registry.asked.fetch_add(1, Ordering::Relaxed);
    let found = registry.blobs.iter().find(|(digest, ..)| *digest == wanted);
    let Some((digest, kind, bytes)) = found else { return StatusCode::NOT_FOUND.into_response() };
    let headers =
        [(header::CONTENT_TYPE.as_str(), *kind), ("docker-content-digest", digest.as_str())];
    (headers, bytes.clone()).into_response()
}

/// A registry with the plain chart in it; its host and the chart's digest.
async fn with_chart() -> (String, String, Arc<Registry>) {
    let archive = std::process::Command::new("tar")
        .args(["-cz", "--transform=s/^plain-web/shop/", "plain-web"])
        .current_dir(fixture("plain-web").parent().unwrap())
        .output()
        .unwrap();
    assert!(archive.status.success());
    let mut registry = Registry::default();
    let config = json!({"name": "shop", "version": "1.4.0", "apiVersion": "v2"}).to_string();
    let (config, config_size) = registry.put(CONFIG, config.into_bytes());
    let (content, content_size) = registry.put(CONTENT, archive.stdout);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": config, "size": config_size },
        "layers": [{ "mediaType": CONTENT, "digest": content, "size": content_size }],
    });
    let (digest, _) = registry.put(MANIFEST, manifest.to_string().into_bytes());
    let (host, registry) = registry.start().await;
    (host, digest, registry)
}

fn chart(host: &str, digest: &str, plain_http: bool) -> ChartSource {
    let reference = format!("{host}/acme/plain");
    let chart = HelmChart::Oci { reference, digest: digest.to_owned(), plain_http };
    ChartSource::Helm { chart, release: "shop".to_owned(), overlays: vec![Map::new()] }
}

#[tokio::test]
async fn a_chart_is_pulled_once_by_its_digest_and_then_rendered_from_what_is_kept() {
    let Some(kitchen) = Kitchen::real() else { return };
    let (host, digest, registry) = with_chart().await;
    let source = chart(&host, &digest, true);
    let first = kitchen.render(&source, None).await.unwrap();
    assert!(first.objects.iter().any(|it| it.reference().name == "shop"), "{first:?}");
    let asked = registry.asked.load(Ordering::Relaxed);
    assert!(asked > 0);
    assert_eq!(kitchen.render(&source, None).await.unwrap(), first);
    assert_eq!(registry.asked.load(Ordering::Relaxed), asked, "what is kept is not pulled again");
}

#[tokio::test]
async fn a_chart_that_cannot_be_pulled_is_told_in_the_registrys_words() {
    let Some(kitchen) = Kitchen::real() else { return };
    let (host, digest, _registry) = with_chart().await;
    let other = format!("sha256:{}", "ab".repeat(32));
    for source in [chart(&host, &other, true), chart(&host, &digest, false)] {
        let error = kitchen.render(&source, None).await.unwrap_err();
        assert_eq!(error.kind, RenderErrorKind::Pull, "{error}");
        assert!(error.to_string().len() > 10, "{error}");
    }
}
