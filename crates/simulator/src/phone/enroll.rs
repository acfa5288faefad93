//! Becoming a device: protocol 4.2, from the scanned URI to a [`Registration`].

use countersign_proto::api::enrollments::Registered;
use countersign_proto::jose::claims::{DeviceDescription, RegistrationClaims};
use countersign_proto::jose::{Kind, SigningKey, base64url};
use countersign_proto::push::PushBinding;
use countersign_proto::vocabulary::Platform;
use reqwest::Method;

use super::{Phone, PhoneError, Registration, Server, Surroundings};

/// What a QR code says: a server and a ticket. Its `Debug` leaves the ticket out.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrollmentUri {
    issuer: String,
    ticket: String,
}

/// What a new phone says of itself.
#[derive(Debug, Clone)]
pub struct EnrollOptions {
    /// What the app knows of its machine: name, platform, versions.
    pub device: DeviceDescription,
    /// Where it wants to be rung.
    pub push: PushBinding,
    /// Whether to register a second key, which stands for the one behind PIN or biometric.
    pub has_uv_key: bool,
}

/// A phone that has made its keys and signed its registration, but has not been taken yet.
///
/// [`Self::register`] may be called again after a lost reply: it always sends the same bytes.
#[derive(Debug, Clone)]
pub struct Candidate {
    server: Server,
    surroundings: Surroundings,
    device: DeviceDescription,
    device_key: SigningKey,
    uv_key: Option<SigningKey>,
    token: String,
}

impl EnrollmentUri {
    /// Reads `{issuer}/enroll#t={ticket}`.
    ///
    /// # Errors
    /// [`PhoneError::EnrollmentUri`].
    pub fn parse(uri: &str) -> Result<Self, PhoneError> {
        let (issuer, ticket) = uri.split_once("/enroll#t=").ok_or(PhoneError::EnrollmentUri)?;
        let is_ticket = ticket.len() == 43 && base64url::decode(ticket).is_some();
        if issuer.is_empty() || !is_ticket {
            return Err(PhoneError::EnrollmentUri);
        }
        Ok(Self { issuer: issuer.to_owned(), ticket: ticket.to_owned() })
    }

    /// The server.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The secret of the enrollment: 32 bytes, b64u.
    pub fn ticket(&self) -> &str {
        &self.ticket
    }
}

impl std::fmt::Debug for EnrollmentUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrollmentUri").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl EnrollOptions {
    /// A phone of this name that pulls, with one key.
    pub fn named(name: &str) -> Self {
        let device = DeviceDescription {
            name: name.to_owned(),
            platform: Platform::Other,
            model: None,
            os_version: None,
            app_id: None,
            app_version: None,
            installation_id: None,
        };
        Self { device, push: PushBinding::None, has_uv_key: false }
    }

    /// The same, with a second key.
    #[must_use]
    pub fn with_uv_key(self) -> Self {
        Self { has_uv_key: true, ..self }
    }
}

impl Candidate {
    /// Makes fresh keys and signs the registration; sends nothing.
    ///
    /// # Errors
    /// [`PhoneError::Signing`].
    pub fn new(
        server: Server,
        ticket: &str,
        options: EnrollOptions,
        surroundings: Surroundings,
    ) -> Result<Self, PhoneError> {
        let EnrollOptions { device, push, has_uv_key } = options;
        let device_key = surroundings.new_key()?;
        let uv_key = if has_uv_key { Some(surroundings.new_key()?) } else { None };
        let claims = RegistrationClaims {
            aud: server.issuer().to_owned(),
            iat: surroundings.clock.now().as_seconds(),
            jti: surroundings.new_jti(),
            ticket: ticket.to_owned(),
            device: device.clone(),
            push,
            uv_jwk: uv_key.as_ref().map(|key| key.public_key().to_jwk()),
        };
        let token = device_key.sign(Kind::Registration, &claims)?;
        Ok(Self { server, surroundings, device, device_key, uv_key, token })
    }

    /// The signed registration.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The new device key.
    pub fn device_key(&self) -> &SigningKey {
        &self.device_key
    }

    /// Posts the registration.
    ///
    /// # Errors
    /// [`PhoneError`]: the problems `enrollment-not-found`, `key-already-registered` and `too-many-devices`
    /// among them.
    pub async fn register(&self) -> Result<Phone, PhoneError> {
        let url = &self.server.endpoints().registrations;
        let registered: Registered = self.server.send_artifact(Method::POST, url, &self.token).await?.read()?;
        if registered.issuer != self.server.issuer() {
            return Err(PhoneError::Discovery("it registers devices for another issuer"));
        }
        let registration = Registration {
            issuer: registered.issuer,
            device_id: registered.device_id,
            user: registered.user,
            tenant: registered.tenant,
            name: self.device.name.clone(),
            platform: self.device.platform,
            created_at: self.surroundings.clock.now(),
            confirmation_code: registered.confirmation_code,
            device_key: self.device_key.clone(),
            uv_key: self.uv_key.clone(),
            rotation: None,
        };
        let phone = Phone::new(self.server.clone(), registration, self.surroundings.clone());
        if let Some(binding) = &registered.binding {
            phone.verify_binding(binding).await?;
        }
        Ok(phone)
    }
}

impl Phone {
    /// Scans `{issuer}/enroll#t={ticket}` and registers. If [`Registration::confirmation_code`] is then
    /// there, the person has to type it into the page that began the enrollment.
    ///
    /// # Errors
    /// As [`EnrollmentUri::parse`], [`Server::discover`] and [`Candidate::register`].
    pub async fn enroll(uri: &str, options: EnrollOptions, surroundings: Surroundings) -> Result<Self, PhoneError> {
        let uri = EnrollmentUri::parse(uri)?;
        let server = Server::discover(uri.issuer()).await?;
        Self::enroll_at(server, uri.ticket(), options, surroundings).await
    }

    /// Registers with a ticket at a server that is already known: many phones share its connections.
    ///
    /// # Errors
    /// As [`Candidate::register`].
    pub async fn enroll_at(
        server: Server,
        ticket: &str,
        options: EnrollOptions,
        surroundings: Surroundings,
    ) -> Result<Self, PhoneError> {
        Candidate::new(server, ticket, options, surroundings)?.register().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enrollment_uri_is_a_server_and_a_ticket_and_debug_leaves_the_ticket_out() {
        let ticket = "A".repeat(43);
        let uri = EnrollmentUri::parse(&format!("https://a.example/enroll#t={ticket}")).unwrap();
        assert_eq!((uri.issuer(), uri.ticket()), ("https://a.example", ticket.as_str()));
        assert!(!format!("{uri:?}").contains(&ticket));
        for wrong in [
            "",
            "https://a.example/enroll",
            "https://a.example/enroll#t=",
            "https://a.example/enroll#t=short",
            &format!("https://a.example/enroll?t={ticket}"),
            &format!("https://a.example/enroll#t={ticket}A"),
            &format!("/enroll#t={ticket}"),
            &format!("https://a.example/enroll#t={}", "+".repeat(43)),
        ] {
            assert!(EnrollmentUri::parse(wrong).is_err(), "{wrong}");
        }
    }
}
