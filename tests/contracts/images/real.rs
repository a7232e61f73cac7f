//! The real `registry` program (CNCF Distribution), where `tests/tools/build node` has built it.
//!
//! Refuses to build it: that takes minutes. It has no token server; the stand-in has.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use mayfly::image::{Images, Registry};
use mayfly::workload::{Image, ImageTag};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::json;
use tempfile::TempDir;

use super::stand_in::digest;
use super::{PASSWORD, ada, images, images_contract, refused, registry, tag};
use crate::world::skip::Skipped;

static SKIPPED: Skipped = Skipped::for_want_of("a registry; with Go: tests/tools/build node");

/// `ada` with [`PASSWORD`], as `htpasswd -B` writes it.
const HTPASSWD: &str = "ada:$2b$05$abcdefghijklmnopqrstuu4uoW5CdSDmY8cLkib7pLDRBlvRVo8Pe\n";

struct RealRegistry {
    host: String,
    client: Client,
    is_private: bool,
    process: Child,
    _data: TempDir,
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program, of whatever version there is.
fn program() -> Option<PathBuf> {
    if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
        let path = PathBuf::from(assets).join("registry");
        if path.exists() {
            return Some(path);
        }
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let entries = std::fs::read_dir(cache.join("mayfly/tools")).ok()?;
    let mut built = entries.filter_map(|entry| Some(entry.ok()?.path()));
    built.find(|path| {
        path.file_name().is_some_and(|it| it.to_string_lossy().starts_with("registry-"))
    })
}

impl RealRegistry {
    /// `None` where there is no program, which is said.
    fn start(is_private: bool) -> Option<Self> {
        let Some(program) = program() else {
            SKIPPED.count();
            return None;
        };
        let data = tempfile::tempdir().unwrap();
        let htpasswd = data.path().join("htpasswd");
        std::fs::write(&htpasswd, HTPASSWD).unwrap();
        let mut config = json!({
            "version": 0.1,
            "log": { "level": "info" },
            "storage": { "filesystem": { "rootdirectory": data.path().join("data") } },
            "http": { "addr": "127.0.0.1:0" },
        });
        if is_private {
            config["auth"] = json!({ "htpasswd": { "realm": "test", "path": htpasswd } });
        }
        let file = data.path().join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut process = Command::new(program)
            .arg("serve")
            .arg(file)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let host = log.find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ':'));
            Some(rest[..end.unwrap_or(rest.len())].to_owned())
        });
        let host = host.expect("it says where it listens");
        // It would stop at a pipe that nobody reads.
        std::thread::spawn(move || log.for_each(drop));
        let client = Client::builder().no_proxy().build().unwrap();
        Some(Self { host, client, is_private, process, _data: data })
    }

    fn request(&self, method: Method, url: &str) -> RequestBuilder {
        let url = match url.strip_prefix('/') {
            Some(path) => format!("http://{}/{path}", self.host),
            None => url.to_owned(),
        };
        let request = self.client.request(method, url);
        if self.is_private { request.basic_auth("ada", Some(PASSWORD)) } else { request }
    }

    /// Makes a tag name an image of this number, as `docker push` does.
    async fn push(&self, tag: &ImageTag, n: u8) -> Image {
        let repository = tag.name().repository();
        let config = json!({ "architecture": "amd64", "os": "linux", "n": n }).to_string();
        let config_digest = digest(config.as_bytes());
        let begin = self.request(Method::POST, &format!("/v2/{repository}/blobs/uploads/"));
        let begun = begin.send().await.unwrap().error_for_status().unwrap();
        let location = begun.headers()["location"].to_str().unwrap().to_owned();
        let joint = if location.contains('?') { '&' } else { '?' };
        let to = format!("{location}{joint}digest={config_digest}");
        let put = self.request(Method::PUT, &to);
        put.body(config.clone()).send().await.unwrap().error_for_status().unwrap();
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": kind,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json",
                        "size": config.len(), "digest": config_digest },
            "layers": [],
        })
        .to_string();
        let image = Image::pin(tag, &digest(manifest.as_bytes())).unwrap();
        let put = self.request(Method::PUT, &format!("/v2/{repository}/manifests/{}", tag.tag()));
        let put = put.header("content-type", kind).body(manifest);
        put.send().await.unwrap().error_for_status().unwrap();
        image
    }
}

#[tokio::test]
async fn the_real_registry_keeps_the_contract_open_and_with_a_password() {
    for is_private in [false, true] {
        let Some(real) = RealRegistry::start(is_private) else { return };
        let login = is_private.then(ada);
        let images = images(Registry { login, ..registry(&real.host) });
        let push = async |tag: &ImageTag, n: u8| real.push(tag, n).await;
        images_contract(&images, &real.host, push).await;
    }
}

#[tokio::test]
async fn the_real_registry_refuses_whoever_has_no_login() {
    let Some(real) = RealRegistry::start(true) else { return };
    let tag = tag(&real.host, "a");
    real.push(&tag, 1).await;
    let found = images(registry(&real.host)).resolve(&tag).await;
    refused(found, "set registries[0].username");
}
