//! One device registration and what it can say: protocol sections 4, 5, 7, 8 and 10.2, seen from the phone.
//!
//! A [`Phone`] shows and answers only what it has verified: [`Phone::approve`] and [`Phone::deny`] take a
//! [`VerifiedChallenge`], which only [`Phone::verify`] makes. What a test needs to break the rules
//! ([`Phone::sign`], [`Phone::response_claims`], [`Server::send`]) is public and sits beside it.
//!
//! This module must never read a clock or a random source by itself (see [`Surroundings`]), panic on
//! anything that a server sends, or follow a server to another origin than its issuer.
//!
//! To add a call: its claims come from `countersign_proto`, its endpoint from the discovery document; sign
//! with [`Phone::sign`], send with [`Server::send_artifact`], read with [`Reply::read`].

mod answer;
mod challenge;
mod enroll;
mod error;
mod push;
mod registration;
mod rotation;
mod server;
mod surroundings;

use countersign_proto::api::devices::{
    Deregistered, DeviceSelf, Disputed, PendingChallenge, PendingChallenges, PushUpdated,
};
use countersign_proto::ids::{ChallengeId, DeviceId, EventId};
use countersign_proto::jose::claims::{
    BindingClaims, DeregistrationClaims, DisputeClaims, ProofClaims, PushUpdateClaims,
};
use countersign_proto::jose::{Kind, Refusal, verify_server};
use countersign_proto::push::PushBinding;
use countersign_proto::vocabulary::RevokeReason;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, ETAG, IF_NONE_MATCH};
use serde::Serialize;

pub use self::answer::Answer;
pub use self::challenge::{Addressee, ChallengeRefusal, VerifiedChallenge, verify_challenge};
pub use self::enroll::{Candidate, EnrollOptions, EnrollmentUri};
pub use self::error::PhoneError;
pub use self::push::{Inbox, Notification, platform_of};
pub use self::registration::Registration;
pub use self::rotation::{Replace, Rotation};
pub use self::server::{Reply, Server};
pub use self::surroundings::{PhoneClock, PhoneRandom, Surroundings};

/// One device registration at one server.
#[derive(Debug, Clone)]
pub struct Phone {
    registration: Registration,
    server: Server,
    surroundings: Surroundings,
}

/// What waits for an answer (protocol 5.2).
#[derive(Debug, Clone)]
pub struct PendingSet {
    /// Oldest first; verify each before it is shown.
    pub challenges: Vec<PendingChallenge>,
    /// Names this set: hand it to the next [`Phone::pending`] to wait for another.
    pub etag: Option<String>,
}

impl Phone {
    /// A phone that is already registered: reads the issuer's discovery document, signs nothing.
    ///
    /// # Errors
    /// As [`Server::discover`].
    pub async fn connect(registration: Registration, surroundings: Surroundings) -> Result<Self, PhoneError> {
        let server = Server::discover(&registration.issuer).await?;
        Ok(Self::new(server, registration, surroundings))
    }

    /// A phone that speaks to `server`, whatever issuer it registered at (a test may want another).
    pub fn new(server: Server, registration: Registration, surroundings: Surroundings) -> Self {
        Self { registration, server, surroundings }
    }

    /// Its keys and whose device it is: what the keys file stores.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Its id at the server.
    pub fn id(&self) -> DeviceId {
        self.registration.device_id
    }

    /// The server that it speaks to.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Its clock and randomness.
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Its own record (protocol 5.1). A binding in it is verified: it must state this phone's own keys.
    ///
    /// # Errors
    /// [`PhoneError`]; [`PhoneError::Binding`] if the server vouches for other keys than this phone's.
    pub async fn fetch_self(&self) -> Result<DeviceSelf, PhoneError> {
        let reply = self.read(&self.server.endpoints().device, &[]).await?;
        let own: DeviceSelf = reply.read()?;
        if let Some(binding) = &own.binding {
            self.verify_binding(binding).await?;
        }
        Ok(own)
    }

    /// What waits for an answer (protocol 5.2); `None` if it still is the set that `etag` names.
    ///
    /// `wait_seconds` (0–50): how long the server may hold the call until there is something to tell.
    ///
    /// # Errors
    /// [`PhoneError`].
    pub async fn pending(&self, wait_seconds: u32, etag: Option<&str>) -> Result<Option<PendingSet>, PhoneError> {
        // The proof names the URL without its query (protocol 5).
        let url = &self.server.endpoints().device_challenges;
        let proof = self.proof("GET", url)?;
        let mut request = self.server.request(Method::GET, &format!("{url}?wait={wait_seconds}"));
        request = request.header(AUTHORIZATION, proof).timeout(server::held_timeout(wait_seconds));
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let reply = self.server.send(request).await?;
        if reply.status() == 304 {
            return Ok(None);
        }
        let etag = reply.header(ETAG.as_str()).map(str::to_owned);
        let PendingChallenges { challenges, .. } = reply.read()?;
        Ok(Some(PendingSet { challenges, etag }))
    }

