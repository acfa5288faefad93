//! What the replies say, as far as the load needs it, borrowed from the connection's buffer; and what is wrong with a
//! reply that does not say it.
//!
//! A refusal is named by its status and the slug of its problem: never by its text. To add a reply: its struct.

use std::{borrow::Cow, time::Duration};

use countersign_proto::jose::SigningError;
use serde::Deserialize;

use crate::wire::{Reply, WireError};

/// Why a step did not come to what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The server sheds load, and says when to come back: wrong, unless it is overloaded on purpose.
    #[error("{step}: 503 with Retry-After")]
    Shed {
        /// What was asked.
        step: &'static str,
        /// How long until it may be asked again.
        retry_after: Duration,
    },
    /// Anything else.
    #[error("{0}")]
    Wrong(String),
}

impl From<SigningError> for Failure {
    fn from(error: SigningError) -> Self {
        Self::Wrong(error.to_string())
    }
}

/// The reply to a created challenge.
#[derive(Debug, Deserialize)]
pub(crate) struct Created<'a> {
    pub(crate) id: &'a str,
    #[serde(default)]
    pub(crate) number: Option<&'a str>,
}

/// What waits for a device.
#[derive(Debug, Deserialize)]
pub(crate) struct Pending<'a> {
    #[serde(borrow)]
    pub(crate) challenges: Vec<PendingChallenge<'a>>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub(crate) struct PendingChallenge<'a> {
    pub(crate) id: &'a str,
    pub(crate) challenge: &'a str,
}

/// How a challenge stands: the member of a recorded response and of a challenge.
#[derive(Debug, Deserialize)]
pub(crate) struct Standing<'a> {
    pub(crate) status: &'a str,
}

/// The reply to a created enrollment.
#[derive(Debug, Deserialize)]
pub(crate) struct Invited<'a> {
    pub(crate) id: &'a str,
    pub(crate) ticket: &'a str,
}

/// The reply to a registration.
#[derive(Debug, Deserialize)]
pub(crate) struct Registered<'a> {
    pub(crate) device_id: &'a str,
    #[serde(default)]
    pub(crate) confirmation_code: Option<&'a str>,
}

/// The reply to `step`, if it has this status and shape.
pub(crate) fn expect<'b, T: Deserialize<'b>>(
    step: &'static str,
    status: u16,
    reply: Result<Reply<'b>, WireError>,
) -> Result<T, Failure> {
    let reply = reply.map_err(|error| Failure::Wrong(format!("{step}: {error}")))?;
    if reply.status != status {
        return Err(refused(step, &reply));
    }
    serde_json::from_slice(reply.body).map_err(|_| Failure::Wrong(format!("{step}: a reply of another shape")))
}

/// What to call a reply of another status.
pub(crate) fn refused(step: &'static str, reply: &Reply<'_>) -> Failure {
    #[derive(Deserialize)]
    struct Problem<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    match (reply.status, reply.retry_after) {
        (503, Some(retry_after)) => Failure::Shed { step, retry_after },
        (status, _) => {
            let problem: Option<Problem<'_>> = serde_json::from_slice(reply.body).ok();
            let slug = problem.as_ref().and_then(|problem| problem.kind.rsplit('/').next()).unwrap_or("no problem");
            Failure::Wrong(format!("{step}: {status} {slug}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, retry_after: Option<u64>, body: &str) -> Reply<'_> {
        Reply { status, retry_after: retry_after.map(Duration::from_secs), body: body.as_bytes() }
    }

    #[test]
    fn another_status_or_shape_is_a_failure_with_a_name() {
        let fails = |reply| expect::<Created<'_>>("create", 201, Ok(reply)).unwrap_err().to_string();
        let problem = r#"{"type":"http://127.0.0.1:1/problems/not-found","title":"t","status":404}"#;
        assert_eq!(fails(reply(404, None, problem)), "create: 404 not-found");
        assert_eq!(fails(reply(500, None, "oops")), "create: 500 no problem");
        assert_eq!(fails(reply(200, None, r#"{"id":"a"}"#)), "create: 200 no problem");
        assert_eq!(fails(reply(201, None, r#"{"ID":"a"}"#)), "create: a reply of another shape");
        assert_eq!(fails(reply(503, None, "")), "create: 503 no problem", "without Retry-After it is no shedding");
        assert_eq!(fails(reply(503, Some(1), "")), "create: 503 with Retry-After");
    }
}
