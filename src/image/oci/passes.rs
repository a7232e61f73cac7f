//! What we show a registry: name and password, or a token that is asked for once for everybody who
//! waits for it, and kept until it expires.
//!
//! Refuses to print either, to ask for more than to pull, and to keep a token that was refused.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::BASE64;
use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::challenge::Challenge;
use super::is_passing;
use super::line::Line;
use crate::clock::Clock;
use crate::image::{Found, Login};

/// A token is not used in its last seconds: the question may take a while to arrive.
const SPARE: TimeDelta = TimeDelta::seconds(10);
/// How long a token is good that does not say so, as the token specification has it.
const USUAL_LIFE_SECONDS: i64 = 60;
/// A token is asked for anew after this long, whatever it says.
const MAX_LIFE_SECONDS: i64 = 3600;
/// Repositories whose token is kept; all are forgotten when there are more.
const MAX_REPOSITORIES: usize = 256;

/// What is shown to the registry.
#[derive(Clone)]
pub(super) struct Pass {
    pub(super) header: HeaderValue,
    good_until: DateTime<Utc>,
}

type Slot = Arc<Mutex<Option<Pass>>>;

/// The passes to one registry, by repository.
pub(super) struct Passes {
    login: Option<RwLock<Login>>,
    key: String,
    clock: Arc<dyn Clock>,
    slots: RwLock<BTreeMap<String, Slot>>,
}

/// What a token server answers.
#[derive(Deserialize)]
struct Granted {
    token: Option<SecretString>,
    /// The same, as OAuth 2.0 calls it.
    access_token: Option<SecretString>,
    expires_in: Option<i64>,
}

impl Passes {
    pub(super) fn new(login: Option<Login>, key: String, clock: Arc<dyn Clock>) -> Self {
        Self { login: login.map(RwLock::new), key, clock, slots: RwLock::default() }
    }

    /// What is still good; nothing before the first time. Waits for whoever is asking for a new one.
    pub(super) async fn kept(&self, repository: &str) -> Option<Pass> {
        let slot = self.slot(repository);
        let slot = slot.lock().await;
        slot.clone().filter(|pass| pass.good_until > self.clock.now())
    }

    /// A pass other than the one that was refused: what somebody else has got meanwhile, or a new one.
    pub(super) async fn renew(
        &self,
        line: &Line,
        wanted: &Challenge,
        repository: &str,
        refused: Option<&Pass>,
    ) -> Result<Pass, Found> {
        let slot = self.slot(repository);
        let mut slot = slot.lock().await;
        let refused = refused.map(|pass| &pass.header);
        let is_news = |it: &Pass| it.good_until > self.clock.now() && Some(&it.header) != refused;
        if let Some(pass) = slot.clone().filter(is_news) {
            return Ok(pass);
        }
        // Nobody else needs to try it again.
        *slot = None;
        let fresh = match wanted {
            Challenge::Basic => self.password(refused, &line.host, repository)?,
            Challenge::Bearer { realm, service } => {
                self.token(line, realm, service.as_deref(), repository).await?
            }
        };
        *slot = Some(fresh.clone());
        Ok(fresh)
    }

    /// That our login does not suffice, with the cure.
    pub(super) fn refused(&self, host: &str, repository: &str) -> Found {
        let key = &self.key;
        Found::Refused(match &self.login {
            None => format!(
                "{host} shows {repository} to nobody without a login; set {key}.username and \
                 {key}.password_file, or push its first image if it does not exist yet"
            ),
            Some(_) => format!(
                "{host} refuses {repository} to our login; see that {key}.username may pull it, \
                 that {key}.password_file holds its password, and that it exists"
            ),
        })
    }

    fn password(
        &self,
        refused: Option<&HeaderValue>,
        host: &str,
        repository: &str,
    ) -> Result<Pass, Found> {
        let mut header = self.basic();
        if header.as_ref() == refused && self.read_again() {
            header = self.basic();
        }
        let header = header.filter(|it| Some(it) != refused);
        let header = header.ok_or_else(|| self.refused(host, repository))?;
        Ok(Pass { header, good_until: DateTime::<Utc>::MAX_UTC })
    }

    async fn token(
        &self,
        line: &Line,
        realm: &Url,
        service: Option<&str>,
        repository: &str,
    ) -> Result<Pass, Found> {
        let mut url = realm.clone();
        url.query_pairs_mut()
            .extend_pairs(service.map(|service| ("service", service)))
            .append_pair("scope", &format!("repository:{repository}:pull"));
        let now = self.clock.now();
        let mut answer = line.token(&url, self.basic().as_ref()).await?;
        let is_refused =
            |status| [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
        if is_refused(answer.status) && self.read_again() {
            answer = line.token(&url, self.basic().as_ref()).await?;
        }
        let (host, status) = (&line.host, answer.status);
        if is_refused(status) {
            return Err(self.refused(host, repository));
        }
        if !status.is_success() {
            let why = format!("the token server of {host} answers {status}");
            return Err(if is_passing(status) { Found::Unknown(why) } else { Found::Refused(why) });
        }
        let strange = || Found::Refused(format!("the token server of {host} gives no token"));
        let granted: Granted = serde_json::from_slice(&answer.body).map_err(|_| strange())?;
        let token = granted.token.or(granted.access_token).ok_or_else(strange)?;
        let header = secret_header(&format!("Bearer {}", token.expose_secret()));
        let life = granted.expires_in.unwrap_or(USUAL_LIFE_SECONDS).clamp(0, MAX_LIFE_SECONDS);
        let good_until = now + TimeDelta::seconds(life) - SPARE;
        Ok(Pass { header: header.ok_or_else(strange)?, good_until })
    }

    fn basic(&self) -> Option<HeaderValue> {
        let login = self.login.as_ref()?.read().unwrap_or_else(PoisonError::into_inner);
        let pair = format!("{}:{}", login.username, login.password.expose_secret());
        secret_header(&format!("Basic {}", BASE64.encode(pair.as_bytes())))
    }

    /// Reads the password's file again, once per refused login; whether it says something new.
    fn read_again(&self) -> bool {
        let Some(login) = &self.login else { return false };
        let mut login = login.write().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &login.password_file else { return false };
        let Ok(text) = std::fs::read_to_string(file) else { return false };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() || text == login.password.expose_secret() {
            return false;
        }
        login.password = text.to_owned().into();
        true
    }

    fn slot(&self, repository: &str) -> Slot {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_REPOSITORIES && !slots.contains_key(repository) {
            slots.clear();
        }
        slots.entry(repository.to_owned()).or_default().clone()
    }
}

/// A header that no log shows.
fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}
