//! Seals: MACs over rows that carry no signature, under a key of the key file.
//!
//! What a seal covers cannot be rewritten in the database unseen. A seal is for this server alone; what others
//! verify is signed. To add one: a variant of [`Sealed`] with all that must not change.

use aws_lc_rs::hmac;
use countersign_core::{
    api_client::{Applications, Caller, NewApiKey, Scopes},
    digest::Digest,
    ports::webhooks::WebhookTarget,
};
use countersign_proto::{
    ids::{ApiClientId, ApiKeyId, ChallengeId, DeviceId, EnrollmentId, TenantId, WebhookId},
    jose::{PublicKey, base64url},
    timestamp::Timestamp,
    vocabulary::{Confirmation, EnrollmentPurpose, Word as _},
};
use serde_json::json;
use zeroize::Zeroizing;

/// What a seal covers.
#[derive(Debug, Clone, Copy)]
pub enum Sealed<'a> {
    /// A challenge's number: signed into the challenge, it says nothing to a device, and a rewritten database
    /// cannot make a wrong number right.
    Number {
        /// The challenge.
        challenge_id: ChallengeId,
        /// Its number.
        number: &'a str,
    },
    /// Mode `display`: the code that a device shows, and the response that it was shown for. Nobody who rewrites the
    /// database chooses the code.
    Code {
        /// The challenge.
        challenge_id: ChallengeId,
        /// The digest of the response.
        response: Digest,
        /// The code.
        code: &'a str,
    },
    /// Mode `display`: that code was typed in, then. Without it an approval was never completed; with another time it
    /// would look like a new one.
    CodeEntered {
        /// The challenge.
        challenge_id: ChallengeId,
        /// The digest of the response.
        response: Digest,
        /// When it was typed: the decision's time, whole seconds.
        decided_at: Timestamp,
    },
    /// Whose ticket it is: it cannot be given to another user.
    Ticket {
        /// The enrollment.
        enrollment_id: EnrollmentId,
        /// Its organisation.
        tenant_id: TenantId,
        /// The tenant's id of its user.
        external_id: &'a str,
        /// The ticket's digest.
        ticket: Digest,
        /// Whether a code is typed back.
        confirmation: Confirmation,
        /// What the device will be for.
        purpose: EnrollmentPurpose,
        /// Its end.
        expires_at: Timestamp,
    },
    /// A dry run of a revocation by filter, and what it counted: the real run is held to it.
    BulkRevocation {
        /// The organisation.
        tenant_id: TenantId,
        /// The digest of filter and reason.
        asked: Digest,
        /// When it was.
        as_of: Timestamp,
        /// What it counted.
        matched: u32,
    },
    /// Which keys claimed it: they cannot be swapped before they are confirmed.
    Claim {
        /// The enrollment.
        enrollment_id: EnrollmentId,
        /// Its organisation.
        tenant_id: TenantId,
        /// The tenant's id of its user.
        external_id: &'a str,
        /// The device.
        device_id: DeviceId,
        /// What it is for.
        purpose: EnrollmentPurpose,
        /// Its key.
        device_key: &'a PublicKey,
        /// Its second key.
        uv_key: Option<&'a PublicKey>,
    },
    /// Where an organisation is told of what, and by which secret that is signed: nobody who rewrites the database has
    /// results sent elsewhere. The target's own seal is no part of it.
    Webhook {
        /// The webhook.
        webhook_id: WebhookId,
        /// Its organisation.
        tenant_id: TenantId,
        /// Where, what, and by which secret.
        target: &'a WebhookTarget,
    },
    /// What an API client may do: nobody who rewrites the database widens it.
    ApiClient {
        /// The client.
        client_id: ApiClientId,
        /// Its organisation.
        tenant_id: TenantId,
        /// What its keys may be used for.
        scopes: &'a Scopes,
        /// What it may ask approvals for.
        applications: Option<&'a Applications>,
    },
    /// Whose key it is: nobody who rewrites the database makes one.
    ApiKey {
        /// The key.
        key_id: ApiKeyId,
        /// Its client.
        client_id: ApiClientId,
        /// Its client's organisation.
        tenant_id: TenantId,
        /// What it is looked up by.
        digest: Digest,
        /// What it signs with.
        public_key: Option<&'a PublicKey>,
        /// Its end.
        expires_at: Option<Timestamp>,
    },
}

