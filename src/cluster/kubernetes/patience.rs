//! What was applied a moment ago is left alone: whoever changes it at once would be fought at full
//! speed.
//!
//! Refuses to be a memory of anything else: forgetting all of it costs one more apply.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::kinds::Kind;
use crate::preview::PreviewName;

/// How long what was just applied is left alone, in milliseconds.
pub(super) const PATIENCE_MILLISECONDS: i64 = 30_000;

/// When what was last applied, in milliseconds of Unix time.
#[derive(Default)]
pub(super) struct Patience(Mutex<HashMap<(PreviewName, Kind), i64>>);

impl Patience {
    /// Notes that something of a preview was applied.
    pub(super) fn note(&self, name: &PreviewName, kind: Kind, now_milliseconds: i64) {
        let mut applied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        applied.retain(|_, at| is_recent(*at, now_milliseconds));
        applied.insert((name.clone(), kind), now_milliseconds);
    }

    /// Whether it was, a moment ago.
    pub(super) fn holds(&self, name: &PreviewName, kind: Kind, now_milliseconds: i64) -> bool {
        let applied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = applied.get(&(name.clone(), kind));
        at.is_some_and(|at| is_recent(*at, now_milliseconds))
    }
}

/// Whether an instant is less than the patience ago.
pub(super) fn is_recent(at_milliseconds: i64, now_milliseconds: i64) -> bool {
    (0..PATIENCE_MILLISECONDS).contains(&now_milliseconds.saturating_sub(at_milliseconds))
}
