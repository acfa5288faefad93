//! The settings file.
//!
//! Asserted: whatever is taken keeps the promises of `docs/configuration.md` (no plain HTTP beyond loopback, an issuer that is
//! scheme, host and port, a database of ours, keys that nodes share) and never prints what may hold a password; whatever
//! is refused is refused in one line without anything that stands behind an equals sign.

use countersign::config::Settings;

/// What a password is in these texts.
const CANARY: &str = "canary";

/// The text of a file.
pub fn run(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    match Settings::of_text(text) {
        Ok(settings) => {
            check(&settings, text);
            true
        }
        Err(error) => {
            let message = error.to_string();
            assert_eq!(message.lines().count(), 1, "{message:?}");
            assert!(!message.chars().any(char::is_control), "{message:?}");
            assert!(!(is_value(text) && message.contains(CANARY)), "{message:?}");
            false
        }
    }
}

fn check(settings: &Settings, text: &str) {
    let issuer = settings.issuer();
    let is_upstream = settings.server.tls_terminated_upstream;
    let is_private = settings.server.listen.ip().is_loopback();
    assert!(settings.has_tls() || is_upstream || is_private, "plain HTTP at {}", settings.server.listen);
    let (scheme, host) = issuer.split_once("://").expect("a scheme");
    assert!(scheme == "https" || (scheme == "http" && !settings.has_tls() && !is_upstream), "{issuer}");
    let is_host = !host.is_empty() && !host.contains(['/', '?', '#', '@', '\\', '"', ' ']) && host.is_ascii();
    assert!(is_host, "{issuer}");
    let url = &settings.database.url;
    let is_sqlite = url.starts_with("sqlite://");
    assert!(is_sqlite || url.starts_with("postgres://") || url.starts_with("postgresql://"));
    assert!(is_sqlite || settings.signing.key_file.components().next().is_some(), "each node has its own keys");
    assert!(settings.metrics_listen().is_ok());
    assert!((1..=86_400).contains(&settings.push.reload_seconds));
    let shown = format!("{settings:?}");
    if url.contains(CANARY) && text.matches(CANARY).count() == 1 {
        assert!(!shown.contains(CANARY), "{shown}");
    }
    let again = Settings::of_text(&format!("{text}\n")).map(|again| format!("{again:?}"));
    assert_eq!(again.ok(), Some(shown), "it reads otherwise");
}

/// Whether every canary stands in the value of a plain line.
fn is_value(text: &str) -> bool {
    text.lines().filter(|line| line.contains(CANARY)).all(|line| {
        let plain = line.split_once(" = \"").filter(|(name, value)| {
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            is_name
                && !name.contains(CANARY)
                && value.ends_with('"')
                && value.matches('"').count() == 1
                && !value.contains('\\')
        });
        plain.is_some()
    })
}
