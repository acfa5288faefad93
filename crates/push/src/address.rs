//! Which addresses a URL from outside may reach (protocol 8.4): the rule that push endpoints and webhooks share.
//!
//! Global unicast only, https only, port 443 unless the operator allows more. The rule is enforced where it cannot be
//! got round: [`GuardedResolver`] hands the connector only addresses that pass, and the connector connects to nothing
//! else, so a name that changes its answer (DNS rebinding) gains nothing: each connect asks and checks again. A host
//! that is a literal address never reaches a resolver: [`AddressRule::check`] judges it on the parsed URL, where every
//! spelling (octal, hexadecimal, one number) has become the ordinary one.
//!
//! Never follows a redirect and never looks at a name's spelling: only at where it leads. To refuse one more range, a
//! line in the tables below and in the corpus of the tests.

mod askers;
mod resolver;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use reqwest::Url;

pub(crate) use askers::Askers;
pub use resolver::{AddressForbidden, GuardedResolver, Resolver, ResolverBusy, SystemResolver};

/// The port of https.
const HTTPS: u16 = 443;

/// Ranges of IPv4 that are not global unicast (the IANA registry of special-purpose addresses).
const REFUSED_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // this network, unspecified
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local, metadata services of clouds
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // IETF protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // 6to4 relays (withdrawn)
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarking
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, broadcast
];

/// The only part of IPv6 that is handed out for global unicast. Outside it lie loopback, unspecified, IPv4-mapped and
/// -compatible, NAT64 (`64:ff9b::/96`, `64:ff9b:1::/48`), discard, SRv6, unique local, link-local, site-local and
/// multicast: none of them needs a line of its own.
const ALLOWED_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Ranges inside [`ALLOWED_V6`] that are not what they seem.
const REFUSED_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments: Teredo, benchmarking, ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: an IPv4 address in disguise
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Whether `ip` may be connected to: global unicast, or in one of the networks that the operator exempts. What the
/// operator refuses besides is [`AddressRule`]'s.
pub fn is_allowed(ip: IpAddr, exemptions: &[IpNet]) -> bool {
    if exemptions.iter().any(|network| network.contains(&ip)) {
        return true;
    }
    match ip {
        IpAddr::V4(ip) => !REFUSED_V4.iter().any(|(network, prefix)| {
            let shift = 32 - prefix;
            u32::from(ip) >> shift == u32::from(*network) >> shift
        }),
        IpAddr::V6(ip) => {
            let within = |(network, prefix): &(Ipv6Addr, u32)| {
                let shift = 128 - prefix;
                u128::from(ip) >> shift == u128::from(*network) >> shift
            };
            within(&ALLOWED_V6) && !REFUSED_V6.iter().any(within)
        }
    }
}

/// Why a URL is refused before anything is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a URL.
    #[error("not a URL")]
    NotAUrl,
    /// Another scheme than https.
    #[error("only https is allowed")]
    Scheme,
    /// A user name or a password in front of the host.
    #[error("user information is not allowed")]
    UserInformation,
    /// A port that is not allowed.
    #[error("the port is not allowed")]
    Port,
    /// No host, or a literal address that is not allowed.
    #[error("the address is not allowed")]
    Address,
}

/// The rule with the operator's exemptions.
#[derive(Debug, Clone, Default)]
pub struct AddressRule {
    /// Ports besides 443.
    pub additional_ports: Vec<u16>,
    /// Networks that are allowed although they are not global unicast.
    pub additional_networks: Vec<IpNet>,
    /// Networks that are refused whatever else allows them.
    pub refused_networks: Vec<IpNet>,
}

impl AddressRule {
    /// Whether `ip` may be connected to.
    pub fn allows(&self, ip: IpAddr) -> bool {
        let is_refused = self.refused_networks.iter().any(|network| network.contains(&ip));
        !is_refused && is_allowed(ip, &self.additional_networks)
    }

    /// Parses `text` and checks all that a URL shows by itself. A name is checked when it is resolved.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check(&self, text: &str) -> Result<Url, Refusal> {
        let url = Url::parse(text).map_err(|_| Refusal::NotAUrl)?;
        if url.scheme() != "https" {
            return Err(Refusal::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInformation);
        }
        let port = url.port_or_known_default().ok_or(Refusal::Port)?;
        if port != HTTPS && !self.additional_ports.contains(&port) {
            return Err(Refusal::Port);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(Refusal::Address)?;
        match literal(host) {
            Some(ip) if !self.allows(ip) => Err(Refusal::Address),
            _ => Ok(url),
        }
    }
}

/// The address, if the host of a parsed https URL is one: the parser has brought each spelling into the usual form.
fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests;
