//! Which policy a challenge gets: the organisation's, its application's and the caller's request (protocol 9).
//!
//! The outcome is fixed in the challenge, signed and returned; a later change of policy does not touch it.
//! A request below the floor is refused, never raised silently: the caller would not show the number.
//! What a policy may say at all is in [`check`]; how applications and profiles make it stricter in [`stricter`].
//! To add a setting: a member of [`Policy`] with its default, its bounds in [`check`], whether an application may
//! be stricter in [`stricter`], and what [`resolve`] makes of it.

use countersign_proto::{
    api::challenges::{RequestedVerification, Risk},
    vocabulary::{
        FastApproval, Profile, ReportAction, RiskAction, RiskLevel, UserVerification, UvMethod, VerificationMode,
        Word as _,
    },
};
pub use countersign_proto::{
    api::policy::{DeviceRequirements, Policy, PolicyOverrides, PushBudget, RiskActions},
    vocabulary::PolicySource as Source,
};
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::limits;

pub mod check;
pub mod devices;
pub mod stricter;
#[cfg(test)]
mod tests;

use stricter::{ActionOf as _, mode_strength, user_verification_strength};

/// What the caller asks for; absent members are left to the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyRequest {
    /// What the person signs in to: its overrides apply.
    pub application: Option<String>,
    /// Mode and digits.
    pub verification: Option<RequestedVerification>,
    /// PIN or biometric.
    pub user_verification: Option<UserVerification>,
    /// Life time in seconds.
    pub ttl_seconds: Option<i64>,
    /// What the caller thinks of the sign-in.
    pub risk: Option<Risk>,
}

/// The policy of one challenge, fixed at its creation and stored with it.
///
/// Members that have their usual value are not stored; so the usual values written in `usual` must never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectivePolicy {
    /// The version of the tenant's policy.
    pub version: u32,
    /// The mode.
    pub mode: VerificationMode,
    /// Digits of the number or code; absent in mode `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digits: Option<u8>,
    /// PIN or biometric.
    pub user_verification: UserVerification,
    /// The ways of checking the person that count; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_verification_methods: Vec<UvMethod>,
    /// Life time.
    pub ttl_seconds: i64,
    /// Consecutive wrong numbers that lock the user.
    pub wrong_numbers_before_lock: u32,
    /// How long such a lock lasts.
    pub lock_seconds: i64,
    /// The profile that the organisation chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Whether the devices are rung, if the caller wishes and the budget allows.
    #[serde(default = "usual::rings", skip_serializing_if = "usual::is_ringing")]
    pub rings: bool,
    /// How often the user is rung.
    #[serde(default, skip_serializing_if = "usual::is_budget")]
    pub pushes_per_user: PushBudget,
    /// Pending challenges beyond which further ones ring nobody.
    #[serde(default = "usual::max_pending", skip_serializing_if = "usual::is_max_pending")]
    pub max_pending_per_user: u32,
    /// How long pushes stop after a report of fraud.
    #[serde(default = "usual::quiet_seconds", skip_serializing_if = "usual::is_quiet_seconds")]
    pub quiet_seconds_after_report: i64,
    /// What a report of fraud does to the user.
    #[serde(default = "usual::on_report", skip_serializing_if = "usual::is_on_report")]
    pub on_report: ReportAction,
    /// What becomes of an approve that comes too fast.
    #[serde(default = "usual::fast_approval", skip_serializing_if = "usual::is_fast_approval")]
    pub fast_approval: FastApproval,
}

/// What is left out of a stored [`EffectivePolicy`].
mod usual {
    use super::{FastApproval, PushBudget, ReportAction};

