//! VAPID: who sends, for push services (RFC 8292).
//!
//! One token per origin, good for twelve hours and used for six; kept with the origin, so the number kept is bounded as
//! theirs is. Signing is deterministic, so nodes need not agree on anything but the key.

use std::sync::Mutex;

use countersign_proto::timestamp::Timestamp;
use reqwest::{Url, header::HeaderValue};
use serde::Serialize;

use crate::{destinations::lock, es256::Key, settings::SettingsError};

/// RFC 8292 section 2 allows 24 hours at most; clocks differ.
const VALID_SECONDS: i64 = 12 * 3_600;
const USED_SECONDS: i64 = 6 * 3_600;

/// The token of one origin.
#[derive(Default)]
pub(super) struct Slot(Mutex<Option<(Timestamp, HeaderValue)>>);

/// The key and whom to write to.
pub(super) struct Vapid {
    key: Key,
    public_key: String,
    contact: String,
}

#[derive(Serialize)]
struct Header {
    typ: &'static str,
    alg: &'static str,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    exp: i64,
    sub: &'a str,
}

impl Vapid {
    pub(super) fn new(private_key: &[u8; 32], contact: &str) -> Result<Self, SettingsError> {
        let key = Key::from_scalar(private_key).ok_or(SettingsError::webpush("the VAPID key is not a P-256 key"))?;
        if !contact.starts_with("mailto:") && !contact.starts_with("https:") {
            return Err(SettingsError::webpush("contact must begin with mailto: or https:"));
        }
        Ok(Self { public_key: key.public_b64u(), key, contact: contact.to_owned() })
    }

    pub(super) fn public_key(&self) -> &str {
        &self.public_key
    }

    /// `Authorization` for `url`.
    pub(super) fn header(&self, slot: &Slot, url: &Url, now: Timestamp) -> HeaderValue {
        let mut held = lock(&slot.0);
        let is_fresh = |made: Timestamp| (made..made.plus_seconds(USED_SECONDS)).contains(&now);
        if let Some((_, header)) = held.as_ref().filter(|(made, _)| is_fresh(*made)) {
            return header.clone();
        }
        let aud = url.origin().ascii_serialization();
        let claims = Claims { aud: &aud, exp: now.as_seconds() + VALID_SECONDS, sub: &self.contact };
        let token = self.key.sign(&Header { typ: "JWT", alg: "ES256" }, &claims);
        let text = format!("vapid t={token}, k={}", self.public_key);
        // ASCII throughout; an empty header would be refused by the service, as it should be.
        let mut header = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
        header.set_sensitive(true);
        *held = Some((now, header.clone()));
        header
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::NOW;

    #[test]
    fn the_token_names_origin_end_and_contact_and_is_kept_for_six_hours() {
        let vapid = Vapid::new(&[7; 32], "mailto:admin@example.org").unwrap();
        let slot = Slot::default();
        let url = Url::parse("https://push.example:8443/p?q=1").unwrap();
        let header = vapid.header(&slot, &url, NOW);
        let text = header.to_str().unwrap();
        let (token, key) = text.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        assert_eq!(key, vapid.public_key());
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let expected = json!({"aud": "https://push.example:8443", "exp": NOW.as_seconds() + 43_200,
            "sub": "mailto:admin@example.org"});
        assert_eq!(claims, expected);
        assert_eq!(vapid.header(&slot, &url, NOW.plus_seconds(6 * 3_600 - 1)), header);
        assert_ne!(vapid.header(&slot, &url, NOW.plus_seconds(6 * 3_600)), header);
        assert_eq!(format!("{header:?}"), "Sensitive");
    }

    #[test]
    fn a_contact_is_a_way_to_write_to_somebody() {
        assert!(Vapid::new(&[7; 32], "https://example.org/contact").is_ok());
        for contact in ["", "admin@example.org", "http://example.org"] {
            assert!(Vapid::new(&[7; 32], contact).is_err(), "{contact}");
        }
        assert!(Vapid::new(&[0; 32], "mailto:a@example.org").is_err());
    }
}
