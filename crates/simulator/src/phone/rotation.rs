//! Protocol 10.6: a phone replaces its keys, and survives not hearing whether it did.
//!
//! The new keys and the signed message are written down before the message is sent ([`Registration::rotation`]). Whoever
//! finds them there later calls [`Phone::finish_rotation`]: the server answers the same bytes as it did the first time, and
//! if it has forgotten them the new keys themselves tell. Never throws a key away before the server has vouched for the
//! next one.

use countersign_proto::api::devices::KeysRotated;
use countersign_proto::jose::claims::{KeyProofClaims, KeyRotationClaims};
use countersign_proto::jose::{Kind, SigningKey};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::registration::optional_private_key;
use super::{Phone, PhoneError, Registration};

/// Which keys are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// The device key, by itself.
    DeviceKey,
    /// The user verification key, by itself.
    UserVerificationKey,
    /// Both, by the user verification key.
    Both,
}

/// New keys, and the signed message that puts them in the place of the old ones. Private: see [`Registration`].
#[derive(Clone, Serialize, Deserialize)]
pub struct Rotation {
    #[serde(default, with = "optional_private_key", skip_serializing_if = "Option::is_none")]
    device_key: Option<SigningKey>,
    #[serde(default, with = "optional_private_key", skip_serializing_if = "Option::is_none")]
    uv_key: Option<SigningKey>,
    token: String,
}

impl std::fmt::Debug for Rotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rotation").finish_non_exhaustive()
    }
}

impl Rotation {
    /// The signed message, to be sent, and sent again, byte for byte.
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl Phone {
    /// Makes fresh keys and signs the message; sends nothing.
    ///
    /// # Errors
    /// [`PhoneError::Signing`], [`PhoneError::NoUserVerificationKey`].
    pub fn prepare_rotation(&self, replace: Replace) -> Result<Rotation, PhoneError> {
        let fresh = |is_wanted: bool| is_wanted.then(|| self.surroundings.new_key()).transpose();
        let device_key = fresh(replace != Replace::UserVerificationKey)?;
        let uv_key = fresh(replace != Replace::DeviceKey)?;
        self.sign_rotation(device_key, uv_key)
    }

    /// The message that puts these keys in the place of the phone's.
    ///
    /// # Errors
    /// [`PhoneError::Signing`], [`PhoneError::NoUserVerificationKey`].
    pub fn sign_rotation(
        &self,
        device_key: Option<SigningKey>,
        uv_key: Option<SigningKey>,
    ) -> Result<Rotation, PhoneError> {
        let (iss, aud, iat, jti) = self.common_claims();
        let proof = |key: &SigningKey| {
            let claims = KeyProofClaims { aud: aud.clone(), iat, rotate_from: iss.clone() };
            key.sign(Kind::KeyProof, &claims)
        };
        let proofs = device_key.iter().chain(&uv_key).map(proof).collect::<Result<_, _>>()?;
        let jwk = |key: &SigningKey| key.public_key().to_jwk();
        let (new_jwk, new_uv_jwk) = (device_key.as_ref().map(jwk), uv_key.as_ref().map(jwk));
        let claims = KeyRotationClaims { iss, aud, iat, jti, new_jwk, new_uv_jwk, proofs };
        let token = match &uv_key {
            Some(_) => self.sign_with_user_verification(Kind::KeyRotation, &claims)?,
            None => self.sign(Kind::KeyRotation, &claims)?,
        };
        Ok(Rotation { device_key, uv_key, token })
    }

    /// Sends the message; the phone with its new keys, for which the server has vouched.
    ///
    /// # Errors
    /// [`PhoneError`]: the problems `key-already-registered` and `device-not-active` among them.
    pub async fn rotate(&self, rotation: &Rotation) -> Result<Self, PhoneError> {
        let url = self.server.endpoints().key.as_ref().ok_or(PhoneError::Discovery("it replaces no keys"))?;
        let reply: KeysRotated = self.server.send_artifact(Method::POST, url, &rotation.token).await?.read()?;
        let next = self.with_keys_of(rotation);
        next.verify_binding(&reply.binding).await?;
        Ok(next)
    }

    /// Goes on with a rotation that was sent, or not, by somebody who did not live to hear of it.
    ///
    /// # Errors
    /// As [`Self::rotate`]. The old keys are still good then, or nobody can say.
    pub async fn finish_rotation(&self, rotation: &Rotation) -> Result<Self, PhoneError> {
        match self.rotate(rotation).await {
            // It never arrived, and has become too old: the same keys again.
            Err(error) if error.is_problem("clock-skew") => {
                let Rotation { device_key, uv_key, .. } = rotation.clone();
                self.rotate(&self.sign_rotation(device_key, uv_key)?).await
            }
            // It arrived, and the server has forgotten the message by now: then the new keys are known.
            Err(error) if error.is_problem("invalid-device-signature") => {
                let next = self.with_keys_of(rotation);
                next.fetch_self().await.map(|_| next).map_err(|_| error)
            }
            outcome => outcome,
        }
    }

    /// The same phone with the new keys, and no rotation under way.
    fn with_keys_of(&self, rotation: &Rotation) -> Self {
        let Rotation { device_key, uv_key, .. } = rotation.clone();
        let mut registration: Registration = self.registration.clone();
        registration.device_key = device_key.unwrap_or(registration.device_key);
        registration.uv_key = uv_key.or(registration.uv_key);
        registration.rotation = None;
        Self { registration, ..self.clone() }
    }
}
