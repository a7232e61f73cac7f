//! The image that `scripts/image` makes without a container engine, and the health check that is in
//! it since there is no shell.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const MAYFLY: &str = env!("CARGO_BIN_EXE_mayfly");

fn image(arguments: &[&str]) -> Output {
    Command::new("scripts/image").args(arguments).output().unwrap()
}

fn blob(layout: &Path, descriptor: &Value) -> (PathBuf, Vec<u8>) {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let path = layout.join("blobs/sha256").join(digest);
    let bytes = std::fs::read(&path).unwrap();
    let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(sum, digest, "a blob is called by its digest");
    assert_eq!(descriptor["size"], bytes.len());
    (path, bytes)
}

#[test]
fn an_image_is_a_layout_that_registries_take_and_runs_as_nobody_special() {
    let room = tempfile::tempdir().unwrap();
    let layout = room.path().join("image");
    // A small program: the layout does not depend on which.
    let made = image(&["--oci", layout.to_str().unwrap(), "--binary", "/bin/true"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |path: &str| std::fs::read(layout.join(path)).unwrap();
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(json(&read("oci-layout")), json!({"imageLayoutVersion": "1.0.0"}));
    let index = json(&read("index.json"));
    let manifest = &index["manifests"][0];
    assert_eq!(String::from_utf8(made.stdout).unwrap().trim(), manifest["digest"]);
    let manifest = json(&blob(&layout, manifest).1);
    let config = json(&blob(&layout, &manifest["config"]).1);
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], json!(["/usr/local/bin/true"]));
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 1);
    let (layer, _) = blob(&layout, &manifest["layers"][0]);
    let listed =
        Command::new("tar").arg("-tvzf").arg(layer).arg("--numeric-owner").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for file in ["./usr/local/bin/true", "./etc/ssl/certs/ca-certificates.crt", "./etc/passwd"] {
        assert!(listed.lines().any(|line| line.ends_with(file)), "{file} is not in\n{listed}");
    }
    for line in listed.lines() {
        let mode = line.split(' ').next().unwrap();
        assert!(line.contains(" 0/0 "), "not root's: {line}");
        assert!(!mode.contains('s') && !mode[5..].contains('w'), "widely writable: {line}");
        let name = line.rsplit('/').next().unwrap();
        assert!(!["sh", "bash", "apt", "ls"].contains(&name), "more than the program: {line}");
    }
}

#[test]
fn the_same_program_makes_the_same_digest() {
    let room = tempfile::tempdir().unwrap();
    let digest = |name: &str| {
        let layout = room.path().join(name);
        image(&["--oci", layout.to_str().unwrap(), "--binary", "/bin/true"]).stdout
    };
    let first = digest("one");
    assert!(first.starts_with(b"sha256:"));
    assert_eq!(first, digest("two"));
}

