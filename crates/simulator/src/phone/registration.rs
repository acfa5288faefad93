//! What a phone remembers of one registration: its keys, its names, and whom it trusts.

use countersign_proto::api::users::{TenantSummary, UserSummary};
use countersign_proto::ids::DeviceId;
use countersign_proto::jose::SigningKey;
use countersign_proto::timestamp::Timestamp;
use countersign_proto::vocabulary::Platform;
use serde::{Deserialize, Serialize};

use super::Rotation;

/// One registration, with its private keys: serialise it only into a file that nobody else can read.
///
/// `Debug` prints neither keys nor code nor names.
#[derive(Clone, Serialize, Deserialize)]
pub struct Registration {
    /// The server that it belongs to.
    pub issuer: String,
    /// Its id there.
    pub device_id: DeviceId,
    /// Whose device it is.
    pub user: UserSummary,
    /// The organisation.
    pub tenant: TenantSummary,
    /// The name that it gave itself.
    pub name: String,
    /// What it says it runs on.
    pub platform: Platform,
    /// When it registered.
    pub created_at: Timestamp,
    /// Six digits for the person to type into the page that began the enrollment, if it asked for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation_code: Option<String>,
    /// Proves possession.
    #[serde(with = "private_key")]
    pub device_key: SigningKey,
    /// Stands for the key that a platform releases only after PIN or biometric.
    #[serde(default, with = "optional_private_key", skip_serializing_if = "Option::is_none")]
    pub uv_key: Option<SigningKey>,
    /// A rotation of which nobody knows yet whether the server took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { issuer, device_id, .. } = self;
        f.debug_struct("Registration").field("issuer", issuer).field("device_id", device_id).finish_non_exhaustive()
    }
}

/// A private key as the b64u of its 32 bytes (a JWK's `d`); the public key is derived from it.
mod private_key {
    use countersign_proto::jose::{SigningKey, base64url};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(key: &SigningKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64url::encode(key.private_bytes().as_slice()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SigningKey, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes: Option<[u8; 32]> = base64url::decode(&text).and_then(|bytes| bytes.try_into().ok());
        let key = bytes.and_then(|bytes| SigningKey::from_private_bytes(&bytes).ok());
        // What was given is not repeated: half a key is still a secret.
        key.ok_or_else(|| D::Error::custom("not a private P-256 key"))
    }
}

/// The same, absent if there is none.
pub(super) mod optional_private_key {
    use countersign_proto::jose::SigningKey;
    use serde::{Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        key: &Option<SigningKey>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match key {
            Some(key) => super::private_key::serialize(key, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SigningKey>, D::Error> {
        super::private_key::deserialize(deserializer).map(Some)
    }
}
