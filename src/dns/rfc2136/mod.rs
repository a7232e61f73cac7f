//! Records written into somebody's zone by dynamic update (RFC 2136), signed (RFC 8945).
//!
//! Each change is one message that the primary applies whole or not at all, under prerequisites that
//! make a foreign record, a crash and a second controller harmless. The stamp is a TXT record at
//! `_mayfly.<host>`. Refuses to touch a host without it, and to take its own word for what is
//! served: that is for the gate. Wants a zone without a wildcard above the hosts, which would look
//! like somebody else's record at each of them.

mod change;
mod key;
mod wire;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hickory_net::proto::op::{Message, ResponseCode};
use hickory_net::proto::rr::{Name, RecordType};

pub use self::key::Key;

use self::change::{Place, transfer};
use self::wire::{Trouble, exchange};
use super::Dns;
use super::ask::{Server, absolute, plain, text};
use super::gate::{Gate, GateConfig, Verdict};
use super::led::Led;
use super::target::Target;
use crate::clock::{Clock, fresh_bytes};
use crate::fault::{Fault, Progress};
use crate::preview::observed::Resolution;
use crate::preview::{Host, Seen, Stamp, Suffix};

/// The label of a host's stamp.
const MARK: &str = "_mayfly";

/// How often one call looks at what is there, when it changes under our hands.
const LOOKS: usize = 3;

/// Where records are written, and how.
#[derive(Clone, Debug)]
pub struct Rfc2136Config {
    /// The primary, as `host:port`.
    pub server: String,
    /// The zone that the hosts are in.
    pub zone: String,
    /// What changes and transfers are signed with.
    pub key: Key,
    /// How long resolvers may remember a record, in seconds.
    pub ttl_seconds: u32,
    /// Whether it can be told.
    pub gate: GateConfig,
}

/// The [`Dns`] seam to a zone that takes dynamic updates.
pub struct Rfc2136Dns {
    config: Rfc2136Config,
    instance: String,
    gate: Gate,
}

/// What the primary has at a host.
enum Held {
    Nothing,
    /// Ours, and whether it leads where it should.
    Ours {
        right: bool,
    },
    /// Somebody else's; the text says whose.
    Foreign(String),
}

impl Rfc2136Dns {
    /// Writes under `suffix`, in the name of `instance`. `clock` is what signatures are dated by.
    pub fn new(
        config: Rfc2136Config,
        suffix: Suffix,
        instance: String,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut gate = config.gate.clone();
        gate.zone.get_or_insert_with(|| config.zone.clone());
        Self { gate: Gate { config: gate, suffix, clock }, config, instance }
    }

    fn target(&self) -> &Target {
        &self.config.gate.target
    }

    fn place(&self, host: &Host) -> Result<Place, String> {
        let stamp = Stamp::new(&self.instance, &host.name).line();
        let host = self.gate.host(host)?;
        let mark = host.prepend_label(MARK).map_err(|error| error.to_string())?;
        Ok(Place { zone: absolute(&self.config.zone)?, host, mark, stamp })
    }

    /// Asks the primary. The stamp before and after the host: a change in between is no answer.
    async fn held(&self, place: &Place) -> Result<Held, String> {
        let server = &self.config.server;
        let asking = |why: String| format!("asking {server} for {}: {why}", plain(&place.host));
        let primary = Server::at(self.address().await?)?;
        for _ in 0..LOOKS {
            let before = stamps(&primary, place).await.map_err(asking)?;
            let led = Led::by_authority(&primary, &place.host).await.map_err(asking)?;
            if stamps(&primary, place).await.map_err(asking)? == before {
                return Ok(self.judge(place, &before, &led));
            }
        }
        Err(asking("somebody else is changing it at the same time".to_owned()))
    }

    fn judge(&self, place: &Place, stamps: &BTreeSet<String>, led: &Led) -> Held {
        let right = match (self.target(), self.target().host()) {
            (Target::Addresses(wanted), _) => led.aliases.is_empty() && led.addresses == *wanted,
            (_, alias) => alias.is_some() && led.aliases.first() == alias.as_ref(),
        };
        match stamps.iter().collect::<Vec<_>>().as_slice() {
            [] if led.is_nowhere() => Held::Nothing,
            [] => Held::Foreign("the record carries no stamp".to_owned()),
            [stamp] if **stamp == place.stamp => Held::Ours { right },
            [stamp, ..] => Held::Foreign(format!("the record carries {stamp:?}")),
        }
    }

    async fn address(&self) -> Result<SocketAddr, String> {
        let server = &self.config.server;
        let found = tokio::net::lookup_host(server.as_str()).await;
        let mut found = found.map_err(|error| format!("looking up {server}: {error}"))?;
        found.next().ok_or_else(|| format!("{server} has no address"))
    }

    /// Sends one change; whether its prerequisites held.
    async fn send(&self, doing: &str, message: Message) -> Result<bool, Fault> {
        let now = self.gate.clock.now();
        let sent = exchange(&self.config.server, &self.config.key, message, now, |_| true).await;
        match sent {
            Ok(()) => Ok(true),
            Err(Trouble::Refused {
                code: ResponseCode::YXDomain | ResponseCode::NXRRSet,
                signature: None,
            }) => Ok(false),
            Err(trouble) => Err(words::change(&self.config, doing, trouble)),
        }
    }
}

