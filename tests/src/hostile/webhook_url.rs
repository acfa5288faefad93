//! Addresses that somebody else names: webhooks and push endpoints.
//!
//! Asserted: an address is taken if and only if a second list, written as bounds, has it for public; a URL that is taken is
//! https, without a user, on an allowed port, reads the same again, and its host is no spelling of a refused address, not
//! even by the rules of the C library.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use countersign_push::address::{AddressRule, is_allowed};

/// The first byte says what the rest is: an address, a URL under the usual rule, or one under an operator's.
pub fn run(data: &[u8]) -> bool {
    let Some((what, rest)) = data.split_first() else { return false };
    if *what == b'a' {
        return of_address(rest);
    }
    let Ok(text) = std::str::from_utf8(rest) else { return false };
    let rule = if *what == b'o' { operators() } else { AddressRule::default() };
    of_url(text, &rule)
}

/// Port 8443 and 10.9.0.0/16 besides; 93.184.0.0/16 and 2600::/16 never.
fn operators() -> AddressRule {
    let network = |text: &str| text.parse().expect("a network");
    AddressRule {
        additional_ports: vec![8443],
        additional_networks: vec![network("10.9.0.0/16")],
        refused_networks: vec![network("93.184.0.0/16"), network("2600::/16")],
    }
}

fn of_address(bytes: &[u8]) -> bool {
    let ip = match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(octets), _) => IpAddr::from(octets),
        (_, Ok(octets)) => IpAddr::from(octets),
        _ => return false,
    };
    assert_eq!(is_allowed(ip, &[]), is_public(ip), "{ip}");
    assert_eq!(AddressRule::default().allows(ip), is_public(ip), "{ip}");
    assert_eq!(operators().allows(ip), is_public_to_operator(ip), "{ip}");
    is_public(ip)
}

fn of_url(text: &str, rule: &AddressRule) -> bool {
    let Ok(url) = rule.check(text) else { return false };
    let is_operators = !rule.additional_ports.is_empty();
    let written = url.as_str();
    assert_eq!(rule.check(written).as_ref().map(|again| again.as_str()), Ok(written), "it reads otherwise");
    let rest = written.strip_prefix("https://").expect("https");
    let authority = rest.split(['/', '?', '#']).next().expect("an authority");
    assert!(!authority.contains(['@', '\\', ' ', '%']), "{written}");
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => (host, port),
        _ => (authority, "443"),
    };
    assert!(port == "443" || (is_operators && port == "8443"), "{written}");
    assert!(!host.is_empty(), "{written}");
    let is_fine = if is_operators { is_public_to_operator } else { is_public };
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let ip: Ipv6Addr = inner.parse().expect("an address");
        assert!(is_fine(ip.into()), "{written}");
    } else if let Some(ip) = as_the_c_library_reads(host) {
        assert!(is_fine(ip.into()), "{written}");
    }
    true
}

fn is_public_to_operator(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) if ip.octets().starts_with(&[93, 184]) => false,
        IpAddr::V4(ip) if ip.octets().starts_with(&[10, 9]) => true,
        IpAddr::V6(ip) if ip.segments()[0] == 0x2600 => false,
        ip => is_public(ip),
    }
}

/// By what the standard library knows of addresses, and bounds for what it does not.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let named = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.is_unspecified();
    let bounds: [([u8; 4], [u8; 4]); 6] = [
        ([0, 0, 0, 0], [0, 255, 255, 255]),
        ([100, 64, 0, 0], [100, 127, 255, 255]),
        ([192, 0, 0, 0], [192, 0, 0, 255]),
        ([192, 88, 99, 0], [192, 88, 99, 255]),
        ([198, 18, 0, 0], [198, 19, 255, 255]),
        ([240, 0, 0, 0], [255, 255, 255, 255]),
    ];
    !named && !bounds.iter().any(|(first, last)| (*first..=*last).contains(&ip.octets()))
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    match (first, second) {
        (0x2001, ..=0x01ff | 0x0db8) | (0x2002, _) | (0x3fff, ..=0x0fff) => false,
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

/// What `inet_aton` makes of a name: one to four numbers, decimal, octal or hexadecimal, the last of which fills the rest.
fn as_the_c_library_reads(host: &str) -> Option<Ipv4Addr> {
    let mut parts = Vec::new();
    for part in host.strip_suffix('.').unwrap_or(host).split('.') {
        let lower = part.to_ascii_lowercase();
        let (digits, radix) = match lower.strip_prefix("0x") {
            Some(digits) => (digits, 16),
            None if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
            None => (lower.as_str(), 10),
        };
        if digits.starts_with('+') {
            return None;
        }
        parts.push(if digits.is_empty() && radix == 16 { 0 } else { u32::from_str_radix(digits, radix).ok()? });
    }
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|part| *part > 255) {
        return None;
    }
    let room = 32 - 8 * u32::try_from(leading.len()).ok()?;
    if room < 32 && *last >> room != 0 {
        return None;
    }
    let high = leading.iter().zip([24, 16, 8]).fold(0_u32, |sum, (part, shift)| sum | (part << shift));
    Some(Ipv4Addr::from(high | last))
}
