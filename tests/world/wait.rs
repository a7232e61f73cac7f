//! Waiting for a state of the real world, with a deadline and never for a time.

use std::time::Duration;

/// How long a state may take to come about; far longer than it does.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until the answer is yes; panics when it is not within [`PATIENCE`].
pub async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    within(PATIENCE, what, condition).await;
}

/// What comes of it; panics when nothing has within [`PATIENCE`].
pub async fn soon<T>(what: &str, comes: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, comes).await;
    came.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// Asks until the answer is yes; panics when it is not within this long.
pub async fn within(patience: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + patience;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
