//! Key rotation (protocol 10.6): one conditional write, after which nothing that was verified under the former keys is
//! written any more.

use std::sync::Arc;

use countersign_core::{
    actor::Stamp,
    device::{NewKey, StoredBinding},
    event::EventKind,
    limits::KEY_ROTATION_PAUSE_SECONDS,
    ports::{
        challenges::DecideOutcome,
        devices::{
            ChangeDeviceStatus, ChangeDeviceStatusOutcome, RotateKeys, RotateKeysOutcome as Outcome, UpdatePush,
            UpdatePushOutcome,
        },
        enrollments::{
            Activation, Admission, Approval, ClaimOutcome, ClaimTicket, CreateEnrollment, CreateEnrollmentOutcome,
        },
    },
    verify::Verdict,
    wake::WakeKey,
};
use countersign_proto::{
    push::PushBinding,
    vocabulary::{ChallengeStatus, Confirmation, DeviceStatus, EnrollmentStatus},
};

use super::REVOKE;
use crate::kit::{self, Wakes};
use crate::world::{NOW, Phone, World};

const APPROVE: Verdict = Verdict::Approve { with_number: true };

/// The phone replaces its device key.
fn rotation(world: &World, phone: &Phone) -> RotateKeys {
    RotateKeys {
        stamp: world.stamp(phone.actor()),
        device_id: phone.id,
        user_id: phone.user.id,
        key: phone.key.thumbprint.clone(),
        binding_id: phone.binding.id,
        device_key: Some(world.key()),
        uv_key: None,
        binding: world.binding(),
        reply: world.reply(),
    }
}

/// The same, so many minutes later: keys are replaced once in a minute.
fn minutes_later(minutes: usize, command: RotateKeys) -> RotateKeys {
    let at = NOW.plus_seconds(60 * i64::try_from(minutes).unwrap());
    RotateKeys { stamp: Stamp { at, ..command.stamp.clone() }, ..command }
}

/// The phone after it.
fn rotated(phone: &Phone, command: &RotateKeys) -> Phone {
    let key = command.device_key.clone().unwrap_or_else(|| phone.key.clone());
    Phone { key, binding: command.binding.clone(), ..phone.clone() }
}

/// A phone with two keys.
async fn phone_with_two_keys(world: &World) -> (Phone, NewKey) {
    let invitation = world.invite("ada").await;
    let (binding, uv_key): (StoredBinding, _) = (world.binding(), world.key());
    let claim = ClaimTicket {
        activation: Activation::AtOnce(binding.clone()),
        uv_key: Some(uv_key.clone()),
        ..world.claim(&invitation)
    };
    let phone = Phone { id: claim.device_id, user: invitation.user, key: claim.device_key.clone(), binding };
    assert_eq!(world.store.claim_ticket(claim).await, Ok(ClaimOutcome::Claimed));
    (phone, uv_key)
}

#[tokio::test]
async fn a_rotated_key_is_current_and_the_former_one_dead_on_every_node() {
    for world in World::each().await {
        let (phone, other) = (world.phone("ada").await, world.phone("ada").await);
        let wakes = Arc::new(Wakes::default());
        let node = world.database.open_with(kit::options(), Arc::clone(&wakes) as _).await.unwrap();
        let command = rotation(&world, &phone);
        assert_eq!(node.rotate_keys(command.clone()).await, Ok(Outcome::Rotated));
        wakes.hear(WakeKey::Device(phone.id)).await;
        for store in [&world.store, &world.other] {
            assert!(!store.key(&phone.key.thumbprint).await.unwrap().unwrap().is_current);
            let key = store.key(&command.device_key.as_ref().unwrap().thumbprint).await.unwrap().unwrap();
            assert!(key.is_current);
            assert_eq!(key.binding, Some(command.binding.clone()));
        }
        let retired = "SELECT count(*) FROM device_keys WHERE retired_at = 1800000000000";
        assert_eq!(world.database.number(retired).await, 1);
        assert_eq!(world.store.reply(command.reply.artefact, NOW).await, Ok(Some(command.reply.body.clone())));
        let whose = "SELECT count(*) FROM replies JOIN users ON users.id = replies.user_id";
        assert_eq!(world.database.number(whose).await, world.database.number("SELECT count(*) FROM replies").await);
        assert_eq!(world.count(EventKind::DeviceKeyChanged).await, 1);
        let told = world.store.notices(world.tenant_id, other.user.id, other.id, NOW).await.unwrap();
        assert!(told.iter().any(|notice| notice.kind == EventKind::DeviceKeyChanged));
        // The key comes back in no role and for nobody.
        let again = RotateKeys { device_key: Some(phone.key.clone()), ..rotation(&world, &rotated(&phone, &command)) };
        let again = RotateKeys { key: command.device_key.unwrap().thumbprint, binding_id: command.binding.id, ..again };
        let again = minutes_later(1, again);
        assert_eq!(world.store.rotate_keys(again).await, Ok(Outcome::KeyAlreadyRegistered));
    }
}

