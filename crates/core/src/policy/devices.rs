//! What a policy asks of devices, and which of them an organisation should look after (protocol 5.4, 9).
//!
//! Never refuses anything: a device below what is asked still works, is told so, and is listed. A version that nobody
//! can compare is unknown, which is neither too old nor new enough.
//! To add a reason: the vocabulary's `RiskReason`, its line in [`risks`].

use countersign_proto::{
    ids::DeviceId,
    timestamp::Timestamp,
    vocabulary::{Platform, RiskReason, UpdateState, UserVerification},
};
use std::collections::BTreeMap;

use super::{DeviceRequirements, Policy};
use crate::{
    device::{self, DeviceVersions},
    ports::users::UserName,
    version::Version,
};

/// What the report of devices at risk looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceStanding {
    /// The device.
    pub id: DeviceId,
    /// Its user.
    pub user: UserName,
    /// Its name.
    pub name: String,
    /// Its platform, and the versions that it told.
    pub versions: DeviceVersions,
    /// Whether it has a uv key.
    pub has_uv_key: bool,
    /// Whether its push token is gone.
    pub push_token_gone: bool,
    /// Whether its provider refuses the token.
    pub is_push_undeliverable: bool,
    /// When it became active.
    pub activated_at: Option<Timestamp>,
    /// When it last decided a challenge.
    pub last_decision_at: Option<Timestamp>,
    /// When it last asked for its challenges.
    pub last_pull_at: Option<Timestamp>,
    /// Since when a report of fraud about its user waits.
    pub reported_at: Option<Timestamp>,
    /// Until when its user is locked.
    pub locked_until: Option<Timestamp>,
}

/// Whether a device is as new as it is asked to be: too old if anything is, unknown if anything else is.
pub fn update_state(asked: &DeviceRequirements, versions: &DeviceVersions) -> UpdateState {
    app_state(asked, versions).max(os_state(asked, versions))
}

/// Whether a device must have a uv key.
pub fn needs_uv_key(policy: &Policy) -> bool {
    policy.device_requirements.user_verification_key || policy.user_verification == UserVerification::Required
}

/// Why the organisation with this policy (its profile applied) should look after a device; nothing if it need not.
pub fn risks(policy: &Policy, device: &DeviceStanding, now: Timestamp) -> Vec<RiskReason> {
    let asked = &policy.device_requirements;
    let app = match app_state(asked, &device.versions) {
        UpdateState::Current => None,
        UpdateState::Unknown => Some(RiskReason::AppVersionUnknown),
        UpdateState::UpdateRequired => Some(RiskReason::AppVersionTooOld),
    };
    let os = match os_state(asked, &device.versions) {
        UpdateState::Current => None,
        UpdateState::Unknown => Some(RiskReason::OsVersionUnknown),
        UpdateState::UpdateRequired => Some(RiskReason::OsVersionTooOld),
    };
    let lacks_key = needs_uv_key(policy) && !device.has_uv_key;
    let is_locked = device.locked_until.is_some_and(|until| until > now);
    let found = [
        app,
        os,
        lacks_key.then_some(RiskReason::NoUserVerificationKey),
        is_dormant(policy, device, now).then_some(RiskReason::Dormant),
        device.push_token_gone.then_some(RiskReason::PushTokenGone),
        device.is_push_undeliverable.then_some(RiskReason::PushUndeliverable),
        device.reported_at.map(|_| RiskReason::UserReported),
        is_locked.then_some(RiskReason::UserLocked),
    ];
    found.into_iter().flatten().collect()
}

fn is_dormant(policy: &Policy, device: &DeviceStanding, now: Timestamp) -> bool {
    let last_used_at = device.last_decision_at.max(device.activated_at);
    last_used_at.is_some_and(|at| device::is_dormant(at, policy.dormant_after_days, now))
}

fn app_state(asked: &DeviceRequirements, versions: &DeviceVersions) -> UpdateState {
    compare(&asked.minimum_app_versions, versions.platform, versions.app_version.as_deref())
}

fn os_state(asked: &DeviceRequirements, versions: &DeviceVersions) -> UpdateState {
    compare(&asked.minimum_os_versions, versions.platform, versions.os_version.as_deref())
}

