//! Why a token is refused.

use crate::json::{Fault, Malformed, WrongShape};

/// Why a token is refused.
///
/// The sender learns only three things apart: [`Refusal::TooLarge`] is a 413; a verified token whose member
/// has a forbidden *value* ([`Refusal::broken_member`]) is a 422 with its pointer; everything else is the one
/// 401 `invalid-device-signature`, and [`Refusal::reason`] goes to the log. None of it repeats what was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Longer than the kind may be (rule 1).
    #[error("too large")]
    TooLarge,
    /// Not three non-empty parts between two dots (rule 1).
    #[error("not a compact JWS")]
    Shape,
    /// A part is not canonical unpadded base64url.
    #[error("not canonical base64url")]
    Base64,
    /// The header is not a JSON object as we accept it.
    #[error("header: {0}")]
    Header(Malformed),
    /// The header has a member that the kind does not have, lacks one, or one is of a wrong type (rule 2).
    #[error("header members")]
    HeaderMembers,
    /// `alg` is not `ES256` (rule 3).
    #[error("algorithm")]
    Algorithm,
    /// `typ` is not the kind's (rule 3).
    #[error("type")]
    Type,
    /// `kid` is not a thumbprint, or `jwk` is not exactly a public P-256 key.
    #[error("header key")]
    HeaderKey,
    /// The signature is not 64 bytes (a DER signature never is r‖s).
    #[error("signature length")]
    SignatureLength,
    /// The key to verify with is not the one that the header names (rule 4).
    #[error("another key")]
    AnotherKey,
    /// The signature does not verify (rule 5).
    #[error("signature")]
    Signature,
    /// The signed payload is not a JSON object as we accept it.
    #[error("payload: {0}")]
    Payload(Malformed),
    /// A claim is missing, of a wrong type (rule 6), or of a value that its type refuses.
    #[error("claim {0}")]
    Claim(WrongShape),
    /// The claims of another kind were asked for: a fault of ours, refused rather than misread.
    #[error("claims of another kind")]
    AnotherKind,
}

impl Refusal {
    /// A slug for logs and metrics: few, fixed, and without anything of the sender's.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Shape => "shape",
            Self::Base64 => "base64",
            Self::Header(_) => "header_json",
            Self::HeaderMembers => "header_members",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::HeaderKey => "header_key",
            Self::SignatureLength => "signature_length",
            Self::AnotherKey => "another_key",
            Self::Signature => "signature",
            Self::Payload(_) => "payload_json",
            Self::Claim(_) => "claim",
            Self::AnotherKind => "another_kind",
        }
    }

    /// The member of a *verified* token that is of the right type but breaks a rule of its kind: the sender
    /// holds the key and may be told (422). A missing member and a wrong type stay a refusal (rule 6).
    pub fn broken_member(&self) -> Option<&WrongShape> {
        match self {
            Self::Claim(shape) if matches!(shape.fault, Fault::Value | Fault::Unknown) => Some(shape),
            _ => None,
        }
    }
}
