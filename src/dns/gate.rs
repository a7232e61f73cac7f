//! The gate before a URL is told: whether a host leads to the target for everybody who asks.
//!
//! Every authoritative server is asked first, and a resolver only when all of them agree: a resolver
//! that is asked too early remembers "no such name" for reviewers too (RFC 2308). Refuses to change
//! anything, and to wait: what is not so yet is said, with the time at which it ends where that is
//! known.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use hickory_resolver::proto::rr::Name;

use super::ask::{Server, absolute};
use super::led::Led;
use super::servers::{Authority, Resolvers, authorities, shown};
use super::target::Target;
use crate::clock::Clock;
use crate::preview::observed::Resolution;
use crate::preview::{Host, Suffix};

/// How long one look through the gate may take, all servers together.
const DEADLINE: Duration = Duration::from_secs(10);

/// Whom to ask, and what they should answer.
#[derive(Clone, Debug)]
pub struct GateConfig {
    /// Where every host is to lead.
    pub target: Target,
    /// The zone whose name servers are looked up; the suffix itself where it is not said.
    pub zone: Option<String>,
    /// The authoritative servers; looked up where there are none.
    pub servers: Vec<SocketAddr>,
    /// The resolvers, each of which has to agree; the system's own where there are none.
    pub resolvers: Vec<SocketAddr>,
}

/// What the gate found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everybody says so; where a browser connects.
    Right(BTreeSet<IpAddr>),
    /// Every authoritative server says that there is no such host.
    Missing,
    /// No authoritative server leads to the target; this is where one of them leads.
    Elsewhere(String),
    /// Some do not say so yet, or could not be asked; the text says who.
    Waiting(String),
}

/// The gate of one installation.
pub(super) struct Gate {
    pub(super) config: GateConfig,
    pub(super) suffix: Suffix,
    pub(super) clock: Arc<dyn Clock>,
}

impl Gate {
    /// Asks everybody.
    pub(super) async fn look(&self, host: &Host) -> Verdict {
        let asked = tokio::time::timeout(DEADLINE, self.ask(host)).await;
        let late = || Err("the DNS servers did not all answer in time".to_owned());
        asked.unwrap_or_else(|_| late()).unwrap_or_else(Verdict::Waiting)
    }

    /// The verdict where what is not right stays so until a person does what `cure` says.
    pub(super) async fn resolution(&self, host: &Host, cure: &str) -> Resolution {
        let (full, target) = (host.full(&self.suffix), &self.config.target);
        match self.look(host).await {
            Verdict::Right(addresses) => Resolution::Right { addresses },
            Verdict::Waiting(why) => Resolution::NotYet(why),
            Verdict::Missing => Resolution::Wrong(format!("{full} does not exist: {cure}")),
            Verdict::Elsewhere(whither) => {
                Resolution::Wrong(format!("{full} resolves to {whither}, not to {target}: {cure}"))
            }
        }
    }

    /// What every authoritative server says, in their order; or why one of them says nothing.
    pub(super) async fn authorities(&self, host: &Host) -> Result<Vec<(Authority, Led)>, String> {
        let GateConfig { servers, resolvers, zone, .. } = &self.config;
        let zone = zone.as_deref().unwrap_or(self.suffix.as_str());
        let asked = authorities(servers, zone, resolvers).await?;
        let host = &self.host(host)?;
        let looks = asked.into_iter().map(|authority| ask_one(authority, host));
        join_all(looks).await.into_iter().collect()
    }

    /// A host as a name.
    pub(super) fn host(&self, host: &Host) -> Result<Name, String> {
        absolute(&host.full(&self.suffix))
    }

