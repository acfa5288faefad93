//! Tickets, claims and confirmations.

use countersign_core::{
    actor::Stamp,
    device::KeyRole,
    event::{Event, EventKind, Subjects},
    limits::MAX_WRONG_CODES,
    ports::enrollments::{Activation, ClaimOutcome, ClaimTicket, ConfirmEnrollment, ConfirmOutcome},
};
use countersign_proto::{
    ids::{DeviceId, EnrollmentId},
    vocabulary::{DeviceStatus, EnrollmentStatus},
};

use super::{Invitation, Outcome, Sabotage, Store};
use crate::simulation::tables::{Device, Enrollment, View};

impl Store {
    pub(super) fn invite(&self, view: &mut View<'_>, command: &Invitation) -> (bool, Outcome) {
        let stamp = &command.stamp;
        let user = view.user_of(stamp.tenant_id, command.user).filter(|user| !user.is_erased);
        if user.is_none() {
            return (false, Outcome::Done(false));
        }
        let row = Enrollment {
            tenant: stamp.tenant_id,
            user: command.user,
            ticket: command.ticket,
            status: EnrollmentStatus::Pending,
            expires_at: command.expires_at,
            device: None,
            key: None,
            code: None,
            wrong_codes: 0,
        };
        view.writes.enrollments.insert(command.id, row);
        self.tell(view, Event::new(stamp, EventKind::EnrollmentCreated, about(command.user, command.id, None)));
        (true, Outcome::Done(true))
    }

    pub(super) fn claim(&self, view: &mut View<'_>, command: &ClaimTicket) -> (bool, Outcome) {
        let (stamp, id) = (&command.stamp, command.enrollment_id);
        let claimed = Outcome::Claimed;
        let Some(enrollment) = view.enrollment(id).cloned() else { return (false, claimed(ClaimOutcome::NotFound)) };
        let is_unused = enrollment.status == EnrollmentStatus::Pending || self.is_sabotaged(Sabotage::TicketReused);
        if !is_unused || enrollment.expires_at <= stamp.at || enrollment.user != command.user_id {
            let is_contest = enrollment.status == EnrollmentStatus::Claimed
                && enrollment.expires_at > stamp.at
                && enrollment.key.as_ref() != Some(&command.device_key.thumbprint);
            if is_contest {
                self.end_enrollment(view, stamp, id, EnrollmentStatus::Cancelled, EventKind::EnrollmentContested);
            }
            return (is_contest, claimed(ClaimOutcome::NotFound));
        }
        if view.base.keys.contains_key(&command.device_key.thumbprint) {
            return (false, claimed(ClaimOutcome::KeyAlreadyRegistered));
        }
        if view.user(command.user_id).is_none_or(|user| user.device_count >= command.max_devices_per_user) {
            return (false, claimed(ClaimOutcome::TooManyDevices));
        }
        let (status, binding, code) = match &command.activation {
            Activation::ByCode(code) => (EnrollmentStatus::Claimed, None, Some(code.clone())),
            Activation::AtOnce(binding) => (EnrollmentStatus::Completed, Some(binding.clone()), None),
        };
        let device = Device {
            tenant: stamp.tenant_id,
            user: command.user_id,
            status: if binding.is_some() { DeviceStatus::Active } else { DeviceStatus::PendingConfirmation },
            key: command.device_key.thumbprint.clone(),
            uv_key: None,
            binding,
            keys_changed_at: None,
            is_token_gone: false,
        };
        view.writes.devices.insert(command.device_id, Some(device));
        view.writes.keys.insert(command.device_key.thumbprint.clone(), (command.device_id, KeyRole::Device));
        view.change_enrollment(id, |enrollment| {
            enrollment.status = status;
            enrollment.device = Some(command.device_id);
            enrollment.key = Some(command.device_key.thumbprint.clone());
            enrollment.code = code;
        });
        view.change_user(command.user_id, |user| {
            user.device_count += 1;
            user.devices_version += 1;
        });
        view.writes.replies.insert(command.reply.artefact.0, command.reply.body.clone());
        let subjects = about(command.user_id, id, Some(command.device_id));
        self.tell(view, Event::new(stamp, EventKind::EnrollmentClaimed, subjects));
        (true, claimed(ClaimOutcome::Claimed))
    }