/// The stamps at a host, in order.
async fn stamps(primary: &Server, place: &Place) -> Result<BTreeSet<String>, String> {
    let answer = primary.authority(&place.mark, RecordType::TXT).await?;
    Ok(answer.records.iter().filter_map(|record| text(&record.data)).collect())
}

/// A message's number, which nobody on the way can guess.
fn fresh_number() -> u16 {
    let [high, low, ..] = fresh_bytes();
    u16::from_be_bytes([high, low])
}

#[async_trait]
impl Dns for Rfc2136Dns {
    async fn observe(&self, host: &Host) -> Seen<()> {
        let held = async { self.held(&self.place(host)?).await };
        match held.await {
            Ok(Held::Nothing) => Seen::Absent,
            Ok(Held::Ours { .. }) => Seen::Present(()),
            Ok(Held::Foreign(whose)) => Seen::Foreign(whose),
            Err(why) => Seen::Unknown(why),
        }
    }

    /// What the primary has is asked first: where that is wrong nobody else needs to be asked, and
    /// a secondary that is down does not keep us from mending it.
    async fn resolve(&self, host: &Host) -> Resolution {
        let held = async { self.held(&self.place(host)?).await };
        let full = host.full(&self.gate.suffix);
        match held.await {
            Err(why) => return Resolution::NotYet(why),
            Ok(Held::Ours { right: false }) => {
                let target = self.target();
                return Resolution::Wrong(format!(
                    "{full} was changed by another hand: it is led to {target} again"
                ));
            }
            Ok(Held::Ours { right: true } | Held::Nothing | Held::Foreign(_)) => {}
        }
        match self.gate.look(host).await {
            Verdict::Right(addresses) => Resolution::Right { addresses },
            Verdict::Waiting(why) => Resolution::NotYet(why),
            Verdict::Missing => Resolution::NotYet(format!("no server has {full} yet")),
            Verdict::Elsewhere(whither) => {
                Resolution::NotYet(format!("{full} still leads to {whither}"))
            }
        }
    }

    async fn ensure_record(&self, host: &Host) -> Result<Progress, Fault> {
        let doing = format!("writing the DNS record of {}", host.full(&self.gate.suffix));
        let place = self.place(host).map_err(|why| Fault::permanent(&doing, why))?;
        let (target, ttl) = (self.target(), self.config.ttl_seconds);
        let mut taken = false;
        for _ in 0..LOOKS {
            let held = self.held(&place).await.map_err(|why| Fault::transient(&doing, why))?;
            let message = match held {
                Held::Ours { right: true } => return Ok(Progress::Done),
                Held::Ours { right: false } => place.converge(fresh_number(), target, ttl),
                Held::Foreign(whose) => return Err(Fault::not_ours(doing, whose)),
                Held::Nothing if taken => {
                    let why = "the name has records of another kind, without our stamp";
                    return Err(Fault::not_ours(doing, why));
                }
                Held::Nothing => {
                    taken = true;
                    place.create(fresh_number(), target, ttl)
                }
            };
            if self.send(&doing, message).await? {
                return Ok(Progress::Done);
            }
        }
        Err(Fault::transient(doing, "somebody else is changing it at the same time"))
    }

    async fn remove_record(&self, host: &Host) -> Result<(), Fault> {
        let doing = format!("removing the DNS record of {}", host.full(&self.gate.suffix));
        let place = self.place(host).map_err(|why| Fault::permanent(&doing, why))?;
        for _ in 0..LOOKS {
            match self.held(&place).await.map_err(|why| Fault::transient(&doing, why))? {
                Held::Nothing => return Ok(()),
                Held::Foreign(whose) => return Err(Fault::not_ours(doing, whose)),
                Held::Ours { .. } => {}
            }
            if self.send(&doing, place.remove(fresh_number())).await? {
                return Ok(());
            }
        }
        Err(Fault::transient(doing, "somebody else is changing it at the same time"))
    }

    /// Reads the whole zone.
    async fn owned(&self) -> Result<Vec<Host>, Fault> {
        let doing = format!("listing the DNS records of {}", self.config.zone);
        let zone =
            absolute(&self.config.zone).map_err(|why| Fault::permanent(doing.clone(), why))?;
        let (mut ends, mut stamps) = (0, BTreeMap::<Name, BTreeSet<String>>::new());
        let read = |message: &Message| {
            for record in &message.answers {
                ends += usize::from(record.record_type() == RecordType::SOA);
                let text = text(&record.data).filter(|text| Stamp::parse(text).is_some());
                stamps.entry(record.name.clone()).or_default().extend(text);
            }
            ends >= 2 // a transfer begins and ends with the SOA: RFC 5936 §2.2
        };
        let message = transfer(fresh_number(), &zone);
        let now = self.gate.clock.now();
        exchange(&self.config.server, &self.config.key, message, now, read)
            .await
            .map_err(|trouble| words::transfer(&self.config, &doing, trouble))?;
        let ours = stamps.into_iter().filter_map(|(mark, stamps)| {
            let only = stamps.first().filter(|_| stamps.len() == 1)?;
            // A stamp names the preview; which of its hosts this is, only the mark's own name says.
            let lower = mark.to_lowercase();
            let host = Host::parse(std::str::from_utf8(lower.iter().nth(1)?).ok()?)?;
            let place = self.place(&host).ok()?;
            (place.mark == mark && place.stamp == *only).then_some(host)
        });
        Ok(ours.collect::<BTreeSet<_>>().into_iter().collect())
    }
}
