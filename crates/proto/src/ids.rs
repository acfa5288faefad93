//! Identifiers: one type per noun, so that a device's id can never be passed where a challenge's is due.
//!
//! Every id is a UUIDv7 in its canonical lower-case form. This module never makes one: ids come from
//! an injected source (`countersign_core::entropy`).
//! To add one: a marker in [`kind`] and an alias below.

use std::{cmp::Ordering, fmt, hash, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::timestamp::Timestamp;

/// An identifier of the noun `K`.
pub struct Id<K>(Uuid, PhantomData<fn() -> K>);

/// The nouns that have identifiers. Never constructed.
pub mod kind {
    /// An isolated organisation.
    pub enum Tenant {}
    /// An identity provider or admin tool that holds API keys.
    pub enum ApiClient {}
    /// One API key of a client.
    pub enum ApiKey {}
    /// A subject whose sign-ins are approved.
    pub enum User {}
    /// One authenticator registration.
    pub enum Device {}
    /// A one-time invitation that turns into a device.
    pub enum Enrollment {}
    /// One sign-in or transaction to approve.
    pub enum Challenge {}
    /// A push job.
    pub enum Notification {}
    /// One row of the append-only log.
    pub enum Event {}
    /// One attempt to change state: the row that it wins remembers it.
    pub enum Command {}
    /// The server's signed statement that a key is a user's device.
    pub enum Binding {}
    /// An address of the organisation's that is told of events.
    pub enum Webhook {}
    /// One event on its way to one webhook.
    pub enum WebhookDelivery {}
    /// What one of a webhook's secrets is derived from.
    pub enum WebhookSecret {}
}

/// An isolated organisation.
pub type TenantId = Id<kind::Tenant>;
/// An identity provider or admin tool.
pub type ApiClientId = Id<kind::ApiClient>;
/// One API key of a client.
pub type ApiKeyId = Id<kind::ApiKey>;
/// A subject whose sign-ins are approved.
pub type UserId = Id<kind::User>;
/// One authenticator registration.
pub type DeviceId = Id<kind::Device>;
/// A one-time invitation.
pub type EnrollmentId = Id<kind::Enrollment>;
/// One sign-in or transaction to approve.
pub type ChallengeId = Id<kind::Challenge>;
/// A push job.
pub type NotificationId = Id<kind::Notification>;
/// One row of the append-only log.
pub type EventId = Id<kind::Event>;
/// One attempt to change state.
pub type CommandId = Id<kind::Command>;
/// The `jti` of a binding.
pub type BindingId = Id<kind::Binding>;
/// An address that is told of events.
pub type WebhookId = Id<kind::Webhook>;
/// One event on its way to one webhook.
pub type WebhookDeliveryId = Id<kind::WebhookDelivery>;
/// What one of a webhook's secrets is derived from. No secret itself.
pub type WebhookSecretId = Id<kind::WebhookSecret>;

/// The text is not a canonical lower-case UUIDv7.
///
/// The HTTP API answers it like an unknown id, so that nobody learns which ids are well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a canonical UUIDv7")]
pub struct MalformedId;

impl<K> Id<K> {
    /// Wraps a UUID that the injected source made or that the database returned.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid, PhantomData)
    }

    /// When it was made (RFC 9562 section 5.7: the first 48 bits are unix milliseconds).
    pub fn made_at(self) -> Timestamp {
        let millis = self.0.as_u128() >> 80;
        Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    /// The UUID, for the database.
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl<K> FromStr for Id<K> {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let uuid = Uuid::try_parse(text).map_err(|_| MalformedId)?;
        // One spelling per id: `Uuid` also reads braces, URNs, upper case and no hyphens.
        let mut buffer = Uuid::encode_buffer();
        if uuid.get_version_num() != 7 || uuid.hyphenated().encode_lower(&mut buffer) != text {
            return Err(MalformedId);
        }
        Ok(Self::from_uuid(uuid))
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> hash::Hash for Id<K> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, K> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<K> utoipa::PartialSchema for Id<K> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))).into()
    }
}

impl<K> utoipa::ToSchema for Id<K> {
    fn name() -> std::borrow::Cow<'static, str> {
        "Id".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANONICAL: &str = "01939b5e-7a2c-7def-8abc-0123456789ab";

    #[test]
    fn an_id_has_exactly_one_spelling() {
        assert_eq!(CANONICAL.parse::<DeviceId>().map(|id| id.to_string()), Ok(CANONICAL.to_owned()));
        let upper = CANONICAL.to_uppercase();
        let simple = CANONICAL.replace('-', "");
        let braced = format!("{{{CANONICAL}}}");
        let version_4 = CANONICAL.replace("-7def-", "-4def-");
        for other in [upper.as_str(), &simple, &braced, &version_4, "", "x"] {
            assert_eq!(other.parse::<DeviceId>(), Err(MalformedId), "{other}");
        }
    }
}
