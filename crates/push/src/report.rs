//! What became of a push, in our own words.
//!
//! Every code is a constant of this file: a closed list, safe as a metric's label and in an operator's reply. A
//! provider's own text never gets here.
//!
//! To add a code: a constant in [`code`], and the line of the verdict table that gives it.

use std::{fmt, sync::Arc};

/// Where a push went: one circuit and one bound of requests in flight each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// One of Apple's keys, by name.
    Apns(Arc<str>),
    /// One of Google's projects, by name.
    Fcm(Arc<str>),
    /// One push service, by origin (RFC 6454): `https://push.example`.
    WebPush(Arc<str>),
    /// No credential fits: the provider's word.
    Unconfigured(&'static str),
}

impl Destination {
    /// The provider: a metric's label, from a closed list (`apns`, `fcm`, `webpush`, `none`).
    pub fn provider(&self) -> &'static str {
        match self {
            Self::Apns(_) => "apns",
            Self::Fcm(_) => "fcm",
            Self::WebPush(_) => "webpush",
            Self::Unconfigured(provider) => provider,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apns(name) | Self::Fcm(name) | Self::WebPush(name) => write!(f, "{}:{name}", self.provider()),
            Self::Unconfigured(provider) => write!(f, "{provider}:unconfigured"),
        }
    }
}

/// Why, in our words: a code of [`code`] and the provider's status, if it answered. Displayed as
/// `bad-device-token 400` or `connection-reset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// From a closed list.
    pub code: &'static str,
    /// The status that the provider answered.
    pub status: Option<u16>,
}

impl Reason {
    pub(crate) const fn of(code: &'static str) -> Self {
        Self { code, status: None }
    }

    pub(crate) const fn answered(code: &'static str, status: u16) -> Self {
        Self { code, status: Some(status) }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "{} {status}", self.code),
            None => f.write_str(self.code),
        }
    }
}

/// The verdict on a push (protocol 8.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The provider took it.
    Accepted,
    /// Not now. `after_millis`: not before so many milliseconds from now, because the provider asked or because we
    /// know better.
    Retry {
        /// Milliseconds from now.
        after_millis: Option<i64>,
        /// Why.
        reason: Reason,
    },
    /// Nobody was asked: no room, or too little time of the lease was left. Take it up again in so many milliseconds;
    /// the attempt does not count.
    NotTried {
        /// Milliseconds from now.
        after_millis: i64,
        /// Why.
        reason: Reason,
    },
    /// The provider says that the token is gone, and means the one that we hold.
    TokenGone(Reason),
    /// The provider refuses this token for good, though it may still exist.
    Undeliverable(Reason),
    /// The provider refuses this message for good; says nothing about the token.
    Rejected(Reason),
}

impl Outcome {
    pub(crate) const fn retry(reason: Reason) -> Self {
        Self::Retry { after_millis: None, reason }
    }

    /// Why not, if not accepted.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Accepted => None,
            Self::Retry { reason, .. }
            | Self::NotTried { reason, .. }
            | Self::TokenGone(reason)
            | Self::Undeliverable(reason)
            | Self::Rejected(reason) => Some(*reason),
        }
    }
}

/// What became of a push, and where it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where it went.
    pub destination: Destination,
    /// What became of it.
    pub outcome: Outcome,
}

/// One check of the doctor's. Its texts are ours and hold no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// Which credential: `apns:main`, `fcm:main`, `webpush`.
    pub name: String,
    /// What was checked.
    pub check: &'static str,
    /// What was found, or what is wrong and what to do.
    pub outcome: Result<String, String>,
}