#[tokio::test]
async fn a_device_replaces_keys_once_in_a_minute() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let first = rotation(&world, &phone);
        assert_eq!(world.store.rotate_keys(first.clone()).await, Ok(Outcome::Rotated));
        let second = rotation(&world, &rotated(&phone, &first));
        let before = world.kinds().await;
        let soon = world.other.rotate_keys(second.clone()).await;
        assert_eq!(soon, Ok(Outcome::TooSoon(NOW.plus_seconds(KEY_ROTATION_PAUSE_SECONDS))));
        // A repeat of the first is none, and counts as none.
        assert_eq!(world.other.rotate_keys(first.clone()).await, Ok(Outcome::Rotated));
        assert_eq!(world.kinds().await, before);
        assert_eq!(world.database.number("SELECT count(*) FROM device_keys").await, 2);
        assert_eq!(world.store.rotate_keys(minutes_later(1, second)).await, Ok(Outcome::Rotated));
    }
}

#[tokio::test]
async fn who_signed_with_a_former_key_deregisters_nothing() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let leave = |key: &NewKey| ChangeDeviceStatus {
            key: Some(key.thumbprint.clone()),
            reply: Some(world.reply()),
            ..world.new_status(phone.actor(), phone.id, REVOKE)
        };
        let command = rotation(&world, &phone);
        assert_eq!(world.store.rotate_keys(command.clone()).await, Ok(Outcome::Rotated));
        let before = world.kinds().await;
        let late = world.other.change_device_status(leave(&phone.key)).await;
        assert_eq!(late, Ok(ChangeDeviceStatusOutcome::StaleKey));
        assert_eq!(world.kinds().await, before);
        assert_eq!(world.device(phone.id).await.unwrap().status, DeviceStatus::Active);
        let left = world.other.change_device_status(leave(&rotated(&phone, &command).key)).await;
        assert!(matches!(left, Ok(ChangeDeviceStatusOutcome::Changed { .. })), "{left:?}");
    }
}

#[tokio::test]
async fn what_a_former_key_agreed_to_ends_with_it() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let mut agreed = Vec::new();
        for _ in 0..2 {
            let challenge_id = world.challenge(&[&phone]).await;
            let answer = world.answer(&phone, challenge_id, APPROVE);
            assert!(matches!(world.store.decide_challenge(answer).await, Ok(DecideOutcome::Won { .. })));
            agreed.push(Approval { challenge_id, user_id: phone.user.id, device_id: phone.id });
        }
        let asking = |approval: &Approval| CreateEnrollment {
            admission: Admission::Approved(*approval),
            ..world.new_enrollment("ada", Confirmation::Code)
        };
        let invited = asking(&agreed[0]);
        let id = invited.id;
        world.create(invited).await;
        assert_eq!(world.store.rotate_keys(rotation(&world, &phone)).await, Ok(Outcome::Rotated));
        let enrollment = world.store.enrollment(world.tenant_id, id).await.unwrap().unwrap();
        assert_eq!(enrollment.status, EnrollmentStatus::Cancelled);
        let late = world.other.create_enrollment(asking(&agreed[1])).await;
        assert_eq!(late, Ok(CreateEnrollmentOutcome::ApprovalRequired));
    }
}

#[tokio::test]
async fn a_rotation_names_the_key_and_the_binding_that_are_current() {
    for world in World::each().await {
        let (phone, stranger) = (world.phone("ada").await, world.phone("bob").await);
        let good = || rotation(&world, &phone);
        let before = world.kinds().await;
        for stale in [
            RotateKeys { key: stranger.key.thumbprint.clone(), ..good() },
            RotateKeys { binding_id: stranger.binding.id, ..good() },
            RotateKeys { device_id: stranger.id, ..good() },
            RotateKeys { user_id: stranger.user.id, ..good() },
            RotateKeys { device_id: world.id(), ..good() },
            // A second key is replaced, never added.
            RotateKeys { uv_key: Some(world.key()), ..good() },
        ] {
            assert_eq!(world.store.rotate_keys(stale).await, Ok(Outcome::StaleKey));
        }
        let taken = RotateKeys { device_key: Some(stranger.key.clone()), ..good() };
        assert_eq!(world.store.rotate_keys(taken).await, Ok(Outcome::KeyAlreadyRegistered));
        assert_eq!(world.kinds().await, before);
        assert!(world.store.key(&phone.key.thumbprint).await.unwrap().unwrap().is_current);
        let first = good();
        assert_eq!(world.store.rotate_keys(first.clone()).await, Ok(Outcome::Rotated));
        assert_eq!(world.store.rotate_keys(good()).await, Ok(Outcome::StaleKey));
        // Run again after its answer was lost, it finds itself and changes nothing.
        assert_eq!(world.other.rotate_keys(first).await, Ok(Outcome::Rotated));
        assert_eq!(world.count(EventKind::DeviceKeyChanged).await, 1);
    }
}

