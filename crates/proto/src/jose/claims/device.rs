//! What devices and API clients sign.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Claims;
use crate::jose::{Jwk, Kind};
use crate::push::PushBinding;
use crate::vocabulary::{Decision, DenyReason, Platform, RevokeReason, UvMethod};

/// `countersign-registration+jwt` (4.2): a new device presents its key and a ticket.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationClaims {
    /// The issuer.
    pub aud: String,
    /// When it was signed, unix seconds.
    pub iat: i64,
    /// 1–128 characters, the sender's own.
    pub jti: String,
    /// The secret of the enrollment.
    pub ticket: String,
    /// What the device says of itself.
    pub device: DeviceDescription,
    /// Where it wants to be rung.
    pub push: PushBinding,
    /// A second key that the platform releases only after biometric or PIN.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub uv_jwk: Option<Jwk>,
}

/// Leaves out the ticket.
impl fmt::Debug for RegistrationClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrationClaims").field("jti", &self.jti).finish_non_exhaustive()
    }
}

impl Claims for RegistrationClaims {
    const KIND: Kind = Kind::Registration;

    fn iat(&self) -> i64 {
        self.iat
    }
}

/// What a device says of itself when it registers (4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceDescription {
    /// 1–64 characters, for people.
    pub name: String,
    /// What it runs on.
    pub platform: Platform,
    /// The model.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The operating system's version.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The app.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// The app's version.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// The app's own id of this installation.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub installation_id: Option<String>,
}

/// `countersign-proof+jwt` (5): a device reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofClaims {
    /// The device's id.
    pub iss: String,
    /// The issuer.
    pub aud: String,
    /// When it was signed, unix seconds.
    pub iat: i64,
    /// 1–128 characters, the sender's own.
    pub jti: String,
    /// The HTTP method.
    pub htm: String,
    /// Issuer and path, without query.
    pub htu: String,
}

impl Claims for ProofClaims {
    const KIND: Kind = Kind::Proof;

    fn iat(&self) -> i64 {
        self.iat
    }
}

/// `countersign-response+jwt` (7.1): a device approves or denies.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseClaims {
    /// The device's id.
    pub iss: String,
    /// The issuer.
    pub aud: String,
    /// The challenge's id.
    pub sub: String,
    /// When it was signed, unix seconds.
    pub iat: i64,
    /// 1–128 characters, the sender's own.
    pub jti: String,
    /// b64u SHA-256 of the exact text of the challenge that was shown.
    pub challenge_sha256: String,
    /// Yes or no.
    pub decision: Decision,
    /// The number that was typed or chosen.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Why not.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub reason: Option<DenyReason>,
    /// How the platform verified the user; counts only if the uv key signed.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub uv: Option<UvMethod>,
}

/// Leaves out the number.
impl fmt::Debug for ResponseClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseClaims").field("jti", &self.jti).finish_non_exhaustive()
    }
}

impl Claims for ResponseClaims {
    const KIND: Kind = Kind::Response;

    fn iat(&self) -> i64 {
        self.iat
    }
}

/// `countersign-push-update+jwt` (8.7): a device changes its push binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushUpdateClaims {
    /// The device's id.
    pub iss: String,
    /// The issuer.
    pub aud: String,
    /// When it was signed, unix seconds.
    pub iat: i64,
    /// 1–128 characters, the sender's own.
    pub jti: String,
    /// The new binding.
    pub push: PushBinding,
    /// The app's version by now; absent: as it was.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// The operating system's version by now; absent: as it was.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

impl Claims for PushUpdateClaims {
    const KIND: Kind = Kind::PushUpdate;

    fn iat(&self) -> i64 {
        self.iat
    }
}

/// `countersign-key-rotation+jwt` (10.6): a device replaces its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotationClaims {
    /// The device's id.
    pub iss: String,
    /// The issuer.
    pub aud: String,
    /// When it was signed, unix seconds.
    pub iat: i64,
    /// 1–128 characters, the sender's own.
    pub jti: String,
    /// The new device key.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub new_jwk: Option<Jwk>,
    /// The new uv key.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub new_uv_jwk: Option<Jwk>,
    /// One `countersign-key-proof+jwt` per new key.
    pub proofs: Vec<String>,
}

impl Claims for KeyRotationClaims {
    const KIND: Kind = Kind::KeyRotation;

    fn iat(&self) -> i64 {
        self.iat
    }
}

/// `countersign-key-proof+jwt` (10.6): a new key proves its possession.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyProofClaims {
    /// The issuer.
    pub aud: String,
    /// When it was signed, unix seconds.
    pub iat: i64,
    /// The id of the device that rotates.
    pub rotate_from: String,
}

impl Claims for KeyProofClaims {
    const KIND: Kind = Kind::KeyProof;

    fn iat(&self) -> i64 {
        self.iat
    }
}

/// `countersign-deregistration+jwt` (10.2): a device leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeregistrationClaims {
    /// The device's id.
    pub iss: String,
    /// The issuer.
    pub aud: String,
    /// When it was signed, unix seconds.
    pub iat: i64,
    /// 1–128 characters, the sender's own.
    pub jti: String,
    /// Why.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub reason: Option<RevokeReason>,
}

impl Claims for DeregistrationClaims {
    const KIND: Kind = Kind::Deregistration;

    fn iat(&self) -> i64 {
        self.iat
    }
}

/// `countersign-dispute+jwt` (8.8): a device says "that was not me" to a notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeClaims {
    /// The device's id.
    pub iss: String,
    /// The issuer.
    pub aud: String,
    /// The notice's id.
    pub sub: String,
    /// When it was signed, unix seconds.
    pub iat: i64,
    /// 1–128 characters, the sender's own.
    pub jti: String,
}

impl Claims for DisputeClaims {
    const KIND: Kind = Kind::Dispute;

    fn iat(&self) -> i64 {
        self.iat
    }
}

/// `countersign-client-proof+jwt` (3): an API client authenticates a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientProofClaims {
    /// The API client's id.
    pub iss: String,
    /// The issuer.
    pub aud: String,
    /// When it was signed, unix seconds.
    pub iat: i64,
    /// 1–128 characters, the sender's own.
    pub jti: String,
    /// The HTTP method.
    pub htm: String,
    /// Issuer and path, without query.
    pub htu: String,
    /// b64u SHA-256 of the body's bytes.
    pub body_sha256: String,
}

impl Claims for ClientProofClaims {
    const KIND: Kind = Kind::ClientProof;

    fn iat(&self) -> i64 {
        self.iat
    }
}
