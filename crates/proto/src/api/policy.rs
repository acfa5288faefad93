//! An organisation's policy: as the API shows it, as `countersign policy` reads it, as the database keeps it
//! (protocol 9).
//!
//! Data and defaults only; what follows from it is in `countersign_core::policy`. Absent members have the defaults,
//! unknown ones are refused: a setting that is misspelt must not be one that is silently weaker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::challenges::{AppliedPolicy, RequestedVerification, Risk, Verification},
    api::users::UserReference,
    problem::FieldError,
    timestamp::Timestamp,
    vocabulary::{
        ClientAuthentication, EnrollmentApproval, FastApproval, Platform, PolicySource, Profile, ReportAction,
        RiskAction, UpdateState, UserVerification, UvMethod, VerificationMode,
    },
};

/// A tenant's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Grows by one with each change, of the policy or of an application's overrides. Set by the server.
    pub version: u32,
    /// Holds the policy to a standard, whatever the other members say.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// What a challenge gets whose caller asks for nothing.
    pub verification_mode: VerificationMode,
    /// Digits of a typed number; 2–8.
    pub digits: u8,
    /// The weakest mode that a caller may ask for; with `enter`, `digits` is a floor too.
    pub verification_floor: VerificationMode,
    /// Whether a PIN or biometric on the phone is needed. `required` is a floor.
    pub user_verification: UserVerification,
    /// The ways of checking the person that count; a uv key used in another way proves possession only.
    pub user_verification_methods: Vec<UvMethod>,
    /// How long a challenge lives if the caller does not say; 10–600.
    pub challenge_ttl_seconds: i64,
    /// Pending, active and suspended devices of one user; 1–100.
    pub max_devices_per_user: u32,
    /// Whether an enrollment without a confirmation code is refused.
    pub confirmation_required: bool,
    /// Who has to agree to one more device.
    pub enrollment_approval: EnrollmentApproval,
    /// How API clients prove who they are.
    pub client_authentication: ClientAuthentication,
    /// Whether anybody is rung at all.
    pub allow_push: bool,
    /// How often a user is rung for challenges.
    pub pushes_per_user: PushBudget,
    /// Pending challenges of a user beyond which further ones ring nobody; 1–20.
    pub max_pending_per_user: u32,
    /// How long pushes stop after a report of fraud; 0–86400.
    pub quiet_seconds_after_report: i64,
    /// What a report of fraud does to the user.
    pub on_report: ReportAction,
    /// Consecutive wrong numbers or codes that lock the user; 1–100.
    pub wrong_numbers_before_lock: u32,
    /// How long such a lock lasts; 1–31536000.
    pub lock_seconds: i64,
    /// What the caller's judgement of the risk leads to.
    pub risk: RiskActions,
    /// What becomes of an approve within 400 ms of the device's first fetch.
    pub fast_approval: FastApproval,
    /// A device that has decided nothing for so long is addressed no more; 1–3650. Absent: never.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub dormant_after_days: Option<u32>,
    /// What devices have to be.
    pub device_requirements: DeviceRequirements,
    /// Stricter policies of single applications, by the challenge's `application`; at most 100.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub applications: BTreeMap<String, PolicyOverrides>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            version: 1,
            profile: None,
            verification_mode: VerificationMode::Enter,
            digits: 6,
            verification_floor: VerificationMode::None,
            user_verification: UserVerification::Preferred,
            user_verification_methods: vec![UvMethod::Pin, UvMethod::Fpt, UvMethod::Face, UvMethod::Other],
            challenge_ttl_seconds: 120,
            max_devices_per_user: 10,
            confirmation_required: false,
            enrollment_approval: EnrollmentApproval::None,
            client_authentication: ClientAuthentication::ApiKey,
            allow_push: true,
            pushes_per_user: PushBudget::default(),
            max_pending_per_user: 3,
            quiet_seconds_after_report: 1_800,
            on_report: ReportAction::Flag,
            wrong_numbers_before_lock: 5,
            lock_seconds: 900,
            risk: RiskActions::default(),
            fast_approval: FastApproval::Flag,
            dormant_after_days: None,
            device_requirements: DeviceRequirements::default(),
            applications: BTreeMap::new(),
        }
    }
}

/// How often a user is rung: a challenge counts once, however many devices it rings. Beyond, it rings nobody and is
/// found by pulling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PushBudget {
    /// In any ten minutes; 0–20.
    pub per_10_minutes: u32,
    /// Since the user last approved; 0–1000.
    pub since_approval: u32,
}

impl Default for PushBudget {
    fn default() -> Self {
        Self { per_10_minutes: 5, since_approval: 10 }
    }
}

