//! All senders behind one door: which credential a device's channel goes to, under which circuit, in how much time.
//!
//! Holds no queue and no lock across an await. Never retries later, never drops: whatever does not work now is a
//! `Retry`, and the dispatcher, who knows when a push is worth nothing, decides.

use std::{collections::HashSet, sync::Arc};

use countersign_core::{
    clock::Clock,
    entropy::Entropy,
    ports::notifications::{LeasedNotification, NotificationKind},
};
use countersign_proto::{ids::TenantId, push::PushBinding};

use crate::{
    address::SystemResolver,
    apns::Apns,
    circuit::Health,
    destinations::Gate,
    doctor,
    fcm::Fcm,
    report::{Destination, Diagnosis, Outcome, Reason, Report},
    settings::{PushSettings, SettingsError},
    transport::{self, Fault},
    webpush::{Registered, WebPush},
};

/// The senders of every provider that is configured. Shared behind an `Arc`; replaced as a whole when credentials are
/// read again, whose circuits then begin closed.
pub struct Senders {
    pub(crate) apns: Vec<Apns>,
    pub(crate) fcm: Vec<Fcm>,
    pub(crate) webpush: WebPush,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Senders {
    /// Builds the senders. Asks nobody anything: [`Self::diagnose`] does.
    ///
    /// # Errors
    /// [`SettingsError`] for a credential that does not parse, and for a system without CA certificates if there is a
    /// credential that needs them.
    pub fn new(
        settings: PushSettings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, SettingsError> {
        let certificates = transport::certificates("push.extra_ca_file", settings.extra_ca_pem.as_deref())?;
        unique("apns", settings.apns.iter().map(|settings| settings.name.as_str()))?;
        unique("fcm", settings.fcm.iter().map(|settings| settings.name.as_str()))?;
        let mut apns = Vec::new();
        for settings in &settings.apns {
            // A client each: Apple wants the keys of different teams on different connections.
            let builder = transport::builder().https_only(true).http2_prior_knowledge();
            apns.push(Apns::new(settings, transport::build(builder, &certificates)?, Arc::clone(&clock))?);
        }
        let mut fcm = Vec::new();
        if !settings.fcm.is_empty() {
            let client = transport::build(transport::builder(), &certificates)?;
            for settings in &settings.fcm {
                fcm.push(Fcm::new(settings, client.clone(), Arc::clone(&clock))?);
            }
        }
        let resolver = Arc::new(SystemResolver::default());
        let webpush = WebPush::new(&settings.webpush, resolver, Arc::clone(&clock), entropy)?;
        Ok(Self { apns, fcm, webpush, clock })
    }

    /// Whether a device of this tenant can be rung there: registration asks this (protocol 8). For Web Push: https, a
    /// port that is allowed and, if the host is a literal address, one that is allowed.
    pub fn is_configured(&self, tenant_id: TenantId, push: &PushBinding) -> bool {
        match self.route(tenant_id, push) {
            Route::Apns(..) | Route::Fcm(..) | Route::Nowhere => true,
            Route::WebPush(registered) => self.webpush.accepts(registered.endpoint),
            Route::Unconfigured(_) => false,
        }
    }

    /// Whether a push there is known to have to wait: its circuit is open, it asked for time, or nothing is configured for it.
    pub fn is_in_trouble(&self, tenant_id: TenantId, push: &PushBinding) -> bool {
        match self.route(tenant_id, push) {
            Route::Apns(apns, _) => apns.gate.is_in_trouble(),
            Route::Fcm(fcm, _) => fcm.gate.is_in_trouble(),
            Route::WebPush(registered) => {
                !self.webpush.accepts(registered.endpoint) || self.webpush.is_in_trouble(registered.endpoint)
            }
            Route::Unconfigured(_) => true,
            Route::Nowhere => false,
        }
    }

    /// Sends, in at most 8 s, before the lease ends and while the push is worth something. Never fails: the outcome says it all.
    pub async fn send(&self, notification: &LeasedNotification) -> Report {
        match self.route(notification.tenant_id, &notification.push) {
            Route::Apns(apns, token) => self.through(&apns.gate, notification, apns.send(notification, token)).await,
            Route::Fcm(fcm, token) => self.through(&fcm.gate, notification, fcm.send(notification, token)).await,
            Route::WebPush(registered) => match self.webpush.origin(registered.endpoint) {
                // Never sent: it needs no place, and would be a probe that asks nobody.
                Ok((_, origin)) if notification.kind == NotificationKind::Withdrawn => {
                    Report { destination: origin.gate.destination().clone(), outcome: Outcome::Accepted }
                }
                Ok((url, origin)) => {
                    let work = self.webpush.send(notification, registered, url, &origin);
                    self.through(&origin.gate, notification, work).await
                }
                Err(outcome) => Report { destination: Destination::Unconfigured("webpush"), outcome },
            },
            Route::Unconfigured(provider) => Report {
                destination: Destination::Unconfigured(provider),
                // Not rejected: the operator may be about to configure it.
                outcome: Outcome::retry(Reason::of("not-configured")),
            },
            Route::Nowhere => Report {
                destination: Destination::Unconfigured("none"),
                outcome: Outcome::Rejected(Reason::of("no-channel")),
            },
        }
    }

    /// The destinations whose circuit is open, as a [`Destination`] displays them.
    pub fn open_circuits(&self) -> Vec<String> {
        let name = |gate: &Gate| gate.is_open().then(|| gate.destination().to_string());
        let mut open: Vec<String> = self.apns.iter().filter_map(|apns| name(&apns.gate)).collect();
        open.extend(self.fcm.iter().filter_map(|fcm| name(&fcm.gate)));
        open.extend(self.webpush.origins().iter().filter_map(|origin| name(&origin.gate)));
        open
    }

    /// The public key of VAPID, which browsers subscribe with: b64u of the uncompressed point.
    pub fn vapid_public_key(&self) -> String {
        self.webpush.public_key()
    }

    /// Tries each credential without ringing anybody (`countersign doctor`).
    pub async fn diagnose(&self) -> Vec<Diagnosis> {
        doctor::diagnose(self).await
    }

    /// Does `work` if the gate lets it in, while the lease holds and the push is worth something, and tells the gate
    /// how it went.
    async fn through(
        &self,
        gate: &Gate,
        notification: &LeasedNotification,
        work: impl Future<Output = Result<(Outcome, Health), Fault>>,
    ) -> Report {
        let outcome = self.try_through(gate, notification, work).await.unwrap_or_else(|outcome| outcome);
        Report { destination: gate.destination().clone(), outcome }
    }

    /// `Err`: nobody was asked.
    async fn try_through(
        &self,
        gate: &Gate,
        notification: &LeasedNotification,
        work: impl Future<Output = Result<(Outcome, Health), Fault>>,
    ) -> Result<Outcome, Outcome> {
        let patience = transport::time_left(self.clock.now(), notification)?.saturating_sub(transport::LEAST);
        let pass = gate.enter(notification.device_id, patience).await?;
        // Waiting for a place took its part.
        let limit = transport::time_left(self.clock.now(), notification)?;
        let (outcome, health) = match transport::within(limit, work).await {
            Ok(verdict) => verdict,
            Err(Fault::TIMEOUT) if limit < transport::TELLING => (Fault::TIMEOUT.verdict().0, Health::Unknown),
            Err(fault) => fault.verdict(),
        };
        pass.record(&outcome, health);
        Ok(outcome)
    }

    /// Where a device's channel leads. A credential that names its tenants goes before one that is for all.
    fn route<'a>(&'a self, tenant_id: TenantId, push: &'a PushBinding) -> Route<'a> {
        match push {
            PushBinding::Apns { token, topic, environment } => {
                let fitting = self.apns.iter().filter(|apns| apns.fits(topic, *environment));
                match choose(fitting, Apns::tenants, tenant_id) {
                    Some(apns) => Route::Apns(apns, token),
                    None => Route::Unconfigured("apns"),
                }
            }
            PushBinding::Fcm { token, project } => {
                let fitting = self.fcm.iter().filter(|fcm| fcm.fits(project.as_deref()));
                match choose(fitting, Fcm::tenants, tenant_id) {
                    Some(fcm) => Route::Fcm(fcm, token),
                    None => Route::Unconfigured("fcm"),
                }
            }
            PushBinding::Webpush { endpoint, p256dh, auth } => Route::WebPush(Registered { endpoint, p256dh, auth }),
            PushBinding::None => Route::Nowhere,
        }
    }
}

/// Where a device's channel leads, with its token.
enum Route<'a> {
    Apns(&'a Apns, &'a str),
    Fcm(&'a Fcm, &'a str),
    WebPush(Registered<'a>),
    /// No credential fits.
    Unconfigured(&'static str),
    /// The device pulls.
    Nowhere,
}

fn choose<'a, T>(
    fitting: impl Iterator<Item = &'a T>,
    tenants: impl Fn(&T) -> Option<&[TenantId]>,
    tenant_id: TenantId,
) -> Option<&'a T> {
    let mut for_all = None;
    for candidate in fitting {
        match tenants(candidate) {
            Some(tenants) if tenants.contains(&tenant_id) => return Some(candidate),
            Some(_) => {}
            None => for_all = for_all.or(Some(candidate)),
        }
    }
    for_all
}

/// Names are how an operator finds a credential: one each.
fn unique<'a>(kind: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), SettingsError> {
    let mut seen = HashSet::new();
    for name in names {
        if name.is_empty() || !seen.insert(name) {
            return Err(SettingsError::Name { kind, name: name.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
