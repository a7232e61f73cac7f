//! A visitor of the demo's previews: a browser in all but looks.
//!
//! Every visit asks the DNS server for the name first. Refuses to take a shortcut to the workload.

use std::net::SocketAddr;

use anyhow::Context;
use serde_json::Value;

use super::script::Pull;
use super::stage::Stage;
use super::witness;

/// What a reviewer's browser gets.
pub(super) struct Page {
    pub(super) commit: String,
    pub(super) body: String,
}

/// Opens a preview's URL as a browser would: its name is asked of the DNS server first.
pub(super) async fn visit(stage: &Stage, pull: &Pull, path: &str) -> anyhow::Result<Page> {
    let answer = browser(stage, pull.name).await?.get(at(stage, pull.name, path)).send().await?;
    let answer = answer.error_for_status()?;
    let header = answer.headers().get("x-preview-commit");
    let header = header.and_then(|it| it.to_str().ok()).map(str::to_owned);
    let body = answer.text().await?;
    // Only our own proxy says it; the page of the sample says it everywhere.
    let commit = header.or_else(|| in_page(&body)).unwrap_or_default();
    Ok(Page { commit, body })
}

fn in_page(body: &str) -> Option<String> {
    let (_, rest) = body.split_once("id=\"commit\" title=\"")?;
    rest.split('"').next().map(str::to_owned)
}

pub(super) async fn products(stage: &Stage, pull: &Pull) -> anyhow::Result<Vec<Value>> {
    Ok(serde_json::from_str(&visit(stage, pull, "/api/products").await?.body)?)
}

/// The same, asked of the component that has it, at its own host.
pub(super) async fn api_products(
    stage: &Stage,
    pull: &Pull,
) -> anyhow::Result<(String, Vec<Value>)> {
    let (label, path) = (format!("{}-api", pull.name), "/api/products");
    let url = at(stage, &label, path);
    let answer = browser(stage, &label).await?.get(&url).send().await?.error_for_status()?;
    Ok((url, answer.json().await?))
}

pub(super) async fn add_product(stage: &Stage, pull: &Pull, name: &str) -> anyhow::Result<()> {
    let form = format!("name={}&price=19.95", name.replace(' ', "+"));
    let answer = browser(stage, pull.name)
        .await?
        .post(at(stage, pull.name, "/products"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await?;
    answer.error_for_status()?;
    Ok(())
}

pub(super) async fn browser(stage: &Stage, label: &str) -> anyhow::Result<reqwest::Client> {
    let host = format!("{label}.preview.localhost");
    let address = witness::resolve(stage.dns, &host).await?.context("the name does not resolve")?;
    let target = SocketAddr::new(address, stage.proxy.port());
    Ok(reqwest::Client::builder().resolve(&host, target).build()?)
}

pub(super) fn url(stage: &Stage, pull: &Pull) -> String {
    at(stage, pull.name, "/")
}

pub(super) fn at(stage: &Stage, label: &str, path: &str) -> String {
    format!("http://{label}.preview.localhost:{}{path}", stage.proxy.port())
}
