//! What an operator sets, as values, and what can be wrong with it.
//!
//! Reads no file and no variable: the server does. Nothing here prints a key: `Debug` is not derived for what holds
//! one, and an error names the credential only.
//!
//! To add a setting: a field here, its check where the sender is built, its line in the doctor.

use countersign_proto::{ids::TenantId, vocabulary::ApnsEnvironment};
use ipnet::IpNet;
use reqwest::Url;
use zeroize::Zeroizing;

/// Apple's production service.
pub const APNS_PRODUCTION_URL: &str = "https://api.push.apple.com";
/// Apple's sandbox, for development builds.
pub const APNS_SANDBOX_URL: &str = "https://api.sandbox.push.apple.com";
/// Google's service.
pub const FCM_URL: &str = "https://fcm.googleapis.com";

/// Everything that the senders are told.
pub struct PushSettings {
    /// Apple's keys. The first that fits a device's topic, environment and tenant is used; one that names its tenants
    /// goes before one that is for all.
    pub apns: Vec<ApnsSettings>,
    /// Google's projects, chosen likewise.
    pub fcm: Vec<FcmSettings>,
    /// Web Push, which needs no account anywhere.
    pub webpush: WebPushSettings,
    /// Certificates (PEM) to trust besides the system's, for APNs, FCM and Google's token endpoint: addresses that the
    /// operator names. Web Push, whose addresses devices name, has its own.
    pub extra_ca_pem: Option<Vec<u8>>,
}

/// One of Apple's keys for one topic (protocol 8.2).
pub struct ApnsSettings {
    /// What the operator calls it: in logs, metrics and reports.
    pub name: String,
    /// The key as Apple hands it out: PKCS#8 PEM (`.p8`).
    pub key_pem: Zeroizing<String>,
    /// The key's id, 10 letters and digits.
    pub key_id: String,
    /// The team's id, 10 letters and digits.
    pub team_id: String,
    /// The app's bundle id.
    pub topic: String,
    /// Which of Apple's services its tokens belong to.
    pub environment: ApnsEnvironment,
    /// Where: [`APNS_PRODUCTION_URL`], [`APNS_SANDBOX_URL`] or a stand-in. `https`, no path.
    pub base_url: String,
    /// For which tenants; `None` for all.
    pub tenants: Option<Vec<TenantId>>,
}

/// One of Google's projects (protocol 8.3).
pub struct FcmSettings {
    /// What the operator calls it: in logs, metrics and reports.
    pub name: String,
    /// The service account's file as Google hands it out: JSON.
    pub service_account_json: Zeroizing<String>,
    /// Where: [`FCM_URL`] or a stand-in. `https`, or `http` to a loopback address; no path.
    pub base_url: String,
    /// For which tenants; `None` for all.
    pub tenants: Option<Vec<TenantId>>,
}

/// Web Push (protocol 8.4).
pub struct WebPushSettings {
    /// The private key of VAPID (RFC 8292), a P-256 scalar.
    pub vapid_private_key: Zeroizing<[u8; 32]>,
    /// Whom a push service may write to: `mailto:` or `https:`.
    pub contact: String,
    /// Ports besides 443.
    pub additional_ports: Vec<u16>,
    /// Networks that may be connected to although they are not global unicast.
    pub additional_networks: Vec<IpNet>,
    /// Networks that are never connected to, whatever else allows them: the operator's own public prefixes, those of a
    /// NAT64. Stronger than `additional_networks`.
    pub refused_networks: Vec<IpNet>,
    /// Certificates (PEM) to trust besides the system's when a device's endpoint is connected to. Not the ones of
    /// [`PushSettings`]: an authority of the operator's own network vouches for its own services only.
    pub extra_ca_pem: Option<Vec<u8>>,
}

/// What is wrong with the settings. One line each, which names the credential and never holds key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Two credentials of one kind have the same name, or one has none.
    #[error("push.{kind}.{name}: each credential needs a name of its own")]
    Name {
        /// `apns` or `fcm`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A key does not parse.
    #[error("push.{credential}: {what}")]
    Credential {
        /// `apns.<name>`, `fcm.<name>` or `webpush`.
        credential: String,
        /// What is wrong, in our words.
        what: &'static str,
    },
    /// The extra certificates do not parse.
    #[error("{setting}: not a PEM file of certificates")]
    ExtraCa {
        /// `push.extra_ca_file` or `push.webpush.extra_ca_file`.
        setting: &'static str,
    },
    /// There is no certificate to trust.
    #[error(
        "no CA certificates were found on this system: install its package of CA certificates, or set push.extra_ca_file"
    )]
    NoRoots,
}

impl SettingsError {
    pub(crate) fn apns(name: &str, what: &'static str) -> Self {
        Self::Credential { credential: format!("apns.{name}"), what }
    }

    pub(crate) fn fcm(name: &str, what: &'static str) -> Self {
        Self::Credential { credential: format!("fcm.{name}"), what }
    }

    pub(crate) fn webpush(what: &'static str) -> Self {
        Self::Credential { credential: "webpush".to_owned(), what }
    }
}

/// An address that an operator names: https, or http to this very machine (a stand-in's). Judged on the parsed URL,
/// which is what will be connected to, so that no spelling makes another host of it.
pub(crate) fn service_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_loopback = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    // An empty password leaves no trace but its sign.
    let has_user = text.contains('@');
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
    (is_safe && is_plain && !has_user && url.has_host()).then_some(url)
}

/// The same without a path and a query.
pub(crate) fn base_url(text: &str) -> Option<Url> {
    service_url(text).filter(|url| url.path() == "/" && url.query().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_where_it_seems_to_be() {
        for text in ["https://fcm.googleapis.com", "https://a.example:8443/", "http://127.0.0.1:1", "http://[::1]:1/"] {
            assert!(base_url(text).is_some(), "{text}");
        }
        for text in [
            "http://localhost:x@evil.example/",
            "http://localhost:1@evil.example/",
            "http://127.0.0.1@evil.example",
            "http://localhost.evil.example/",
            "http://127.0.0.1.evil.example/",
            "http://127.0.0.2/",
            "https://fcm.googleapis.com@evil.example/",
            "https://fcm.googleapis.com:443@evil.example/",
            "https://:@evil.example/",
            "https://user@fcm.googleapis.com/",
            "https://fcm.googleapis.com/v1",
            "https://fcm.googleapis.com?a=b",
            "https://fcm.googleapis.com/?",
            "https://fcm.googleapis.com#a",
            "http:\\\\localhost\\@evil.example",
            "ftp://localhost/",
            "localhost:1",
            "https://",
            "",
        ] {
            assert!(base_url(text).is_none(), "{text}");
        }
        assert!(service_url("https://oauth2.example/token").is_some());
    }
}