    pub(super) fn confirm(&self, view: &mut View<'_>, command: &ConfirmEnrollment) -> (bool, Outcome) {
        let (stamp, id) = (&command.stamp, command.id);
        let found = view.enrollment(id).filter(|enrollment| enrollment.tenant == stamp.tenant_id).cloned();
        let Some(enrollment) = found else { return (false, Outcome::Confirmed(ConfirmOutcome::NotFound)) };
        let is_right = enrollment.code.as_deref() == Some(command.code.as_str());
        let is_open = matches!(enrollment.status, EnrollmentStatus::Pending | EnrollmentStatus::Claimed);
        if enrollment.status != EnrollmentStatus::Claimed
            || enrollment.expires_at <= stamp.at
            || enrollment.device != Some(command.device_id)
        {
            let outcome = match enrollment.status {
                _ if is_open && enrollment.expires_at <= stamp.at => ConfirmOutcome::Closed(EnrollmentStatus::Expired),
                _ if is_open => ConfirmOutcome::NotClaimed,
                EnrollmentStatus::Completed if is_right => ConfirmOutcome::AlreadyCompleted,
                status => ConfirmOutcome::Closed(status),
            };
            return (false, Outcome::Confirmed(outcome));
        }
        if is_right {
            view.change_enrollment(id, |enrollment| enrollment.status = EnrollmentStatus::Completed);
            view.change_device(command.device_id, |device| {
                device.status = DeviceStatus::Active;
                device.binding = Some(command.binding.clone());
            });
            view.change_user(enrollment.user, |user| user.devices_version += 1);
            let subjects = about(enrollment.user, id, Some(command.device_id));
            self.tell(view, Event::new(stamp, EventKind::DeviceConfirmed, subjects));
            return (true, Outcome::Confirmed(ConfirmOutcome::Completed));
        }
        let wrong_codes = enrollment.wrong_codes + u32::from(!self.is_sabotaged(Sabotage::CodesNotCounted));
        view.change_enrollment(id, |enrollment| enrollment.wrong_codes = wrong_codes);
        let attempts_left = MAX_WRONG_CODES.saturating_sub(wrong_codes);
        if attempts_left == 0 {
            self.end_enrollment(view, stamp, id, EnrollmentStatus::Cancelled, EventKind::EnrollmentCancelled);
        }
        (true, Outcome::Confirmed(ConfirmOutcome::WrongCode { attempts_left }))
    }

    pub(super) fn expire_enrollment(&self, view: &mut View<'_>, stamp: &Stamp, id: EnrollmentId) -> (bool, Outcome) {
        let is_open = |status| matches!(status, EnrollmentStatus::Pending | EnrollmentStatus::Claimed);
        let enrollment = view.enrollment(id).filter(|row| is_open(row.status) && row.expires_at <= stamp.at);
        if enrollment.is_none() {
            return (false, Outcome::Done(false));
        }
        self.end_enrollment(view, stamp, id, EnrollmentStatus::Expired, EventKind::EnrollmentExpired);
        (true, Outcome::Done(true))
    }

    /// Ends an enrollment; the device that waits for its code is deleted.
    fn end_enrollment(
        &self,
        view: &mut View<'_>,
        stamp: &Stamp,
        id: EnrollmentId,
        status: EnrollmentStatus,
        kind: EventKind,
    ) {
        let Some(enrollment) = view.enrollment(id).cloned() else { return };
        view.change_enrollment(id, |enrollment| {
            enrollment.status = status;
            enrollment.code = None;
        });
        let is_waiting =
            |device: DeviceId| view.device(device).is_some_and(|row| row.status == DeviceStatus::PendingConfirmation);
        if let Some(device) = enrollment.device.filter(|device| is_waiting(*device)) {
            view.writes.devices.insert(device, None);
            view.change_user(enrollment.user, |user| {
                user.device_count = user.device_count.saturating_sub(1);
                user.devices_version += 1;
            });
        }
        self.tell(view, Event::new(stamp, kind, about(enrollment.user, id, enrollment.device)));
    }

    /// The enrollment that still waits for this device's confirmation ends with the device.
    pub(super) fn cancel_enrollment_of(&self, view: &mut View<'_>, stamp: &Stamp, device: DeviceId) {
        let claimed = |row: &Enrollment| row.device == Some(device) && row.status == EnrollmentStatus::Claimed;
        let found = view.base.enrollments.iter().find(|(_, row)| claimed(row)).map(|(id, _)| *id);
        if let Some(id) = found {
            self.end_enrollment(view, stamp, id, EnrollmentStatus::Cancelled, EventKind::EnrollmentCancelled);
        }
    }
}

fn about(user: countersign_proto::ids::UserId, id: EnrollmentId, device: Option<DeviceId>) -> Subjects {
    Subjects { user_id: Some(user), device_id: device, enrollment_id: Some(id), ..Subjects::default() }
}
