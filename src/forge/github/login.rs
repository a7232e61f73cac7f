//! Who we are to GitHub, call by call: a token, or an App's installation token that is asked for
//! once for everybody who waits for it.
//!
//! Refuses to print a token or a key, and to keep a token that GitHub no longer takes.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use hyper::Method;
use octocrab::auth::{AppAuth, EncodingKey};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::Auth;
use super::faults;
use super::line::{Ask, Line};
use crate::clock::machine_time;
use crate::fault::Fault;

/// A token is not used in its last minute: the call may take a while to arrive.
const SPARE: TimeDelta = TimeDelta::minutes(1);

/// What an App needs to do all that we do; issues' permission serves for comments as well.
const NEEDED: [(&str, &str); 2] = [("deployments", "write"), ("pull_requests", "write")];

/// As whom a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// As the one who may see the repositories.
    Ourselves,
    /// As the App itself, by a JSON Web Token.
    App,
}

/// How we log in.
pub(super) enum Login {
    /// With a token that somebody made.
    Token {
        token: SecretString,
        /// GitHub's pages for people.
        web_url: String,
    },
    /// As an installation of an App.
    App { key: Box<AppAuth>, installation: u64, held: Mutex<Option<Held>>, web_url: String },
}

/// An installation token.
pub(super) struct Held {
    token: SecretString,
    good_until: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Granted {
    token: SecretString,
    expires_at: DateTime<Utc>,
    #[serde(default)]
    permissions: BTreeMap<String, String>,
}

impl Login {
    pub(super) fn new(auth: &Auth, api_url: &str) -> Result<Self, &'static str> {
        let web_url = web_url(api_url);
        Ok(match auth {
            Auth::Token(token) if !sendable(token) => {
                return Err("the token is empty, or holds a blank or a line break");
            }
            Auth::Token(token) => Login::Token { token: token.clone(), web_url },
            Auth::App { app_id, private_key_pem, installation_id } => {
                let pem = private_key_pem.expose_secret().as_bytes();
                let key = EncodingKey::from_rsa_pem(pem)
                    .map_err(|_| "the App's private key is not an RSA key in PEM")?;
                let key = Box::new(AppAuth { app_id: (*app_id).into(), key });
                let (installation, held) = (*installation_id, Mutex::default());
                Login::App { key, installation, held, web_url }
            }
        })
    }

    /// What to show GitHub. Whoever comes while a new token is being asked for waits for that one.
    pub(super) async fn bearer(&self, line: &Line, who: Who) -> Result<SecretString, Fault> {
        let (key, installation, held) = match self {
            Login::Token { token, .. } => return Ok(token.clone()),
            Login::App { key, .. } if who == Who::App => return signed(key),
            Login::App { key, installation, held, .. } => (key, installation, held),
        };
        let mut held = held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| held.good_until > machine_time()) {
            return Ok(held.token.clone());
        }
        const DOING: &str = "asking GitHub for an installation token";
        let route = format!("/app/installations/{installation}/access_tokens");
        // No content: an hour whose writes are spent can still be read.
        let ask = Ask { method: Method::POST, content: false, ..Ask::get(&route) };
        let answer = line.ask(DOING, Some(&signed(key)?), &ask, false).await?;
        if !answer.status.is_success() {
            return Err(faults::refused(DOING, &answer, |_| self.whose()));
        }
        let granted: Granted = serde_json::from_str(&answer.body)
            .map_err(|_| Fault::transient(DOING, "the answer is not what GitHub's API gives"))?;
        self.complain(&granted.permissions);
        // By GitHub's own clock: ours may be hours off.
        let now = machine_time();
        let life = granted.expires_at - answer.date().unwrap_or(now) - SPARE;
        let fresh = Held { token: granted.token.clone(), good_until: now + life };
        *held = Some(fresh);
        Ok(granted.token)
    }

    /// Forgets a token that GitHub refused; whether there may be another one.
    pub(super) async fn forget(&self, refused: &SecretString) -> bool {
        let Login::App { held, .. } = self else { return false };
        let mut held = held.lock().await;
        let same = |held: &Held| held.token.expose_secret() == refused.expose_secret();
        // Somebody else may have a new one by now.
        if held.as_ref().is_some_and(same) {
            *held = None;
        }
        true
    }

    /// Where a permission is granted.
    pub(super) fn cure(&self, permission: &str) -> String {
        match self {
            Login::Token { web_url, .. } => format!(
                "the token lacks {permission}: give it that at \
                 {web_url}/settings/personal-access-tokens (a classic token: the scope repo, at \
                 {web_url}/settings/tokens)"
            ),
            Login::App { installation, web_url, .. } => format!(
                "the App lacks {permission}: grant it under Permissions & events in the App's \
                 settings ({web_url}/settings/apps, or those of its organization), then accept it \
                 at {web_url}/settings/installations/{installation}"
            ),
        }
    }

    /// Whether we are an App.
    pub(super) fn is_app(&self) -> bool {
        matches!(self, Login::App { .. })
    }

    /// The installation, with an App.
    pub(super) fn installation(&self) -> Option<u64> {
        match self {
            Login::Token { .. } => None,
            Login::App { installation, .. } => Some(*installation),
        }
    }

    fn whose(&self) -> String {
        "check github.app.id, installation_id and private_key_file, and whether the installation \
         is suspended"
            .to_owned()
    }

    /// Says what the installation may not do, each time that GitHub tells what it may.
    fn complain(&self, permissions: &BTreeMap<String, String>) {
        for (name, level) in NEEDED {
            let given = permissions.get(name).map(String::as_str);
            let comments = name == "pull_requests"
                && given == Some("read")
                && permissions.get("issues").map(String::as_str) == Some("write");
            if given != Some(level) && given != Some("admin") && !comments {
                let cure = self.cure(&format!("{name}: {level}"));
                tracing::warn!(%cure, "the installation lacks a permission");
            }
        }
    }
}

fn signed(key: &AppAuth) -> Result<SecretString, Fault> {
    let token = key.generate_bearer_token().map(SecretString::from);
    token.map_err(|_| {
        Fault::permanent("logging in to GitHub", "the App's private key does not sign")
    })
}

/// `https://api.github.com` is `https://github.com` to people; an Enterprise Server's API is below
/// its own address.
pub(super) fn web_url(api_url: &str) -> String {
    let trimmed = api_url.trim_end_matches('/');
    let trimmed = trimmed.strip_suffix("/api/v3").unwrap_or(trimmed);
    trimmed.replacen("://api.", "://", 1)
}

/// Whether a token can stand in a header.
fn sendable(token: &SecretString) -> bool {
    let token = token.expose_secret();
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}
