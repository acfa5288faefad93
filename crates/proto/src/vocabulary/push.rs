//! What is said about push channels and deliveries.
//!
//! To add a word, see the parent module.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{UnknownWord, Word, find};

/// How a device is notified (protocol 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum PushChannel {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging.
    Fcm,
    /// Web Push (RFC 8030).
    Webpush,
    /// Not at all: the device pulls.
    None,
}

impl Word for PushChannel {
    const ALL: &'static [Self] = &[Self::Apns, Self::Fcm, Self::Webpush, Self::None];

    fn as_str(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
            Self::Webpush => "webpush",
            Self::None => "none",
        }
    }
}

impl FromStr for PushChannel {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for PushChannel {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// Which of Apple's services a token belongs to (protocol 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum ApnsEnvironment {
    /// Production.
    Production,
    /// Development.
    Sandbox,
}

impl Word for ApnsEnvironment {
    const ALL: &'static [Self] = &[Self::Production, Self::Sandbox];

    fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Sandbox => "sandbox",
        }
    }
}

impl FromStr for ApnsEnvironment {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for ApnsEnvironment {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// Whether a device can be rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum PushState {
    /// As far as we know.
    Ok,
    /// The push service no longer knows the token.
    TokenGone,
    /// The push service refuses the token.
    Undeliverable,
    /// The device has no push channel.
    None,
}

impl Word for PushState {
    const ALL: &'static [Self] = &[Self::Ok, Self::TokenGone, Self::Undeliverable, Self::None];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::TokenGone => "token_gone",
            Self::Undeliverable => "undeliverable",
            Self::None => "none",
        }
    }
}

impl FromStr for PushState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for PushState {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// How the pushes of a challenge went, taken together (protocol 6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum PushStatus {
    /// At least one went out or is about to.
    Ok,
    /// None could be sent; devices can still pull.
    Degraded,
    /// A limit held them back (protocol 9).
    Suppressed,
    /// None was wanted or possible.
    None,
}

impl Word for PushStatus {
    const ALL: &'static [Self] = &[Self::Ok, Self::Degraded, Self::Suppressed, Self::None];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Suppressed => "suppressed",
            Self::None => "none",
        }
    }
}

impl FromStr for PushStatus {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for PushStatus {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// How far the delivery to one addressed device got (protocol 6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum DeliveryState {
    /// About to be sent.
    Queued,
    /// Taken by the push service.
    Delivered,
    /// Failed for now; will be tried again.
    Retrying,
    /// The push service no longer knows the token.
    TokenGone,
    /// The push service refused it.
    Rejected,
    /// The challenge ended first.
    Expired,
    /// Held back by a limit.
    Suppressed,
    /// The device has no push channel.
    PullOnly,
    /// The challenge was decided elsewhere.
    Withdrawn,
}

impl Word for DeliveryState {
    const ALL: &'static [Self] = &[
        Self::Queued,
        Self::Delivered,
        Self::Retrying,
        Self::TokenGone,
        Self::Rejected,
        Self::Expired,
        Self::Suppressed,
        Self::PullOnly,
        Self::Withdrawn,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Retrying => "retrying",
            Self::TokenGone => "token_gone",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Suppressed => "suppressed",
            Self::PullOnly => "pull_only",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl FromStr for DeliveryState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for DeliveryState {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}
