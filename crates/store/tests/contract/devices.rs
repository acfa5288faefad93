//! `ports::devices` on both databases: keys, lists, changes of status and what they bring with them, push
//! channels, notices, replies. The barrier is in `devices/barrier.rs`.

#[path = "devices/barrier.rs"]
mod barrier;
#[path = "devices/dispute.rs"]
mod dispute;
#[path = "devices/many.rs"]
mod many;
#[path = "devices/push.rs"]
mod push;
#[path = "devices/rotation.rs"]
mod rotation;

use countersign_core::{
    actor::Actor,
    device::{DeviceVersions, KeyRole, StatusChange, StoredKey},
    event::EventKind,
    ports::{
        PageRequest, Reply, StoreError,
        devices::{ChangeDeviceStatus, ChangeDeviceStatusOutcome as Outcome, DeviceFilter},
        enrollments::{Activation, ClaimOutcome, ClaimTicket},
    },
};
use countersign_proto::{
    ids::DeviceId,
    push::PushBinding,
    vocabulary::{DeviceStatus, EnrollmentStatus, Platform, PushChannel, RevokeReason},
};

use crate::world::{NOW, World, new_kinds};

pub(crate) const REVOKE: StatusChange = StatusChange::Revoke(RevokeReason::Lost);

fn status(outcome: Outcome) -> DeviceStatus {
    match outcome {
        Outcome::Changed { device, .. } | Outcome::Already(device) => device.status,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_is_found_with_what_its_device_is_right_now() {
    for world in World::each().await {
        let invitation = world.invite("ada").await;
        let (binding, uv_key) = (world.binding(), world.key());
        let claim = ClaimTicket {
            activation: Activation::AtOnce(binding.clone()),
            uv_key: Some(uv_key.clone()),
            ..world.claim(&invitation)
        };
        assert_eq!(world.store.claim_ticket(claim.clone()).await, Ok(ClaimOutcome::Claimed));
        let wanted = StoredKey {
            device_id: claim.device_id,
            tenant_id: world.tenant_id,
            user_id: invitation.user.id,
            role: KeyRole::Device,
            public_key: claim.device_key.public_key.to_vec(),
            is_current: true,
            device_status: DeviceStatus::Active,
            revoked_at: None,
            is_tenant_disabled: false,
            binding: Some(binding),
            versions: DeviceVersions {
                platform: Platform::Android,
                app_version: Some("1.0".to_owned()),
                os_version: None,
            },
        };
        let key = world.store.key(&claim.device_key.thumbprint).await;
        assert_eq!(key, Ok(Some(wanted.clone())));
        let wanted_uv =
            StoredKey { role: KeyRole::UserVerification, public_key: uv_key.public_key.to_vec(), ..wanted.clone() };
        assert_eq!(world.store.key(&uv_key.thumbprint).await, Ok(Some(wanted_uv)));
        assert_eq!(world.store.key(&world.key().thumbprint).await, Ok(None));

        world.change(claim.device_id, REVOKE).await;
        let revoked = StoredKey { device_status: DeviceStatus::Revoked, revoked_at: Some(NOW), ..wanted };
        assert_eq!(world.other.key(&claim.device_key.thumbprint).await, Ok(Some(revoked)));
    }
}

#[tokio::test]
async fn the_standing_of_active_devices_is_read_by_key() {
    for world in World::each().await {
        let (one, two, gone) = (world.phone("ada").await, world.phone("bob").await, world.phone("bob").await);
        world.waiting("ada").await;
        world.change(gone.id, REVOKE).await;
        let neighbour = world.tenant("neighbour").await;
        let page = |before, limit| world.store.device_standings(world.tenant_id, PageRequest { before, limit });
        let all = page(None, 100).await.unwrap();
        let mut wanted = [(one.id, one.user), (two.id, two.user)];
        wanted.sort_by_key(|(id, _)| std::cmp::Reverse(id.as_uuid()));
        assert_eq!(all.iter().map(|device| (device.id, device.user.clone())).collect::<Vec<_>>(), wanted);
        let last = &all[1];
        assert_eq!(last.versions.app_version.as_deref(), Some("1.0"));
        assert_eq!((last.activated_at, last.last_decision_at, last.reported_at), (Some(NOW), None, None));
        assert!(!last.has_uv_key && !last.push_token_gone && !last.is_push_undeliverable);
        assert_eq!(page(None, 1).await.unwrap(), all[..1]);
        assert_eq!(page(Some(all[0].id), 1).await.unwrap(), all[1..]);
        let theirs = world.store.device_standings(neighbour, PageRequest { before: None, limit: 100 }).await;
        assert_eq!(theirs, Ok(Vec::new()));
    }
}

#[tokio::test]
async fn devices_are_listed_newest_first_and_filtered() {
    for world in World::each().await {
        let (one, two) = (world.phone("ada").await, world.phone("ada").await);
        let (bob, (_, waiting)) = (world.phone("bob").await, world.waiting("bob").await);
        world.change(two.id, StatusChange::Suspend).await;
        let list = async |filter: DeviceFilter| -> Vec<DeviceId> {
            let page = PageRequest { before: None, limit: 100 };
            let devices = world.store.devices(world.tenant_id, filter, page).await.unwrap();
            devices.into_iter().map(|device| device.id).collect()
        };
        let newest_first = |mut ids: Vec<DeviceId>| {
            ids.sort_by(|one, other| other.cmp(one));
            ids
        };
        let all = newest_first(vec![one.id, two.id, bob.id, waiting.device_id]);
        assert_eq!(list(DeviceFilter::default()).await, all);
        let of_ada = DeviceFilter { external_id: Some("ada".to_owned()), ..DeviceFilter::default() };
        assert_eq!(list(of_ada.clone()).await, newest_first(vec![one.id, two.id]));
        let by_id = DeviceFilter { user_id: Some(bob.user.id), ..DeviceFilter::default() };
        assert_eq!(list(by_id).await, newest_first(vec![bob.id, waiting.device_id]));
        let neither = DeviceFilter { user_id: Some(bob.user.id), ..of_ada.clone() };
        assert_eq!(list(neither).await, []);
        let suspended = DeviceFilter { status: Some(DeviceStatus::Suspended), ..of_ada };
        assert_eq!(list(suspended).await, [two.id]);
        let ios = DeviceFilter { platform: Some(Platform::Ios), ..DeviceFilter::default() };
        assert_eq!(list(ios).await, []);
        let nobody = DeviceFilter { external_id: Some("nobody".to_owned()), ..DeviceFilter::default() };
        assert_eq!(list(nobody).await, []);

        let page = PageRequest { before: Some(all[1]), limit: 1 };
        let rest = world.store.devices(world.tenant_id, DeviceFilter::default(), page).await.unwrap();
        assert_eq!(rest.iter().map(|device| device.id).collect::<Vec<_>>(), [all[2]]);
    }
}

#[tokio::test]
async fn suspending_and_resuming_are_idempotent_and_told() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let before = world.kinds().await;
        for (change, to) in
            [(StatusChange::Suspend, DeviceStatus::Suspended), (StatusChange::Resume, DeviceStatus::Active)]
        {
            let changed = world.change(phone.id, change).await;
            assert!(matches!(changed, Outcome::Changed { .. }), "{changed:?}");
            assert_eq!(status(changed), to);
            let again = world.change(phone.id, change).await;
            assert!(matches!(again, Outcome::Already(_)), "{again:?}");
            assert_eq!(status(again), to);
        }
        assert_eq!(new_kinds(&before, world.kinds().await), [EventKind::DeviceResumed, EventKind::DeviceSuspended]);
        assert_eq!(world.device_count(phone.user.id).await, 1);
    }
}

