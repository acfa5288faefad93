//! A simulated phone under load: its key, and its requests as bytes. It signs each anew, as a phone does.
//!
//! Cheaper than [`countersign_simulator::phone`], which verifies every challenge before it answers: here that happens
//! after the measured time, for all ([`crate::results`]). To add a request: a method with its claims as a borrowed
//! struct below.

use std::fmt::Write as _;

use countersign_proto::{
    jose::{Jwk, Kind, SigningError, SigningKey, sha256},
    vocabulary::Platform,
};
use serde::Serialize;

use crate::target::Target;

/// One enrolled device of one user.
#[derive(Debug)]
pub(crate) struct Device {
    /// Our id.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) external_id: String,
    /// Its key.
    pub(crate) key: SigningKey,
}

impl Device {
    /// `GET /v1/device/challenges`, held for `wait` seconds if nothing waits.
    pub(crate) fn pull(&self, target: &Target, request: &mut String, wait: u32) -> Result<(), SigningError> {
        let (iss, aud, iat, jti) = (&self.id, &target.issuer, target.iat(), target.fresh());
        let htu = format!("{aud}{PULL}");
        let proof = self.key.sign(Kind::Proof, &Proof { iss, aud, iat, jti: &jti, htm: "GET", htu: &htu })?;
        request.clear();
        let head = &target.device_head;
        let _infallible =
            write!(request, "GET {PULL}?wait={wait} HTTP/1.1\r\n{head}authorization: DeviceProof {proof}\r\n\r\n");
        Ok(())
    }

    /// `POST /v1/device/challenges/{id}/response`: yes, with the number.
    pub(crate) fn approve(
        &self,
        target: &Target,
        request: &mut String,
        id: &str,
        challenge: &str,
        number: Option<&str>,
    ) -> Result<(), SigningError> {
        let (iss, aud, iat, jti) = (&self.id, &target.issuer, target.iat(), target.fresh());
        let challenge_sha256 = &sha256(challenge);
        let claims = Response { iss, aud, sub: id, iat, jti: &jti, challenge_sha256, decision: "approve", number };
        let response = self.key.sign(Kind::Response, &claims)?;
        post_artefact(target, request, &format!("{PULL}/{id}/response"), &response);
        Ok(())
    }
}

const PULL: &str = "/v1/device/challenges";

/// `POST /v1/device/registrations` for a new key.
pub(crate) fn register(
    target: &Target,
    request: &mut String,
    key: &SigningKey,
    ticket: &str,
) -> Result<(), SigningError> {
    let device = Description { name: "load", platform: Platform::Other };
    let push = Push { channel: "none" };
    let (aud, iat, jti) = (&target.issuer, target.iat(), target.fresh());
    let claims = Registration { aud, iat, jti: &jti, ticket, device, push };
    let registration = key.sign(Kind::Registration, &claims)?;
    post_artefact(target, request, "/v1/device/registrations", &registration);
    Ok(())
}

fn post_artefact(target: &Target, request: &mut String, path: &str, artefact: &str) {
    request.clear();
    let (head, length) = (&target.device_head, artefact.len());
    let _infallible = write!(
        request,
        "POST {path} HTTP/1.1\r\n{head}content-type: application/jwt\r\ncontent-length: {length}\r\n\r\n{artefact}"
    );
}

/// Whether a JWK is this key: what the server's binding must say.
pub(crate) fn is_key(jwk: &Jwk, key: &SigningKey) -> bool {
    *jwk == key.public_key().to_jwk()
}

/// As `countersign_proto`'s claims of the same name, borrowed.
#[derive(Serialize)]
struct Proof<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    jti: &'a str,
    htm: &'a str,
    htu: &'a str,
}

#[derive(Serialize)]
struct Response<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: i64,
    jti: &'a str,
    challenge_sha256: &'a str,
    decision: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<&'a str>,
}

#[derive(Serialize)]
struct Registration<'a> {
    aud: &'a str,
    iat: i64,
    jti: &'a str,
    ticket: &'a str,
    device: Description<'a>,
    push: Push<'a>,
}

#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    platform: Platform,
}

#[derive(Serialize)]
struct Push<'a> {
    channel: &'a str,
}
