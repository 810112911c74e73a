//! Which addresses a callback may reach: those of the internet, and what the operator allows.
//!
//! Whoever may ask for a task names an address that the relay calls from where it stands, so everything that only it
//! could reach is refused, in every spelling. An address counts by what it reaches: one of IPv6 that carries one of
//! IPv4 counts as that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

use crate::domain::refusal::Refusal;

/// What the operator allows beside the internet. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Arc<[IpNet]>);

/// Why an address is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {what}; callbacks may reach it only where `[callbacks] allow` of the configuration names it")]
pub struct Forbidden {
    /// The address.
    pub address: IpAddr,
    /// What kind of address it is.
    pub what: &'static str,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// What of IPv4 is not the internet; the first that fits says what it is.
const CLOSED_V4: [(Ipv4Net, &str); 18] = [
    (v4(0, 0, 0, 0, 8), "unspecified"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "shared by the networks of a provider"),
    (v4(127, 0, 0, 0, 8), "this host itself"),
    (v4(169, 254, 169, 254, 32), "the metadata service of a cloud"),
    (v4(168, 63, 129, 16, 32), "the metadata service of a cloud"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "reserved for protocols"),
    (v4(192, 0, 2, 0, 24), "for documentation"),
    (v4(192, 88, 99, 0, 24), "reserved for protocols"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "for benchmarks"),
    (v4(198, 51, 100, 0, 24), "for documentation"),
    (v4(203, 0, 113, 0, 24), "for documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

/// The same of IPv6. What is not in the part that the internet has, is reserved.
const CLOSED_V6: [(Ipv6Net, &str); 10] = [
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "unspecified"),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "this host itself"),
    (v6(0xfc00, 0, 0, 7), "private"),
    (v6(0xfe80, 0, 0, 10), "link-local"),
    (v6(0xfec0, 0, 0, 10), "private"),
    (v6(0xff00, 0, 0, 8), "multicast"),
    (v6(0x2001, 2, 0, 48), "for benchmarks"),
    (v6(0x2001, 0, 0, 23), "reserved for protocols"),
    (v6(0x2001, 0xdb8, 0, 32), "for documentation"),
    (v6(0x3fff, 0, 0, 20), "for documentation"),
];

const INTERNET_V6: Ipv6Net = v6(0x2000, 0, 0, 3);
/// Where a network of IPv6 alone finds the internet's IPv4.
const TRANSLATED: Ipv6Net = v6(0x64, 0xff9b, 0, 96);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 16);
const TEREDO: Ipv6Net = v6(0x2001, 0, 0, 32);

impl Allowed {
    /// These networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks.into())
    }

    /// Refuses an address that only the relay could reach.
    pub fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        let is_allowed = |address: IpAddr| self.0.iter().any(|network| network.contains(&address));
        if is_allowed(address) || is_allowed(address.to_canonical()) {
            return Ok(());
        }
        match what_is_closed(address) {
            Some(what) => Err(Forbidden { address, what }),
            None => Ok(()),
        }
    }

    /// Refuses the host of an address where it is plain by itself that it may not be reached. What a name stands for
    /// is not asked here.
    pub fn check_url(&self, url: &Url) -> Result<(), Forbidden> {
        match url.host() {
            Some(Host::Ipv4(address)) => self.check(address.into()),
            Some(Host::Ipv6(address)) => self.check(address.into()),
            Some(Host::Domain(name)) if is_localhost(name) => self
                .check(Ipv4Addr::LOCALHOST.into())
                .or_else(|forbidden| self.check(Ipv6Addr::LOCALHOST.into()).map_err(|_| forbidden)),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    /// The same for the address of a task, where it has one.
    pub fn check_callback(&self, address: Option<&str>) -> Result<(), Refusal> {
        let Some(url) = address.and_then(|address| Url::parse(address).ok()) else { return Ok(()) };
        self.check_url(&url).map_err(|forbidden| Refusal::invalid(format!("callbackUrl is not allowed: {forbidden}")))
    }
}

/// The names that mean this host wherever they are asked for.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// Host and port of an address, as all that goes there has them in common.
pub fn receiver(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    format!("{}:{}", host.strip_suffix('.').unwrap_or(host), url.port_or_known_default().unwrap_or_default())
}

/// What an address is, if it is not one of the internet.
fn what_is_closed(address: IpAddr) -> Option<&'static str> {
    let address = match address {
        IpAddr::V4(address) => return closed_v4(address),
        IpAddr::V6(address) => address,
    };
    if let Some((_, what)) = CLOSED_V6[..2].iter().find(|(network, _)| network.contains(&address)) {
        return Some(what);
    }
    let octets = address.octets();
    let carried = |at: usize| Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]);
    let is_compatible = address.segments()[..6] == [0; 6];
    if address.to_ipv4_mapped().is_some() || TRANSLATED.contains(&address) || is_compatible {
        return closed_v4(carried(12));
    }
    if SIX_TO_FOUR.contains(&address)
        && let Some(what) = closed_v4(carried(2))
    {
        return Some(what);
    }
    if TEREDO.contains(&address) {
        let client = Ipv4Addr::from_bits(!carried(12).to_bits());
        return closed_v4(client).or_else(|| closed_v4(carried(4))).or(Some("reserved for protocols"));
    }
    let closed = CLOSED_V6.iter().find(|(network, _)| network.contains(&address)).map(|(_, what)| *what);
    closed.or_else(|| (!INTERNET_V6.contains(&address)).then_some("reserved"))
}