    /// One waiting challenge (protocol 5.3).
    ///
    /// # Errors
    /// [`PhoneError`]: the problems `not-found` and `challenge-gone` among them.
    pub async fn challenge(&self, id: ChallengeId) -> Result<PendingChallenge, PhoneError> {
        let url = format!("{}/{id}", self.server.endpoints().device_challenges);
        self.read(&url, &[]).await?.read()
    }

    /// Tells the server where to ring from now on (protocol 8.7).
    ///
    /// # Errors
    /// [`PhoneError`].
    pub async fn update_push(&self, push: PushBinding) -> Result<PushUpdated, PhoneError> {
        let (iss, aud, iat, jti) = self.common_claims();
        let token = self.sign(
            Kind::PushUpdate,
            &PushUpdateClaims { iss, aud, iat, jti, push, app_version: None, os_version: None },
        )?;
        self.server.send_artifact(Method::PUT, &self.server.endpoints().push, &token).await?.read()
    }

    /// Says "that was not me" to a notice of [`Self::fetch_self`] (protocol 8.8).
    ///
    /// # Errors
    /// [`PhoneError`]: the problem `notice-not-disputable` among them.
    pub async fn dispute(&self, notice_id: EventId) -> Result<Disputed, PhoneError> {
        let (iss, aud, iat, jti) = self.common_claims();
        let token = self.sign(Kind::Dispute, &DisputeClaims { iss, aud, sub: notice_id.to_string(), iat, jti })?;
        let url = self.server.endpoints().dispute.replace("{id}", &notice_id.to_string());
        self.server.send_artifact(Method::POST, &url, &token).await?.read()
    }

    /// Leaves (protocol 10.2). A repeat is welcome: the first one's reply may have been lost.
    ///
    /// # Errors
    /// [`PhoneError`].
    pub async fn deregister(&self, reason: Option<RevokeReason>) -> Result<Deregistered, PhoneError> {
        let (iss, aud, iat, jti) = self.common_claims();
        let token = self.sign(Kind::Deregistration, &DeregistrationClaims { iss, aud, iat, jti, reason })?;
        self.server.send_artifact(Method::POST, &self.server.endpoints().deregistration, &token).await?.read()
    }

    /// Signs anything with the device key: also what no honest phone would.
    ///
    /// # Errors
    /// [`PhoneError::Signing`].
    pub fn sign(&self, kind: Kind, claims: &impl Serialize) -> Result<String, PhoneError> {
        Ok(self.registration.device_key.sign(kind, claims)?)
    }

    /// Signs anything with the key that the platform releases only after PIN or biometric.
    ///
    /// # Errors
    /// [`PhoneError::Signing`], [`PhoneError::NoUserVerificationKey`].
    pub fn sign_with_user_verification(&self, kind: Kind, claims: &impl Serialize) -> Result<String, PhoneError> {
        let key = self.registration.uv_key.as_ref().ok_or(PhoneError::NoUserVerificationKey)?;
        Ok(key.sign(kind, claims)?)
    }

    /// The `Authorization` of a read: `DeviceProof <jws>` for this method and URL without query (protocol 5).
    ///
    /// # Errors
    /// [`PhoneError::Signing`].
    pub fn proof(&self, method: &str, url: &str) -> Result<String, PhoneError> {
        let (iss, aud, iat, jti) = self.common_claims();
        let claims = ProofClaims { iss, aud, iat, jti, htm: method.to_owned(), htu: url.to_owned() };
        Ok(format!("DeviceProof {}", self.sign(Kind::Proof, &claims)?))
    }

    /// A GET of `url` under a fresh proof, with further headers; the reply as it came.
    ///
    /// # Errors
    /// [`PhoneError`] if there is no reply.
    pub async fn read(&self, url: &str, headers: &[(&str, &str)]) -> Result<Reply, PhoneError> {
        let request = self.server.request(Method::GET, url).header(AUTHORIZATION, self.proof("GET", url)?);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.server.send(request).await
    }

    /// `iss`, `aud`, `iat` and a fresh `jti`.
    fn common_claims(&self) -> (String, String, i64, String) {
        let Surroundings { clock, .. } = &self.surroundings;
        let iat = clock.now().as_seconds();
        (self.id().to_string(), self.registration.issuer.clone(), iat, self.surroundings.new_jti())
    }

    /// Protocol 4.5: what the server says of this device must be true.
    async fn verify_binding(&self, binding: &str) -> Result<(), PhoneError> {
        let keys = self.server.keys_for(Kind::Binding, binding, self.surroundings.clock.now()).await?;
        let claims: BindingClaims = verify_server(binding, &|kid| keys.find(kid)).map_err(PhoneError::Binding)?;
        let Registration { issuer, device_id, user, tenant, device_key, uv_key, .. } = &self.registration;
        let holds = claims.iss == *issuer
            && claims.aud == device_id.to_string()
            && claims.sub == user.id.to_string()
            && claims.external_id == user.external_id
            && claims.tenant == tenant.id.to_string()
            && claims.cnf.jwk == device_key.public_key().to_jwk()
            && claims.uv_jwk == uv_key.as_ref().map(|key| key.public_key().to_jwk());
        if holds { Ok(()) } else { Err(PhoneError::Binding(Refusal::AnotherKey)) }
    }
}
