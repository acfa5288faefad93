//! What became of a push, in our own words.
//!
//! Every code is in [`CODES`]: a closed list, safe as a metric's label and in an operator's reply. A provider's own
//! text never gets here.
//!
//! To add a code: its line in [`CODES`], and the line of the verdict table that gives it.

use std::{fmt, sync::Arc};

/// Every code that a [`Reason`] can have, in the order of the alphabet.
pub const CODES: &[&str] = &[
    "address-forbidden",
    "assertion-failed",
    "bad-certificate",
    "bad-certificate-environment",
    "bad-collapse-id",
    "bad-device-token",
    "bad-environment-key-id",
    "bad-expiration-date",
    "bad-message-id",
    "bad-path",
    "bad-priority",
    "bad-response",
    "bad-subscription",
    "bad-topic",
    "busy",
    "certificate-expired",
    "certificate-untrusted",
    "certificate-wrong-host",
    "circuit-open",
    "connect-failed",
    "connection-closed",
    "connection-failed",
    "connection-lost",
    "connection-refused",
    "connection-reset",
    "deadline-exceeded",
    "device-token-not-for-topic",
    "duplicate-headers",
    "expired-provider-token",
    "expired-token",
    "forbidden",
    "idle-timeout",
    "internal",
    "internal-server-error",
    "invalid-argument",
    "invalid-provider-token",
    "invalid-push-type",
    "lease-over",
    "method-not-allowed",
    "missing-device-token",
    "missing-provider-token",
    "missing-topic",
    "name-not-found",
    "network-unreachable",
    "no-certificates",
    "no-channel",
    "no-http2",
    "not-configured",
    "not-found",
    "payload-empty",
    "payload-too-large",
    "permission-denied",
    "provider-asked-to-wait",
    "quota-exceeded",
    "sender-id-mismatch",
    "service-unavailable",
    "shutdown",
    "stream-reset",
    "subscription-gone",
    "subscription-refused",
    "third-party-auth-error",
    "timeout",
    "tls-failed",
    "token-bad-response",
    "token-refused",
    "token-too-many-requests",
    "token-unexpected-status",
    "too-late",
    "too-many-requests",
    "too-many-token-updates",
    "topic-disallowed",
    "unauthenticated",
    "unavailable",
    "unexpected-status",
    "unreachable",
    "unregistered",
    "unregistered-stale",
    "unrelated-key-id",
    "unspecified-error",
];

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

/// Why, in our words: one of [`CODES`] and the provider's status, if it answered. Displayed as
/// `bad-device-token 400` or `connection-reset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// One of [`CODES`].
    pub code: &'static str,
    /// The status that the provider answered.
    pub status: Option<u16>,
}

impl Reason {
    pub(crate) const fn of(code: &'static str) -> Self {
        debug_assert!(is_listed(code), "a code that is not in the list");
        Self { code, status: None }
    }

    pub(crate) const fn answered(code: &'static str, status: u16) -> Self {
        Self { status: Some(status), ..Self::of(code) }
    }
}

/// Comparing texts is nothing that a constant can do yet: their bytes are compared one by one.
const fn is_listed(code: &str) -> bool {
    let mut codes = CODES;
    while let [listed, rest @ ..] = codes {
        if is_same(listed.as_bytes(), code.as_bytes()) {
            return true;
        }
        codes = rest;
    }
    false
}

const fn is_same(mut one: &[u8], mut other: &[u8]) -> bool {
    while let ([first, rest @ ..], [second, others @ ..]) = (one, other) {
        if *first != *second {
            return false;
        }
        (one, other) = (rest, others);
    }
    one.is_empty() && other.is_empty()
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

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    /// The sources of this crate without their tests and without the list.
    fn sources(folder: &Path) -> String {
        let mut found = String::new();
        let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap();
            if path.is_dir() {
                found += &sources(&path);
            } else if !["tests.rs", "testing.rs", "report.rs"].contains(&name) {
                let text = fs::read_to_string(&path).unwrap();
                found += text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            }
        }
        found
    }

    #[test]
    fn every_code_is_listed_once_and_used() {
        let source = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        assert!(CODES.is_sorted_by(|one, next| one < next));
        for code in CODES {
            assert!(source.contains(&format!("\"{code}\"")), "{code} is not used");
        }
    }

    #[test]
    fn every_code_that_is_used_is_listed() {
        let source = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        let mut count = 0;
        for maker in ["Reason::of(\"", "Reason::answered(\"", "lasting(\"", "of_connection(\""] {
            for code in source.split(maker).skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(CODES.contains(&code), "{code} is not listed");
                count += 1;
            }
        }
        assert!(count > 30, "{count} found");
        // What is not spelt out where it is made comes from a table: making it checks it, in every test.
        assert!(is_listed("busy") && !is_listed("bus") && !is_listed("busy-") && !is_listed(""));
    }

    #[test]
    #[should_panic(expected = "a code that is not in the list")]
    fn a_code_that_is_not_listed_is_found_out_when_it_is_made() {
        let _ = Reason::of("canary");
    }
}