    async fn ask(&self, host: &Host) -> Result<Verdict, String> {
        let told = self.authorities(host).await?;
        let (mut right, mut wrong) = (0, None);
        for (authority, led) in told {
            if self.right(&led).await?.is_some() {
                right += 1;
            } else if led.is_nowhere() {
                wrong.get_or_insert((authority, led));
            } else if wrong.as_ref().is_none_or(|(_, before)| before.is_nowhere()) {
                wrong = Some((authority, led));
            }
        }
        Ok(match wrong {
            None => self.ask_resolvers(host).await?,
            Some((authority, led)) if right > 0 => Verdict::Waiting(match led.is_nowhere() {
                true => format!("{} does not have it yet", authority.label),
                false => format!("{} still leads to {}", authority.label, led.words()),
            }),
            Some((_, led)) if led.is_nowhere() => Verdict::Missing,
            Some((_, led)) => Verdict::Elsewhere(led.words()),
        })
    }

    async fn ask_resolvers(&self, host: &Host) -> Result<Verdict, String> {
        let (host, resolvers) = (self.host(host)?, Resolvers::of(&self.config.resolvers)?);
        let (mut silent, mut right) = (None, BTreeSet::new());
        for address in &resolvers.addresses {
            let who = format!("resolver {}", shown(*address));
            match Led::by_resolver(&Server::at(*address)?, &host).await {
                Ok(led) => match self.right(&led).await? {
                    None => {
                        return Ok(Verdict::Waiting(format!("{who} {}", self.remembered(&led))));
                    }
                    Some(addresses) if resolvers.each => right.extend(addresses),
                    Some(addresses) => return Ok(Verdict::Right(addresses)),
                },
                Err(why) if resolvers.each => return Err(format!("{who}: {why}")),
                Err(why) => silent = Some(format!("{who}: {why}")),
            }
        }
        match (resolvers.each, silent) {
            (true, _) => Ok(Verdict::Right(right)),
            (false, why) => Err(why.unwrap_or_else(|| "there is no resolver to ask".to_owned())),
        }
    }

    /// What a resolver holds on to, and until when.
    fn remembered(&self, led: &Led) -> String {
        let what = match (led.is_nowhere(), led.no_such_name) {
            (true, true) => "has cached \"no such name\"".to_owned(),
            (true, false) => "has cached \"no address\"".to_owned(),
            (false, _) => format!("still answers {}", led.words()),
        };
        match led.ttl_seconds {
            None => what,
            Some(left) => {
                let end = self.clock.now() + TimeDelta::seconds(left.into());
                format!("{what} until {} UTC", end.format("%H:%M:%S"))
            }
        }
    }

    /// Where a browser connects, if that is the target.
    async fn right(&self, led: &Led) -> Result<Option<BTreeSet<IpAddr>>, String> {
        let target = &self.config.target;
        if led.is_nowhere() {
            return Ok(None);
        }
        // Names other than the preview's may be asked of a resolver at any time.
        let resolvers = Resolvers::of(&self.config.resolvers);
        let addresses = match led.aliases.last() {
            Some(alias) if led.addresses.is_empty() => {
                resolvers.as_ref().map_err(Clone::clone)?.addresses_of(alias).await?
            }
            _ => led.addresses.clone(),
        };
        let right = match (target, target.host()) {
            (Target::Addresses(wanted), _) => addresses == *wanted,
            (_, Some(host)) if led.aliases.contains(&host) => true,
            // A load balancer shows a part of its addresses at a time.
            (_, Some(host)) => {
                let wanted = resolvers?.addresses_of(&host).await?;
                !addresses.is_empty() && addresses.is_subset(&wanted)
            }
            (_, None) => false,
        };
        Ok(right.then_some(addresses))
    }
}

async fn ask_one(authority: Authority, host: &Name) -> Result<(Authority, Led), String> {
    let led = match Server::at(authority.address) {
        Ok(server) => Led::by_authority(&server, host).await,
        Err(why) => Err(why),
    };
    match led {
        Ok(led) => Ok((authority, led)),
        Err(why) => Err(format!("{}: {why}", authority.label)),
    }
}