    pub(super) const fn rings() -> bool {
        true
    }
    pub(super) const fn is_ringing(rings: &bool) -> bool {
        *rings
    }
    pub(super) fn is_budget(budget: &PushBudget) -> bool {
        *budget == PushBudget::default()
    }
    pub(super) const fn max_pending() -> u32 {
        3
    }
    pub(super) const fn is_max_pending(value: &u32) -> bool {
        *value == max_pending()
    }
    pub(super) const fn quiet_seconds() -> i64 {
        1_800
    }
    pub(super) const fn is_quiet_seconds(value: &i64) -> bool {
        *value == quiet_seconds()
    }
    pub(super) const fn on_report() -> ReportAction {
        ReportAction::Flag
    }
    pub(super) fn is_on_report(value: &ReportAction) -> bool {
        *value == on_report()
    }
    pub(super) const fn fast_approval() -> FastApproval {
        FastApproval::Flag
    }
    pub(super) fn is_fast_approval(value: &FastApproval) -> bool {
        *value == fast_approval()
    }
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
    /// A longer life than the application allows.
    #[error("the organisation asks for a shorter life time")]
    TtlBelowFloor,
    /// The risk asks for a number, and the mode has none that could be longer.
    #[error("at this risk the organisation asks for the mode `enter` or `display`")]
    ModeBelowRisk,
    /// The risk is too high for any challenge.
    #[error("at this risk the organisation allows no challenge")]
    RiskRefused,
    /// `digits` outside 2–8, or given where there is no number.
    #[error("digits must be 2 to 8, and only in the modes `enter` and `choose`")]
    InvalidDigits,
    /// The life time is outside 10–600 s.
    #[error("ttl_seconds must be 10 to 600")]
    InvalidTtl,
}

/// Which rule decided about what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sources {
    /// The mode.
    pub mode: Source,
    /// The digits.
    pub digits: Source,
    /// PIN or biometric.
    pub user_verification: Source,
    /// The life time.
    pub ttl_seconds: Source,
    /// Whether anybody is rung.
    pub rings: Source,
}

/// An effective policy, and which rules made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What holds.
    pub policy: EffectivePolicy,
    /// Who said so.
    pub sources: Sources,
}

/// The modes that a policy lets challenges have, whoever asks.
pub fn allowed_modes(policy: &Policy) -> Vec<VerificationMode> {
    let floor = mode_strength(stricter::bound(policy).verification_floor);
    VerificationMode::ALL.iter().copied().filter(|mode| mode_strength(*mode) >= floor).collect()
}

