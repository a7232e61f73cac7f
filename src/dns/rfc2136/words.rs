//! What a primary's refusal means, and its cure.
//!
//! Refuses to put a time or a count into a permanent fault: its text is told to people once.

use hickory_net::proto::op::ResponseCode;
use hickory_net::proto::rr::rdata::tsig::TsigError;

use super::Rfc2136Config;
use super::wire::Trouble;
use crate::fault::Fault;

/// A refused or lost change.
pub(super) fn change(config: &Rfc2136Config, doing: &str, trouble: Trouble) -> Fault {
    let (key, zone, server) = (config.key.name(), &config.zone, &config.server);
    match trouble {
        Trouble::Refused { code: ResponseCode::Refused, signature: None } => Fault::permanent(
            doing,
            format!(
                "{server} refuses the change: it must be the primary of {zone}, and its zone needs \
                 update-policy {{ grant {key} zonesub ANY; }};"
            ),
        ),
        other => either(config, doing, other),
    }
}

/// A refused or broken zone transfer.
pub(super) fn transfer(config: &Rfc2136Config, doing: &str, trouble: Trouble) -> Fault {
    let (key, zone, server) = (config.key.name(), &config.zone, &config.server);
    match trouble {
        Trouble::Refused { code: ResponseCode::Refused, signature: None } => Fault::permanent(
            doing,
            format!(
                "{server} refuses to transfer {zone}, which is how leftovers are found: it needs \
                 allow-transfer {{ key {key}; }};"
            ),
        ),
        other => either(config, doing, other),
    }
}

fn either(config: &Rfc2136Config, doing: &str, trouble: Trouble) -> Fault {
    let (key, zone, server) = (config.key.name(), &config.zone, &config.server);
    match trouble {
        Trouble::Silent(why) => Fault::transient(doing, why),
        Trouble::Unsigned => Fault::permanent(
            doing,
            format!(
                "the answer of {server} is not signed with key {key}: something stands between us, \
                 or the secret differs"
            ),
        ),
        Trouble::Refused { signature: Some(complaint), .. } => {
            let complaint = match complaint {
                TsigError::BadKey => "it knows no such key: compare key_name and key_algorithm",
                TsigError::BadTime => "the clocks differ by more than five minutes",
                _ => "the secret differs",
            };
            let why = format!("the DNS server refused the signature (key {key}): {complaint}");
            Fault::permanent(doing, why)
        }
        Trouble::Refused { code, signature: None } => match code {
            ResponseCode::NotAuth => Fault::permanent(
                doing,
                format!("{server} is not the primary of {zone}: mend dns.rfc2136.server or zone"),
            ),
            ResponseCode::NotZone => Fault::permanent(
                doing,
                format!("the host is not in the zone {zone}: mend dns.rfc2136.zone"),
            ),
            ResponseCode::NotImp | ResponseCode::FormErr => Fault::permanent(
                doing,
                format!("{server} does not take dynamic updates (RFC 2136): it answers {code}"),
            ),
            _ => Fault::transient(doing, format!("{server} answers {code}")),
        },
    }
}
