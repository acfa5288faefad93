use countersign_proto::vocabulary::{EnrollmentApproval, RiskLevel};

use super::*;
use crate::policy::stricter::mode_strength;

fn asking(mode: VerificationMode, digits: Option<u8>) -> PolicyRequest {
    PolicyRequest { verification: Some(RequestedVerification { mode, digits }), ..PolicyRequest::default() }
}

fn at_risk(level: RiskLevel) -> PolicyRequest {
    PolicyRequest { risk: Some(Risk { level, reasons: Vec::new() }), ..PolicyRequest::default() }
}

/// Every request that differs in a member of the policy: asked for or not, each word, each edge.
fn requests() -> Vec<PolicyRequest> {
    let mut verifications = vec![None];
    for mode in VerificationMode::ALL {
        for digits in [None, Some(0), Some(1), Some(2), Some(5), Some(6), Some(7), Some(8), Some(9), Some(255)] {
            verifications.push(Some(RequestedVerification { mode: *mode, digits }));
        }
    }
    let mut uvs = vec![None];
    uvs.extend(UserVerification::ALL.iter().copied().map(Some));
    let mut risks = vec![None];
    risks.extend(RiskLevel::ALL.iter().map(|level| Some(Risk { level: *level, reasons: Vec::new() })));
    let mut requests = Vec::new();
    for application in [None, Some("VPN"), Some("vpn")] {
        for verification in &verifications {
            for user_verification in &uvs {
                for ttl_seconds in [None, Some(10), Some(60), Some(61), Some(600), Some(601)] {
                    for risk in &risks {
                        requests.push(PolicyRequest {
                            application: application.map(str::to_owned),
                            verification: verification.clone(),
                            user_verification: *user_verification,
                            ttl_seconds,
                            risk: risk.clone(),
                        });
                    }
                }
            }
        }
    }
    requests
}

/// Policies that differ in what a floor is made of, each with an application that is stricter in one thing.
fn policies() -> Vec<Policy> {
    let overrides = [
        PolicyOverrides::default(),
        PolicyOverrides { verification_floor: Some(VerificationMode::Choose), ..PolicyOverrides::default() },
        PolicyOverrides {
            verification_floor: Some(VerificationMode::Enter),
            digits: Some(8),
            ..PolicyOverrides::default()
        },
        PolicyOverrides {
            user_verification: Some(UserVerification::Required),
            challenge_ttl_seconds: Some(60),
            ..PolicyOverrides::default()
        },
        PolicyOverrides { profile: Some(Profile::Nist80063b4), allow_push: Some(false), ..PolicyOverrides::default() },
    ];
    let mut policies = Vec::new();
    for floor in VerificationMode::ALL {
        for user_verification in UserVerification::ALL {
            for profile in [None, Some(Profile::Nist80063b4)] {
                for overrides in &overrides {
                    policies.push(Policy {
                        verification_floor: *floor,
                        user_verification: *user_verification,
                        profile,
                        digits: 5,
                        applications: [("VPN".to_owned(), overrides.clone())].into(),
                        ..Policy::default()
                    });
                }
            }
        }
    }
    policies
}

/// What `got` must have, said a second time and in other words.
fn meets_the_floor(policy: &Policy, request: &PolicyRequest, got: &EffectivePolicy) -> bool {
    let overrides = request.application.as_ref().and_then(|name| policy.applications.get(name));
    let is_nist = policy.profile.is_some() || overrides.is_some_and(|overrides| overrides.profile.is_some());
    let floors = [
        Some(policy.verification_floor),
        overrides.and_then(|overrides| overrides.verification_floor),
        is_nist.then_some(VerificationMode::Enter),
    ];
    let floor = floors.into_iter().flatten().map(mode_strength).max().unwrap_or_default();
    let digits = policy.digits.max(overrides.and_then(|overrides| overrides.digits).unwrap_or_default());
    let digits = if is_nist { digits.max(6) } else { digits };
    let is_typed = matches!(got.mode, VerificationMode::Enter | VerificationMode::Display);
    let must_verify = policy.user_verification == UserVerification::Required
        || overrides.is_some_and(|overrides| overrides.user_verification == Some(UserVerification::Required));
    let longest = overrides.and_then(|overrides| overrides.challenge_ttl_seconds).unwrap_or(600);
    let is_high = request.risk.as_ref().is_some_and(|risk| risk.level == RiskLevel::High);
    let is_unusual = request.risk.as_ref().is_some_and(|risk| risk.level >= RiskLevel::Medium);
    mode_strength(got.mode) >= floor
        && (floor < 2 || got.digits >= Some(digits))
        && (!is_nist || (is_typed && got.digits >= Some(6)))
        && (!must_verify || got.user_verification == UserVerification::Required)
        && (10..=longest.min(600)).contains(&got.ttl_seconds)
        && (!is_high || !got.rings)
        && (!is_unusual || (is_typed && got.digits == Some(8)))
        && got.digits.is_some() == (got.mode != VerificationMode::None)
}

