//! Which Kubernetes this is: asked now and then, for all previews together.
//!
//! Refuses to be asked at each look: a version does not change from one to the next.

use tokio::sync::Mutex;

use super::calls::Calls;
use crate::preview::Seen;

/// How long an answer is believed, in milliseconds.
const KNOWN_MILLISECONDS: i64 = 10 * 60 * 1000;

/// How long a question that was not answered is not asked again, in milliseconds.
const UNKNOWN_MILLISECONDS: i64 = 60 * 1000;

/// The last answer, and when it was given.
#[derive(Default)]
pub(super) struct Version(Mutex<Option<(i64, Seen<String>)>>);

impl Version {
    pub(super) async fn get(&self, calls: &Calls, now_milliseconds: i64) -> Seen<String> {
        let mut last = self.0.lock().await;
        if let Some((at, seen)) = &*last {
            let believed = match seen {
                Seen::Present(_) => KNOWN_MILLISECONDS,
                _ => UNKNOWN_MILLISECONDS,
            };
            if (0..believed).contains(&now_milliseconds.saturating_sub(*at)) {
                return seen.clone();
            }
        }
        let seen = match calls.version("asking for the cluster's version").await {
            Ok(version) => Seen::Present(version),
            Err(fault) => Seen::Unknown(fault.to_string()),
        };
        *last = Some((now_milliseconds, seen.clone()));
        seen
    }
}
