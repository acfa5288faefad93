//! How an application's overrides and a profile make a policy stricter; never how anything makes it weaker
//! (protocol 9).
//!
//! Of a member that both have, the stricter holds. So a tenant that raises its policy above an application's need
//! not touch the application, and no order in which the two are written leaves a gap.

use std::borrow::Cow;

use countersign_proto::vocabulary::{
    ClientAuthentication, EnrollmentApproval, Profile, RiskAction, RiskLevel, UserVerification, VerificationMode,
};

use super::{Policy, PolicyOverrides, RiskActions, Source, Sources};

/// How much an attacker with a stolen password must still get right.
pub const fn mode_strength(mode: VerificationMode) -> u8 {
    match mode {
        VerificationMode::None => 0,
        VerificationMode::Choose => 1,
        VerificationMode::Enter | VerificationMode::Display => 2,
    }
}

/// How much of the person is checked.
pub const fn user_verification_strength(asked: UserVerification) -> u8 {
    match asked {
        UserVerification::Discouraged => 0,
        UserVerification::Preferred => 1,
        UserVerification::Required => 2,
    }
}

/// What a level of risk leads to.
pub trait ActionOf {
    /// The action.
    fn of(&self, level: RiskLevel) -> RiskAction;
}

impl ActionOf for RiskActions {
    fn of(&self, level: RiskLevel) -> RiskAction {
        match level {
            RiskLevel::Low => self.low,
            RiskLevel::Medium => self.medium,
            RiskLevel::High => self.high,
        }
    }
}

/// The policy that holds for an application, its profile applied, and who decided about what a request may change.
pub fn applicable<'p>(tenant: &'p Policy, application: Option<&str>) -> (Cow<'p, Policy>, Sources) {
    let sources = Sources {
        mode: Source::Tenant,
        digits: Source::Tenant,
        user_verification: Source::Tenant,
        ttl_seconds: Source::Tenant,
        rings: Source::Tenant,
    };
    let overrides = application.and_then(|name| tenant.applications.get(name));
    if overrides.is_none() && tenant.profile.is_none() {
        return (Cow::Borrowed(tenant), sources);
    }
    let mut policy = tenant.clone();
    let mut marked = sources;
    if let Some(overrides) = overrides {
        apply(&mut policy, overrides);
        mark(&mut marked, tenant, &policy, Source::Application);
    }
    let before = policy.clone();
    bind_to_profile(&mut policy);
    mark(&mut marked, &before, &policy, Source::Profile);
    (Cow::Owned(policy), marked)
}

/// The tenant's policy with its profile applied: what holds where no application is named.
///
/// Devices serve all applications: where one is held to a profile, what the profile asks of enrollments holds for all.
pub fn bound(tenant: &Policy) -> Cow<'_, Policy> {
    let policy = applicable(tenant, None).0;
    let profile = tenant.applications.values().find_map(|overrides| overrides.profile);
    if policy.profile.is_some() || profile.is_none() {
        return policy;
    }
    let mut of_application = Policy { profile, ..Policy::default() };
    bind_to_profile(&mut of_application);
    let mut policy = policy.into_owned();
    policy.confirmation_required |= of_application.confirmation_required;
    policy.enrollment_approval = policy.enrollment_approval.max(of_application.enrollment_approval);
    Cow::Owned(policy)
}

fn mark(sources: &mut Sources, before: &Policy, after: &Policy, source: Source) {
    let mut of = |changed: bool, member: fn(&mut Sources) -> &mut Source| {
        if changed {
            *member(sources) = source;
        }
    };
    of(before.verification_mode != after.verification_mode, |sources| &mut sources.mode);
    of(before.digits != after.digits, |sources| &mut sources.digits);
    of(before.user_verification != after.user_verification, |sources| &mut sources.user_verification);
    of(before.challenge_ttl_seconds != after.challenge_ttl_seconds, |sources| &mut sources.ttl_seconds);
    of(before.allow_push != after.allow_push, |sources| &mut sources.rings);
}

fn apply(policy: &mut Policy, overrides: &PolicyOverrides) {
    policy.profile = policy.profile.or(overrides.profile);
    if let Some(mode) = overrides.verification_mode
        && mode_strength(mode) >= mode_strength(policy.verification_mode)
    {
        // Equally strong counts: `display` in place of `enter` suits a terminal.
        policy.verification_mode = mode;
    }
    if let Some(floor) = overrides.verification_floor {
        raise_mode(&mut policy.verification_floor, floor);
        raise_mode(&mut policy.verification_mode, floor);
    }
    policy.digits = policy.digits.max(overrides.digits.unwrap_or_default());
    if let Some(asked) = overrides.user_verification
        && user_verification_strength(asked) > user_verification_strength(policy.user_verification)
    {
        policy.user_verification = asked;
    }
    if let Some(methods) = &overrides.user_verification_methods {
        policy.user_verification_methods.retain(|method| methods.contains(method));
    }
    let ttl = overrides.challenge_ttl_seconds.unwrap_or(i64::MAX);
    policy.challenge_ttl_seconds = policy.challenge_ttl_seconds.min(ttl);
    policy.allow_push = policy.allow_push && overrides.allow_push.unwrap_or(true);
    let wrong_numbers = overrides.wrong_numbers_before_lock.unwrap_or(u32::MAX);
    policy.wrong_numbers_before_lock = policy.wrong_numbers_before_lock.min(wrong_numbers);
    policy.lock_seconds = policy.lock_seconds.max(overrides.lock_seconds.unwrap_or_default());
    if let Some(risk) = overrides.risk {
        policy.risk.low = policy.risk.low.max(risk.low);
        policy.risk.medium = policy.risk.medium.max(risk.medium);
        policy.risk.high = policy.risk.high.max(risk.high);
    }
    policy.fast_approval = policy.fast_approval.max(overrides.fast_approval.unwrap_or(policy.fast_approval));
}

fn raise_mode(mode: &mut VerificationMode, to: VerificationMode) {
    if mode_strength(to) > mode_strength(*mode) {
        *mode = to;
    }
}

/// What NIST SP 800-63B-4 asks of out-of-band authentication, as far as a policy can say it; the rest holds for
/// everybody. `docs/nist-800-63b-4.md` goes through it row by row.
fn bind_to_profile(policy: &mut Policy) {
    let Some(profile) = policy.profile else { return };
    match profile {
        Profile::Nist80063b4 => {
            // The secret is transferred, never merely confirmed or picked; six digits at the least.
            raise_mode(&mut policy.verification_mode, VerificationMode::Enter);
            raise_mode(&mut policy.verification_floor, VerificationMode::Enter);
            policy.digits = policy.digits.max(6);
            policy.confirmation_required = true;
            policy.enrollment_approval = EnrollmentApproval::ExistingDevice;
            policy.client_authentication = ClientAuthentication::ClientProof;
        }
    }
}
