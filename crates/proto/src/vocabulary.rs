//! The words of the protocol: every closed list of strings, each an enum.
//!
//! A word read from JSON must be a string of its list: serde's own reading of a unit variant would also
//! take `{"deny": null}`. Nothing here decides anything; the rules live in `countersign-core`.
//!
//! To add a word: add the variant, its arm in `as_str` and its place in `ALL`; the tests below see the
//! rest. To add a list: a new enum beside those that it resembles, and its name in the tests.

mod challenge;
mod device;
mod enrollment;
mod policy;
mod push;
mod standing;
mod user;

use std::fmt;

pub use self::challenge::{
    ChallengeFlag, ChallengeReason, ChallengeStatus, Decision, DenyReason, UserVerification, UvMethod, VerificationMode,
};
pub use self::device::{DeviceStatus, Platform, RevokeReason};
pub use self::enrollment::{Confirmation, EnrollmentPurpose, EnrollmentStatus};
pub use self::policy::{
    ClientAuthentication, EnrollmentApproval, FastApproval, PolicySource, Profile, ReportAction, RiskAction, RiskLevel,
};
pub use self::push::{ApnsEnvironment, DeliveryState, PushChannel, PushState, PushStatus};
pub use self::standing::{RiskReason, UpdateState};
pub use self::user::{ReportReason, ReportedBy, UserState};

/// A closed list of strings.
pub trait Word: Copy + 'static {
    /// Every word of the list, in the order of the protocol.
    const ALL: &'static [Self];

    /// The word as it is written on the wire and in the database.
    fn as_str(self) -> &'static str;
}

/// A text that is not a word of its list. Says what would be, never what was given: that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    allowed: Vec<&'static str>,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be one of: {}", self.allowed.join(", "))
    }
}

impl std::error::Error for UnknownWord {}

/// The word of `W` that `text` spells, compared byte for byte.
fn find<W: Word>(text: &str) -> Result<W, UnknownWord> {
    W::ALL
        .iter()
        .copied()
        .find(|word| word.as_str() == text)
        .ok_or_else(|| UnknownWord { allowed: W::ALL.iter().map(|word| word.as_str()).collect() })
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    /// What must hold for every list.
    fn check<W>(count: usize)
    where
        W: Word + FromStr<Err = UnknownWord> + Serialize + DeserializeOwned + PartialEq + fmt::Debug,
    {
        assert_eq!(W::ALL.len(), count, "{:?}", W::ALL);
        for word in W::ALL.iter().copied() {
            let text = word.as_str();
            assert_eq!(serde_json::to_value(word).unwrap(), json!(text));
            assert_eq!(serde_json::from_value::<W>(json!(text)).unwrap(), word);
            assert_eq!(W::from_str(text).unwrap(), word);
            assert!(W::from_str(&text.to_uppercase()).is_err());
            assert!(serde_json::from_value::<W>(json!({ text: null })).is_err());
        }
        for wrong in [json!(null), json!(0), json!(true), json!(""), json!([]), json!({})] {
            assert!(serde_json::from_value::<W>(wrong).is_err());
        }
    }

    #[test]
    fn every_word_reads_back_and_only_as_a_string() {
        check::<Decision>(2);
        check::<DenyReason>(3);
        check::<ChallengeStatus>(5);
        check::<ChallengeReason>(12);
        check::<ChallengeFlag>(1);
        check::<VerificationMode>(4);
        check::<UserVerification>(3);
        check::<UvMethod>(4);
        check::<Platform>(6);
        check::<DeviceStatus>(4);
        check::<RevokeReason>(5);
        check::<EnrollmentStatus>(5);
        check::<EnrollmentPurpose>(2);
        check::<Confirmation>(2);
        check::<Profile>(1);
        check::<EnrollmentApproval>(2);
        check::<ClientAuthentication>(2);
        check::<RiskLevel>(3);
        check::<RiskAction>(4);
        check::<FastApproval>(3);
        check::<ReportAction>(2);
        check::<UpdateState>(3);
        check::<RiskReason>(10);
        check::<PolicySource>(5);
        check::<PushChannel>(4);
        check::<ApnsEnvironment>(2);
        check::<PushState>(4);
        check::<PushStatus>(4);
        check::<DeliveryState>(9);
        check::<ReportedBy>(2);
        check::<ReportReason>(3);
        check::<UserState>(3);
    }

    #[test]
    fn an_unknown_word_is_answered_with_the_list_and_without_the_text() {
        let error = Decision::from_str("s3cret").unwrap_err().to_string();
        assert_eq!(error, "must be one of: approve, deny");
    }
}
