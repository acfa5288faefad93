//! Webhooks (protocol 13): addresses that are told of events, and what they are told.
//!
//! A message follows the Standard Webhooks specification: `{"type","timestamp","data"}`, signed over
//! `{webhook-id}.{webhook-timestamp}.{body}`. To add a member to messages: [`MessageData`]; readers ignore what they do
//! not know.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{challenges::Challenge, events::EventActor},
    ids::{ApiClientId, ChallengeId, DeviceId, EnrollmentId, EventId, UserId, WebhookDeliveryId, WebhookId},
    timestamp::Timestamp,
};

/// `POST /v1/webhooks`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWebhook {
    /// Where: https, a public address, at most 2,048 characters, without a user or a fragment.
    #[schema(example = "https://login.example.org/hooks/countersign")]
    pub url: String,
    /// Kinds of events, groups like `challenge.*`, or `*`; all if absent.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<String>>,
    /// For people, 1–256 characters.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// `PATCH /v1/webhooks/{id}`: what is absent stays.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeWebhook {
    /// Where.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Of what it is told.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<String>>,
    /// For people.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it is told.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// Leaves out the URL, which may hold a secret.
impl std::fmt::Debug for CreateWebhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateWebhook").finish_non_exhaustive()
    }
}

/// Likewise.
impl std::fmt::Debug for ChangeWebhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangeWebhook").finish_non_exhaustive()
    }
}

/// `POST /v1/webhooks/{id}/rotate-secret`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateWebhookSecret {
    /// For how long the secret that is replaced goes on signing beside the new one: 0 to 604800; 86400 if absent.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 604_800)]
    pub overlap_seconds: Option<i64>,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// Our id.
    pub id: WebhookId,
    /// Where.
    pub url: String,
    /// Of what it is told.
    pub events: Vec<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it is told.
    pub enabled: bool,
    /// Why not: `client` (an administrator), `gone` (it answered 410), `failing` (nothing arrived for a week).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "gone")]
    pub disabled_reason: Option<String>,
    /// Verifies the `v1a` signatures (ed25519).
    #[schema(example = "whpk_l6rmPQ5pZ8nEZ5hbyeN4mMAdb3r6gEU4nDHpQ9wjq3w=")]
    pub public_key: String,
    /// Until when the secret and key before sign, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_secret_until: Option<Timestamp>,
    /// Since when everything fails there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A webhook with its secret, which no other call returns.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookWithSecret {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// Verifies the `v1` signatures (HMAC-SHA256).
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub secret: String,
}

/// Leaves out the secret.
impl std::fmt::Debug for WebhookWithSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookWithSecret").field("id", &self.webhook.id).finish_non_exhaustive()
    }
}

/// A message to a webhook, and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookDelivery {
    /// The event's id, or the test's: `webhook-id` of the message, the same in each attempt.
    pub id: WebhookDeliveryId,
    /// The message's type: a kind of event, or `webhook.test`.
    #[serde(rename = "type")]
    #[schema(example = "challenge.approved")]
    pub kind: String,
    /// `pending`, `delivered` or `failed`.
    #[schema(example = "delivered")]
    pub status: String,
    /// When it is tried next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// When it was queued, or last sent again by somebody's wish.
    pub queued_at: Timestamp,
    /// The latest attempts, at most 40, oldest first.
    pub attempts: Vec<WebhookAttempt>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookAttempt {
    /// 1, 2, 3 …
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// What the address answered, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// Our word for what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "timeout")]
    pub error: Option<String>,
}

/// `POST /v1/webhooks/{id}/replay`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayWebhook {
    /// What happened from then on; from the beginning if absent.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// What happened before; until now if absent.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// `failed` (if absent) or `delivered`.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// How many are sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replayed {
    /// So many.
    pub queued: u64,
    /// Whether there may be more: ask again.
    pub has_more: bool,
}

/// The body of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// A kind of event, or `webhook.test`.
    #[serde(rename = "type")]
    #[schema(example = "challenge.approved")]
    pub kind: String,
    /// When it happened.
    pub timestamp: Timestamp,
    /// What happened.
    pub data: MessageData,
}

/// What happened: the event as `GET /v1/events` shows it, without its position; at the end of a challenge also the
/// challenge. In a test only the webhook's id, in `data`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MessageData {
    /// The event's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EventId>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<EventActor>,
    /// The user concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The device concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    /// The challenge concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge_id: Option<ChallengeId>,
    /// The enrollment concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment_id: Option<EnrollmentId>,
    /// The API client concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_client_id: Option<ApiClientId>,
    /// The request that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Particulars of the kind.
    pub data: serde_json::Value,
    /// The challenge that has ended, as its creator sees it: with the result token while that is valid, and with what
    /// proves the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Box<Challenge>>,
}
