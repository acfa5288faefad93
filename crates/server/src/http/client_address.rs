//! Where a request comes from, for the log.
//!
//! `X-Forwarded-For` is anybody's to write: it is believed only from a proxy that the settings trust, and only
//! back to the first address that no trusted proxy vouches for. Nothing is ever decided by it.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::ConnectInfo,
    http::{Extensions, HeaderMap},
};

/// The client's address, if the connection's is known.
pub fn of(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpAddr]) -> Option<IpAddr> {
    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    Some(behind(peer.ip(), forwarded.flat_map(|list| list.split(',')).collect::<Vec<_>>().as_slice(), trusted))
}

/// The last hop that is not a trusted proxy; the peer itself if it is none, or names what is no address.
fn behind(peer: IpAddr, hops: &[&str], trusted: &[IpAddr]) -> IpAddr {
    let mut client = peer;
    for hop in hops.iter().rev() {
        if !trusted.contains(&client) {
            break;
        }
        let Ok(next) = hop.trim().parse() else { break };
        client = next;
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = [ip("10.0.0.1"), ip("10.0.0.2")];
        let hops = ["203.0.113.9", " 198.51.100.7", "10.0.0.2"];
        assert_eq!(behind(ip("10.0.0.1"), &hops, &trusted), ip("198.51.100.7"));
        assert_eq!(behind(ip("192.0.2.1"), &hops, &trusted), ip("192.0.2.1"));
        assert_eq!(behind(ip("10.0.0.1"), &[], &trusted), ip("10.0.0.1"));
        assert_eq!(behind(ip("10.0.0.1"), &["203.0.113.9", "<script>"], &trusted), ip("10.0.0.1"));
    }
}