/// What each level of risk leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RiskActions {
    /// For `low`.
    pub low: RiskAction,
    /// For `medium`.
    pub medium: RiskAction,
    /// For `high`.
    pub high: RiskAction,
}

impl Default for RiskActions {
    fn default() -> Self {
        Self { low: RiskAction::Push, medium: RiskAction::LongerNumber, high: RiskAction::PullOnly }
    }
}

/// What devices have to be. A device below it still works; it is told, and listed as at risk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceRequirements {
    /// Whether a device must have a uv key.
    pub user_verification_key: bool,
    /// The oldest `app_version` by platform, dotted numbers such as `2.4.1`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub minimum_app_versions: BTreeMap<Platform, String>,
    /// The oldest `os_version` by platform.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub minimum_os_versions: BTreeMap<Platform, String>,
}

/// What an application asks for beyond the tenant's policy. Absent members are the tenant's; of a member that both
/// have, the stricter holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyOverrides {
    /// As in [`Policy`]; only if the tenant has none.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// As strong as the tenant's, or stronger.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub verification_mode: Option<VerificationMode>,
    /// As many as the tenant's, or more.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub digits: Option<u8>,
    /// As strong as the tenant's, or stronger.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub verification_floor: Option<VerificationMode>,
    /// As strict as the tenant's, or stricter.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub user_verification: Option<UserVerification>,
    /// Some of the tenant's.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub user_verification_methods: Option<Vec<UvMethod>>,
    /// As short as the tenant's, or shorter. Also the longest that a caller may ask for.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub challenge_ttl_seconds: Option<i64>,
    /// `false`, or as the tenant's.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub allow_push: Option<bool>,
    /// As few as the tenant's, or fewer.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub wrong_numbers_before_lock: Option<u32>,
    /// As long as the tenant's, or longer.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub lock_seconds: Option<i64>,
    /// Each level as strict as the tenant's, or stricter.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub risk: Option<RiskActions>,
    /// As strict as the tenant's, or stricter.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub fast_approval: Option<FastApproval>,
}

/// `POST /v1/policy/dry-run`: a challenge that is not made. The members that it shares with a real one are as there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DryRun {
    /// Who would be asked. Absent: anybody.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub user: Option<UserReference>,
    /// What the person would sign in to.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// How the person would prove to look at the sign-in.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub verification: Option<RequestedVerification>,
    /// Whether the phone would have to check a PIN or biometric.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub user_verification: Option<UserVerification>,
    /// How long it would live.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<i64>,
    /// Whether the devices would be rung; `true` if absent.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub push: Option<bool>,
    /// What the caller would think of the sign-in.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    /// A policy to try; absent: the one in force. Its `version` means nothing.
    #[serde(deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

/// What would happen to a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DryRunResult {
    /// Whether it would be made.
    pub outcome: DryRunOutcome,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<DryRunProblem>,
    /// The policy that would hold.
    pub policy: AppliedPolicy,
    /// How the person would prove to look at the sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// Whether the phone would have to check a PIN or biometric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_verification: Option<UserVerification>,
    /// How long it would live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<i64>,
    /// Whether anybody would be rung.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushPlan>,
    /// Which rule decided about what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<DecidedBy>,
    /// What is known of the user that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<DryRunUser>,
}

/// Whether a challenge would be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DryRunOutcome {
    /// It would.
    Created,
    /// It would not.
    Refused,
}

/// Whether anybody would be rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PushPlan {
    /// Every device that can be.
    Ring,
    /// Nobody: the policy, or what it says to the risk, lets the person open the app.
    PullOnly,
    /// Nobody: the caller does not want it.
    None,
}

/// The problem that a request would be answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DryRunProblem {
    /// The last part of its `type`.
    #[schema(example = "below-policy-floor")]
    pub slug: String,
    /// The status.
    pub status: u16,
    /// What it would say.
    pub detail: String,
    /// The members at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// Which rule decided about what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DecidedBy {
    /// About the mode.
    pub verification_mode: PolicySource,
    /// About the digits.
    pub digits: PolicySource,
    /// About user verification.
    pub user_verification: PolicySource,
    /// About the life time.
    pub ttl_seconds: PolicySource,
    /// About push.
    pub push: PolicySource,
}

/// What is known of the user that a dry run asked for. An unknown one looks like one without devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DryRunUser {
    /// How many devices would be asked.
    pub eligible_devices: u32,
    /// Until when the user's approvals are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
}

/// `GET /v1/device/policy` (protocol 5.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedPolicy {
    /// `countersign-policy+jwt`.
    pub policy: String,
    /// What follows from it for the device, as it registered.
    pub update: UpdateState,
    /// The server's time.
    pub server_time: Timestamp,
}
