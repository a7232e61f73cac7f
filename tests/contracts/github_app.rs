//! `mayfly github-app create`, from the page to the files, with a plain client as the browser.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use mayfly::demo::github::{APP_PEM, APP_WEBHOOK_SECRET, GitHubStandIn};
use reqwest::redirect::Policy;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

const PATIENCE: Duration = Duration::from_secs(30);

struct Run {
    hub: GitHubStandIn,
    directory: tempfile::TempDir,
    child: Child,
    out: BufReader<ChildStdout>,
    page: String,
}

fn command(hub: &GitHubStandIn, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mayfly"));
    command
        .args(["github-app", "create", "--listen", "127.0.0.1:0", "--api-url", &hub.api_url()])
        .arg("--out")
        .arg(out)
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Run {
    async fn start(more: &[&str]) -> Self {
        let hub = GitHubStandIn::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut child = command(&hub, directory.path(), more).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, out.read_line(&mut line)).await.unwrap().unwrap();
        let page = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
        Self { hub, directory, child, out, page: page.to_owned() }
    }
}

fn browser() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().redirect(Policy::none()).build().unwrap()
}

/// What stands in the page between these, as a browser reads it.
fn between<'a>(page: &'a str, start: &str, end: &str) -> String {
    let from: &'a str = page.split(start).nth(1).unwrap();
    let text = from.split(end).next().unwrap();
    text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[tokio::test]
async fn an_app_is_made_of_its_manifest_and_its_secrets_are_kept_and_not_shown() {
    let arguments = ["--organization", "acme", "--url", "https://mayfly.example.com/"];
    let mut run = Run::start(&arguments).await;
    let browser = browser();
    let page = browser.get(&run.page).send().await.unwrap().text().await.unwrap();
    let (action, manifest) = (between(&page, "action=\"", "\""), between(&page, "value=\"", "\""));
    assert!(action.starts_with(&format!(
        "{}/organizations/acme/settings/apps/new?state=",
        run.hub.api_url()
    )));
    let read: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(read["hook_attributes"]["url"], "https://mayfly.example.com/webhooks/github");
    assert_eq!(read["default_events"], serde_json::json!(["pull_request"]));
    assert_eq!(read["default_permissions"]["deployments"], "write");
    assert_eq!(read["default_permissions"]["administration"], Value::Null);

    // Somebody else's page sends a code here: it is not used.
    let forged = format!("{}created?code=evil&state=guessed", run.page);
    assert_eq!(browser.get(forged).send().await.unwrap().status(), 403);

    let form = reqwest::Url::parse_with_params("http://form", [("manifest", &manifest)]).unwrap();
    let agreed = browser
        .post(action)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.query().unwrap().to_owned())
        .send()
        .await
        .unwrap();
    let back = agreed.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(browser.get(back).send().await.unwrap().status(), 200);

    let mut said = String::new();
    tokio::time::timeout(PATIENCE, run.out.read_to_string(&mut said)).await.unwrap().unwrap();
    assert!(run.child.wait().await.unwrap().success());
    for (file, secret) in [("github-app.pem", APP_PEM), ("webhook-secret", APP_WEBHOOK_SECRET)] {
        let path = run.directory.path().join(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), secret);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(said.contains(path.file_name().unwrap().to_str().unwrap()), "{said}");
        assert!(!said.contains(secret.trim()) && !page.contains(secret.trim()));
    }
    for words in ["id: 77", "/installations/new"] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    super::description::hold(&run.hub);
}

#[tokio::test]
async fn the_right_to_delete_environments_is_asked_for_only_when_it_is_wished() {
    let run = Run::start(&["--delete-environments"]).await;
    let page = browser().get(&run.page).send().await.unwrap().text().await.unwrap();
    let manifest: Value = serde_json::from_str(&between(&page, "value=\"", "\"")).unwrap();
    assert_eq!(manifest["default_permissions"]["administration"], "write");
    assert_eq!(manifest["hook_attributes"]["active"], false, "nobody said where we are");
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named_before_anything_is_served() {
    let hub = GitHubStandIn::start(([127, 0, 0, 1], 0).into()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("nowhere");
    let ended = command(&hub, &out, &[]).output();
    let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
    assert!(!ended.status.success() && ended.stdout.is_empty(), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains(out.join("github-app.pem").to_str().unwrap()), "{said}");
    assert!(hub.exchanges().is_empty());
}

#[tokio::test]
async fn whoever_gives_up_leaves_no_empty_files_behind() {
    let mut run = Run::start(&[]).await;
    let left = |run: &Run| std::fs::read_dir(run.directory.path()).unwrap().count();
    assert_eq!(left(&run), 2, "the files are there before the browser is sent anywhere");
    let id = run.child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
    let ended = tokio::time::timeout(PATIENCE, run.child.wait()).await.unwrap().unwrap();
    assert!(!ended.success());
    assert_eq!(left(&run), 0);
}

#[tokio::test]
async fn a_key_that_is_there_already_is_never_overwritten() {
    let hub = GitHubStandIn::start(([127, 0, 0, 1], 0).into()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("github-app.pem");
    std::fs::write(&key, "mine").unwrap();
    let ended = command(&hub, directory.path(), &[]).output();
    let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
    assert!(!ended.status.success());
    assert!(String::from_utf8_lossy(&ended.stderr).contains("is there already"));
    assert_eq!(std::fs::read_to_string(&key).unwrap(), "mine");
}
