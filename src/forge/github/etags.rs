//! Answers that are kept to be asked for again with `If-None-Match`.
//!
//! A 304 costs nothing of the hourly allowance
//! (<https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api>).
//! Refuses to answer by itself: what is kept is used only when GitHub says that it is still true. One
//! of these belongs to one identity, so that nobody is shown what another may see.

use std::collections::HashMap;

/// The most answers kept.
pub(super) const MAX_ENTRIES: usize = 2_000;
/// The most bytes kept, of bodies.
pub(super) const MAX_BYTES: usize = 32 * 1024 * 1024;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The `ETag` it came with, as it was written.
    pub(super) etag: String,
    /// Its body.
    pub(super) body: String,
    /// The next page's address, if it is a page of a list.
    pub(super) next: Option<String>,
}

/// The answers, by what was asked; those not used for longest go first.
#[derive(Default)]
pub(super) struct Etags {
    kept: HashMap<String, (u64, Kept)>,
    bytes: usize,
    uses: u64,
}

impl Etags {
    /// What was answered the last time.
    pub(super) fn find(&mut self, route: &str) -> Option<Kept> {
        self.uses += 1;
        let (used, kept) = self.kept.get_mut(route)?;
        *used = self.uses;
        Some(kept.clone())
    }

    /// Keeps an answer in place of the one before.
    pub(super) fn keep(&mut self, route: &str, kept: Kept) {
        self.forget(route);
        if kept.body.len() > MAX_BYTES {
            return;
        }
        self.uses += 1;
        self.bytes += kept.body.len();
        self.kept.insert(route.to_owned(), (self.uses, kept));
        while self.kept.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let oldest = self.kept.iter().min_by_key(|(_, (used, _))| *used);
            let Some(oldest) = oldest.map(|(route, _)| route.clone()) else { return };
            self.forget(&oldest);
        }
    }

    /// Forgets what was answered.
    pub(super) fn forget(&mut self, route: &str) {
        if let Some((_, kept)) = self.kept.remove(route) {
            self.bytes -= kept.body.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(bytes: usize) -> Kept {
        Kept { etag: "\"1\"".to_owned(), body: "x".repeat(bytes), next: None }
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut etags = Etags::default();
        (0..MAX_ENTRIES).for_each(|n| etags.keep(&n.to_string(), kept(1)));
        assert!(etags.find("0").is_some());
        etags.keep("new", kept(1));
        assert!(etags.find("0").is_some() && etags.find("1").is_none());
        assert_eq!((etags.kept.len(), etags.bytes), (MAX_ENTRIES, MAX_ENTRIES));
    }

    #[test]
    fn bodies_are_kept_up_to_a_number_of_bytes() {
        let mut etags = Etags::default();
        etags.keep("huge", kept(MAX_BYTES + 1));
        assert!(etags.find("huge").is_none());
        for n in 0..5 {
            etags.keep(&n.to_string(), kept(MAX_BYTES / 3));
            assert!(etags.bytes <= MAX_BYTES);
        }
        assert!(etags.find("4").is_some() && etags.find("1").is_none());
        etags.keep("4", kept(10));
        assert!(etags.find("4").is_some_and(|kept| kept.body.len() == 10));
    }
}
