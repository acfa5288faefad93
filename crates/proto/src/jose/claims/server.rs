//! What the server signs.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Claims;
use crate::jose::{Jwk, Kind};
use crate::vocabulary::{
    ChallengeFlag, ChallengeReason, ChallengeStatus, EnrollmentPurpose, UserVerification, UvMethod, VerificationMode,
};

/// `countersign-binding+jwt` (4.5): the server states that a key is a user's device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingClaims {
    /// The issuer.
    pub iss: String,
    /// The device's id.
    pub aud: String,
    /// The user's id.
    pub sub: String,
    /// The tenant's id.
    pub tenant: String,
    /// The tenant's id of the user: renaming rows makes nobody's key another person's.
    pub external_id: String,
    /// When it was signed, unix seconds.
    pub iat: i64,
    /// The binding's id.
    pub jti: String,
    /// The device key (RFC 7800).
    pub cnf: ConfirmationKey,
    /// The uv key.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub uv_jwk: Option<Jwk>,
    /// `broker`, of a device that answers no challenge; absent of all others.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub purpose: Option<EnrollmentPurpose>,
}

impl Claims for BindingClaims {
    const KIND: Kind = Kind::Binding;

    fn iat(&self) -> i64 {
        self.iat
    }
}

/// The key that a binding confirms (RFC 7800 section 3.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmationKey {
    /// The device key.
    pub jwk: Jwk,
}

/// `countersign-challenge+jwt` (6.2): the server asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeClaims {
    /// The issuer.
    pub iss: String,
    /// The ids of the addressed devices.
    pub aud: Vec<String>,
    /// The user's id.
    pub sub: String,
    /// The challenge's id.
    pub jti: String,
    /// When it was signed, unix seconds.
    pub iat: i64,
    /// It is expired from then on, unix seconds.
    pub exp: i64,
    /// 32 random bytes, b64u.
    pub nonce: String,
    /// Whose sign-in it is.
    pub tenant: ChallengeTenant,
    /// Who is asked.
    pub user: ChallengeUser,
    /// What the person signs in to.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// What is approved.
    pub action: String,
    /// Shown to the person.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where the request comes from.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub context: Option<ChallengeContext>,
    /// Labelled values.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub details: Option<Vec<Detail>>,
    /// How the person proves to look at the sign-in.
    pub verification: ChallengeVerification,
    /// Whether the uv key has to sign.
    pub user_verification: UserVerification,
    /// The ways of checking the person that count as user verification; all if absent.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub user_verification_methods: Option<Vec<UvMethod>>,
    /// The assurance profile that held at creation.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The version of the tenant's policy that held at creation.
    pub policy_version: u32,
    /// The id of the API client that asked: only it gets the number and the result.
    pub azp: String,
    /// b64u SHA-256 of the caller's reference, which the person does not see.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub client_reference_sha256: Option<String>,
    /// b64u MAC of the number, made by the server for itself; opaque to everybody else.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub number_mac: Option<String>,
}

impl ChallengeClaims {
    /// Whether a check of the person by this method counts as user verification (7.2, step 7). Absent: `other`.
    pub fn accepts_user_verification(&self, uv: Option<UvMethod>) -> bool {
        let method = uv.unwrap_or(UvMethod::Other);
        self.user_verification_methods.as_ref().is_none_or(|accepted| accepted.contains(&method))
    }
}

impl Claims for ChallengeClaims {
    const KIND: Kind = Kind::Challenge;

    fn iat(&self) -> i64 {
        self.iat
    }
}

/// The tenant, as a challenge names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeTenant {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// The user, as a challenge names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeUser {
    /// The tenant's own id of the user.
    pub external_id: String,
    /// For people.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// Where a request comes from, as the caller saw it; each at most 256 characters.
///
/// Also part of the request that creates a challenge, so unknown members are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChallengeContext {
    /// The address.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The browser.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The place.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The machine.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// One labelled value of a challenge.
///
/// Also part of the request that creates a challenge, so unknown members are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Detail {
    /// At most 64 characters.
    pub label: String,
    /// At most 256 characters.
    pub value: String,
}

/// How the person proves to look at the sign-in that is approved (6.1, 6.2).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeVerification {
    /// The mode.
    pub mode: VerificationMode,
    /// Digits of the number or code.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub digits: Option<u8>,
    /// In mode `choose`: three numbers, one of them right.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<String>>,
}

/// Leaves out the choices: one of them is the number.
impl fmt::Debug for ChallengeVerification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, digits, choices: _ } = self;
        f.debug_struct("ChallengeVerification").field("mode", mode).field("digits", digits).finish_non_exhaustive()
    }
}

/// `countersign-result+jwt` (6.4): the server tells the creating client how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultClaims {
    /// The issuer.
    pub iss: String,
    /// The API client's id.
    pub aud: String,
    /// The user's id.
    pub sub: String,
    /// The tenant's own id of the user.
    pub external_id: String,
    /// The challenge's id.
    pub jti: String,
    /// When it ended, unix seconds.
    pub iat: i64,
    /// Until when the result may be used, unix seconds.
    pub exp: i64,
    /// The caller's own reference.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub client_reference: Option<String>,
    /// What the person signed in to.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// What was asked.
    pub action: String,
    /// How it ended.
    pub status: ChallengeStatus,
    /// Why, if denied or cancelled.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub reason: Option<ChallengeReason>,
    /// How the person proved to look at the sign-in.
    pub verification: ResultVerification,
    /// The version of the tenant's policy that held.
    pub policy_version: u32,
    /// The assurance profile that held.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// RFC 8176 methods of an approval.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub amr: Option<Vec<String>>,
    /// What is remarkable about the decision.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<ChallengeFlag>>,
    /// The device that decided.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
}

impl Claims for ResultClaims {
    const KIND: Kind = Kind::Result;

    fn iat(&self) -> i64 {
        self.iat
    }
}

/// `countersign-policy+jwt` (5.4): the server tells a device what its organisation asks of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyClaims {
    /// The issuer.
    pub iss: String,
    /// The device's id.
    pub aud: String,
    /// The tenant's id.
    pub tenant: String,
    /// When it was signed, unix seconds.
    pub iat: i64,
    /// Not to be believed from then on, unix seconds: ask again.
    pub exp: i64,
    /// The version of the tenant's policy.
    pub version: u32,
    /// The verification modes that challenges may use.
    pub modes: Vec<VerificationMode>,
    /// Whether the uv key has to sign, where the application asks for no more.
    pub user_verification: UserVerification,
    /// The ways of checking the person that count; all if absent.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub user_verification_methods: Option<Vec<UvMethod>>,
    /// Whether the device must have a uv key.
    pub user_verification_key_required: bool,
    /// The oldest app that may be used on its platform.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub minimum_app_version: Option<String>,
    /// The oldest operating system that may be used on its platform.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub minimum_os_version: Option<String>,
}

impl Claims for PolicyClaims {
    const KIND: Kind = Kind::Policy;

    fn iat(&self) -> i64 {
        self.iat
    }
}

/// How the person proved to look at the sign-in, without the choices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultVerification {
    /// The mode.
    pub mode: VerificationMode,
    /// Digits of the number or code.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub digits: Option<u8>,
}