#[tokio::test]
async fn both_keys_are_replaced_at_once_and_each_of_them_alone() {
    for world in World::each().await {
        let (phone, uv_key) = phone_with_two_keys(&world).await;
        let both = RotateKeys { key: uv_key.thumbprint.clone(), uv_key: Some(world.key()), ..rotation(&world, &phone) };
        assert_eq!(world.store.rotate_keys(both.clone()).await, Ok(Outcome::Rotated));
        let (now, next) = (rotated(&phone, &both), both.uv_key.unwrap());
        let is_current = async |key: &NewKey| world.store.key(&key.thumbprint).await.unwrap().unwrap().is_current;
        assert!(is_current(&now.key).await && is_current(&next).await);
        assert!(!is_current(&phone.key).await && !is_current(&uv_key).await);
        let only_uv = RotateKeys {
            key: next.thumbprint.clone(),
            device_key: None,
            uv_key: Some(world.key()),
            ..minutes_later(1, rotation(&world, &now))
        };
        assert_eq!(world.store.rotate_keys(only_uv.clone()).await, Ok(Outcome::Rotated));
        assert!(is_current(&now.key).await && !is_current(&next).await);
        assert!(is_current(only_uv.uv_key.as_ref().unwrap()).await);
    }
}

#[tokio::test]
async fn a_device_that_is_not_active_rotates_nothing() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        world.change(phone.id, countersign_core::device::StatusChange::Suspend).await;
        let outcome = world.store.rotate_keys(rotation(&world, &phone)).await;
        assert_eq!(outcome, Ok(Outcome::NotActive(DeviceStatus::Suspended)));
        world.change(phone.id, REVOKE).await;
        let outcome = world.store.rotate_keys(rotation(&world, &phone)).await;
        assert_eq!(outcome, Ok(Outcome::NotActive(DeviceStatus::Revoked)));
    }
}

fn push_update(world: &World, phone: &Phone) -> UpdatePush {
    UpdatePush {
        stamp: world.stamp(phone.actor()),
        device_id: phone.id,
        key: phone.key.thumbprint.clone(),
        jti: format!("jti {}", world.id::<()>()),
        push: PushBinding::None,
        app_version: None,
        os_version: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_by_a_former_key_commits_after_its_rotation_has_returned() {
    let rounds = kit::rounds(60, 3_000);
    for world in World::each().await {
        let world = Arc::new(world);
        let mut phone = world.phone("ada").await;
        let (mut approved, mut updated) = (0, 0);
        for round in 0..rounds {
            let challenge = world.challenge(&[&phone]).await;
            let (answer, update) = (world.answer(&phone, challenge, APPROVE), push_update(&world, &phone));
            let command = minutes_later(round, rotation(&world, &phone));
            let node = Arc::clone(&world);
            let approve = tokio::spawn(async move { node.store.decide_challenge(answer).await.unwrap() });
            let node = Arc::clone(&world);
            let update = tokio::spawn(async move { node.store.update_push(update).await.unwrap() });
            if round % 2 == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(world.other.rotate_keys(command.clone()).await, Ok(Outcome::Rotated));
            let at_return = world.store.challenge(world.tenant_id, challenge).await.unwrap().unwrap().status;
            let (approve, update) = (approve.await.unwrap(), update.await.unwrap());
            let at_last = world.store.challenge(world.tenant_id, challenge).await.unwrap().unwrap().status;
            assert_eq!(at_last, at_return, "{approve:?} after the rotation had returned");
            match approve {
                DecideOutcome::Won { .. } => assert_eq!(at_last, ChallengeStatus::Approved),
                other => assert_eq!((other, at_last), (DecideOutcome::StaleKey, ChallengeStatus::Pending)),
            }
            approved += usize::from(at_last == ChallengeStatus::Approved);
            updated += usize::from(update == UpdatePushOutcome::Updated);
            assert!(matches!(update, UpdatePushOutcome::Updated | UpdatePushOutcome::StaleKey));
            // What began after it has no chance.
            assert_eq!(world.store.update_push(push_update(&world, &phone)).await, Ok(UpdatePushOutcome::StaleKey));
            if at_last == ChallengeStatus::Pending {
                let late = world.answer(&phone, challenge, APPROVE);
                assert_eq!(world.store.decide_challenge(late).await, Ok(DecideOutcome::StaleKey));
            }
            phone = rotated(&phone, &command);
            if at_last == ChallengeStatus::Pending {
                let late = world.answer(&phone, challenge, APPROVE);
                assert!(matches!(world.store.decide_challenge(late).await, Ok(DecideOutcome::Won { .. })));
            }
        }
        assert_eq!(world.count(EventKind::DeviceKeyChanged).await, rounds);
        assert_eq!(world.count(EventKind::ChallengeApproved).await, rounds);
        assert!(approved <= rounds && updated <= rounds);
        assert_eq!(world.deadlocks().await, 0);
    }
}
