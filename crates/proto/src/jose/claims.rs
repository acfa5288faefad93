//! The claims of each kind (protocol 3–8, 10).
//!
//! Ids are plain text here: a malformed one in a well-signed token is for the rules to refuse. Unknown claims
//! are ignored (RFC 7519 section 4); optional ones are absent, never null. Lengths and other rules are
//! `countersign-core`'s.
//!
//! To add a claim: a field here, its place in the sample of its kind (`tests/samples.rs`).

mod device;
mod server;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::device::{
    ClientProofClaims, DeregistrationClaims, DeviceDescription, DisputeClaims, KeyProofClaims, KeyRotationClaims,
    ProofClaims, PushUpdateClaims, RegistrationClaims, ResponseClaims,
};
pub use self::server::{
    BindingClaims, ChallengeClaims, ChallengeContext, ChallengeTenant, ChallengeUser, ChallengeVerification,
    ConfirmationKey, Detail, PolicyClaims, ResultClaims, ResultVerification,
};
use super::Kind;

/// The claims of a kind. A kind's claims are read from its tokens only.
pub trait Claims: Serialize + DeserializeOwned {
    /// The kind.
    const KIND: Kind;

    /// When it was signed, unix seconds: every kind says so.
    fn iat(&self) -> i64;
}