/// The names of the members in which two policies differ, but for the version.
pub fn changed_members(before: &Policy, after: &Policy) -> Vec<String> {
    let members = |policy: &Policy| match serde_json::to_value(policy) {
        Ok(serde_json::Value::Object(members)) => members,
        _ => serde_json::Map::new(),
    };
    let (before, after) = (members(before), members(after));
    let names: BTreeSet<_> = before.keys().chain(after.keys()).filter(|name| *name != "version").collect();
    names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

/// Digits of the numbers to choose from: three of them fit on a watch.
const CHOOSE_DIGITS: u8 = 2;
/// Digits of a number that a risk makes longer.
const LONGER_DIGITS: u8 = 8;
/// Digits of the code in mode `display` at the least.
const DISPLAY_DIGITS: u8 = 6;

/// The policy of one challenge.
///
/// # Errors
/// [`PolicyRefusal`]: the request asks for less than the floor, or for what does not exist.
pub fn effective(policy: &Policy, request: &PolicyRequest) -> Result<EffectivePolicy, PolicyRefusal> {
    resolve(policy, request).map(|resolved| resolved.policy)
}

/// The same, with the rules that decided.
///
/// # Errors
/// As [`effective`].
pub fn resolve(tenant: &Policy, request: &PolicyRequest) -> Result<Resolved, PolicyRefusal> {
    let (policy, from) = stricter::applicable(tenant, request.application.as_deref());
    // Who says nothing of the risk gets no less than who calls it low.
    let level = request.risk.as_ref().map_or(RiskLevel::Low, |risk| risk.level);
    let action = policy.risk.of(level);
    if action == RiskAction::Refuse {
        return Err(PolicyRefusal::RiskRefused);
    }
    let (mode, mode_from) = match &request.verification {
        Some(asked) => (asked.mode, Source::Request),
        None => (policy.verification_mode, from.mode),
    };
    if mode_strength(mode) < mode_strength(policy.verification_floor) {
        return Err(PolicyRefusal::ModeBelowFloor);
    }
    // Each action includes the milder ones: an application that asks for more does not get a shorter number.
    if action >= RiskAction::LongerNumber && mode_strength(mode) < mode_strength(VerificationMode::Enter) {
        return Err(PolicyRefusal::ModeBelowRisk);
    }
    let (digits, digits_from) = resolve_digits(&policy, request, mode, action, from.digits)?;
    let (user_verification, uv_from) = match request.user_verification {
        Some(asked) => (asked, Source::Request),
        None => (policy.user_verification, from.user_verification),
    };
    let is_floor = policy.user_verification == UserVerification::Required;
    if is_floor && user_verification_strength(user_verification) < user_verification_strength(policy.user_verification)
    {
        return Err(PolicyRefusal::UserVerificationBelowFloor);
    }
    let (ttl_seconds, ttl_from) = resolve_ttl(&policy, tenant, request, from.ttl_seconds)?;
    let rings = policy.allow_push && action != RiskAction::PullOnly;
    let rings_from = if action == RiskAction::PullOnly && policy.allow_push { Source::Risk } else { from.rings };
    let all_methods = UvMethod::ALL.iter().all(|method| policy.user_verification_methods.contains(method));
    let effective = EffectivePolicy {
        version: tenant.version,
        mode,
        digits,
        user_verification,
        user_verification_methods: if all_methods { Vec::new() } else { policy.user_verification_methods.clone() },
        ttl_seconds,
        wrong_numbers_before_lock: policy.wrong_numbers_before_lock,
        lock_seconds: policy.lock_seconds,
        profile: policy.profile,
        rings,
        pushes_per_user: policy.pushes_per_user,
        max_pending_per_user: policy.max_pending_per_user,
        quiet_seconds_after_report: policy.quiet_seconds_after_report,
        on_report: policy.on_report,
        fast_approval: policy.fast_approval,
    };
    let sources = Sources {
        mode: mode_from,
        digits: digits_from,
        user_verification: uv_from,
        ttl_seconds: ttl_from,
        rings: rings_from,
    };
    Ok(Resolved { policy: effective, sources })
}

fn resolve_digits(
    policy: &Policy,
    request: &PolicyRequest,
    mode: VerificationMode,
    action: RiskAction,
    from: Source,
) -> Result<(Option<u8>, Source), PolicyRefusal> {
    let asked = request.verification.as_ref().and_then(|asked| asked.digits);
    let usual = match mode {
        VerificationMode::None | VerificationMode::Display if asked.is_some() => {
            return Err(PolicyRefusal::InvalidDigits);
        }
        VerificationMode::None => return Ok((None, from)),
        VerificationMode::Display => policy.digits.max(DISPLAY_DIGITS),
        VerificationMode::Choose => CHOOSE_DIGITS,
        VerificationMode::Enter => policy.digits,
    };
    let (digits, from) = asked.map_or((usual, from), |asked| (asked, Source::Request));
    if !(2..=8).contains(&digits) {
        return Err(PolicyRefusal::InvalidDigits);
    }
    // A floor of `enter` would be hollow if two digits met it.
    let is_floor = mode_strength(policy.verification_floor) == mode_strength(VerificationMode::Enter);
    if mode == VerificationMode::Enter && is_floor && digits < policy.digits {
        return Err(PolicyRefusal::DigitsBelowFloor);
    }
    if action >= RiskAction::LongerNumber && digits < LONGER_DIGITS {
        return Ok((Some(LONGER_DIGITS), Source::Risk));
    }
    Ok((Some(digits), from))
}

fn resolve_ttl(
    policy: &Policy,
    tenant: &Policy,
    request: &PolicyRequest,
    from: Source,
) -> Result<(i64, Source), PolicyRefusal> {
    let (ttl_seconds, from) =
        request.ttl_seconds.map_or((policy.challenge_ttl_seconds, from), |asked| (asked, Source::Request));
    if !(limits::MIN_TTL_SECONDS..=limits::MAX_TTL_SECONDS).contains(&ttl_seconds) {
        return Err(PolicyRefusal::InvalidTtl);
    }
    // The tenant's own is what challenges usually get; an application's is the longest that they may get, whatever
    // becomes of the tenant's.
    let overrides = request.application.as_ref().and_then(|name| tenant.applications.get(name));
    let longest = overrides.and_then(|overrides| overrides.challenge_ttl_seconds);
    if longest.is_some_and(|longest| ttl_seconds > longest) {
        return Err(PolicyRefusal::TtlBelowFloor);
    }
    Ok((ttl_seconds, from))
}
