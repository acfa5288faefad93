//! Leased notifications as the dispatcher would hand them over, made by hand: each with ids of its own.
//!
//! Never two with the same challenge: the provider may collapse those, and would do less.

use countersign_core::{
    clock::Clock as _,
    entropy::new_id,
    ports::notifications::{LeasedNotification, NotificationKind},
};
use countersign_proto::{
    ids::{CommandId, DeviceId, TenantId},
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::ApnsEnvironment,
};

use crate::system::{Fresh, SystemClock, SystemEntropy};

/// How long a challenge is open, in seconds.
const OPEN_SECONDS: i64 = 120;
/// How long a lease holds, in seconds.
const LEASE_SECONDS: i64 = 10;

/// Makes notifications to so many devices of one tenant.
pub(crate) struct Notifications {
    entropy: Fresh,
    tenant_id: TenantId,
    lease: CommandId,
    devices: Vec<(DeviceId, PushBinding)>,
    registered_at: Timestamp,
}

impl Notifications {
    /// For `count` devices of the app `topic`.
    pub(crate) fn new(count: u32, topic: &str, environment: ApnsEnvironment) -> Self {
        let (now, entropy) = (SystemClock.now(), Fresh::new(&SystemEntropy::default()));
        let device = |number: u32| {
            // Well-formed and different each; never all zeros, which no device has.
            let token = format!("{:064x}", u64::from(number) + 1);
            let push = PushBinding::Apns { token, topic: topic.to_owned(), environment };
            (new_id(now, &entropy), push)
        };
        let devices = (0..count.max(1)).map(device).collect();
        let (tenant_id, lease) = (new_id(now, &entropy), new_id(now, &entropy));
        Self { entropy, tenant_id, lease, devices, registered_at: now.plus_seconds(-3_600) }
    }

    /// The challenge of that number, to the devices in turn.
    pub(crate) fn challenge(&self, number: u64) -> Option<LeasedNotification> {
        let turn = usize::try_from(number).unwrap_or_default().checked_rem(self.devices.len())?;
        let (device_id, push) = self.devices.get(turn)?;
        let now = SystemClock.now();
        Some(LeasedNotification {
            id: new_id(now, &self.entropy),
            tenant_id: self.tenant_id,
            kind: NotificationKind::Challenge,
            device_id: *device_id,
            challenge_id: Some(new_id(now, &self.entropy)),
            push: push.clone(),
            push_updated_at: self.registered_at,
            was_undeliverable: false,
            attempts: 0,
            expires_at: now.plus_seconds(OPEN_SECONDS),
            lease: self.lease,
            leased_until: now.plus_seconds(LEASE_SECONDS),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_notification_has_ids_of_its_own_and_the_devices_take_turns() {
        let notifications = Notifications::new(3, "org.example.app", ApnsEnvironment::Sandbox);
        let made: Vec<_> = (0..9).filter_map(|number| notifications.challenge(number)).collect();
        let ids: HashSet<_> = made.iter().map(|notification| notification.id.to_string()).collect();
        let challenges: HashSet<_> =
            made.iter().filter_map(|made| made.challenge_id).map(|id| id.to_string()).collect();
        let devices: Vec<_> = made.iter().map(|notification| notification.device_id).collect();
        assert_eq!((ids.len(), challenges.len()), (9, 9));
        assert_eq!((&devices[..3], devices[0] == devices[1]), (&devices[3..6], false));
    }
}
