//! The proof behind "Ready": the public URL is asked what it serves, as a reviewer's browser asks.
//!
//! Only looks, and changes nothing. Refuses to take a cluster's word, or a route's, for the answer
//! that a visitor gets.

mod answer;
mod http;

use std::collections::BTreeSet;
use std::net::IpAddr;

use async_trait::async_trait;

use crate::preview::{CommitSha, Host};
use crate::workload::Shape;

pub use self::http::{HttpVisitor, VisitConfig};

/// One visit to a preview's URL.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// Whose URL.
    pub host: &'a Host,
    /// What runs there, and so where to ask and how the answer shows its commit.
    pub shape: &'a Shape,
    /// Where its host leads.
    pub addresses: &'a BTreeSet<IpAddr>,
    /// The commit that should answer.
    pub commit: &'a CommitSha,
}

/// Asks public URLs.
#[async_trait]
pub trait Visitor: Send + Sync {
    /// Whether the URL serves the commit; otherwise what it does instead, in words that stay the
    /// same while it stays so.
    async fn observe(&self, visit: Visit<'_>) -> Result<(), String>;
}
