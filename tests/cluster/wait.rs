//! Waiting for a state of the cluster, with a deadline.

use std::time::Duration;

use anyhow::{Result, bail};

/// Asks until there is an answer; at the deadline, fails with the reason that was given last.
pub async fn until<T>(
    within: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(why) if tokio::time::Instant::now() > deadline || why.is::<Hopeless>() => {
                bail!("waiting for {what}: {why:#}");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Why waiting any longer makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Hopeless(pub String);
