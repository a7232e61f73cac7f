//! The real programs, and a preview to render for. Refuses to be quiet where they are missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use mayfly::preview::{CommitSha, PullNumber};
use mayfly::workload::chart::{
    ChartSource, Facts, HelmChart, RenderError, RenderLimits, Rendered, SecretKey, ServicePort,
    Tools, render,
};
use mayfly::workload::gate::GatePolicy;
use mayfly::workload::{Image, Object};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::world::skip::Skipped;

static SKIPPED: Skipped =
    Skipped::for_want_of("helm and kubectl to render charts; install Go (https://go.dev/dl)");

/// Where they are, once built.
static BUILT: LazyLock<Option<BTreeMap<String, PathBuf>>> = LazyLock::new(|| {
    let output = Command::new("tests/tools/build").arg("charts").output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let pairs = lines.lines().filter_map(|line| line.split_once(' '));
    output.status.success().then(|| pairs.map(|(name, path)| (name.into(), path.into())).collect())
});

/// Programs and a place of their own.
pub struct Kitchen {
    pub tools: Tools,
    pub limits: RenderLimits,
    pub room: TempDir,
}

impl Kitchen {
    /// With the real helm and kubectl; `None` is said aloud and counted.
    pub fn real() -> Option<Self> {
        let Some(built) = &*BUILT else {
            SKIPPED.count();
            return None;
        };
        Some(Self::with(&built["helm"], &built["kubectl"]))
    }

    /// With whatever these are.
    pub fn with(helm: &Path, kubectl: &Path) -> Self {
        let room = tempfile::tempdir().unwrap();
        let mayfly = env!("CARGO_BIN_EXE_mayfly").into();
        let work_dir = room.path().join("work");
        let tools = Tools::new(helm.into(), kubectl.into(), mayfly, work_dir);
        Self { tools, limits: RenderLimits::default(), room }
    }

    /// A chart of these files.
    pub fn directory(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = self.room.path().join(name);
        for (file, text) in files {
            let path = directory.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        directory
    }

    pub async fn render(
        &self,
        source: &ChartSource,
        base: Option<&str>,
    ) -> Result<Rendered, RenderError> {
        let rendered = render(source, base, &facts(), &self.limits, &self.tools).await;
        let left = std::fs::read_dir(&self.tools.work_dir).into_iter().flatten().flatten();
        let left: Vec<_> = left.map(|it| it.file_name()).filter(|it| it != "charts").collect();
        assert!(left.is_empty(), "the private directory is left: {left:?}");
        rendered
    }

    /// The template of a chart that is this one.
    pub async fn template(&self, template: &str) -> Result<Vec<Object>, RenderError> {
        let files = [("Chart.yaml", CHART), ("values.yaml", "{}"), ("templates/a.yaml", template)];
        let directory = self.directory("chart", &files);
        self.render(&helm(directory, json!({})), None).await?.without_hooks()
    }
}

pub const CHART: &str = "apiVersion: v2\nname: small\nversion: 0.1.0\n";

/// One of the charts that were written for the tests.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/charts").join(name)
}

pub fn helm(directory: PathBuf, overlay: Value) -> ChartSource {
    let overlays = match overlay {
        Value::Object(map) => vec![map],
        _ => vec![Map::new()],
    };
    ChartSource::Helm {
        chart: HelmChart::Directory(directory),
        release: "shop".to_owned(),
        overlays,
    }
}

pub fn image() -> Image {
    Image::parse(&format!("ghcr.io/acme/shop@sha256:{}", "0a".repeat(32))).unwrap()
}

pub fn facts() -> Facts {
    Facts {
        repository: "acme/shop".to_owned(),
        namespace: "pr-7".to_owned(),
        host: "pr-7.preview.example.test".to_owned(),
        url: "https://pr-7.preview.example.test/".to_owned(),
        number: PullNumber::new(7).unwrap(),
        commit: CommitSha::parse(&"c0ffee12".repeat(5)).unwrap(),
        database: SecretKey { name: "database".to_owned(), key: "DATABASE_URL".to_owned() },
        image: Some(image()),
        images: BTreeMap::new(),
        tier: Some("full".to_owned()),
        flags: [("NEW_CART".to_owned(), "on".to_owned())].into(),
        kubernetes_version: Some("1.35".to_owned()),
    }
}

pub fn policy() -> GatePolicy {
    GatePolicy {
        namespace: "pr-7".to_owned(),
        service_account: "preview".to_owned(),
        registries: vec!["ghcr.io".to_owned(), "docker.io".to_owned()],
        persistent_volumes: false,
        service: Some(ServicePort { name: "shop".to_owned(), port: 80 }),
    }
}
