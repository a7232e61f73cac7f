//! `mayfly render`, as a person calls it: what would be applied, how it differs from what was, and nothing
//! changed anywhere.

use std::path::Path;
use std::process::Output;

use mayfly::demo::github::{GitHubStandIn, PullSpec};
use mayfly::ledger::Ledger;
use tokio::process::Command;

use crate::contracts::cluster::kubernetes::RealCluster;
use crate::world::control_plane::ControlPlane;
use crate::world::postgres::{empty_database, unique};

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {session: hush}
";

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: shop, image: '{{ mayfly.image.reference }}'}]}
";

/// A configuration of a repository with a chart, and what `render` needs beside it.
struct Desk {
    room: tempfile::TempDir,
    ledger: String,
    hub: GitHubStandIn,
    prefix: String,
}

impl Desk {
    async fn set(plane: &ControlPlane) -> Self {
        let room = tempfile::tempdir().unwrap();
        let chart = room.path().join("chart");
        std::fs::create_dir(&chart).unwrap();
        std::fs::write(chart.join("service.yaml"), SERVICE).unwrap();
        std::fs::write(chart.join("shop.yaml"), DEPLOYMENT).unwrap();
        let prefix = format!("r{}", unique());
        let image = format!("ghcr.io/acme/shop@sha256:{}", "7".repeat(64));
        let config = format!(
            "ledger: {{}}
databases: {{}}
previews: {{suffix: preview.example.test}}
cluster:
  kubernetes:
    kubeconfig: {}
    ingress: {{class: test}}
    network: {{database: [{{cidr: 10.0.0.5/32}}]}}
dns: {{wildcard: {{target: 203.0.113.7}}}}
registries: [{{host: ghcr.io}}]
repositories:
  - name: acme/shop
    prefix: {prefix}
    seed: {{directories: []}}
    workload:
      image: {image}
      chart: {{service: {{name: shop, port: 80}}, manifests: {{directory: {}}}}}
",
            plane.kubeconfig.display(),
            chart.display(),
        );
        std::fs::write(room.path().join("mayfly.yaml"), config).unwrap();
        let hub = GitHubStandIn::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        hub.add_repository(42, "acme/shop");
        hub.open_pull("acme/shop", 7, PullSpec::new("A change", &"a".repeat(40)));
        let ledger = empty_database().await;
        Ledger::connect(&ledger, 2).await.unwrap().migrate().await.unwrap();
        Self { room, ledger, hub, prefix }
    }

    async fn render(&self, more: &[&str]) -> Output {
        let config: &Path = self.room.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mayfly"));
        command.arg("render").arg("--config").arg(config.join("mayfly.yaml")).args(more);
        command
            .env("MAYFLY_LEDGER__URL", &self.ledger)
            .env("MAYFLY_DATABASES__ADMIN_URL", &self.ledger)
            .env("MAYFLY_GITHUB__API_URL", self.hub.api_url())
            .env("MAYFLY_GITHUB__TOKEN", self.hub.token())
            .env("MAYFLY_GITHUB__WEBHOOK_SECRET", "a secret of this test, long enough");
        command.output().await.unwrap()
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn what_would_be_applied_is_printed_without_a_secret_and_a_diff_is_of_what_was() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let Some(it) = RealCluster::new().await else { return };
    let desk = Desk::set(plane).await;
    let pull = ["--repo", "acme/shop", "--pr", "7"];
    let output = desk.render(&pull).await;
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    let namespace = format!("namespace: {}-pr-7", desk.prefix);
    for part in ["kind: Deployment", "kind: Secret", &namespace, &"7".repeat(64), "sha256:"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for hidden in ["hush", "not.read.by", "mayfly.dev/applied"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    let again = desk.render(&pull).await;
    assert_eq!(said(&again), text, "the same each time");

    let output = desk.render(&[&pull[..], &["--diff"]].concat()).await;
    let diff = said(&output);
    assert!(output.status.success(), "{diff}");
    assert!(diff.contains("+kind: Deployment") && !diff.contains("\n-kind"), "{diff}");
    assert!(!diff.contains("kind: Secret"), "none is read: {diff}");
    let here = format!("{}-pr-7", desk.prefix);
    assert!(it.read("Namespace", "", &here).await.is_none(), "nothing was made");
}

#[tokio::test]
async fn a_call_that_cannot_be_answered_says_what_is_wrong_with_it() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let desk = Desk::set(plane).await;
    for (arguments, words) in [
        (["--repo", "acme/other", "--pr", "7"], "acme/other is not in the configuration"),
        (["--repo", "shop", "--pr", "7"], "--repo"),
        (["--repo", "acme/shop", "--pr", "0"], "--pr"),
        (["--repo", "acme/shop", "--pr", "8"], "pull request acme/shop#8"),
    ] {
        let output = desk.render(&arguments).await;
        let text = said(&output);
        assert!(!output.status.success() && text.contains(words), "{words}: {text}");
    }
    let broken = desk.room.path().join("chart/shop.yaml");
    std::fs::write(broken, "kind: Deployment\nmetadata: {name: '{{ mayfly.hots }}'}\n").unwrap();
    let output = desk.render(&["--repo", "acme/shop", "--pr", "7"]).await;
    let text = said(&output);
    assert!(!output.status.success() && text.contains("shop.yaml:2: "), "{text}");
}
