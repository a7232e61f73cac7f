//! A GitHub App made by the manifest flow: what it asks for, and what GitHub gives for the code
//! (<https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest>).
//!
//! Refuses to ask for more than Mayfly does, and to print a secret.

use std::time::Duration;

use hyper::Method;
use octocrab::Octocrab;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::faults::{self, nonsense};
use super::gate::Limits;
use super::line::{Ask, Line};
use super::login::web_url;
use crate::fault::Fault;
use crate::forge::event::USED;

/// What the App is to be.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its name; GitHub wants one that nobody has.
    pub name: String,
    /// Where Mayfly is reached from outside; its webhook is off without.
    pub url: Option<String>,
    /// Where GitHub sends the browser back to.
    pub redirect_url: String,
    /// Whether it may delete the environments of previews that are gone.
    pub delete_environments: bool,
}

/// An App that was made.
#[derive(Debug, Deserialize)]
pub struct Created {
    /// Its id.
    pub id: u64,
    /// Its page, from which it is installed.
    pub html_url: String,
    /// Its private key.
    pub pem: SecretString,
    /// What its webhook is signed with.
    pub webhook_secret: Option<SecretString>,
}

impl Manifest {
    /// As GitHub reads it.
    pub fn text(&self) -> Value {
        let mut permissions = json!({
            "contents": "read",
            "deployments": "write",
            "issues": "write",
            "metadata": "read",
            "pull_requests": "write",
        });
        if self.delete_environments {
            permissions["administration"] = json!("write");
        }
        let own = self.url.as_deref().map(|url| url.trim_end_matches('/'));
        let url = own.unwrap_or("https://example.com");
        json!({
            "name": self.name,
            "url": url,
            "hook_attributes": { "url": format!("{url}/webhooks/github"), "active": own.is_some() },
            "redirect_url": self.redirect_url,
            "public": false,
            "default_permissions": permissions,
            "default_events": [USED],
        })
    }
}

/// Where a browser posts the manifest to; `state` comes back with it.
pub fn address(api_url: &str, organization: Option<&str>, state: &str) -> String {
    let owner = organization.map(|name| format!("/organizations/{name}")).unwrap_or_default();
    format!("{}{owner}/settings/apps/new?state={state}", web_url(api_url))
}

/// Turns the code that the browser brought back into the App; works once, and for an hour.
pub async fn convert(api_url: &str, code: &str, timeout: Duration) -> Result<Created, Fault> {
    const DOING: &str = "making the App of its manifest";
    let failed = |error: octocrab::Error| Fault::permanent(DOING, faults::chain(&error));
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if code.is_empty() || code.len() > 200 || !code.chars().all(fine) {
        return Err(Fault::permanent(DOING, "the code is not one of GitHub's"));
    }
    let octocrab =
        Octocrab::builder().base_uri(api_url).map_err(failed)?.build().map_err(failed)?;
    let line = Line::new(octocrab, Limits::default());
    let route = format!("/app-manifests/{code}/conversions");
    let ask = Ask { method: Method::POST, ..Ask::get(&route) };
    let asking = line.ask(DOING, None, &ask, false);
    let late = |_| Fault::transient(DOING, format!("no answer within {timeout:?}"));
    let answer = tokio::time::timeout(timeout, asking).await.map_err(late)??;
    if !answer.status.is_success() {
        return Err(faults::refused(DOING, &answer, |_| "make a new App".to_owned()));
    }
    serde_json::from_str(&answer.body).map_err(|error| nonsense(DOING, &error))
}
