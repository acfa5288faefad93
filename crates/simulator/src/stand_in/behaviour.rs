//! How a stand-in misbehaves on purpose: a queue of behaviours per token, one used up by each request, then
//! the normal answer.
//!
//! What is scripted happens before the request is checked: it stands for a provider's trouble, not for its
//! judgement. To add a behaviour: a variant here, its arm in `apns::connection` and in `stand_in::http`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// No HTTP of any version.
pub(crate) const GARBAGE: &[u8] = b"\x54\x68is is no HTTP, neither 1.1 nor 2: \x00\xff\xfe\r\n\r\n";
/// No JSON.
pub(crate) const NOT_JSON: &[u8] = b"{\"reason\": \xff\xfe, ";
/// What a proxy says.
pub(crate) const HTML: &[u8] = b"<html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>";

/// What happens to one request instead of the normal answer. As JSON: `{"do": "status", "code": 503}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Behaviour {
    /// The normal answer: a gap between other behaviours.
    Normal {},
    /// This status in the provider's own error format.
    Status {
        /// The HTTP status.
        code: u16,
        /// The provider's word for it (`TooManyRequests`, `UNAVAILABLE`); a usual one for the code if absent.
        #[serde(default)]
        reason: Option<String>,
        /// This body instead of the provider's error format.
        #[serde(default)]
        body: Option<String>,
        /// `Retry-After`, verbatim: seconds, an HTTP date, or nonsense.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// The token is gone: APNs 410 `Unregistered`, FCM 404 `UNREGISTERED`, Web Push 410.
    Gone {
        /// APNs only: since when, unix milliseconds; no `timestamp` if absent.
        #[serde(default)]
        timestamp_millis: Option<i64>,
    },
    /// The normal answer, late.
    Slow {
        /// How late.
        millis: u64,
    },
    /// The normal answer, but from now on this connection trickles: one byte, pause, one byte.
    SlowHeaders {
        /// The pause after each byte.
        millis: u64,
    },
    /// No answer; the connection lives on.
    NeverAnswer {},
    /// RST_STREAM with INTERNAL_ERROR (HTTP/1.1: the connection is closed).
    ResetStream {},
    /// TCP reset.
    ResetConnection {},
    /// The push is taken, then a TCP reset in place of the answer: a retry makes two of it.
    LoseAnswer {},
    /// APNs: GOAWAY with the last stream before this one, which stays unprocessed; the connection ends.
    /// The others: the normal answer, then the connection is closed gracefully.
    GoAway {},
    /// Bytes that are no HTTP, then the end of the connection.
    Garbage {},
    /// This status with a body that is not JSON.
    GarbageBody {
        /// The HTTP status.
        code: u16,
    },
    /// A body of this size, in the status 200 unless another is given.
    HugeBody {
        /// How many bytes.
        bytes: u64,
        /// The HTTP status.
        #[serde(default = "ok")]
        code: u16,
    },
    /// An HTML page, as proxies send it.
    Html {
        /// The HTTP status.
        code: u16,
    },
    /// The connection falls silent for ever: nothing is read or written, no PING is acknowledged.
    Silent {},
}

fn ok() -> u16 {
    200
}

impl Behaviour {
    /// A status in the provider's own error format, with its usual reason.
    pub fn status(code: u16) -> Self {
        Self::Status { code, reason: None, body: None, retry_after: None }
    }

    /// A status with the provider's word for it.
    pub fn refusal(code: u16, reason: &str) -> Self {
        Self::Status { code, reason: Some(reason.to_owned()), body: None, retry_after: None }
    }

    /// A status with `Retry-After`.
    pub fn retry_after(code: u16, retry_after: &str) -> Self {
        Self::Status { code, reason: None, body: None, retry_after: Some(retry_after.to_owned()) }
    }
}

/// The scripts of one stand-in.
#[derive(Debug, Default)]
pub struct Scripts(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    queues: HashMap<String, VecDeque<Behaviour>>,
    always: Option<Behaviour>,
}

impl Scripts {
    /// Appends to what the next requests for `token` will meet.
    pub fn append(&self, token: &str, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.lock().queues.entry(token.to_owned()).or_default().extend(behaviours);
    }

    /// What every request meets whose token has no script left, until told otherwise: an outage.
    pub fn always(&self, behaviour: Option<Behaviour>) {
        self.lock().always = behaviour;
    }

    /// What the next request for `token` meets; uses it up.
    pub(crate) fn next(&self, token: &str) -> Behaviour {
        let mut inner = self.lock();
        // The usual case, no scripts at all, costs no look-up.
        if !inner.queues.is_empty() {
            if let Some(behaviour) = inner.queues.get_mut(token).and_then(VecDeque::pop_front) {
                return behaviour;
            }
            inner.queues.remove(token);
        }
        inner.always.clone().unwrap_or(Behaviour::Normal {})
    }

    /// The same without the standing behaviour: for what is not a push.
    pub(crate) fn next_exactly(&self, name: &str) -> Behaviour {
        self.lock().queues.get_mut(name).and_then(VecDeque::pop_front).unwrap_or(Behaviour::Normal {})
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing that runs under the lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_used_up_in_order_then_the_standing_behaviour_rules() {
        let scripts = Scripts::default();
        scripts.append("a", [Behaviour::status(503), Behaviour::GoAway {}]);
        assert_eq!(scripts.next("b"), Behaviour::Normal {});
        assert_eq!(scripts.next("a"), Behaviour::status(503));
        scripts.always(Some(Behaviour::Silent {}));
        assert_eq!(scripts.next("a"), Behaviour::GoAway {});
        assert_eq!(scripts.next("a"), Behaviour::Silent {});
        scripts.always(None);
        assert_eq!(scripts.next("a"), Behaviour::Normal {});
    }

    #[test]
    fn behaviours_read_from_json_and_a_misspelt_one_is_refused() {
        let text = r#"[{"do":"status","code":429,"retry_after":"2"},{"do":"gone"},{"do":"huge_body","bytes":9}]"#;
        let behaviours: Vec<Behaviour> = serde_json::from_str(text).unwrap();
        let gone = Behaviour::Gone { timestamp_millis: None };
        let huge = Behaviour::HugeBody { bytes: 9, code: 200 };
        assert_eq!(behaviours, [Behaviour::retry_after(429, "2"), gone, huge]);
        for wrong in [r#"{"do":"stauts","code":1}"#, r#"{"do":"status"}"#, r#"{"do":"silent","bytes":1}"#, "{}"] {
            assert!(serde_json::from_str::<Behaviour>(wrong).is_err(), "{wrong}");
        }
    }
}
