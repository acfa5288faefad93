//! Which policies an organisation may set: bounds, and overrides that are not weaker.
//!
//! Judged when a policy is written, by the API and by the command line alike. Reading never fails for a bound: a
//! policy that an older release took must not lock its organisation out.

use countersign_proto::{
    problem::FieldError,
    vocabulary::{ClientAuthentication, Platform, RiskAction, UvMethod, VerificationMode, Word as _},
};
use std::collections::BTreeMap;

use super::{
    Policy, PolicyOverrides, RiskActions,
    stricter::{self, mode_strength, user_verification_strength},
};
use crate::{limits, text::Checker, version::Version};

/// Applications with overrides of their own.
pub const MAX_APPLICATIONS: usize = 100;

/// Checks a policy with all its applications.
///
/// # Errors
/// The members at fault.
pub fn policy(policy: &Policy) -> Result<(), Vec<FieldError>> {
    let mut checker = Checker::default();
    numbers(&mut checker, policy);
    methods(&mut checker, "/user_verification_methods", &policy.user_verification_methods);
    rising(&mut checker, "/risk", &policy.risk);
    if mode_strength(policy.verification_mode) < mode_strength(policy.verification_floor) {
        checker.refuse("/verification_mode", "is weaker than verification_floor: nobody could ask for nothing");
    }
    let versions = &policy.device_requirements;
    minimum_versions(&mut checker, "/device_requirements/minimum_app_versions", &versions.minimum_app_versions);
    minimum_versions(&mut checker, "/device_requirements/minimum_os_versions", &versions.minimum_os_versions);
    if policy.applications.len() > MAX_APPLICATIONS {
        checker.refuse("/applications", "must be at most 100");
    }
    for (name, overrides) in &policy.applications {
        let pointer = format!("/applications/{}", name.replace('~', "~0").replace('/', "~1"));
        application_name(&mut checker, &pointer, name);
        bounds(&mut checker, &pointer, overrides);
        let (applicable, _) = stricter::applicable(policy, Some(name));
        if applicable.user_verification_methods.is_empty() {
            checker.refuse(format!("{pointer}/user_verification_methods"), "leaves none of the tenant's methods");
        }
    }
    checker.finish()
}

/// Checks an application's overrides against its tenant's policy: none may be weaker.
///
/// # Errors
/// The members at fault.
pub fn overrides(tenant: &Policy, name: &str, overrides: &PolicyOverrides) -> Result<(), Vec<FieldError>> {
    let mut checker = Checker::default();
    application_name(&mut checker, "/name", name);
    bounds(&mut checker, "", overrides);
    let weaker = "is weaker than the tenant's";
    let mut must = |holds: bool, member: &str| {
        if !holds {
            checker.refuse(format!("/{member}"), weaker);
        }
    };
    let is_as_strong =
        |asked: Option<VerificationMode>, than| asked.is_none_or(|mode| mode_strength(mode) >= mode_strength(than));
    must(is_as_strong(overrides.verification_mode, tenant.verification_mode), "verification_mode");
    must(is_as_strong(overrides.verification_floor, tenant.verification_floor), "verification_floor");
    must(overrides.digits.is_none_or(|digits| digits >= tenant.digits), "digits");
    let strength = user_verification_strength;
    let is_as_strict = |asked| strength(asked) >= strength(tenant.user_verification);
    must(overrides.user_verification.is_none_or(is_as_strict), "user_verification");
    let is_known = |methods: &Vec<UvMethod>| methods.iter().all(|m| tenant.user_verification_methods.contains(m));
    must(overrides.user_verification_methods.as_ref().is_none_or(is_known), "user_verification_methods");
    must(
        overrides.challenge_ttl_seconds.is_none_or(|ttl| ttl <= tenant.challenge_ttl_seconds),
        "challenge_ttl_seconds",
    );
    must(overrides.allow_push != Some(true) || tenant.allow_push, "allow_push");
    let wrong_numbers = overrides.wrong_numbers_before_lock;
    must(wrong_numbers.is_none_or(|limit| limit <= tenant.wrong_numbers_before_lock), "wrong_numbers_before_lock");
    must(overrides.lock_seconds.is_none_or(|seconds| seconds >= tenant.lock_seconds), "lock_seconds");
    let is_as_careful = |risk: RiskActions| {
        risk.low >= tenant.risk.low && risk.medium >= tenant.risk.medium && risk.high >= tenant.risk.high
    };
    must(overrides.risk.is_none_or(is_as_careful), "risk");
    must(overrides.fast_approval.is_none_or(|action| action >= tenant.fast_approval), "fast_approval");
    checker.finish()
}

