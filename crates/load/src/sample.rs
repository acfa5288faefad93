//! One sign-in as it goes over the wire, made here without a server: requests, replies and artefacts of the sizes that
//! the real ones have, and really signed. The floor is measured with it, and the tests' false server speaks with it.
//!
//! Never sent to a real server. To keep it true: the types are `countersign_proto`'s; when the server fills one more
//! member, so does this.

use countersign_core::{clock::Clock as _, entropy::new_id};
use countersign_proto::{
    api::{
        challenges::{AppliedPolicy, Challenge, ChallengeCreated, Verification},
        devices::{DeviceSummary, PendingChallenge, PendingChallenges, ResponseRecorded},
        users::UserSummary,
    },
    evidence::Evidence,
    ids::{ApiClientId, BindingId, ChallengeId, DeviceId, Id, TenantId, UserId},
    jose::{
        Kind, PublicKey, SigningError, SigningKey, base64url,
        claims::{
            BindingClaims, ChallengeClaims, ChallengeTenant, ChallengeUser, ChallengeVerification, ConfirmationKey,
            ResultClaims, ResultVerification,
        },
    },
    timestamp::Timestamp,
    vocabulary::{ChallengeStatus, Platform, PushStatus, UserVerification, VerificationMode},
};

use crate::system::{SystemClock, SystemEntropy};

/// The number that the person types.
pub(crate) const NUMBER: &str = "042137";
const DIGITS: Option<u8> = Some(6);
const TTL_SECONDS: i64 = 120;

/// A server's side of sign-ins by one user with one device.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) issuer: String,
    pub(crate) server_key: SigningKey,
    pub(crate) tenant_id: TenantId,
    pub(crate) client_id: ApiClientId,
    pub(crate) user_id: UserId,
    pub(crate) external_id: String,
    pub(crate) device_id: DeviceId,
}

/// A fresh id.
pub(crate) fn id<K>() -> Id<K> {
    new_id(SystemClock.now(), &SystemEntropy::default())
}

impl Sample {
    pub(crate) fn new(issuer: &str) -> Result<Self, SigningError> {
        Ok(Self {
            issuer: issuer.to_owned(),
            server_key: SigningKey::generate()?,
            tenant_id: id(),
            client_id: id(),
            user_id: id(),
            external_id: "load-0123abcd-4567".to_owned(),
            device_id: id(),
        })
    }

    /// `countersign-challenge+jwt`.
    pub(crate) fn challenge(&self, id: ChallengeId, now: Timestamp) -> Result<String, SigningError> {
        let mac = base64url::encode([7; 32]);
        let claims = ChallengeClaims {
            iss: self.issuer.clone(),
            aud: vec![self.device_id.to_string()],
            sub: self.user_id.to_string(),
            jti: id.to_string(),
            iat: now.as_seconds(),
            exp: now.plus_seconds(TTL_SECONDS).as_seconds(),
            nonce: base64url::encode([9; 32]),
            tenant: ChallengeTenant { id: self.tenant_id.to_string(), name: "default".to_owned() },
            user: ChallengeUser { external_id: self.external_id.clone(), display_name: None },
            application: None,
            action: "sign_in".to_owned(),
            message: None,
            context: None,
            details: None,
            verification: ChallengeVerification { mode: VerificationMode::Enter, digits: DIGITS, choices: None },
            user_verification: UserVerification::Preferred,
            user_verification_methods: None,
            profile: None,
            policy_version: 1,
            azp: self.client_id.to_string(),
            client_reference_sha256: None,
            number_mac: Some(mac),
        };
        self.server_key.sign(Kind::Challenge, &claims)
    }

    /// `countersign-binding+jwt`.
    pub(crate) fn binding(&self, key: &PublicKey, now: Timestamp) -> Result<String, SigningError> {
        let claims = BindingClaims {
            iss: self.issuer.clone(),
            aud: self.device_id.to_string(),
            sub: self.user_id.to_string(),
            tenant: self.tenant_id.to_string(),
            external_id: self.external_id.clone(),
            iat: now.as_seconds(),
            jti: id::<countersign_proto::ids::kind::Binding>().to_string(),
            cnf: ConfirmationKey { jwk: key.to_jwk() },
            uv_jwk: None,
            purpose: None,
        };
        self.server_key.sign(Kind::Binding, &claims)
    }

