//! The `push` settings: credentials of the providers, and what Web Push may connect to.
//!
//! Names and paths only: the secrets are in the files that they name, which `pushing` reads.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use countersign_proto::vocabulary::ApnsEnvironment;
use serde::Deserialize;

use super::{ConfigError, invalid};

/// Everything about push.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// PEM; empty: the system's authorities alone.
    pub extra_ca_file: PathBuf,
    /// How often credentials are looked at for changes.
    pub reload_seconds: u32,
    /// Web Push.
    pub webpush: WebPush,
    /// Keys of Apple's service, by name.
    #[serde(default)]
    pub apns: BTreeMap<String, Apns>,
    /// Projects of Google's service, by name.
    #[serde(default)]
    pub fcm: BTreeMap<String, Fcm>,
}

/// Web Push (protocol 8.4).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebPush {
    /// `mailto:` or `https:`; empty: the issuer.
    pub contact: String,
    /// Ports beside 443.
    pub additional_ports: Vec<u16>,
    /// Networks beside the public ones, as `address/length`.
    pub additional_networks: Vec<String>,
    /// Networks that are never connected to, even if public or additional.
    pub refused_networks: Vec<String>,
    /// PEM; authorities that are trusted for endpoints beside the system's.
    pub extra_ca_file: PathBuf,
}

/// A key of Apple's service, for one topic in one environment.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apns {
    /// The `.p8` file.
    pub key_file: PathBuf,
    /// Ten letters and digits.
    pub key_id: String,
    /// Ten letters and digits.
    pub team_id: String,
    /// The app's bundle id.
    pub topic: String,
    /// Which of Apple's services.
    #[serde(default = "production")]
    pub environment: ApnsEnvironment,
    /// Empty: Apple's.
    #[serde(default)]
    pub base_url: String,
    /// Slugs; empty: all.
    #[serde(default)]
    pub tenants: Vec<String>,
}

const fn production() -> ApnsEnvironment {
    ApnsEnvironment::Production
}

impl Apns {
    /// Where to send.
    pub fn base_url(&self) -> &str {
        match (self.base_url.as_str(), self.environment) {
            ("", ApnsEnvironment::Production) => "https://api.push.apple.com",
            ("", ApnsEnvironment::Sandbox) => "https://api.sandbox.push.apple.com",
            (url, _) => url,
        }
    }
}

/// A project of Google's service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fcm {
    /// The service account's JSON.
    pub service_account_file: PathBuf,
    /// Empty: Google's.
    #[serde(default)]
    pub base_url: String,
    /// Slugs; empty: all.
    #[serde(default)]
    pub tenants: Vec<String>,
}

impl Fcm {
    /// Where to send.
    pub fn base_url(&self) -> &str {
        if self.base_url.is_empty() { "https://fcm.googleapis.com" } else { &self.base_url }
    }
}

impl Push {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !(1..=86_400).contains(&self.reload_seconds) {
            return Err(invalid("push.reload_seconds must be 1 to 86400"));
        }
        let contact = self.webpush.contact.as_str();
        if !contact.is_empty() && !contact.starts_with("mailto:") && !contact.starts_with("https://") {
            return Err(invalid("push.webpush.contact must begin with mailto: or https://"));
        }
        let mut routes: Vec<(&str, ApnsEnvironment, &[String], &str)> = Vec::new();
        for (name, apns) in &self.apns {
            check_base_url(&format!("push.apns.{name}"), &apns.base_url)?;
            let clash = routes.iter().find(|(topic, environment, tenants, _)| {
                let shares = tenants.is_empty() == apns.tenants.is_empty()
                    && (tenants.is_empty() || tenants.iter().any(|tenant| apns.tenants.contains(tenant)));
                *topic == apns.topic && *environment == apns.environment && shares
            });
            if let Some((.., other)) = clash {
                return Err(invalid(format!(
                    "push.apns.{other} and push.apns.{name} have the same topic and environment for the same tenants"
                )));
            }
            routes.push((&apns.topic, apns.environment, &apns.tenants, name));
        }
        self.fcm.iter().try_for_each(|(name, fcm)| check_base_url(&format!("push.fcm.{name}"), &fcm.base_url))
    }

    /// The files that hold credentials.
    pub fn credential_files(&self) -> impl Iterator<Item = &Path> {
        let apns = self.apns.values().map(|apns| apns.key_file.as_path());
        apns.chain(self.fcm.values().map(|fcm| fcm.service_account_file.as_path()))
    }
}

/// https, or plain http on loopback for a stand-in; nothing behind the port.
fn check_base_url(name: &str, url: &str) -> Result<(), ConfigError> {
    let is_plain = |rest: &str| !rest.is_empty() && !rest.contains(['@', '/', '?', '#', '\\']);
    let is_loopback = |rest: &str| ["127.0.0.1:", "localhost:", "[::1]:"].iter().any(|host| rest.starts_with(host));
    let fits = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => is_plain(rest),
        (None, Some(rest)) => is_plain(rest) && is_loopback(rest),
        (None, None) => url.is_empty(),
    };
    if fits {
        return Ok(());
    }
    Err(invalid(format!("{name}.base_url must be https://HOST or https://HOST:PORT")))
}
