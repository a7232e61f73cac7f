//! `mayfly healthcheck`: asks URLs whether all is well, for images that hold nothing but us.
//!
//! It needs no configuration. Refuses to follow a redirect, to go through a proxy, and to read more
//! of an answer than it shows.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::redirect::Policy;

use super::wrong;
use crate::config::duration;

/// How much of a refusal is shown, in characters.
const SHOWN_CHARACTERS: usize = 200;

#[derive(clap::Args)]
pub(super) struct HealthcheckArgs {
    /// What to ask, over plain HTTP; each has to answer 2xx.
    #[arg(long, default_value = "http://127.0.0.1:9090/readyz")]
    url: Vec<String>,
    /// How long each may take.
    #[arg(long, default_value = "5s")]
    timeout: String,
}

pub(super) async fn run(args: HealthcheckArgs) -> anyhow::Result<()> {
    let timeout = duration::parse(&args.timeout).ok().and_then(|length| length.to_std().ok());
    let timeout = timeout
        .filter(|length| !length.is_zero())
        .ok_or_else(|| wrong("--timeout", "a length of time such as 5s"))?;
    for url in &args.url {
        ask(url, timeout).await?;
        println!("{url} is fine");
    }
    Ok(())
}

async fn ask(url: &str, timeout: Duration) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .timeout(timeout)
        .build()
        .context("making an HTTP client")?;
    let mut answer = client.get(url).send().await.with_context(|| format!("asking {url}"))?;
    let status = answer.status();
    if !status.is_success() {
        let body = answer.chunk().await.ok().flatten().unwrap_or_default();
        let shown: String = String::from_utf8_lossy(&body).chars().take(SHOWN_CHARACTERS).collect();
        bail!("{url} answered {status}: {}", shown.trim());
    }
    Ok(())
}
