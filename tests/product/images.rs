//! The images of this test, pushed to the node's registry: Mayfly's as its README makes it, and the
//! shop's with a probe beside it, which says what its pod can reach.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::cluster::{Cluster, example, output};

/// Mayfly's image, by the README's recipe for who has no engine: its repository and digest.
pub async fn push_mayfly(cluster: &Cluster) -> (String, String) {
    let scratch = tempfile::tempdir().unwrap();
    let binary = strip(scratch.path(), Path::new(env!("CARGO_BIN_EXE_mayfly"))).await;
    let layout = scratch.path().join("image");
    let mut command = Command::new("scripts/image");
    // With what renders charts.
    let helm = format!("helm={}", cluster.helm.display());
    command.arg("--oci").arg(&layout).arg("--binary").arg(binary).arg("--with").arg(helm);
    let digest = output(&mut command).await;
    let repository = format!("{}/mayfly", cluster.registry);
    let mut crane = Command::new(&cluster.crane);
    crane.arg("--insecure").arg("push").arg(layout).arg(format!("{repository}:test"));
    output(&mut crane).await;
    (repository, digest)
}

/// The shop's image, by its name with the digest; `/program` in it is the probe.
pub async fn push_shop(cluster: &Cluster) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let binary = strip(scratch.path(), &example("sample-shop")).await;
    let tree = scratch.path().join("tree");
    let mut command = Command::new("scripts/image");
    output(command.arg("--rootfs").arg(&tree).arg("--binary").arg(binary)).await;
    let mut push = Command::new(example("test-cluster"));
    push.args(["push-image", "--name", "acme/shop", "--registry", &cluster.registry]);
    push.arg("--binary").arg(&cluster.probe).arg("--tree").arg(tree);
    push.args(["--entrypoint", "/usr/local/bin/sample-shop"]).arg("--crane").arg(&cluster.crane);
    output(&mut push).await
}

/// A team's chart, pushed to the registry: its name there and its digest.
pub async fn push_chart(cluster: &Cluster) -> (String, String) {
    let scratch = tempfile::tempdir().unwrap();
    let chart = "tests/fixtures/charts/plain-web";
    let helm = || Command::new(&cluster.helm);
    output(helm().args(["package", chart, "--destination"]).arg(scratch.path())).await;
    let archive = std::fs::read_dir(scratch.path()).unwrap().next().unwrap().unwrap().path();
    let charts = format!("oci://{}/charts", cluster.registry);
    let mut push = helm();
    push.arg("push").arg(archive).arg(charts).arg("--plain-http");
    // It says where on its other stream.
    let said = push.output().await.unwrap();
    let said = [said.stdout, said.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let digest = said.split_whitespace().find(|word| word.starts_with("sha256:"));
    let digest = digest.unwrap_or_else(|| panic!("helm push: {said}")).to_owned();
    (format!("{}/charts/shop", cluster.registry), digest)
}

/// What CI does when it has built a commit: the image is there under the commit's tag.
pub async fn tag(cluster: &Cluster, image: &str, tag: &str) {
    let mut crane = Command::new(&cluster.crane);
    output(crane.args(["--insecure", "copy", image, tag])).await;
}

/// A copy without what a debugger wants: a hundred megabytes less to push and to pull.
async fn strip(scratch: &Path, binary: &Path) -> PathBuf {
    let stripped = scratch.join(binary.file_name().unwrap());
    output(Command::new("strip").arg("-o").arg(&stripped).arg(binary)).await;
    stripped
}