#[tokio::test]
async fn a_revoked_device_stays_revoked_and_keeps_no_push_channel() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        assert_eq!(world.device(phone.id).await.unwrap().push_channel, PushChannel::Fcm);
        let changed = world.change(phone.id, REVOKE).await;
        let Outcome::Changed { device, cancelled } = changed else { panic!("{changed:?}") };
        assert_eq!(cancelled, []);
        assert_eq!((device.status, device.revoked_at), (DeviceStatus::Revoked, Some(NOW)));
        assert_eq!((device.revoke_reason, device.push_channel), (Some(RevokeReason::Lost), PushChannel::None));
        assert_eq!(world.device(phone.id).await, Some(*device.clone()));

        // Another reason later does not overwrite the first.
        let again = world.change(phone.id, StatusChange::Revoke(RevokeReason::Stolen)).await;
        assert_eq!(again, Outcome::Already(device));
        for change in [StatusChange::Resume, StatusChange::Suspend] {
            assert_eq!(world.change(phone.id, change).await, Outcome::Impossible(DeviceStatus::Revoked));
        }
        assert_eq!(world.device_count(phone.user.id).await, 0);
        assert_eq!(world.count(EventKind::DeviceRevoked).await, 1);
    }
}

#[tokio::test]
async fn a_device_that_is_revoked_twice_at_once_is_counted_once() {
    for world in World::each().await {
        for _ in 0..30 {
            let phone = world.phone("ada").await;
            let revoke = || world.new_status(world.client, phone.id, REVOKE);
            let (one, other) =
                tokio::join!(world.store.change_device_status(revoke()), world.other.change_device_status(revoke()));
            let outcomes = [one.unwrap(), other.unwrap()];
            assert!(outcomes.iter().any(|outcome| matches!(outcome, Outcome::Changed { .. })), "{outcomes:?}");
            assert!(outcomes.iter().any(|outcome| matches!(outcome, Outcome::Already(_))), "{outcomes:?}");
            assert_eq!(world.device_count(phone.user.id).await, 0);
        }
        assert_eq!(world.count(EventKind::DeviceRevoked).await, 30);
    }
}