fn closed_v4(address: Ipv4Addr) -> Option<&'static str> {
    CLOSED_V4.iter().find(|(network, _)| network.contains(&address)).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(allowed: &Allowed, address: &str) -> Option<&'static str> {
        let url = Url::parse(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        allowed.check_url(&url).err().map(|forbidden| forbidden.what)
    }

    #[test]
    fn what_only_the_relay_could_reach_is_refused_in_every_spelling() {
        let none = Allowed::default();
        for (host, what) in [
            ("127.0.0.1", "this host"),
            ("127.255.255.254", "this host"),
            ("127.1", "this host"),
            ("0x7f.1", "this host"),
            ("0x7F000001", "this host"),
            ("2130706433", "this host"),
            ("017700000001", "this host"),
            ("0177.0.0.01", "this host"),
            ("127.0.0.1.", "this host"),
            ("１２７.0.0.1", "this host"),
            ("127。0。0。1", "this host"),
            ("%31%32%37.0.0.1", "this host"),
            ("localhost", "this host"),
            ("LOCALHOST", "this host"),
            ("localhost.", "this host"),
            ("a.b.localhost", "this host"),
            ("a.localhost.", "this host"),
            ("ｌocalhost", "this host"),
            ("0.0.0.0", "unspecified"),
            ("0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("10.0.0.1", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("100.64.0.1", "shared"),
            ("100.100.100.200", "shared"),
            ("100.127.255.255", "shared"),
            ("169.254.1.1", "link-local"),
            ("169.254.169.254", "metadata"),
            ("0xa9fea9fe", "metadata"),
            ("168.63.129.16", "metadata"),
            ("192.0.0.192", "reserved"),
            ("192.0.2.1", "documentation"),
            ("198.51.100.7", "documentation"),
            ("203.0.113.9", "documentation"),
            ("198.18.0.1", "benchmarks"),
            ("198.19.255.255", "benchmarks"),
            ("192.88.99.1", "reserved"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.250", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("[::]", "unspecified"),
            ("[::1]", "this host"),
            ("[0:0:0:0:0:0:0:1]", "this host"),
            ("[::ffff:127.0.0.1]", "this host"),
            ("[::ffff:7f00:1]", "this host"),
            ("[::ffff:169.254.169.254]", "metadata"),
            ("[::127.0.0.1]", "this host"),
            ("[::10.0.0.1]", "private"),
            ("[64:ff9b::127.0.0.1]", "this host"),
            ("[64:ff9b::a9fe:a9fe]", "metadata"),
            ("[64:ff9b:1::808:808]", "reserved"),
            ("[2002:7f00:1::]", "this host"),
            ("[2002:a00:1::1]", "private"),
            ("[2001:0:4136:e378:8000:63bf:80ff:fffe]", "this host"),
            ("[2001:0:7f00:1:0:0:f7f7:f7f7]", "this host"),
            ("[2001:0:4136:e378:8000:63bf:f7f7:f7f7]", "reserved"),
            ("[fe80::1]", "link-local"),
            ("[fec0::1]", "private"),
            ("[fc00::1]", "private"),
            ("[fd00:ec2::254]", "private"),
            ("[ff02::1]", "multicast"),
            ("[2001:db8::1]", "documentation"),
            ("[3fff::1]", "documentation"),
            ("[2001:2::1]", "benchmarks"),
            ("[2001:20::1]", "reserved"),
            ("[100::1]", "reserved"),
            ("[5f00::1]", "reserved"),
            ("[4000::1]", "reserved"),
        ] {
            let found = refused(&none, &format!("http://{host}:8080/hook"));
            assert!(found.is_some_and(|found| found.contains(what)), "{host}: {found:?}, not {what}");
        }
        // A part of this machine's own network cannot even be said.
        for zoned in ["http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://1.2.3.4.5/", "http://0x/a:b"] {
            let answer = Url::parse(zoned).ok().and_then(|url| url.host().map(|host| host.to_string()));
            assert!(answer.is_none() || refused(&none, zoned).is_some(), "{zoned}: {answer:?}");
        }
    }

    #[test]
    fn the_internet_is_reached() {
        for host in [
            "example.org",
            "example.org.",
            "localhost.example.org",
            "notlocalhost",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "[2606:4700::1111]",
            "[2a00:1450:4001::1]",
            "[64:ff9b::8.8.8.8]",
            "[::ffff:8.8.8.8]",
            "[2002:808:808::1]",
        ] {
            assert_eq!(refused(&Allowed::default(), &format!("https://{host}/")), None, "{host}");
        }
    }

    #[test]
    fn what_is_allowed_is_reached_and_nothing_beside_it() {
        let allowed = |networks: &[&str]| Allowed::new(networks.iter().map(|net| net.parse().unwrap()).collect());
        let one = allowed(&["127.0.0.1/32", "fd00::/8"]);
        for reached in ["127.0.0.1", "0x7f.1", "localhost", "[::ffff:127.0.0.1]", "[fd12::1]"] {
            assert_eq!(refused(&one, &format!("http://{reached}/")), None, "{reached}");
        }
        for still in ["127.0.0.2", "[::1]", "[fc00::1]", "10.0.0.1", "[64:ff9b::127.0.0.1]", "[::127.0.0.1]"] {
            assert!(refused(&one, &format!("http://{still}/")).is_some(), "{still}");
        }
        assert_eq!(refused(&allowed(&["::1/128"]), "http://localhost/"), None);
        assert!(refused(&allowed(&["10.0.0.0/8"]), "http://localhost/").is_some());
    }

    #[test]
    fn all_spellings_of_a_host_are_one_receiver() {
        let of = |text: &str| receiver(&Url::parse(text).unwrap());
        assert_eq!(of("http://Example.ORG./a"), "example.org:80");
        assert_eq!(of("https://example.org/b?c"), "example.org:443");
        assert_eq!(of("http://0x7f.1:9/"), "127.0.0.1:9");
        assert_eq!(of("http://[0::1]:9/"), "[::1]:9");
    }
}
