//! Revoking by filter (protocol 10.7): which devices are meant, as a pure function of a device and the time of the dry run.
//!
//! What the filter means is fixed by the dry run's time: a device that registered after it, or began to match only because
//! time went on, is never meant. Decides nothing about a single device's status: each is revoked as any other is.
//! To add a condition: a member of the wire's filter, and its line in [`check_filter`] or [`Selection::means`].

use countersign_proto::{
    api::revocations::RevokeFilter, problem::FieldError, timestamp::Timestamp, vocabulary::DeviceStatus,
};

use crate::{
    device::{DeviceRecord, is_dormant},
    ports::devices::DeviceFilter,
    text::Checker,
    version::Version,
};

/// A checked filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// What the store looks for; without a status: those that were revoked since the dry run are looked at, too.
    devices: DeviceFilter,
    status: Option<DeviceStatus>,
    app_version_below: Option<Version>,
    inactive_for_days: Option<u32>,
}

/// What a device is to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    /// To be revoked.
    Yes,
    /// It was revoked after the dry run, probably by this very run.
    Done,
    /// Not meant.
    No,
}

/// Checks a filter.
///
/// # Errors
/// The members at fault; the empty filter, which would mean everybody.
pub fn check_filter(filter: &RevokeFilter) -> Result<Selection, Vec<FieldError>> {
    let mut checker = Checker::default();
    if *filter == RevokeFilter::default() {
        checker.refuse("/filter", "must name something: an empty filter would mean every device");
    }
    let external_id = filter.external_id.as_deref().map(|id| checker.external_id("/filter/external_id", id));
    let installation_id = filter.installation_id.as_deref();
    let installation_id = checker.optional_text("/filter/installation_id", installation_id, 1, 128);
    let app_id = checker.optional_text("/filter/app_id", filter.app_id.as_deref(), 1, 128);
    if filter.status == Some(DeviceStatus::Revoked) {
        checker.refuse("/filter/status", "must be active, suspended or pending_confirmation");
    }
    let app_version_below = filter.app_version_below.as_deref().and_then(|text| {
        let version = Version::parse(text);
        if version.is_none() {
            checker.refuse("/filter/app_version_below", "must be dotted decimal numbers, at most six");
        }
        version
    });
    if let Some(days) = filter.inactive_for_days {
        checker.range("/filter/inactive_for_days", days.into(), 1, 3_650);
    }
    checker.finish()?;
    let devices = DeviceFilter {
        user_id: filter.user_id,
        external_id,
        status: None,
        platform: filter.platform,
        installation_id,
        app_id,
        created_after: filter.created_after,
        created_before: filter.created_before,
    };
    let (status, inactive_for_days) = (filter.status, filter.inactive_for_days);
    Ok(Selection { devices, status, app_version_below, inactive_for_days })
}

impl Selection {
    /// What the store is asked for: nothing that registered after `as_of`.
    pub fn devices(&self, as_of: Timestamp) -> DeviceFilter {
        let end = as_of.plus_millis(1);
        let created_before = Some(self.devices.created_before.map_or(end, |before| before.min(end)));
        DeviceFilter { created_before, ..self.devices.clone() }
    }

    /// Whether a device that the store found is meant, as things were at `as_of`.
    pub fn means(&self, device: &DeviceRecord, as_of: Timestamp) -> Meant {
        let version = device.description.app_version.as_deref().and_then(Version::parse);
        let is_old = self.app_version_below.is_none_or(|below| version.is_some_and(|version| version < below));
        let is_inactive =
            self.inactive_for_days.is_none_or(|days| is_dormant(device.last_used_at(), Some(days), as_of));
        if !is_old || !is_inactive {
            return Meant::No;
        }
        match (device.status, self.status) {
            (DeviceStatus::Revoked, _) if device.revoked_at.is_some_and(|at| at > as_of) => Meant::Done,
            (DeviceStatus::Active | DeviceStatus::Suspended, None) => Meant::Yes,
            (status, Some(wanted)) if status == wanted => Meant::Yes,
            _ => Meant::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(filter: &RevokeFilter) -> Vec<String> {
        check_filter(filter).unwrap_err().into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn an_empty_filter_means_nobody() {
        assert_eq!(refused(&RevokeFilter::default()), ["/filter"]);
    }

    #[test]
    fn members_that_break_a_rule_are_named() {
        let filter = RevokeFilter {
            external_id: Some(" ada".to_owned()),
            installation_id: Some(String::new()),
            status: Some(DeviceStatus::Revoked),
            app_version_below: Some("v2".to_owned()),
            inactive_for_days: Some(0),
            ..RevokeFilter::default()
        };
        let all = ["external_id", "installation_id", "status", "app_version_below", "inactive_for_days"];
        assert_eq!(refused(&filter), all.map(|name| format!("/filter/{name}")));
    }

    #[test]
    fn nothing_that_registered_after_the_dry_run_is_looked_for() {
        let as_of = Timestamp::from_seconds(1_800_000_000);
        let platform =
            RevokeFilter { platform: Some(countersign_proto::vocabulary::Platform::Ios), ..RevokeFilter::default() };
        let end = |filter: &RevokeFilter| check_filter(filter).unwrap().devices(as_of).created_before.unwrap();
        assert_eq!(end(&platform), as_of.plus_millis(1));
        let earlier = as_of.plus_seconds(-10);
        assert_eq!(end(&RevokeFilter { created_before: Some(earlier), ..platform.clone() }), earlier);
        let later = as_of.plus_seconds(10);
        assert_eq!(end(&RevokeFilter { created_before: Some(later), ..platform }), as_of.plus_millis(1));
    }
}