#[tokio::test]
async fn a_device_may_deregister_itself_and_a_repeat_gets_the_first_reply() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let before = world.kinds().await;
        let reply = world.reply();
        let deregister = || ChangeDeviceStatus {
            reply: Some(reply.clone()),
            ..world.new_status(phone.actor(), phone.id, StatusChange::Revoke(RevokeReason::Replaced))
        };
        let first = world.store.change_device_status(deregister()).await.unwrap();
        assert!(matches!(first, Outcome::Changed { .. }), "{first:?}");
        let again = world.store.change_device_status(deregister()).await.unwrap();
        assert!(matches!(again, Outcome::Already(_)), "{again:?}");
        assert_eq!(new_kinds(&before, world.kinds().await), [EventKind::DeviceDeregistered]);
        assert_eq!(world.other.reply(reply.artefact, NOW).await, Ok(Some(reply.body)));
    }
}

#[tokio::test]
async fn a_device_that_is_revoked_while_it_waits_takes_its_enrollment_along() {
    for world in World::each().await {
        for actor in [world.client, Actor::Operator] {
            let (invitation, claim) = world.waiting("ada").await;
            for change in [StatusChange::Suspend, StatusChange::Resume] {
                let refused = world.change(claim.device_id, change).await;
                assert_eq!(refused, Outcome::Impossible(DeviceStatus::PendingConfirmation));
            }
            let before = world.kinds().await;
            let revoke = world.new_status(actor, claim.device_id, REVOKE);
            let revoked = world.store.change_device_status(revoke).await.unwrap();
            assert_eq!(status(revoked), DeviceStatus::Revoked);
            let enrollment = world.store.enrollment(world.tenant_id, invitation.id).await.unwrap().unwrap();
            assert_eq!(enrollment.status, EnrollmentStatus::Cancelled);
            assert_eq!(
                new_kinds(&before, world.kinds().await),
                [EventKind::DeviceRevoked, EventKind::EnrollmentCancelled]
            );
            assert_eq!(world.device_count(invitation.user.id).await, 0);
        }
    }
}

#[tokio::test]
async fn another_tenants_device_is_not_found() {
    for world in World::each().await {
        let neighbour = world.tenant("neighbour").await;
        let phone = world.phone("ada").await;
        assert_eq!(world.store.device(neighbour, phone.id).await, Ok(None));
        let page = PageRequest { before: None, limit: 100 };
        let by_user = DeviceFilter { user_id: Some(phone.user.id), ..DeviceFilter::default() };
        let by_name = DeviceFilter { external_id: Some("ada".to_owned()), ..DeviceFilter::default() };
        for filter in [DeviceFilter::default(), by_user, by_name] {
            assert_eq!(world.store.devices(neighbour, filter, page).await, Ok(Vec::new()));
        }
        for change in [StatusChange::Suspend, StatusChange::Resume, REVOKE] {
            let stamp = world.stamp_in(neighbour);
            let command = ChangeDeviceStatus { stamp, device_id: phone.id, change, key: None, reply: None };
            assert_eq!(world.store.change_device_status(command).await, Ok(Outcome::NotFound));
        }
        let since = NOW.plus_seconds(-1);
        assert_eq!(world.store.notices(neighbour, phone.user.id, world.id(), since).await, Ok(Vec::new()));
        assert_eq!(world.device(phone.id).await.unwrap().status, DeviceStatus::Active);
        assert_eq!(world.change(world.id(), REVOKE).await, Outcome::NotFound);
    }
}

