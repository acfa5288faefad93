//! The corpus: what must never be reached, in every spelling, and what must.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use reqwest::dns::Resolve as _;

use super::*;

/// Names and what they answer, one answer after the other; the last for ever.
struct Scripted(Mutex<Vec<Vec<IpAddr>>>);

impl Scripted {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().map(parse).collect())))
    }
}

#[async_trait]
impl Resolver for Scripted {
    async fn resolve(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().unwrap();
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

async fn ask(resolver: &GuardedResolver) -> Result<Vec<String>, String> {
    let answer = resolver.resolve("push.example".parse().unwrap()).await;
    answer.map(|found| found.map(|found| found.ip().to_string()).collect()).map_err(|error| error.to_string())
}

fn forbidden() -> String {
    AddressForbidden.to_string()
}

const REFUSED: &[&str] = &[
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
];

const ALLOWED: &[&str] = &[
    "1.1.1.1",
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
    "2000::1",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::1",
    "2606:4700::1111",
    "2a00:1450:4001::1",
    "3ffe::1",
];

#[test]
fn only_global_unicast_is_allowed() {
    for ip in REFUSED {
        assert!(!is_allowed(ip.parse().unwrap(), &[]), "{ip}");
    }
    for ip in ALLOWED {
        assert!(is_allowed(ip.parse().unwrap(), &[]), "{ip}");
    }
}

#[test]
fn an_exemption_opens_its_network_and_no_other_form_of_it() {
    let exemptions = ["127.0.0.0/8".parse().unwrap(), "fd00:1::/32".parse().unwrap()];
    for (ip, allowed) in [
        ("127.0.0.1", true),
        ("fd00:1::5", true),
        ("fd00:2::5", false),
        ("::ffff:127.0.0.1", false),
        ("10.0.0.1", false),
    ] {
        assert_eq!(is_allowed(ip.parse().unwrap(), &exemptions), allowed, "{ip}");
    }
}

#[test]
fn what_the_operator_refuses_is_refused_though_it_is_public_or_exempted() {
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let rule = AddressRule {
        additional_ports: Vec::new(),
        additional_networks: networks(&["10.0.0.0/8"]),
        refused_networks: networks(&["8.8.8.0/24", "10.1.0.0/16", "2606:4700:64::/96"]),
    };
    for (ip, allowed) in [
        ("8.8.8.8", false),
        ("8.8.4.4", true),
        ("10.0.0.1", true),
        ("10.1.0.1", false),
        ("2606:4700:64::7f00:1", false),
        ("2606:4700:65::1", true),
    ] {
        assert_eq!(rule.allows(ip.parse().unwrap()), allowed, "{ip}");
    }
    assert_eq!(rule.check("https://8.8.8.8/p"), Err(Refusal::Address));
}

#[test]
fn every_spelling_of_a_literal_address_is_seen_through() {
    let rule = AddressRule::default();
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.0.1.",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.1",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "0",
        "169.254.169.254",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[::127.0.0.1]",
        "[fe80::1]",
    ] {
        assert_eq!(rule.check(&format!("https://{host}/p")), Err(Refusal::Address), "{host}");
    }
    assert_eq!(rule.check("https://[fe80::1%25eth0]/p"), Err(Refusal::NotAUrl), "zones are not part of a URL");
    for url in ["https://push.example/p?q=1", "https://8.8.8.8/p", "https://[2606:4700::1111]/p", "https://a:443/"] {
        assert!(rule.check(url).is_ok(), "{url}");
    }
}

#[test]
fn a_url_is_https_on_an_allowed_port_without_user_information() {
    let rule = AddressRule { additional_ports: vec![8443], ..AddressRule::default() };
    for (url, expected) in [
        ("http://push.example/", Err(Refusal::Scheme)),
        ("ftp://push.example/", Err(Refusal::Scheme)),
        ("file:///etc/passwd", Err(Refusal::Scheme)),
        ("https://push.example:80/", Err(Refusal::Port)),
        ("https://push.example:22/", Err(Refusal::Port)),
        ("https://user@push.example/", Err(Refusal::UserInformation)),
        ("https://:secret@push.example/", Err(Refusal::UserInformation)),
        ("https://push.example@127.0.0.1/", Err(Refusal::UserInformation)),
        ("push.example", Err(Refusal::NotAUrl)),
        ("https://", Err(Refusal::NotAUrl)),
        ("https://push.example:8443/", Ok(())),
    ] {
        assert_eq!(rule.check(url).map(|_| ()), expected, "{url}");
    }
}

#[tokio::test]
async fn a_name_leads_to_its_allowed_addresses_only() {
    let rule = Arc::new(AddressRule::default());
    let mixed = Scripted::new(&[&["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1111"]]);
    let resolver = GuardedResolver::new(mixed, Arc::clone(&rule));
    assert_eq!(ask(&resolver).await, Ok(vec!["8.8.8.8".to_owned(), "2606:4700::1111".to_owned()]));
    for ip in REFUSED {
        let resolver = GuardedResolver::new(Scripted::new(&[&[ip]]), Arc::clone(&rule));
        assert_eq!(ask(&resolver).await, Err(forbidden()), "{ip}");
    }
    let resolver = GuardedResolver::new(Scripted::new(&[&[]]), rule);
    assert_eq!(ask(&resolver).await, Err(forbidden()), "no answer is no address");
}

#[tokio::test]
async fn a_name_that_changes_its_answer_is_judged_at_each_connect() {
    let rebinding = Scripted::new(&[&["8.8.8.8"], &["127.0.0.1"], &["169.254.169.254"], &["8.8.4.4"]]);
    let resolver = GuardedResolver::new(rebinding, Arc::new(AddressRule::default()));
    assert_eq!(ask(&resolver).await, Ok(vec!["8.8.8.8".to_owned()]));
    assert_eq!(ask(&resolver).await, Err(forbidden()));
    assert_eq!(ask(&resolver).await, Err(forbidden()));
    assert_eq!(ask(&resolver).await, Ok(vec!["8.8.4.4".to_owned()]));
}

#[tokio::test]
async fn a_client_connects_only_where_the_resolver_lets_it() {
    // Plain HTTP on loopback, which is exempted: the first connect is let through, the second answer is not.
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().map(|address: SocketAddr| address.port()).unwrap();
    let server = tokio::spawn(async move {
        let (connection, _) = listener.accept().await.unwrap();
        drop(connection);
        // Whoever connects again is a failure of the guard.
        listener.accept().await.map(|_| ())
    });
    let rule = AddressRule { additional_networks: vec!["127.0.0.0/30".parse().unwrap()], ..AddressRule::default() };
    let names = Scripted::new(&[&["127.0.0.1"], &["127.0.0.5"]]);
    let client = crate::transport::builder().dns_resolver(GuardedResolver::new(names, Arc::new(rule))).build().unwrap();
    let url = format!("http://push.example:{port}/");
    let first = crate::transport::Fault::of(&client.get(&url).send().await.unwrap_err());
    assert_ne!(first.reason.code, "address-forbidden", "it connected, and was hung up on");
    let second = crate::transport::Fault::of(&client.get(&url).send().await.unwrap_err());
    assert_eq!(second.reason.code, "address-forbidden");
    assert!(!server.is_finished(), "nobody came a second time");
    server.abort();
}