/// What a policy allows that its organisation may not have meant. For people; nothing is refused for it.
pub fn advice(policy: &Policy) -> Vec<&'static str> {
    let policy = stricter::bound(policy);
    let mut advice = Vec::new();
    if mode_strength(policy.verification_floor) < mode_strength(VerificationMode::Enter) {
        advice.push("verification_floor lets callers ask for a plain yes or no, or for a choice of three: a person who is rung often enough says yes once");
    }
    let has_longer = [policy.risk.low, policy.risk.medium, policy.risk.high].contains(&RiskAction::LongerNumber);
    if has_longer && mode_strength(policy.verification_mode) < mode_strength(VerificationMode::Enter) {
        advice.push("risk asks for a longer number, but verification_mode has none: such challenges are refused");
    }
    if !policy.allow_push {
        advice.push("allow_push is false: nobody is rung, everybody has to open the app");
    }
    if policy.client_authentication == ClientAuthentication::ClientProof {
        advice.push("API keys are refused from then on, the administrators' too: register a public key for each API client before");
    }
    if policy.wrong_numbers_before_lock > 10 {
        advice.push("wrong_numbers_before_lock allows many guesses");
    }
    advice
}

fn numbers(checker: &mut Checker, policy: &Policy) {
    checker.range("/digits", i64::from(policy.digits), 2, 8);
    let ttl = policy.challenge_ttl_seconds;
    checker.range("/challenge_ttl_seconds", ttl, limits::MIN_TTL_SECONDS, limits::MAX_TTL_SECONDS);
    checker.range("/max_devices_per_user", i64::from(policy.max_devices_per_user), 1, 100);
    let budget = policy.pushes_per_user;
    checker.range("/pushes_per_user/per_10_minutes", i64::from(budget.per_10_minutes), 0, 20);
    checker.range("/pushes_per_user/since_approval", i64::from(budget.since_approval), 0, 1_000);
    let most = i64::from(limits::MAX_PENDING_PER_USER);
    checker.range("/max_pending_per_user", i64::from(policy.max_pending_per_user), 1, most);
    checker.range("/quiet_seconds_after_report", policy.quiet_seconds_after_report, 0, 86_400);
    checker.range("/wrong_numbers_before_lock", i64::from(policy.wrong_numbers_before_lock), 1, 100);
    checker.range("/lock_seconds", policy.lock_seconds, 1, 31_536_000);
    if let Some(days) = policy.dormant_after_days {
        checker.range("/dormant_after_days", i64::from(days), 1, 3_650);
    }
}

/// What an override must be, whatever the tenant's policy says.
fn bounds(checker: &mut Checker, pointer: &str, overrides: &PolicyOverrides) {
    let mut range = |member: &str, value: Option<i64>, from, to| {
        if let Some(value) = value {
            checker.range(&format!("{pointer}/{member}"), value, from, to);
        }
    };
    range("digits", overrides.digits.map(i64::from), 2, 8);
    let (shortest, longest) = (limits::MIN_TTL_SECONDS, limits::MAX_TTL_SECONDS);
    range("challenge_ttl_seconds", overrides.challenge_ttl_seconds, shortest, longest);
    range("wrong_numbers_before_lock", overrides.wrong_numbers_before_lock.map(i64::from), 1, 100);
    range("lock_seconds", overrides.lock_seconds, 1, 31_536_000);
    if let Some(named) = &overrides.user_verification_methods {
        methods(checker, &format!("{pointer}/user_verification_methods"), named);
    }
    if let Some(risk) = &overrides.risk {
        rising(checker, &format!("{pointer}/risk"), risk);
    }
}

fn methods(checker: &mut Checker, pointer: &str, named: &[UvMethod]) {
    let is_repeated = UvMethod::ALL.iter().any(|method| named.iter().filter(|other| *other == method).count() > 1);
    if named.is_empty() || is_repeated {
        checker.refuse(pointer, "must name at least one method, and none twice");
    }
}

fn rising(checker: &mut Checker, pointer: &str, risk: &RiskActions) {
    if risk.low > risk.medium || risk.medium > risk.high {
        checker.refuse(pointer, "a higher risk must not lead to less");
    }
}

fn minimum_versions(checker: &mut Checker, pointer: &str, versions: &BTreeMap<Platform, String>) {
    for (platform, version) in versions {
        if Version::parse(version).is_none() {
            checker.refuse(format!("{pointer}/{}", platform.as_str()), "must be dotted numbers such as 2.4.1");
        }
    }
}

fn application_name(checker: &mut Checker, pointer: &str, name: &str) {
    if checker.text(pointer, name, 1, 64) != name {
        checker.refuse(pointer, "must be in Unicode normalization form C");
    }
}
