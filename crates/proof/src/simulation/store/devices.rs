//! Devices: the barrier, and the replacement of keys.

use countersign_core::{
    device::{KeyRole, StatusChange, Transition, transition},
    event::{Event, EventKind, Subjects},
    limits::KEY_ROTATION_PAUSE_SECONDS,
    ports::devices::{ChangeDeviceStatus, RotateKeys, RotateKeysOutcome},
};
use countersign_proto::{
    ids::DeviceId,
    vocabulary::{ChallengeReason, DeliveryState, DeviceStatus},
};

use super::{Outcome, Sabotage, StatusOutcome, Store};
use crate::simulation::tables::View;

impl Store {
    pub(super) fn status(&self, view: &mut View<'_>, command: &ChangeDeviceStatus) -> (bool, Outcome) {
        let (stamp, id) = (&command.stamp, command.device_id);
        let found = view.device(id).filter(|device| device.tenant == stamp.tenant_id).cloned();
        let Some(device) = found else { return (false, Outcome::Status(StatusOutcome::NotFound)) };
        if command.key.as_ref().is_some_and(|key| *key != device.key) {
            return (false, Outcome::Status(StatusOutcome::StaleKey));
        }
        let to = match transition(device.status, command.change) {
            Transition::Impossible => return (false, Outcome::Status(StatusOutcome::Impossible(device.status))),
            Transition::Already => return (false, Outcome::Status(StatusOutcome::Already(device.status))),
            Transition::To(to) => to,
        };
        view.change_device(id, |device| device.status = to);
        view.change_user(device.user, |user| {
            user.devices_version += 1;
            user.device_count = user.device_count.saturating_sub(u32::from(to == DeviceStatus::Revoked));
        });
        let (kind, reason) = match command.change {
            StatusChange::Suspend => (EventKind::DeviceSuspended, Some(ChallengeReason::DeviceSuspended)),
            StatusChange::Resume => (EventKind::DeviceResumed, None),
            StatusChange::Revoke(_) => (EventKind::DeviceRevoked, Some(ChallengeReason::DeviceRevoked)),
        };
        let subjects = Subjects { user_id: Some(device.user), device_id: Some(id), ..Subjects::default() };
        self.tell(view, Event::new(stamp, kind, subjects));
        if to == DeviceStatus::Revoked {
            self.cancel_enrollment_of(view, stamp, id);
        }
        let mut cancelled = Vec::new();
        if let Some(reason) = reason {
            cancelled = self.cancel_challenges_of(view, stamp, (device.user, id), reason);
            self.forget_pushes(view, id);
        }
        if let Some(reply) = &command.reply {
            view.writes.replies.insert(reply.artefact.0, reply.body.clone());
        }
        (true, Outcome::Status(StatusOutcome::Changed(cancelled)))
    }

    /// Nothing more is sent to the device.
    pub(super) fn forget_pushes(&self, view: &mut View<'_>, device: DeviceId) {
        if self.is_sabotaged(Sabotage::RevokedRung) {
            return;
        }
        let pushes = view.base.notifications.iter().filter(|(_, push)| push.device == device);
        let pushes: Vec<_> = pushes.map(|(id, push)| (*id, push.challenge)).collect();
        for (id, challenge) in pushes {
            view.writes.notifications.insert(id, None);
            if let Some(challenge) = challenge {
                view.writes.deliveries.insert((challenge, device), DeliveryState::Withdrawn);
            }
        }
    }

    pub(super) fn rotate(&self, view: &mut View<'_>, command: &RotateKeys) -> (bool, Outcome) {
        let (stamp, id) = (&command.stamp, command.device_id);
        let rotated = Outcome::Rotated;
        let Some(device) = view.device(id).cloned() else { return (false, rotated(RotateKeysOutcome::StaleKey)) };
        let binding = device.binding.as_ref().map(|binding| binding.id);
        if binding == Some(command.binding.id) {
            // This command was committed before, and only the answer was lost.
            return (false, rotated(RotateKeysOutcome::Rotated));
        }
        if device.status != DeviceStatus::Active {
            return (false, rotated(RotateKeysOutcome::NotActive(device.status)));
        }
        let is_current = device.key == command.key || device.uv_key.as_ref() == Some(&command.key);
        if !is_current || binding != Some(command.binding_id) || (command.uv_key.is_some() && device.uv_key.is_none()) {
            return (false, rotated(RotateKeysOutcome::StaleKey));
        }
        let again_at = device.keys_changed_at.map(|at| at.plus_seconds(KEY_ROTATION_PAUSE_SECONDS));
        if let Some(again_at) = again_at.filter(|at| stamp.at < *at) {
            return (false, rotated(RotateKeysOutcome::TooSoon(again_at)));
        }
        let new = [(&command.device_key, KeyRole::Device), (&command.uv_key, KeyRole::UserVerification)];
        let new = new.map(|(key, role)| key.as_ref().map(|key| (key.thumbprint.clone(), role)));
        for (thumbprint, role) in new.into_iter().flatten() {
            if view.base.keys.contains_key(&thumbprint) {
                return (false, rotated(RotateKeysOutcome::KeyAlreadyRegistered));
            }
            view.writes.keys.insert(thumbprint, (id, role));
        }
        view.change_device(id, |device| {
            if let Some(key) = &command.device_key {
                device.key = key.thumbprint.clone();
            }
            if let Some(key) = &command.uv_key {
                device.uv_key = Some(key.thumbprint.clone());
            }
            device.binding = Some(command.binding.clone());
            device.keys_changed_at = Some(stamp.at);
        });
        view.writes.replies.insert(command.reply.artefact.0, command.reply.body.clone());
        let subjects = Subjects { user_id: Some(device.user), device_id: Some(id), ..Subjects::default() };
        self.tell(view, Event::new(stamp, EventKind::DeviceKeyChanged, subjects));
        (true, rotated(RotateKeysOutcome::Rotated))
    }
}
