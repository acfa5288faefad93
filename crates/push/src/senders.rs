//! Skeleton.

use std::sync::Arc;

use countersign_core::{clock::Clock, entropy::Entropy, ports::notifications::LeasedNotification};
use countersign_proto::{ids::TenantId, push::PushBinding};

use crate::{
    report::{Destination, Diagnosis, Outcome, Reason, Report},
    settings::{PushSettings, SettingsError},
};

/// The senders of every provider that is configured. Shared behind an `Arc`; replaced as a whole when credentials
/// are read again.
pub struct Senders;

impl Senders {
    /// Builds the senders.
    ///
    /// # Errors
    /// [`SettingsError`] for a credential that does not parse and for a system without CA certificates.
    pub fn new(
        settings: PushSettings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, SettingsError> {
        let _ = (settings, clock, entropy);
        Ok(Self)
    }

    /// Whether a device of this tenant can be rung there: registration asks this (protocol 8). For Web Push: https,
    /// a port that is allowed, and, if the host is a literal address, one that is allowed.
    pub fn is_configured(&self, tenant_id: TenantId, push: &PushBinding) -> bool {
        let _ = (tenant_id, push);
        true
    }

    /// Whether a push there is known to have to wait: its circuit is open, or nothing is configured.
    pub fn is_in_trouble(&self, tenant_id: TenantId, push: &PushBinding) -> bool {
        let _ = (tenant_id, push);
        false
    }

    /// Sends. Ends before the lease does; never fails: the outcome says it all.
    pub async fn send(&self, notification: &LeasedNotification) -> Report {
        let _ = notification;
        Report {
            destination: Destination::Unconfigured("none"),
            outcome: Outcome::retry(Reason::of("not-configured")),
        }
    }

    /// The destinations whose circuit is open, as a [`Destination`] displays them.
    pub fn open_circuits(&self) -> Vec<String> {
        Vec::new()
    }

    /// The public key of VAPID, which browsers subscribe with: b64u of the uncompressed point.
    pub fn vapid_public_key(&self) -> String {
        String::new()
    }

    /// Tries each credential without ringing anybody (`countersign doctor`).
    pub async fn diagnose(&self) -> Vec<Diagnosis> {
        Vec::new()
    }
}