    /// `countersign-result+jwt` of an approval.
    pub(crate) fn result(&self, id: ChallengeId, now: Timestamp) -> Result<String, SigningError> {
        let claims = ResultClaims {
            iss: self.issuer.clone(),
            aud: self.client_id.to_string(),
            sub: self.user_id.to_string(),
            external_id: self.external_id.clone(),
            jti: id.to_string(),
            iat: now.as_seconds(),
            exp: now.plus_seconds(300).as_seconds(),
            client_reference: None,
            application: None,
            action: "sign_in".to_owned(),
            status: ChallengeStatus::Approved,
            reason: None,
            verification: ResultVerification { mode: VerificationMode::Enter, digits: DIGITS },
            policy_version: 1,
            profile: None,
            amr: Some(amr()),
            flags: None,
            device_id: Some(self.device_id.to_string()),
        };
        self.server_key.sign(Kind::Result, &claims)
    }

    fn pending(&self, id: ChallengeId, now: Timestamp) -> Challenge {
        Challenge {
            id,
            status: ChallengeStatus::Pending,
            reason: None,
            user: UserSummary { id: self.user_id, external_id: self.external_id.clone(), display_name: None },
            application: None,
            action: "sign_in".to_owned(),
            message: None,
            context: None,
            details: None,
            client_reference: None,
            verification: Verification { mode: VerificationMode::Enter, digits: DIGITS },
            user_verification: UserVerification::Preferred,
            policy: AppliedPolicy { version: 1, profile: None },
            risk: None,
            awaiting_code: None,
            flags: Vec::new(),
            push_status: PushStatus::None,
            created_at: now,
            expires_at: now.plus_seconds(TTL_SECONDS),
            decided_at: None,
            device: None,
            amr: None,
            result_token: None,
            deliveries: None,
            evidence: None,
        }
    }

    /// The reply to `POST /v1/challenges`.
    pub(crate) fn created(&self, id: ChallengeId, now: Timestamp) -> ChallengeCreated {
        ChallengeCreated { challenge: self.pending(id, now), number: Some(NUMBER.to_owned()), locked_until: None }
    }

    /// The reply to `GET /v1/device/challenges`.
    pub(crate) fn inbox(&self, id: ChallengeId, challenge: &str, now: Timestamp) -> PendingChallenges {
        let expires_at = now.plus_seconds(TTL_SECONDS);
        let entry = PendingChallenge { id, challenge: challenge.to_owned(), expires_at };
        PendingChallenges { challenges: vec![entry], update_required: None, server_time: now }
    }

    /// The reply to a response.
    pub(crate) fn recorded(&self, id: ChallengeId, now: Timestamp) -> ResponseRecorded {
        ResponseRecorded {
            challenge_id: id,
            status: ChallengeStatus::Approved,
            decided_at: Some(now),
            display_code: None,
        }
    }

    /// The reply to the caller's held read.
    pub(crate) fn approved(
        &self,
        id: ChallengeId,
        evidence: Evidence,
        now: Timestamp,
    ) -> Result<Challenge, SigningError> {
        Ok(Challenge {
            status: ChallengeStatus::Approved,
            decided_at: Some(now),
            device: Some(DeviceSummary { id: self.device_id, name: "load".to_owned(), platform: Platform::Other }),
            amr: Some(amr()),
            result_token: Some(self.result(id, now)?),
            evidence: Some(evidence),
            ..self.pending(id, now)
        })
    }
}

/// The `jti` of a binding as the store keeps it.
pub(crate) fn binding_id() -> BindingId {
    id()
}

fn amr() -> Vec<String> {
    ["pop", "mca", "user"].map(str::to_owned).to_vec()
}
