//! Namespaces that were created a moment ago: nothing can be in them but what was brought along.
//!
//! Refuses to remember more than one use of it, and longer than a pass takes: whoever comes later looks.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::preview::PreviewName;
use crate::workload::DatabaseUrls;

/// How long a namespace is new, in milliseconds.
const NEW_MILLISECONDS: i64 = 10_000;

/// When each was created, in milliseconds of Unix time, and which Secret stands in it.
#[derive(Default)]
pub(super) struct Fresh(Mutex<HashMap<PreviewName, (i64, DatabaseUrls)>>);

impl Fresh {
    /// Notes that it was created, and furnished for these databases.
    pub(super) fn note(&self, name: &PreviewName, urls: &DatabaseUrls, now_milliseconds: i64) {
        let mut created = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        created.retain(|_, (at, _)| is_new(*at, now_milliseconds));
        created.insert(name.clone(), (now_milliseconds, urls.clone()));
    }

    /// Forgets it: it goes.
    pub(super) fn forget(&self, name: &PreviewName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Whether it was, for these databases; once.
    pub(super) fn take(
        &self,
        name: &PreviewName,
        urls: &DatabaseUrls,
        now_milliseconds: i64,
    ) -> bool {
        let mut created = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = created.remove(name);
        noted.is_some_and(|(at, of)| is_new(at, now_milliseconds) && of == *urls)
    }
}

fn is_new(at_milliseconds: i64, now_milliseconds: i64) -> bool {
    (0..NEW_MILLISECONDS).contains(&now_milliseconds.saturating_sub(at_milliseconds))
}