fn compare(minimums: &BTreeMap<Platform, String>, platform: Platform, told: Option<&str>) -> UpdateState {
    let Some(minimum) = minimums.get(&platform) else { return UpdateState::Current };
    match (told.and_then(Version::parse), Version::parse(minimum)) {
        (Some(told), Some(minimum)) if told < minimum => UpdateState::UpdateRequired,
        (Some(_), Some(_)) => UpdateState::Current,
        _ => UpdateState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use countersign_proto::ids::Id;
    use uuid::Uuid;

    use super::*;

    fn told(app_version: Option<&str>, os_version: Option<&str>) -> DeviceVersions {
        let own = |text: Option<&str>| text.map(str::to_owned);
        DeviceVersions { platform: Platform::Ios, app_version: own(app_version), os_version: own(os_version) }
    }

    fn asking(app: &str, os: &str) -> DeviceRequirements {
        DeviceRequirements {
            user_verification_key: false,
            minimum_app_versions: [(Platform::Ios, app.to_owned())].into(),
            minimum_os_versions: [(Platform::Ios, os.to_owned())].into(),
        }
    }

    fn standing() -> DeviceStanding {
        let at = Timestamp::from_seconds(1_800_000_000);
        DeviceStanding {
            id: Id::from_uuid(Uuid::nil()),
            user: UserName { id: Id::from_uuid(Uuid::nil()), external_id: "ada".to_owned(), display_name: None },
            name: "Phone".to_owned(),
            versions: told(Some("2.0"), Some("17")),
            has_uv_key: true,
            push_token_gone: false,
            is_push_undeliverable: false,
            activated_at: Some(at),
            last_decision_at: None,
            last_pull_at: None,
            reported_at: None,
            locked_until: None,
        }
    }

    #[test]
    fn a_device_is_too_old_if_anything_is_and_unknown_if_nobody_can_say() {
        let asked = asking("2.1", "17");
        for (app, os, state) in [
            (Some("2.1"), Some("17.0"), UpdateState::Current),
            (Some("2.10"), Some("18"), UpdateState::Current),
            (Some("2.0.9"), Some("18"), UpdateState::UpdateRequired),
            (Some("2.1"), Some("16.9"), UpdateState::UpdateRequired),
            (None, Some("16"), UpdateState::UpdateRequired),
            (Some("nightly"), Some("17"), UpdateState::Unknown),
            (Some("2.1"), None, UpdateState::Unknown),
            (Some(""), Some("\u{661}7"), UpdateState::Unknown),
        ] {
            assert_eq!(update_state(&asked, &told(app, os)), state, "{app:?} {os:?}");
        }
        let other = DeviceVersions { platform: Platform::Android, ..told(None, None) };
        assert_eq!(update_state(&asked, &other), UpdateState::Current, "nothing is asked of this platform");
    }

    #[test]
    fn every_risk_is_found_and_none_where_nothing_is_wrong() {
        let now = Timestamp::from_seconds(1_800_000_000 + 10 * 24 * 60 * 60);
        let policy = Policy {
            dormant_after_days: Some(10),
            device_requirements: DeviceRequirements { user_verification_key: true, ..asking("2.1", "17") },
            ..Policy::default()
        };
        assert_eq!(risks(&Policy::default(), &standing(), now), []);
        let answered =
            DeviceStanding { last_decision_at: Some(now), versions: told(Some("3"), Some("17")), ..standing() };
        assert_eq!(risks(&policy, &answered, now), []);
        let worst = DeviceStanding {
            has_uv_key: false,
            push_token_gone: true,
            is_push_undeliverable: true,
            reported_at: Some(now),
            locked_until: Some(now.plus_seconds(1)),
            ..standing()
        };
        use RiskReason as R;
        let all = [
            R::AppVersionTooOld,
            R::NoUserVerificationKey,
            R::Dormant,
            R::PushTokenGone,
            R::PushUndeliverable,
            R::UserReported,
            R::UserLocked,
        ];
        assert_eq!(risks(&policy, &worst, now), all);
        let unknown = DeviceStanding { versions: told(Some("v1"), Some("x")), ..answered };
        assert_eq!(risks(&policy, &unknown, now), [R::AppVersionUnknown, R::OsVersionUnknown]);
    }
}
