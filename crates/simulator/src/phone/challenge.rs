//! Protocol 7.1: what a phone checks before it shows anything.

use countersign_proto::api::devices::PendingChallenge;
use countersign_proto::ids::{ChallengeId, DeviceId, TenantId, UserId};
use countersign_proto::jose::claims::{ChallengeClaims, ChallengeVerification};
use countersign_proto::jose::{self, Jwks, Kind, Refusal, verify_server};
use countersign_proto::timestamp::Timestamp;
use countersign_proto::vocabulary::VerificationMode;

use super::{Phone, PhoneError, Registration};

/// Why a challenge must not be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeRefusal {
    /// The issuer did not sign this.
    #[error("not signed by the server: {0}")]
    Signature(Refusal),
    /// Signed by the issuer's key for another issuer.
    #[error("of another issuer")]
    Issuer,
    /// Of another organisation.
    #[error("of another organisation")]
    Tenant,
    /// For another user.
    #[error("for another user")]
    User,
    /// Not addressed to this device.
    #[error("not addressed to this device")]
    NotAddressed,
    /// Too old to answer.
    #[error("expired")]
    Expired,
    /// Delivered under another challenge's id: an answer would go to the wrong one.
    #[error("delivered under another id")]
    AnotherId,
    /// Mode `choose` without numbers to choose from.
    #[error("nothing to choose from")]
    NoChoices,
}

/// Whose phone it is: what a challenge must be for.
#[derive(Debug, Clone, Copy)]
pub struct Addressee<'a> {
    /// The server.
    pub issuer: &'a str,
    /// The organisation.
    pub tenant_id: TenantId,
    /// The user.
    pub user_id: UserId,
    /// The device.
    pub device_id: DeviceId,
}

/// A challenge that may be shown and answered. Only [`verify_challenge`] makes one.
///
/// `Debug` does not print the text: it names people and, in mode `choose`, the numbers.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedChallenge {
    id: ChallengeId,
    text: String,
    claims: ChallengeClaims,
}

impl VerifiedChallenge {
    /// Its id.
    pub fn id(&self) -> ChallengeId {
        self.id
    }

    /// What may be shown: nothing else is signed.
    pub fn claims(&self) -> &ChallengeClaims {
        &self.claims
    }

    /// The exact JWS.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// b64u SHA-256 of the exact JWS, as the response carries it.
    pub fn sha256(&self) -> String {
        jose::sha256(&self.text)
    }
}

impl std::fmt::Debug for VerifiedChallenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedChallenge").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Whether `pending` may be shown to `addressee` at `now`, given the keys of the addressee's issuer.
///
/// # Errors
/// [`ChallengeRefusal`].
pub fn verify_challenge(
    pending: &PendingChallenge,
    addressee: &Addressee<'_>,
    keys: &Jwks,
    now: Timestamp,
) -> Result<VerifiedChallenge, ChallengeRefusal> {
    // Rules 1–6 of section 2, with a key of the issuer's jwks_uri.
    let claims: ChallengeClaims =
        verify_server(&pending.challenge, &|kid| keys.find(kid)).map_err(ChallengeRefusal::Signature)?;
    let require = |holds: bool, otherwise: ChallengeRefusal| if holds { Ok(()) } else { Err(otherwise) };
    require(claims.iss == addressee.issuer, ChallengeRefusal::Issuer)?;
    require(claims.tenant.id == addressee.tenant_id.to_string(), ChallengeRefusal::Tenant)?;
    require(claims.sub == addressee.user_id.to_string(), ChallengeRefusal::User)?;
    require(claims.aud.contains(&addressee.device_id.to_string()), ChallengeRefusal::NotAddressed)?;
    require(claims.exp > now.as_seconds(), ChallengeRefusal::Expired)?;
    // Beyond 7.1: the id that the answer is posted to must be the one that was signed.
    require(claims.jti == pending.id.to_string(), ChallengeRefusal::AnotherId)?;
    let ChallengeVerification { mode, choices, .. } = &claims.verification;
    let has_choices = choices.as_ref().is_some_and(|choices| !choices.is_empty());
    require(*mode != VerificationMode::Choose || has_choices, ChallengeRefusal::NoChoices)?;
    Ok(VerifiedChallenge { id: pending.id, text: pending.challenge.clone(), claims })
}

impl Phone {
    /// Verifies what [`Phone::pending`] or [`Phone::challenge`] brought.
    ///
    /// # Errors
    /// [`PhoneError::Refused`]; other errors if the server's keys cannot be fetched.
    pub async fn verify(&self, pending: &PendingChallenge) -> Result<VerifiedChallenge, PhoneError> {
        let now = self.surroundings.clock.now();
        let keys = self.server.keys_for(Kind::Challenge, &pending.challenge, now).await?;
        let Registration { issuer, device_id, user, tenant, .. } = &self.registration;
        let addressee = Addressee { issuer, tenant_id: tenant.id, user_id: user.id, device_id: *device_id };
        Ok(verify_challenge(pending, &addressee, &keys, now)?)
    }
}

#[cfg(test)]
mod tests;
