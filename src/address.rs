//! Which addresses we may connect to when somebody else names the host: a registry, and whoever it
//! sends us to.
//!
//! Refuses what is nobody's on the internet: this machine, a private network, a cluster's own
//! addresses, and above all the metadata services that hand out a cloud's credentials. The ranges
//! are IANA's special-purpose registries for IPv4 and IPv6 (RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What holds the credentials of clouds and nodes: link-local addresses, and the metadata services
/// that have others (AWS, GCE and Oracle over IPv6, Azure, Alibaba).
pub const METADATA: [&str; 7] = [
    "169.254.0.0/16",
    "fe80::/10",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
    "fd00:c1::a9fe:a9fe/128",
    "168.63.129.16/32",
    "100.100.100.200/32",
];

/// Networks that are nobody's on the internet (RFC 1918, RFC 6598, RFC 4193): where a cluster's API
/// server, nodes, pods and services are, and an intranet.
pub const PRIVATE: [&str; 5] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

/// This machine.
pub const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// What leads to no one host: unspecified, multicast and broadcast addresses.
const NOWHERE: [&str; 5] = ["0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128", "ff00::/8"];

/// Ranges that some clusters and networks take for themselves: protocol assignments, benchmarks,
/// what was class E, site-local addresses, and the local translation prefix (RFC 8215).
const RESERVED: [&str; 5] =
    ["192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", "fec0::/10", "64:ff9b:1::/48"];

/// The ranges of one of the lists above.
pub fn ranges(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|it| it.parse().expect("a range that is written here")).collect()
}

/// Which addresses may be connected to.
#[derive(Clone, Debug)]
pub struct Reach {
    never: Vec<IpNet>,
    refused: Vec<IpNet>,
    allowed: Vec<IpNet>,
}

impl Reach {
    /// The internet's addresses except `forbidden`, and the ranges `allowed` whatever else is said
    /// of them. Metadata services and addresses that are no host's are refused in any case.
    pub fn internet_and(allowed: Vec<IpNet>, forbidden: &[IpNet]) -> Self {
        let refused = [ranges(&PRIVATE), ranges(&LOOPBACK), ranges(&RESERVED), forbidden.to_vec()];
        Self { never: never(), refused: refused.concat(), allowed }
    }

    /// The ranges `allowed`, and no other address.
    pub fn only(allowed: Vec<IpNet>) -> Self {
        let everywhere = ranges(&["0.0.0.0/0", "::/0"]);
        Self { never: never(), refused: everywhere, allowed }
    }

    /// Whether this address may be connected to. An address that stands for another one (mapped,
    /// translated or tunnelled IPv4) is held to the rule as both.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.allows_itself(address)
            && inner(address).is_none_or(|it| self.allows_itself(IpAddr::V4(it)))
    }

    fn allows_itself(&self, address: IpAddr) -> bool {
        let within = |list: &[IpNet]| list.iter().any(|it| it.contains(&address));
        // A mapped address is the IPv4 address, which alone is judged.
        let mapped = matches!(address, IpAddr::V6(it) if it.to_ipv4_mapped().is_some());
        mapped || !within(&self.never) && (within(&self.allowed) || !within(&self.refused))
    }
}

fn never() -> Vec<IpNet> {
    [ranges(&METADATA), ranges(&NOWHERE)].concat()
}

/// The IPv4 address that packets to this one may end at: mapped (RFC 4291 §2.5.5), translated
/// (RFC 6052), or tunnelled by 6to4 (RFC 3056).
fn inner(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let [a, b, c, d, e, f, g, h] = address.segments();
    let from = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        // `::` and `::1` have meanings of their own.
        _ if address == Ipv6Addr::UNSPECIFIED || address == Ipv6Addr::LOCALHOST => None,
        (0, 0) if (c, d, e) == (0, 0, 0) && (f == 0xffff || f == 0) => Some(from(g, h)),
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => Some(from(g, h)),
        (0x2002, _) => Some(from(b, c)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowed(reach: &Reach, address: &str) -> bool {
        reach.allows(address.parse().unwrap())
    }

    #[test]
    fn only_the_internets_addresses_are_allowed_when_nothing_else_is_said() {
        let reach = Reach::internet_and(Vec::new(), &ranges(&["203.0.113.0/24"]));
        for address in ["140.82.121.34", "8.8.8.8", "2606:50c0:8000::154", "64:ff9b::808:808"] {
            assert!(allowed(&reach, address), "{address}");
        }
        for address in [
            "127.0.0.1",
            "127.255.0.9",
            "::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "10.0.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "203.0.113.9",
            "fd00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            // The same in other clothes.
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "::ffff:0.0.0.0",
            "::127.0.0.1",
            "::10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::a00:1",
            "64:ff9b:1::a00:1",
            "2002:a9fe:a9fe::1",
            "2002:7f00:1::",
        ] {
            assert!(!allowed(&reach, address), "{address}");
        }
    }

    #[test]
    fn what_is_configured_is_allowed_but_never_a_metadata_service() {
        let everything = ranges(&["0.0.0.0/0", "::/0"]);
        for reach in [Reach::internet_and(everything.clone(), &everything), Reach::only(everything)]
        {
            for address in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "8.8.8.8", "::ffff:10.0.0.1"]
            {
                assert!(allowed(&reach, address), "{address}");
            }
            for metadata in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0"] {
                assert!(!allowed(&reach, metadata), "{metadata}");
            }
        }
    }

    #[test]
    fn only_what_is_configured_is_allowed_where_nothing_else_may_be() {
        let reach = Reach::only(ranges(&["10.1.0.0/16"]));
        for (address, fine) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("10.2.0.1", false), ("8.8.8.8", false)]
        {
            assert_eq!(allowed(&reach, address), fine, "{address}");
        }
        assert!(!allowed(&reach, "2606:50c0:8000::154"));
    }

    proptest! {
        #[test]
        fn an_ipv4_address_is_judged_alike_however_it_is_written(bits: u32) {
            let plain = Ipv4Addr::from(bits);
            let [a, b, c, d] = plain.octets();
            let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
            let reach = Reach::internet_and(ranges(&["10.7.0.0/16"]), &[]);
            let expected = reach.allows(plain.into());
            prop_assert_eq!(reach.allows(plain.to_ipv6_mapped().into()), expected);
            let translated = [0x64, 0xff9b, 0, 0, 0, 0, pair(a, b), pair(c, d)];
            prop_assert_eq!(reach.allows(Ipv6Addr::from(translated).into()), expected);
            let tunnelled = [0x2002, pair(a, b), pair(c, d), 0, 0, 0, 0, 1];
            prop_assert_eq!(reach.allows(Ipv6Addr::from(tunnelled).into()), expected);
        }
    }
}
