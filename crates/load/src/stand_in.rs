//! A stand-in of APNs in another process: what it said of itself as it started, its control port, and our senders
//! pointed at it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use countersign_core::entropy::Entropy as _;
use countersign_proto::vocabulary::ApnsEnvironment;
use countersign_push::{ApnsSettings, PushSettings, Senders, WebPushSettings};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    LoadError,
    notifications::Notifications,
    system::{SystemClock, SystemEntropy},
};

/// Its control port answers at once, or something is wrong.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);
/// Of which of Apple's services our tokens are: the sender only compares it with its own.
const ENVIRONMENT: ApnsEnvironment = ApnsEnvironment::Sandbox;

/// What `countersign-simulator apns --json` prints.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Description {
    base_url: String,
    control_url: String,
    ca_file: PathBuf,
    key_file: PathBuf,
    key_id: String,
    team_id: String,
    topics: Vec<String>,
}

/// What it has counted since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Counts {
    /// Connections that came through TLS.
    pub(crate) connections: u64,
    /// Pushes that it took.
    pub(crate) accepted: u64,
}

impl Description {
    pub(crate) fn read(file: &Path) -> Result<Self, LoadError> {
        Self::parse(&fs::read(file)?)
    }

    fn parse(text: &[u8]) -> Result<Self, LoadError> {
        let wrong = |what: &str| LoadError::Description(what.to_owned());
        let parsed: Self = serde_json::from_slice(text).map_err(|error| wrong(&error.to_string()))?;
        // A real provider would take it for an attack, and be right.
        let is_here = parsed.base_url.starts_with("https://127.0.0.1:");
        if is_here && parsed.control_url.starts_with("http://127.0.0.1:") {
            Ok(parsed)
        } else {
            Err(wrong("load is put on 127.0.0.1 only"))
        }
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Our senders, with its credentials and nobody else's.
    pub(crate) fn senders(&self) -> Result<Senders, LoadError> {
        let ca_pem = fs::read(&self.ca_file)?;
        self.senders_to(&self.base_url, ca_pem)
    }

    /// The same with another place to send to.
    pub(crate) fn senders_to(&self, base_url: &str, ca_pem: Vec<u8>) -> Result<Senders, LoadError> {
        let entropy = SystemEntropy::default();
        let mut vapid_private_key = Zeroizing::new([0; 32]);
        entropy.fill(vapid_private_key.as_mut());
        let apns = ApnsSettings {
            name: "standin".to_owned(),
            key_pem: Zeroizing::new(fs::read_to_string(&self.key_file)?),
            key_id: self.key_id.clone(),
            team_id: self.team_id.clone(),
            topic: self.topic()?.to_owned(),
            environment: ENVIRONMENT,
            base_url: base_url.to_owned(),
            tenants: None,
        };
        let webpush = WebPushSettings {
            vapid_private_key,
            contact: "mailto:load@example.org".to_owned(),
            additional_ports: Vec::new(),
            additional_networks: Vec::new(),
            refused_networks: Vec::new(),
            extra_ca_pem: None,
        };
        let settings = PushSettings { apns: vec![apns], fcm: Vec::new(), webpush, extra_ca_pem: Some(ca_pem) };
        Ok(Senders::new(settings, Arc::new(SystemClock), Arc::new(entropy))?)
    }

    /// Notifications to `count` devices of its app.
    pub(crate) fn notifications(&self, count: u32) -> Result<Notifications, LoadError> {
        Ok(Notifications::new(count, self.topic()?, ENVIRONMENT))
    }

    /// Asks its control port.
    pub(crate) async fn counts(&self) -> Result<Counts, LoadError> {
        let control = |error: reqwest::Error| LoadError::Control(error.to_string());
        let client = reqwest::Client::builder().no_proxy().timeout(CONTROL_TIMEOUT).build().map_err(control)?;
        let url = format!("{}/status", self.control_url);
        client.get(url).send().await.map_err(control)?.json().await.map_err(control)
    }

    fn topic(&self) -> Result<&str, LoadError> {
        self.topics.first().map(String::as_str).ok_or_else(|| LoadError::Description("it has no topic".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(base_url: &str, control_url: &str) -> Option<String> {
        let description = json!({
            "base_url": base_url, "control_url": control_url, "ca_file": "ca.pem", "key_file": "key.p8",
            "key_id": "KEY0000001", "team_id": "TEAM000001", "topics": ["org.example.app"],
        });
        Description::parse(description.to_string().as_bytes()).err().map(|error| error.to_string())
    }

    #[test]
    fn nobody_elses_service_is_put_under_load() {
        assert_eq!(error("https://127.0.0.1:1", "http://127.0.0.1:2"), None);
        for elsewhere in ["https://api.push.apple.com", "https://127.0.0.1.example:1", "https://127.0.0.10:1"] {
            assert!(error(elsewhere, "http://127.0.0.1:2").is_some(), "{elsewhere}");
        }
        assert!(error("https://127.0.0.1:1", "http://10.0.0.1:2").is_some());
    }

    #[test]
    fn what_a_stand_in_of_another_kind_prints_is_refused() {
        assert!(Description::parse(br#"{"provider": "fcm", "base_url": "https://127.0.0.1:1"}"#).is_err());
    }
}
