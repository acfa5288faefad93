//! Which verification a challenge gets: the organisation's policy and the caller's request (protocol 9).
//!
//! The outcome is fixed in the challenge, signed and returned; a later change of policy does not touch it.
//! A request below the floor is refused, never raised silently: the caller would not show the number.
//! To add a setting: a field of [`Policy`] with its default, and what [`effective`] makes of it.

use countersign_proto::{
    api::challenges::RequestedVerification,
    vocabulary::{UserVerification, VerificationMode},
};
use serde::{Deserialize, Serialize};

use crate::limits;

/// A tenant's policy. Stored as JSON; absent members have the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Grows by one with each change.
    pub version: u32,
    /// What a challenge gets whose caller asks for nothing.
    pub verification_mode: VerificationMode,
    /// Digits of a typed number.
    pub digits: u8,
    /// The weakest mode that a caller may ask for.
    pub verification_floor: VerificationMode,
    /// Whether a PIN or biometric on the phone is needed. `required` is a floor.
    pub user_verification: UserVerification,
    /// How long a challenge lives if the caller does not say.
    pub challenge_ttl_seconds: i64,
    /// Pending, active and suspended devices of one user.
    pub max_devices_per_user: u32,
    /// Whether an enrollment without a confirmation code is refused.
    pub confirmation_required: bool,
    /// Consecutive wrong numbers that lock the user.
    pub wrong_numbers_before_lock: u32,
    /// How long such a lock lasts.
    pub lock_seconds: i64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            version: 1,
            verification_mode: VerificationMode::Enter,
            digits: 6,
            verification_floor: VerificationMode::None,
            user_verification: UserVerification::Preferred,
            challenge_ttl_seconds: 120,
            max_devices_per_user: 10,
            confirmation_required: false,
            wrong_numbers_before_lock: 5,
            lock_seconds: 900,
        }
    }
}

impl Policy {
    /// Whether the floor lets a challenge have this mode.
    pub const fn allows(&self, mode: VerificationMode) -> bool {
        strength(mode) >= strength(self.verification_floor)
    }
}

/// What the caller asks for; absent members are left to the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyRequest {
    /// Mode and digits.
    pub verification: Option<RequestedVerification>,
    /// PIN or biometric.
    pub user_verification: Option<UserVerification>,
    /// Life time in seconds.
    pub ttl_seconds: Option<i64>,
}

/// The policy of one challenge, fixed at its creation and stored with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectivePolicy {
    /// The version of the tenant's policy.
    pub version: u32,
    /// The mode.
    pub mode: VerificationMode,
    /// Digits of the number; absent in mode `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digits: Option<u8>,
    /// PIN or biometric.
    pub user_verification: UserVerification,
    /// Life time.
    pub ttl_seconds: i64,
    /// Consecutive wrong numbers that lock the user.
    pub wrong_numbers_before_lock: u32,
    /// How long such a lock lasts.
    pub lock_seconds: i64,
    /// The profile that the organisation chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// Why a request gets no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefusal {
    /// The mode is weaker than the floor.
    #[error("the organisation asks for a stronger verification mode")]
    ModeBelowFloor,
    /// Fewer digits than the floor asks for.
    #[error("the organisation asks for more digits")]
    DigitsBelowFloor,
    /// The organisation requires a PIN or biometric.
    #[error("the organisation requires user verification")]
    UserVerificationBelowFloor,
    /// `digits` outside 2–8, or given where there is no number.
    #[error("digits must be 2 to 8, and only with a number")]
    InvalidDigits,
    /// The life time is outside 10–600 s.
    #[error("ttl_seconds must be 10 to 600")]
    InvalidTtl,
    /// `display` is not offered by this server yet.
    #[error("the mode `display` is not available on this server")]
    ModeUnavailable,
}

/// How much an attacker with a stolen password must still get right.
const fn strength(mode: VerificationMode) -> u8 {
    match mode {
        VerificationMode::None => 0,
        VerificationMode::Choose => 1,
        VerificationMode::Enter | VerificationMode::Display => 2,
    }
}

/// Digits of the numbers to choose from: three of them fit on a watch.
const CHOOSE_DIGITS: u8 = 2;