#[test]
fn a_static_program_can_be_put_beside_and_one_that_would_not_run_there_cannot() {
    let room = tempfile::tempdir().unwrap();
    let root = room.path().join("root");
    let program = room.path().join("static");
    // As much of a static program as ldd looks at: a header that names no loader.
    let mut elf = std::fs::read("/bin/true").unwrap();
    elf.truncate(64);
    std::fs::write(&program, elf).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let with = format!("helm={}", program.display());
    let root = root.to_str().unwrap();
    let made = image(&["--rootfs", root, "--binary", "/bin/true", "--with", &with]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let put = room.path().join("root/usr/local/bin/helm");
    assert_eq!(std::fs::read(put).unwrap(), std::fs::read(program).unwrap());
    for wrong in
        ["helm=/bin/true", "helm=/usr/bin/ldd", "helm=/nonexistent", "../x=/bin/true", "helm"]
    {
        let fresh = room.path().join("fresh");
        let fresh = fresh.to_str().unwrap();
        let made = image(&["--rootfs", fresh, "--binary", "/bin/true", "--with", wrong]);
        assert!(!made.status.success(), "{wrong}");
        assert!(!Path::new(fresh).exists(), "{wrong}");
    }
}

#[test]
fn an_image_is_never_made_over_something_or_of_nothing() {
    let room = tempfile::tempdir().unwrap();
    let there = room.path().to_str().unwrap();
    let fresh = room.path().join("fresh");
    let cases = [
        (vec!["--oci", there, "--binary", "/bin/true"], "is there already"),
        (vec!["--oci", fresh.to_str().unwrap(), "--binary", "/nonexistent"], "is missing"),
        (vec!["--binary", "/bin/true"], "scripts/image --rootfs"),
        (vec!["--oci"], "scripts/image --rootfs"),
    ];
    for (arguments, words) in cases {
        let made = image(&arguments);
        assert!(!made.status.success(), "{arguments:?}");
        let error = String::from_utf8_lossy(&made.stderr);
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
    assert!(!fresh.exists());
}

#[test]
fn mayfly_runs_with_nothing_but_what_is_in_its_image() {
    let room = tempfile::tempdir().unwrap();
    let root = room.path().join("root");
    let made = image(&["--rootfs", root.to_str().unwrap(), "--binary", MAYFLY]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // A user namespace where we are not root; some machines forbid it.
    let mut inside = Command::new("chroot");
    if !rustix::process::geteuid().is_root() {
        inside = Command::new("unshare");
        inside.args(["--map-root-user", "chroot"]);
    }
    let run = inside.arg(&root).args(["/usr/local/bin/mayfly", "--version"]).output().unwrap();
    let error = String::from_utf8_lossy(&run.stderr);
    if error.contains("Operation not permitted") {
        let _ = writeln!(std::io::stderr(), "SKIPPED, the image is not run: {error}");
        return;
    }
    let version = format!("mayfly {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&run.stdout), version, "{error}");
}

#[test]
fn what_the_dockerfile_copies_is_there_and_is_sent_to_the_builder() {
    let [dockerfile, sent] =
        ["Dockerfile", ".dockerignore"].map(|file| std::fs::read_to_string(file).unwrap());
    assert!(sent.lines().any(|line| line == "*"), "nothing else is sent, no secret and no target");
    let mut count = 0;
    for line in dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let words: Vec<_> = line.split(' ').collect();
        for from in &words[..words.len() - 1] {
            if line.starts_with("--from=") {
                continue;
            }
            count += 1;
            assert!(Path::new(from).exists(), "{from} is not there");
            assert!(sent.lines().any(|sent| sent == format!("!{from}")), "{from} is not sent");
        }
    }
    assert!(count > 3, "only {count} sources were found");
    assert!(dockerfile.contains("USER 65532:65532"), "nobody special");
}

#[test]
fn program_chart_and_image_are_of_one_version() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = std::fs::read_to_string("charts/mayfly/Chart.yaml").unwrap();
    assert!(chart.contains(&format!("\nappVersion: {version}\n")), "{chart}");
    let dockerfile = std::fs::read_to_string("Dockerfile").unwrap();
    assert!(dockerfile.contains(&format!("\nARG VERSION={version}\n")));
}

/// Answers one request with this, on a port of its own.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/readyz", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(answer.as_bytes());
    });
    url
}

fn healthcheck(arguments: &[&str]) -> (Option<i32>, String) {
    let run = Command::new(MAYFLY)
        .arg("healthcheck")
        .args(arguments)
        // A proxy's word is not ours.
        .env("http_proxy", "http://127.0.0.1:9")
        .output()
        .unwrap();
    (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
}

#[test]
fn a_healthcheck_says_yes_only_when_every_url_answers_that_all_is_well() {
    let fine = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
    let (one, two) = (answering(fine), answering(fine));
    assert_eq!(healthcheck(&["--url", &one, "--url", &two]), (Some(0), String::new()));

    let behind =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 25\r\n\r\nrun mayfly migrate first\n";
    let (one, two) = (answering(fine), answering(behind));
    let (code, error) = healthcheck(&["--url", &one, "--url", &two]);
    assert_eq!(code, Some(1));
    assert!(error.contains(&two) && error.contains("run mayfly migrate first"), "{error}");

    let elsewhere = "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(healthcheck(&["--url", &answering(elsewhere)]).0, Some(1), "a login is no yes");
}

#[test]
fn a_healthcheck_waits_no_longer_than_it_is_told() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/readyz", silent.local_addr().unwrap());
    let (code, error) = healthcheck(&["--url", &url, "--timeout", "200ms"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains(&url), "{error}");
    for wrong in ["0s", "soon", "-1s"] {
        let (code, error) = healthcheck(&["--url", &url, &format!("--timeout={wrong}")]);
        assert_eq!(code, Some(2), "{wrong}: {error}");
    }
}
