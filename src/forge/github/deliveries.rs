//! Webhook deliveries that did not reach us, and asking for them again.
//!
//! GitHub does not repeat a failed delivery by itself, and remembers it for three days
//! (<https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries>).
//! Refuses deliveries of other events and installations, and to ask for ever: after
//! [`MAX_ATTEMPTS`] the sweep of open pull requests is what remains.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use hyper::StatusCode;
use serde::Deserialize;

use super::GitHub;
use super::client::read;
use super::line::Ask;
use super::login::Who;
use crate::fault::Fault;
use crate::forge::event::USED;
use crate::forge::{FailedDelivery, RepositoryRef};

/// How much of the listing is read at a time; the newest comes first.
const MAX_PAGES: usize = 20;
/// How often a delivery may have failed to be asked for once more.
const MAX_ATTEMPTS: usize = 5;
/// The path of our webhook, wherever it is served.
const HOOK_PATH: &str = "/webhooks/github";

#[derive(Deserialize)]
struct Item {
    id: u64,
    guid: String,
    delivered_at: DateTime<Utc>,
    status_code: i64,
    event: String,
    installation_id: Option<u64>,
}

#[derive(Deserialize)]
struct Hook {
    id: u64,
    events: Vec<String>,
    config: HookConfig,
}

#[derive(Deserialize)]
struct HookConfig {
    url: Option<String>,
}

impl GitHub {
    /// The deliveries since then whose last attempt failed, oldest first.
    pub(super) async fn failed(
        &self,
        repos: &[RepositoryRef],
        since: DateTime<Utc>,
    ) -> Result<Vec<FailedDelivery>, Fault> {
        if !self.redeliver {
            return Ok(Vec::new());
        }
        let mut bases = Vec::new();
        if self.client.login.is_app() {
            bases.push("/app/hook/deliveries".to_owned());
        } else {
            for repo in repos {
                bases.extend(self.hooks(repo).await?);
            }
        }
        let mut found = Vec::new();
        for base in bases {
            let (doing, route) = ("listing webhook deliveries", format!("{base}?per_page=100"));
            let recent = |page: &[Item]| page.last().is_some_and(|item| item.delivered_at >= since);
            let who = self.who_hears();
            let (items, _) = self.client.pages(doing, who, &route, MAX_PAGES, recent).await?;
            found.extend(failed(items, &base, since, self.client.login.installation()));
        }
        found.sort_by_key(|delivery| delivery.at);
        Ok(found)
    }

    /// Asks for one again.
    pub(super) async fn deliver_again(&self, delivery: &FailedDelivery) -> Result<(), Fault> {
        let doing = format!("asking for delivery {} again", delivery.id);
        let route = format!("{}/attempts", delivery.address);
        self.client.order(&doing, self.who_hears(), &route).await
    }

    /// Where the deliveries of a repository's webhooks to us are listed; nowhere, where the token
    /// may not administer them.
    async fn hooks(&self, repo: &RepositoryRef) -> Result<Vec<String>, Fault> {
        let doing = format!("listing webhooks of {}", repo.full_name());
        let at = format!("/repos/{}/hooks", repo.full_name());
        let route = format!("{at}?per_page=100");
        let answer = self.client.answer(&doing, Who::Ourselves, &Ask::get(&route)).await?;
        if matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
            let cure = self.client.login.cure("repository_hooks: write");
            let why = format!("{cure}; or set github.redeliver to false");
            self.say_once("webhook deliveries that failed are not asked for again", &why);
            return Ok(Vec::new());
        }
        if !answer.status.is_success() {
            return Err(self.client.refused(&doing, &answer));
        }
        let hooks: Vec<Hook> = read(&doing, &answer.body)?;
        let ours = hooks.into_iter().filter(|hook| {
            let path = hook.config.url.as_deref().unwrap_or_default().trim_end_matches('/');
            path.ends_with(HOOK_PATH)
                && hook.events.iter().any(|event| event == USED || event == "*")
        });
        Ok(ours.map(|hook| format!("{at}/{}/deliveries", hook.id)).collect())
    }

    /// An App's webhook is its own, and not an installation's.
    fn who_hears(&self) -> Who {
        if self.client.login.is_app() { Who::App } else { Who::Ourselves }
    }
}

fn failed(
    items: Vec<Item>,
    base: &str,
    since: DateTime<Utc>,
    installation: Option<u64>,
) -> Vec<FailedDelivery> {
    let mut attempts: BTreeMap<String, Vec<Item>> = BTreeMap::new();
    for item in items.into_iter().filter(|item| item.event == USED) {
        if installation.is_none() || item.installation_id == installation {
            attempts.entry(item.guid.clone()).or_default().push(item);
        }
    }
    let fine = |item: &Item| (200..300).contains(&item.status_code);
    let open = attempts.into_iter().filter(|(_, all)| {
        all.len() < MAX_ATTEMPTS
            && !all.iter().any(fine)
            && all.iter().all(|i| i.delivered_at >= since)
    });
    let newest = open.filter_map(|(guid, all)| {
        let item = all.into_iter().max_by_key(|item| item.id)?;
        let address = format!("{base}/{}", item.id);
        Some(FailedDelivery { id: guid, address, at: item.delivered_at })
    });
    newest.collect()
}