#[test]
fn no_combination_of_members_yields_a_challenge_weaker_than_the_floor() {
    let requests = requests();
    let mut accepted = 0;
    for policy in policies() {
        check::policy(&Policy { verification_mode: VerificationMode::Enter, ..policy.clone() }).unwrap();
        for request in &requests {
            if let Ok(got) = effective(&policy, request) {
                accepted += 1;
                assert!(meets_the_floor(&policy, request, &got), "{policy:?}\n{request:?}\n{got:?}");
            }
        }
    }
    assert!(accepted > 100_000, "only {accepted} were accepted: this tests nothing");
}

#[test]
fn who_asks_for_nothing_gets_six_typed_digits_for_two_minutes() {
    let got = effective(&Policy::default(), &PolicyRequest::default()).unwrap();
    assert_eq!((got.mode, got.digits, got.ttl_seconds), (VerificationMode::Enter, Some(6), 120));
    assert_eq!((got.user_verification, got.rings), (UserVerification::Preferred, true));
}

#[test]
fn required_user_verification_cannot_be_asked_away() {
    let policy = Policy { user_verification: UserVerification::Required, ..Policy::default() };
    let request = PolicyRequest { user_verification: Some(UserVerification::Discouraged), ..PolicyRequest::default() };
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
fn a_risk_leads_to_what_the_policy_says_and_never_to_less() {
    let policy = Policy::default();
    assert_eq!(effective(&policy, &at_risk(RiskLevel::Low)).unwrap().digits, Some(6));
    assert_eq!(effective(&policy, &at_risk(RiskLevel::Medium)).unwrap().digits, Some(8));
    assert!(!effective(&policy, &at_risk(RiskLevel::High)).unwrap().rings);
    for level in [RiskLevel::Medium, RiskLevel::High] {
        let plain = PolicyRequest { verification: asking(VerificationMode::None, None).verification, ..at_risk(level) };
        assert_eq!(effective(&policy, &plain), Err(PolicyRefusal::ModeBelowRisk), "what is worse asks for no less");
    }
    let wary = Policy { risk: RiskActions { low: RiskAction::LongerNumber, ..policy.risk }, ..policy };
    assert_eq!(effective(&wary, &PolicyRequest::default()).unwrap().digits, Some(8), "silence is no way round");
    let risk = RiskActions { high: RiskAction::Refuse, ..RiskActions::default() };
    let refusing = Policy { risk, ..Policy::default() };
    assert_eq!(effective(&refusing, &at_risk(RiskLevel::High)), Err(PolicyRefusal::RiskRefused));
}

#[test]
fn the_profile_holds_whatever_else_the_policy_says() {
    let lax = Policy {
        profile: Some(Profile::Nist80063b4),
        verification_mode: VerificationMode::None,
        digits: 2,
        ..Policy::default()
    };
    let got = effective(&lax, &PolicyRequest::default()).unwrap();
    assert_eq!((got.mode, got.digits, got.profile), (VerificationMode::Enter, Some(6), Some(Profile::Nist80063b4)));
    for mode in [VerificationMode::None, VerificationMode::Choose] {
        assert_eq!(effective(&lax, &asking(mode, None)), Err(PolicyRefusal::ModeBelowFloor));
    }
    assert_eq!(effective(&lax, &asking(VerificationMode::Display, None)).unwrap().digits, Some(6));
    assert_eq!(stricter::bound(&lax).enrollment_approval, EnrollmentApproval::ExistingDevice);
}

#[test]
fn an_application_keeps_its_cap_and_its_mode_whatever_becomes_of_the_tenants() {
    let overrides = PolicyOverrides {
        challenge_ttl_seconds: Some(60),
        verification_mode: Some(VerificationMode::Display),
        ..PolicyOverrides::default()
    };
    for ttl in [30, 60, 120] {
        let applications = [("VPN".to_owned(), overrides.clone())].into();
        let policy = Policy { challenge_ttl_seconds: ttl, applications, ..Policy::default() };
        let named = |ttl_seconds| PolicyRequest {
            application: Some("VPN".to_owned()),
            ttl_seconds,
            ..PolicyRequest::default()
        };
        let usual = effective(&policy, &named(None)).unwrap();
        assert_eq!((usual.ttl_seconds, usual.mode), (ttl.min(60), VerificationMode::Display));
        assert_eq!(effective(&policy, &named(Some(61))), Err(PolicyRefusal::TtlBelowFloor));
        assert_eq!(effective(&policy, &named(Some(60))).unwrap().ttl_seconds, 60);
    }
}

#[test]
fn a_profile_of_one_application_guards_the_enrollments_of_all() {
    let overrides = PolicyOverrides { profile: Some(Profile::Nist80063b4), ..PolicyOverrides::default() };
    let policy = Policy { applications: [("Payroll".to_owned(), overrides)].into(), ..Policy::default() };
    let bound = stricter::bound(&policy);
    assert!(bound.confirmation_required);
    assert_eq!((bound.enrollment_approval, bound.profile), (EnrollmentApproval::ExistingDevice, None));
    assert_eq!(bound.verification_floor, VerificationMode::None, "challenges of others stay as they are");
}

#[test]
fn each_member_says_who_decided_about_it() {
    let overrides = PolicyOverrides { digits: Some(8), ..PolicyOverrides::default() };
    let policy = Policy { applications: [("VPN".to_owned(), overrides)].into(), ..Policy::default() };
    let request =
        PolicyRequest { application: Some("VPN".to_owned()), ttl_seconds: Some(30), ..at_risk(RiskLevel::High) };
    let sources = resolve(&policy, &request).unwrap().sources;
    assert_eq!((sources.mode, sources.digits), (Source::Tenant, Source::Application));
    assert_eq!((sources.ttl_seconds, sources.rings), (Source::Request, Source::Risk));
}

#[test]
fn overrides_that_are_weaker_are_refused_and_those_that_became_so_do_nothing() {
    let tenant = Policy { digits: 6, verification_floor: VerificationMode::Enter, ..Policy::default() };
    let weaker = PolicyOverrides {
        digits: Some(4),
        verification_mode: Some(VerificationMode::None),
        allow_push: Some(true),
        lock_seconds: Some(1),
        ..PolicyOverrides::default()
    };
    let refused: Vec<_> =
        check::overrides(&tenant, "VPN", &weaker).unwrap_err().into_iter().map(|error| error.pointer).collect();
    assert_eq!(refused, ["/verification_mode", "/digits", "/lock_seconds"]);
    let policy = Policy { applications: [("VPN".to_owned(), weaker)].into(), ..tenant };
    let named = PolicyRequest { application: Some("VPN".to_owned()), ..PolicyRequest::default() };
    let (with, without) = (effective(&policy, &named).unwrap(), effective(&policy, &PolicyRequest::default()).unwrap());
    assert_eq!(with, without);
}

#[test]
fn a_policy_out_of_bounds_names_each_member() {
    let policy = Policy {
        digits: 9,
        challenge_ttl_seconds: 0,
        pushes_per_user: PushBudget { per_10_minutes: 21, since_approval: 0 },
        user_verification_methods: Vec::new(),
        risk: RiskActions { low: RiskAction::Refuse, ..RiskActions::default() },
        verification_mode: VerificationMode::None,
        verification_floor: VerificationMode::Choose,
        applications: [("a\u{202e}".to_owned(), PolicyOverrides::default())].into(),
        ..Policy::default()
    };
    let pointers: Vec<_> = check::policy(&policy).unwrap_err().into_iter().map(|error| error.pointer).collect();
    let expected = [
        "/digits",
        "/challenge_ttl_seconds",
        "/pushes_per_user/per_10_minutes",
        "/user_verification_methods",
        "/risk",
        "/verification_mode",
        "/applications/a\u{202e}",
        "/applications/a\u{202e}/user_verification_methods",
    ];
    assert_eq!(pointers, expected);
}

#[test]
fn a_stored_policy_with_an_unknown_setting_is_refused_rather_than_ignored() {
    assert!(serde_json::from_str::<Policy>(r#"{"verification_flour":"enter"}"#).is_err());
    assert!(serde_json::from_str::<Policy>(r#"{"risk":{"hihg":"refuse"}}"#).is_err());
    assert!(serde_json::from_str::<Policy>(r#"{"dormant_after_days":null}"#).is_err());
}

#[test]
fn an_effective_policy_reads_back_as_it_was_written() {
    let policy = Policy {
        allow_push: false,
        fast_approval: FastApproval::Refuse,
        max_pending_per_user: 1,
        quiet_seconds_after_report: 0,
        on_report: ReportAction::Lock,
        user_verification_methods: vec![UvMethod::Pin],
        pushes_per_user: PushBudget { per_10_minutes: 0, since_approval: 1 },
        ..Policy::default()
    };
    for policy in [Policy::default(), policy] {
        let effective = effective(&policy, &PolicyRequest::default()).unwrap();
        let text = serde_json::to_string(&effective).unwrap();
        assert_eq!(serde_json::from_str::<EffectivePolicy>(&text).unwrap(), effective);
    }
}
