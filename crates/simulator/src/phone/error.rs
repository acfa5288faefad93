//! What can go wrong for a phone, told apart as far as a person or a test can act on it.

use countersign_proto::jose::{Refusal, SigningError};
use countersign_proto::json::ReadError;
use countersign_proto::problem::Problem;

use super::ChallengeRefusal;

/// Why a phone could not do what it was asked to. Never repeats a ticket, a number or a key.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// Not `{issuer}/enroll#t={ticket}`.
    #[error("not an enrollment URI: expected https://SERVER/enroll#t=TICKET")]
    EnrollmentUri,
    /// The issuer is not a bare origin, or is plain HTTP beyond loopback.
    #[error("{0:?} is not an issuer: expected https://SERVER without a path (http:// only on loopback)")]
    Issuer(String),
    /// This machine cannot make an HTTP client (for example: no CA certificates).
    #[error("no HTTP client on this machine: {}", chain(.0))]
    Client(#[source] reqwest::Error),
    /// No reply, or half of one.
    #[error("the server gave no reply: {}", chain(.0))]
    Unreachable(#[source] reqwest::Error),
    /// The reply is larger than any honest one.
    #[error("the reply is larger than {limit_bytes} bytes")]
    ReplyTooLarge {
        /// The most that a phone reads.
        limit_bytes: usize,
    },
    /// The server refused and said why (RFC 9457).
    #[error("{}", told(.0))]
    Problem(Box<Problem>),
    /// Neither success nor a problem document.
    #[error("unexpected reply: status {status}")]
    UnexpectedStatus {
        /// The HTTP status.
        status: u16,
    },
    /// A success whose body is not what the protocol says.
    #[error("unexpected reply: {0}")]
    UnexpectedReply(#[from] ReadError),
    /// The discovery document names another issuer, or leads away from it.
    #[error("the server's discovery document cannot be right: {0}")]
    Discovery(&'static str),
    /// The server vouches for something else than this phone and its keys.
    #[error("the server's binding of this device is not true: {0}")]
    Binding(Refusal),
    /// A challenge that must not be shown.
    #[error("the challenge was refused: {0}")]
    Refused(#[from] ChallengeRefusal),
    /// The phone could not sign.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The stand-in of a push provider is none, or sent what no device understands.
    #[error("the stand-in of the push provider: {0}")]
    Inbox(&'static str),
    /// The phone registered no second key.
    #[error("this device has no user verification key")]
    NoUserVerificationKey,
}

impl PhoneError {
    /// The problem document, if the server sent one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether this is the problem with this slug, for example `challenge-closed`.
    pub fn is_problem(&self, slug: &str) -> bool {
        self.problem().is_some_and(|problem| problem.slug() == slug)
    }
}

/// A problem in one line: what it is, the members at fault, and what the server adds.
fn told(problem: &Problem) -> String {
    let mut line = format!("{}: {}", problem.slug(), problem.detail);
    for error in &problem.errors {
        line.push_str(&format!(" [{} {}]", error.pointer, error.detail));
    }
    for (name, value) in &problem.extensions {
        line.push_str(&format!(" ({name}: {value})"));
    }
    line
}

/// The innermost cause says what a person can mend ("connection refused"); the outer ones only where.
fn chain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_in_one_line_with_the_members_at_fault() {
        let problem = serde_json::json!({
            "type": "https://a.example/problems/invalid-request", "title": "t", "status": 422, "detail": "No.",
            "request_id": "r", "errors": [{"pointer": "/number", "detail": "must be digits"}], "attempts_left": 2,
        });
        let error = PhoneError::Problem(Box::new(serde_json::from_value(problem).unwrap()));
        assert_eq!(error.to_string(), "invalid-request: No. [/number must be digits] (attempts_left: 2)");
        assert!(error.is_problem("invalid-request") && !error.is_problem("invalid"));
    }
}