impl Sealed<'_> {
    /// One text per content: JSON, so that no two contents run into the same one.
    fn text(&self) -> String {
        let text = match self {
            Self::Number { challenge_id, number } => json!(["number", challenge_id, number]),
            Self::Code { challenge_id, response, code } => json!(["code", challenge_id, response.to_b64u(), code]),
            Self::CodeEntered { challenge_id, response, decided_at } => {
                json!(["code entered", challenge_id, response.to_b64u(), decided_at.as_seconds()])
            }
            Self::Ticket { enrollment_id, tenant_id, external_id, ticket, confirmation, purpose, expires_at } => {
                json!([
                    "ticket",
                    enrollment_id,
                    tenant_id,
                    external_id,
                    ticket.to_b64u(),
                    confirmation.as_str(),
                    purpose.as_str(),
                    expires_at.as_millis()
                ])
            }
            Self::BulkRevocation { tenant_id, asked, as_of, matched } => {
                json!(["bulk revocation", tenant_id, asked.to_b64u(), as_of.as_millis(), matched])
            }
            Self::Claim { enrollment_id, tenant_id, external_id, device_id, purpose, device_key, uv_key } => json!([
                "claim",
                enrollment_id,
                tenant_id,
                external_id,
                device_id,
                purpose.as_str(),
                device_key.thumbprint().as_str(),
                uv_key.map(|key| key.thumbprint().to_string())
            ]),
            Self::ApiClient { client_id, tenant_id, scopes, applications } => {
                json!(["api client", client_id, tenant_id, scopes.to_string(), applications])
            }
            Self::ApiKey { key_id, client_id, tenant_id, digest, public_key, expires_at } => json!([
                "api key",
                key_id,
                client_id,
                tenant_id,
                digest.to_b64u(),
                public_key.map(|key| key.thumbprint().to_string()),
                expires_at.map(Timestamp::as_millis)
            ]),
            Self::Webhook { webhook_id, tenant_id, target } => json!([
                "webhook",
                webhook_id,
                tenant_id,
                target.url,
                target.events.to_string(),
                target.secret_id,
                target.previous_secrets.iter().map(|it| json!([it.id, it.until.as_millis()])).collect::<Vec<_>>()
            ]),
        };
        text.to_string()
    }
}

/// The key of the seals.
pub struct Seals(hmac::Key);

impl Seals {
    /// From the key file.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The seal over this content, b64u.
    pub fn seal(&self, content: &Sealed<'_>) -> String {
        base64url::encode(hmac::sign(&self.0, content.text().as_bytes()))
    }

    /// The same key, sealed as this client's.
    pub fn seal_api_key(&self, key: NewApiKey, client_id: ApiClientId, tenant_id: TenantId) -> NewApiKey {
        let content = Sealed::ApiKey {
            key_id: key.id,
            client_id,
            tenant_id,
            digest: key.credential.digest(),
            public_key: key.credential.public_key(),
            expires_at: key.expires_at,
        };
        let seal = self.seal(&content);
        NewApiKey { seal, ..key }
    }

    /// Whether the server itself wrote the rows of this caller, found by `digest`.
    pub fn hold_caller(&self, caller: &Caller, digest: Digest) -> bool {
        let Caller { client_id, tenant_id, key_id, .. } = *caller;
        let client = Sealed::ApiClient {
            client_id,
            tenant_id,
            scopes: &caller.scopes,
            applications: caller.applications.as_ref(),
        };
        let public_key = caller.public_key.as_ref();
        let key = Sealed::ApiKey { key_id, client_id, tenant_id, digest, public_key, expires_at: caller.expires_at };
        let holds = |seal: &Option<String>, content| seal.as_ref().is_some_and(|seal| self.holds(seal, content));
        holds(&caller.seals.client, &client) && holds(&caller.seals.key, &key)
    }

    /// 32 bytes that only who holds the key file knows, others for each purpose. No seal's text begins like this, so no
    /// seal is ever one of them.
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(hmac::sign(&self.0, format!("countersign {purpose}").as_bytes()).as_ref());
        bytes
    }

    /// Whether `seal` is ours over this content; compares in constant time.
    pub fn holds(&self, seal: &str, content: &Sealed<'_>) -> bool {
        base64url::decode(seal).is_some_and(|tag| hmac::verify(&self.0, content.text().as_bytes(), &tag).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::entropy::new_id;

    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn a_seal_holds_for_its_own_content_and_key_only() {
        let (one, other) = (Seals::new(b"one"), Seals::new(b"other"));
        let now = Timestamp::from_seconds(1_800_000_000);
        let (challenge_id, another) = (new_id(now, &SystemEntropy::default()), new_id(now, &SystemEntropy::default()));
        let content = Sealed::Number { challenge_id, number: "042137" };
        let seal = one.seal(&content);
        assert!(one.holds(&seal, &content));
        assert!(!one.holds(&seal, &Sealed::Number { challenge_id, number: "042138" }));
        assert!(!one.holds(&seal, &Sealed::Number { challenge_id: another, number: "042137" }));
        assert!(!other.holds(&seal, &content));
        assert!(!one.holds("", &content));
    }

    #[test]
    fn a_code_that_is_shown_is_no_code_that_was_typed() {
        let seals = Seals::new(b"key");
        let now = Timestamp::from_seconds(1_800_000_000);
        let challenge_id = new_id(now, &SystemEntropy::default());
        let response = Digest::of("response");
        let shown = seals.seal(&Sealed::Code { challenge_id, response, code: "1800000000" });
        let entered = |decided_at| Sealed::CodeEntered { challenge_id, response, decided_at };
        assert!(!seals.holds(&shown, &entered(now)));
        let typed = seals.seal(&entered(now));
        assert!(seals.holds(&typed, &entered(now)));
        assert!(!seals.holds(&typed, &entered(now.plus_seconds(1))));
        let other = Sealed::CodeEntered { challenge_id, response: Digest::of("other"), decided_at: now };
        assert!(!seals.holds(&typed, &other));
    }
}
