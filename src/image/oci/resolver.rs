//! Names become addresses that may be connected to.
//!
//! The check is on the very addresses that are connected to, so a name cannot be one thing when it
//! is checked and another when it is used. Refuses a name that leads only where we may not go.

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::address::Reach;

/// How many addresses of one name are tried.
const MAX_ADDRESSES: usize = 8;

/// This machine's resolver, without the addresses that are out of reach.
pub(super) struct Guarded(pub(super) Reach);

/// A host that may not be connected to.
#[derive(Debug, thiserror::Error)]
#[error("{host} leads to {address}, where no registry may be asked")]
pub(super) struct OutOfReach {
    pub(super) host: String,
    pub(super) address: IpAddr,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, host) = (self.0.clone(), name.as_str().to_owned());
        Box::pin(async move {
            // The port is the URL's.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((&*host, 0)).await?.collect();
            let may = |it: &SocketAddr| reach.allows(it.ip());
            let allowed: Vec<_> = found.iter().copied().filter(may).take(MAX_ADDRESSES).collect();
            match found.first() {
                Some(first) if allowed.is_empty() => {
                    Err(OutOfReach { host, address: first.ip() }.into())
                }
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}
