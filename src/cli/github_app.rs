//! `mayfly github-app`: making a GitHub App with the right permissions, by the manifest flow.
//!
//! A page on this machine sends the browser to GitHub with what the App is to be; GitHub sends it
//! back with a code. Refuses a code without our state, to overwrite a key, and to print a secret.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use clap::Subcommand;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::wrong;
use crate::clock::fresh_bytes;
use crate::forge::github::DEFAULT_TIMEOUT;
use crate::forge::github::manifest::{Created, Manifest, address, convert};

/// GitHub's code is good for an hour.
const WAIT: Duration = Duration::from_secs(3600);
const KEY_FILE: &str = "github-app.pem";
const SECRET_FILE: &str = "webhook-secret";

#[derive(Subcommand)]
pub(super) enum GitHubAppCommand {
    /// Make an App: serves a page on this machine that leads a browser through it.
    Create(CreateArgs),
}

#[derive(clap::Args)]
pub(super) struct CreateArgs {
    /// The organization that is to own it; yourself without.
    #[arg(long)]
    organization: Option<String>,
    /// Where Mayfly is reached from outside, for the webhook: `https://mayfly.example.com`
    #[arg(long)]
    url: Option<String>,
    /// The App's name; nobody else's App may have it.
    #[arg(long, default_value = "mayfly-previews")]
    name: String,
    /// Also let it delete the environments of previews that are gone (administration: write).
    #[arg(long)]
    delete_environments: bool,
    /// Where the page is served.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Where the private key and the webhook's secret are written.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// The API of GitHub, or of an Enterprise Server: `https://<host>/api/v3`
    #[arg(long, default_value = "https://api.github.com")]
    api_url: String,
}

struct Page {
    state: String,
    html: String,
    codes: mpsc::Sender<String>,
}

#[derive(Deserialize)]
struct Back {
    code: Option<String>,
    state: Option<String>,
}

pub(super) async fn run(command: GitHubAppCommand) -> anyhow::Result<()> {
    let GitHubAppCommand::Create(args) = command;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if args.organization.as_ref().is_some_and(|name| name.is_empty() || !name.chars().all(plain)) {
        return Err(wrong("--organization", "is not the name of an organization").into());
    }
    if args
        .url
        .as_ref()
        .is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://"))
    {
        return Err(wrong("--url", "must begin with https://").into());
    }
    // Before anything is made: GitHub shows the key only once.
    let key = Place::reserve(args.out.join(KEY_FILE))?;
    let secret = Place::reserve(args.out.join(SECRET_FILE))?;
    // A signal must not end us before the files are gone that are still empty.
    let mut terminated = signal(SignalKind::terminate()).context("hearing SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("hearing SIGINT")?;
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.with_context(|| format!("listening on {}", args.listen))?;
    let here = format!("http://{}", listener.local_addr()?);
    let state: String = fresh_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let manifest = Manifest {
        name: args.name.clone(),
        url: args.url.clone(),
        redirect_url: format!("{here}/created"),
        delete_environments: args.delete_environments,
    };
    let to = address(&args.api_url, args.organization.as_deref(), &state);
    let (codes, mut came) = mpsc::channel(1);
    let page = Arc::new(Page { state, html: form(&to, &manifest), codes });
    let router = Router::new()
        .route("/", get(async |State(page): State<Arc<Page>>| shown(page.html.clone())))
        .route("/created", get(created))
        .with_state(page);
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    println!("Open {here}/ in a browser of this machine, and follow it. Ctrl-C gives up.");
    let code = tokio::select! {
        came = timeout(WAIT, came.recv()) => came.context("nobody came back within an hour")?,
        _ = terminated.recv() => bail!("given up; no file is left here"),
        _ = interrupted.recv() => bail!("given up; no file is left here"),
    };
    let made = convert(&args.api_url, &code.context("the page is gone")?, DEFAULT_TIMEOUT).await;
    server.abort();
    finish(&args, &made?, key, secret)
}

async fn created(State(page): State<Arc<Page>>, Query(back): Query<Back>) -> Response {
    let (Some(code), Some(state)) = (back.code, back.state) else {
        return (StatusCode::BAD_REQUEST, "GitHub sends a code and a state here").into_response();
    };
    if state != page.state {
        return (StatusCode::FORBIDDEN, "this is not of the page that was opened here")
            .into_response();
    }
    // A second one finds the first still being used.
    let _ = page.codes.try_send(code);
    shown(
        "<!DOCTYPE html><title>Mayfly</title><p>Back to the terminal: it goes on there.".to_owned(),
    )
}

fn shown(html: String) -> Response {
    let guard = "default-src 'none'; form-action https: http:; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, guard)], Html(html)).into_response()
}

/// The page: a form that posts the manifest to GitHub.
fn form(to: &str, manifest: &Manifest) -> String {
    let text = escaped(&manifest.text().to_string());
    format!(
        "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>Mayfly</title>\
         <h1>A GitHub App for Mayfly</h1><p>GitHub shows the name and asks you to confirm. The App \
         may do this, and nothing else:</p><pre>{permissions}</pre>\
         <form action=\"{to}\" method=\"post\">\
         <input type=\"hidden\" name=\"manifest\" value=\"{text}\">\
         <button>Create it on GitHub</button></form></html>\n",
        to = escaped(to),
        permissions = escaped(&format!("{:#}", manifest.text()["default_permissions"])),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Writes what is secret, and says what to do next.
fn finish(args: &CreateArgs, app: &Created, key: Place, secret: Place) -> anyhow::Result<()> {
    let key = key.keep(&app.pem).with_context(|| {
        format!("the App {} is made, but its key is lost: make another in its settings", app.id)
    })?;
    let secret = app.webhook_secret.as_ref().map(|text| secret.keep(text)).transpose();
    println!("\nThe App {} is made. In mayfly.yaml:\n", app.id);
    println!("github:\n  app:\n    id: {}", app.id);
    println!("    installation_id: <the number at the end of the installation's address>");
    println!("    private_key_file: {}", key.display());
    if let Some(path) =
        secret.context("the webhook's secret is lost: set another in its settings")?
    {
        println!("  webhook_secret_file: {}", path.display());
    }
    println!("\nNext: install it on the repositories at {}/installations/new", app.html_url);
    if args.url.is_none() {
        println!(
            "Its webhook is off: set its URL, https://<your host>/webhooks/github, in its settings."
        );
    }
    Ok(())
}

/// A new file that only we may read; it goes again unless a secret is kept in it.
struct Place {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Place {
    /// Makes the file, still empty.
    fn reserve(path: PathBuf) -> anyhow::Result<Self> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => Ok(Self { path, file, kept: false }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("{} is there already; move it away, or choose another --out", path.display())
            }
            Err(error) => {
                Err(error).with_context(|| format!("making {}: see --out", path.display()))
            }
        }
    }

    /// Writes the secret; the file's whole path.
    fn keep(mut self, secret: &SecretString) -> anyhow::Result<PathBuf> {
        let written = self.file.write_all(secret.expose_secret().as_bytes());
        written
            .and_then(|()| self.file.sync_all())
            .with_context(|| format!("writing {}", self.path.display()))?;
        self.kept = true;
        Ok(self.path.canonicalize().unwrap_or_else(|_| self.path.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept {
            // An empty file that stays is named the next time.
            let _ = fs::remove_file(&self.path);
        }
    }
}