#[tokio::test]
async fn a_device_is_told_what_happened_to_the_others() {
    for world in World::each().await {
        let (mine, other) = (world.phone("ada").await, world.phone("ada").await);
        world.phone("bob").await;
        let later = NOW.plus_seconds(60);
        let mut suspend = world.new_status(world.client, other.id, StatusChange::Suspend);
        suspend.stamp.at = later;
        world.store.change_device_status(suspend).await.unwrap();
        let notices = async |since| world.store.notices(world.tenant_id, mine.user.id, mine.id, since).await.unwrap();

        let told = notices(NOW).await;
        let kinds: Vec<_> = told.iter().map(|notice| (notice.kind, notice.at)).collect();
        assert_eq!(kinds, [(EventKind::DeviceSuspended, later), (EventKind::DeviceAdded, NOW)]);
        for notice in &told {
            let device = notice.device.as_ref().unwrap();
            assert_eq!((device.id, device.name.as_str(), device.platform), (other.id, "Phone", Platform::Android));
        }
        assert_eq!(notices(later).await, told[..1]);
        assert_eq!(notices(later.plus_millis(1)).await, []);

        // A contested claim is told too, although its device is gone.
        let (invitation, _) = world.waiting("ada").await;
        world.store.claim_ticket(world.claim(&invitation)).await.unwrap();
        let contested = notices(NOW).await.into_iter().find(|notice| notice.kind == EventKind::EnrollmentContested);
        assert_eq!(contested.unwrap().device, None);
    }
}

#[tokio::test]
async fn the_first_reply_is_kept_until_its_end() {
    for world in World::each().await {
        let first = world.reply();
        let second = Reply { body: "another".to_owned(), ..first.clone() };
        assert_eq!(world.store.reply(first.artefact, NOW).await, Ok(None));
        let user_id = world.invite("ada").await.user.id;
        assert_eq!(world.store.remember_reply(world.tenant_id, user_id, first.clone()).await, Ok(()));
        assert_eq!(world.store.remember_reply(world.tenant_id, user_id, second).await, Ok(()));
        let last = first.expires_at.plus_millis(-1);
        assert_eq!(world.other.reply(first.artefact, last).await, Ok(Some(first.body.clone())));
        // Not while the organisation is disabled.
        world.store.disable_tenant(world.stamp(Actor::Operator)).await.unwrap();
        assert_eq!(world.other.reply(first.artefact, last).await, Ok(None));
        world.store.enable_tenant(world.stamp(Actor::Operator)).await.unwrap();
        assert_eq!(world.other.reply(first.artefact, last).await, Ok(Some(first.body.clone())));
        // Nor to somebody who is erased, from the first step on.
        let (bob, theirs) = (world.invite("bob").await.user.id, world.reply());
        assert_eq!(world.store.remember_reply(world.tenant_id, bob, theirs.clone()).await, Ok(()));
        world.store.erase_user(world.stamp(Actor::Operator), bob).await.unwrap();
        assert_eq!(world.other.reply(theirs.artefact, NOW).await, Ok(None));
        assert_eq!(world.store.reply(first.artefact, first.expires_at).await, Ok(None));
        assert_eq!(world.store.forget_expired(first.expires_at, 100).await, Ok(2));
        assert_eq!(world.store.reply(first.artefact, last).await, Ok(None));
    }
}

#[tokio::test]
async fn a_push_binding_reads_back_as_it_was_registered() {
    for world in World::each().await {
        let (_, claim) = world.waiting("ada").await;
        let device = world.device(claim.device_id).await.unwrap();
        assert_eq!((device.push_channel, device.push_updated_at), (claim.push.channel(), NOW));
        assert_ne!(claim.push, PushBinding::None);
        assert_eq!(device.description, claim.description);
    }
}

#[tokio::test]
async fn a_row_that_this_server_never_writes_is_reported() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        assert_eq!(world.database.tamper("UPDATE devices SET status = 'blessed'").await, 1);
        let corrupt = StoreError::Corrupt { table: "devices", column: "status", row: phone.id.to_string() };
        assert_eq!(world.store.device(world.tenant_id, phone.id).await, Err(corrupt.clone()));
        let revoke = world.new_status(world.client, phone.id, REVOKE);
        assert_eq!(world.store.change_device_status(revoke).await, Err(corrupt));
    }
}