/// The policy of one challenge.
///
/// # Errors
/// [`PolicyRefusal`]: the request asks for less than the floor, or for what does not exist.
pub fn effective(policy: &Policy, request: &PolicyRequest) -> Result<EffectivePolicy, PolicyRefusal> {
    let mode = request.verification.as_ref().map_or(policy.verification_mode, |asked| asked.mode);
    if mode == VerificationMode::Display {
        return Err(PolicyRefusal::ModeUnavailable);
    }
    if !policy.allows(mode) {
        return Err(PolicyRefusal::ModeBelowFloor);
    }
    let digits = effective_digits(policy, mode, request.verification.as_ref().and_then(|asked| asked.digits))?;
    let user_verification = request.user_verification.unwrap_or(policy.user_verification);
    if policy.user_verification == UserVerification::Required && user_verification != UserVerification::Required {
        return Err(PolicyRefusal::UserVerificationBelowFloor);
    }
    let ttl_seconds = request.ttl_seconds.unwrap_or(policy.challenge_ttl_seconds);
    if !(limits::MIN_TTL_SECONDS..=limits::MAX_TTL_SECONDS).contains(&ttl_seconds) {
        return Err(PolicyRefusal::InvalidTtl);
    }
    Ok(EffectivePolicy {
        version: policy.version,
        mode,
        digits,
        user_verification,
        ttl_seconds,
        wrong_numbers_before_lock: policy.wrong_numbers_before_lock,
        lock_seconds: policy.lock_seconds,
        profile: None,
    })
}

fn effective_digits(policy: &Policy, mode: VerificationMode, asked: Option<u8>) -> Result<Option<u8>, PolicyRefusal> {
    let usual = match mode {
        VerificationMode::None | VerificationMode::Display if asked.is_some() => {
            return Err(PolicyRefusal::InvalidDigits);
        }
        VerificationMode::None | VerificationMode::Display => return Ok(None),
        VerificationMode::Choose => CHOOSE_DIGITS,
        VerificationMode::Enter => policy.digits,
    };
    let digits = asked.unwrap_or(usual);
    if !(2..=8).contains(&digits) {
        return Err(PolicyRefusal::InvalidDigits);
    }
    // A floor of `enter` would be hollow if two digits met it.
    let floor_applies = mode == VerificationMode::Enter && policy.verification_floor == VerificationMode::Enter;
    if floor_applies && digits < policy.digits {
        return Err(PolicyRefusal::DigitsBelowFloor);
    }
    Ok(Some(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(mode: VerificationMode, digits: Option<u8>) -> PolicyRequest {
        PolicyRequest { verification: Some(RequestedVerification { mode, digits }), ..PolicyRequest::default() }
    }

    #[test]
    fn who_asks_for_nothing_gets_six_typed_digits_for_two_minutes() {
        let got = effective(&Policy::default(), &PolicyRequest::default()).unwrap();
        assert_eq!((got.mode, got.digits, got.ttl_seconds), (VerificationMode::Enter, Some(6), 120));
        assert_eq!(got.user_verification, UserVerification::Preferred);
    }

    #[test]
    fn no_request_yields_less_than_the_floor() {
        let modes =
            [VerificationMode::None, VerificationMode::Choose, VerificationMode::Enter, VerificationMode::Display];
        for floor in [VerificationMode::None, VerificationMode::Choose, VerificationMode::Enter] {
            let policy = Policy { verification_floor: floor, ..Policy::default() };
            for mode in modes {
                for digits in [None, Some(0), Some(1), Some(2), Some(5), Some(6), Some(8), Some(9)] {
                    if let Ok(got) = effective(&policy, &asking(mode, digits)) {
                        assert!(strength(got.mode) >= strength(floor));
                        assert!(floor != VerificationMode::Enter || got.digits >= Some(6));
                        assert_eq!(got.digits.is_some(), got.mode != VerificationMode::None);
                    }
                }
            }
        }
    }

    #[test]
    fn required_user_verification_cannot_be_asked_away() {
        let policy = Policy { user_verification: UserVerification::Required, ..Policy::default() };
        let request =
            PolicyRequest { user_verification: Some(UserVerification::Discouraged), ..PolicyRequest::default() };
        assert_eq!(effective(&policy, &request), Err(PolicyRefusal::UserVerificationBelowFloor));
    }

    #[test]
    fn a_life_time_has_both_bounds() {
        for (ttl, fits) in [(9, false), (10, true), (600, true), (601, false), (i64::MIN, false)] {
            let request = PolicyRequest { ttl_seconds: Some(ttl), ..PolicyRequest::default() };
            assert_eq!(effective(&Policy::default(), &request).is_ok(), fits, "{ttl}");
        }
    }

    #[test]
    fn a_stored_policy_with_an_unknown_setting_is_refused_rather_than_ignored() {
        assert!(serde_json::from_str::<Policy>(r#"{"verification_flour":"enter"}"#).is_err());
    }
}
