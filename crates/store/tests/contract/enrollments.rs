//! `ports::enrollments` on both databases: invitations and claims. Confirmations and ends are in
//! `enrollments/ends.rs`, races in `enrollments/races.rs`, who agreed to them in `enrollments/guard.rs`.

#[path = "enrollments/ends.rs"]
mod ends;
#[path = "enrollments/guard.rs"]
mod guard;
#[path = "enrollments/races.rs"]
mod races;

use countersign_core::{
    device::StatusChange,
    enrollment::EnrollmentRecord,
    event::EventKind,
    ports::{
        devices::DeviceName,
        enrollments::{Activation, ClaimOutcome, ClaimTicket, ClaimedDevice, CreateEnrollment, TicketHolder},
        users::UserName,
    },
};
use countersign_proto::{
    ids::EnrollmentId,
    vocabulary::{Confirmation, DeviceStatus, EnrollmentPurpose, EnrollmentStatus, Platform, RevokeReason},
};

use crate::world::{Invitation, NOW, SEAL, TTL_SECONDS, World, new_kinds};

async fn enrollment(world: &World, id: EnrollmentId) -> EnrollmentRecord {
    world.store.enrollment(world.tenant_id, id).await.unwrap().unwrap()
}

async fn claim(world: &World, command: ClaimTicket) -> ClaimOutcome {
    world.store.claim_ticket(command).await.unwrap()
}

#[tokio::test]
async fn an_invitation_makes_its_user_once() {
    for world in World::each().await {
        let before = world.kinds().await;
        let named = CreateEnrollment {
            display_name: Some("Ada".to_owned()),
            ..world.new_enrollment("ada", Confirmation::Code)
        };
        let id = named.new_user_id;
        let ada = world.create(named).await;
        let wanted = UserName { id, external_id: "ada".to_owned(), display_name: Some("Ada".to_owned()) };
        assert_eq!(ada, wanted);
        // A name stays, given another one or none: inviting somebody is not renaming them.
        let unnamed = world.new_enrollment("ada", Confirmation::Code);
        assert_eq!(world.create(unnamed).await, wanted);
        let renamed = CreateEnrollment {
            display_name: Some("Ada L.".to_owned()),
            ..world.new_enrollment("ada", Confirmation::Code)
        };
        assert_eq!(world.create(renamed).await, wanted);
        assert_eq!(world.store.user(world.tenant_id, id).await.unwrap().unwrap().name, wanted);

        use EventKind::{EnrollmentCreated, UserCreated};
        let kinds = [EnrollmentCreated, EnrollmentCreated, EnrollmentCreated, UserCreated];
        assert_eq!(new_kinds(&before, world.kinds().await), kinds);
    }
}

#[tokio::test]
async fn the_same_name_in_another_tenant_is_another_user() {
    for world in World::each().await {
        let ada = world.invite("ada").await.user;
        let stamp = world.stamp_in(world.tenant("neighbour").await);
        let command = CreateEnrollment { stamp, ..world.new_enrollment("ada", Confirmation::Code) };
        assert_ne!(world.create(command).await.id, ada.id);
    }
}

#[tokio::test]
async fn a_ticket_says_whose_it_is_in_every_state() {
    for world in World::each().await {
        let (invitation, _) = world.waiting("ada").await;
        let wanted = TicketHolder {
            enrollment_id: invitation.id,
            tenant_id: world.tenant_id,
            tenant_name: "acme Inc.".to_owned(),
            max_devices_per_user: 10,
            is_guarded: false,
            user: invitation.user.clone(),
            confirmation: Confirmation::Code,
            purpose: EnrollmentPurpose::Approval,
            expires_at: NOW.plus_seconds(TTL_SECONDS),
            seal: SEAL.to_owned(),
        };
        assert_eq!(world.store.ticket_holder(invitation.ticket).await, Ok(Some(wanted.clone())));
        world.store.cancel_enrollment(world.stamp(world.client), invitation.id).await.unwrap();
        assert_eq!(world.store.ticket_holder(invitation.ticket).await, Ok(Some(wanted)));
        assert_eq!(world.store.ticket_holder(world.digest()).await, Ok(None));
    }
}

#[tokio::test]
async fn a_claim_with_a_code_makes_a_device_that_waits() {
    for world in World::each().await {
        let invitation = world.invite("ada").await;
        let record = enrollment(&world, invitation.id).await;
        assert_eq!((record.status, record.device), (EnrollmentStatus::Pending, None));
        assert_eq!(world.store.claimed_device(world.tenant_id, invitation.id).await, Ok(None));

        let before = world.kinds().await;
        let command = ClaimTicket { uv_key: Some(world.key()), ..world.claim(&invitation) };
        assert_eq!(claim(&world, command.clone()).await, ClaimOutcome::Claimed);
        let device = world.device(command.device_id).await.unwrap();
        assert_eq!((device.status, device.activated_at), (DeviceStatus::PendingConfirmation, None));
        assert_eq!((device.binding, device.has_uv_key), (None, true));
        assert_eq!((device.description, device.user), (command.description.clone(), invitation.user.clone()));
        let name = DeviceName { id: command.device_id, name: "Phone".to_owned(), platform: Platform::Android };
        let record = enrollment(&world, invitation.id).await;
        assert_eq!((record.status, record.device), (EnrollmentStatus::Claimed, Some(name)));
        let claimed = ClaimedDevice {
            device_id: command.device_id,
            user_id: invitation.user.id,
            external_id: invitation.user.external_id.clone(),
            purpose: EnrollmentPurpose::Approval,
            is_completed: false,
            claim_seal: SEAL.to_owned(),
            device_key: command.device_key.public_key.to_vec(),
            uv_key: command.uv_key.map(|key| key.public_key.to_vec()),
        };
        assert_eq!(world.store.claimed_device(world.tenant_id, invitation.id).await, Ok(Some(claimed)));
        assert_eq!(world.store.reply(command.reply.artefact, NOW).await, Ok(Some(command.reply.body)));
        assert_eq!(world.device_count(invitation.user.id).await, 1);
        assert_eq!(new_kinds(&before, world.kinds().await), [EventKind::EnrollmentClaimed]);
    }
}

#[tokio::test]
async fn a_claim_without_a_code_makes_an_active_device() {
    for world in World::each().await {
        let invitation = world.invite("ada").await;
        let before = world.kinds().await;
        let binding = world.binding();
        let activation = Activation::AtOnce(binding.clone());
        let command = ClaimTicket { activation, ..world.claim(&invitation) };
        assert_eq!(claim(&world, command.clone()).await, ClaimOutcome::Claimed);
        let device = world.device(command.device_id).await.unwrap();
        assert_eq!((device.status, device.activated_at), (DeviceStatus::Active, Some(NOW)));
        assert_eq!((device.binding, device.has_uv_key), (Some(binding), false));
        assert_eq!(enrollment(&world, invitation.id).await.status, EnrollmentStatus::Completed);
        let kinds = [EventKind::DeviceAdded, EventKind::EnrollmentClaimed, EventKind::EnrollmentCompleted];
        assert_eq!(new_kinds(&before, world.kinds().await), kinds);
    }
}

#[tokio::test]
async fn a_ticket_that_cannot_be_used_gets_one_answer() {
    for world in World::each().await {
        let invitation = world.invite("ada").await;
        let unknown = ClaimTicket { ticket: world.digest(), ..world.claim(&invitation) };
        let mut late = world.claim(&invitation);
        late.stamp.at = NOW.plus_seconds(TTL_SECONDS);
        let mut elsewhere = world.claim(&invitation);
        elsewhere.stamp.tenant_id = world.tenant("neighbour").await;
        let other = world.invite("bob").await;
        let wrong_user = ClaimTicket { user_id: other.user.id, ..world.claim(&invitation) };
        let wrong_enrollment = ClaimTicket { enrollment_id: other.id, ..world.claim(&invitation) };
        let before = world.kinds().await;
        for command in [unknown, late, elsewhere, wrong_user, wrong_enrollment] {
            let id = command.device_id;
            assert_eq!(claim(&world, command.clone()).await, ClaimOutcome::NotFound);
            assert_eq!(world.device(id).await, None);
            assert_eq!(world.store.key(&command.device_key.thumbprint).await, Ok(None));
            assert_eq!(world.store.reply(command.reply.artefact, NOW).await, Ok(None));
        }
        assert_eq!(world.kinds().await, before);

        // Nothing of this used it up; used is then the same answer, and so is cancelled.
        let activation = Activation::AtOnce(world.binding());
        let used = ClaimTicket { activation, ..world.claim(&invitation) };
        assert_eq!(claim(&world, used).await, ClaimOutcome::Claimed);
        assert_eq!(claim(&world, world.claim(&invitation)).await, ClaimOutcome::NotFound);
        assert_eq!(enrollment(&world, invitation.id).await.status, EnrollmentStatus::Completed);
        world.store.cancel_enrollment(world.stamp(world.client), other.id).await.unwrap();
        assert_eq!(claim(&world, world.claim(&other)).await, ClaimOutcome::NotFound);
    }
}

#[tokio::test]
async fn the_right_ticket_with_another_key_while_claimed_ends_the_enrollment() {
    for world in World::each().await {
        let (invitation, first) = world.waiting("ada").await;
        // The same key again is a phone that asks twice, not a contest.
        let repeat = ClaimTicket { device_key: first.device_key.clone(), ..world.claim(&invitation) };
        assert_eq!(claim(&world, repeat).await, ClaimOutcome::NotFound);
        assert_eq!(enrollment(&world, invitation.id).await.status, EnrollmentStatus::Claimed);

        let before = world.kinds().await;
        assert_eq!(claim(&world, world.claim(&invitation)).await, ClaimOutcome::NotFound);
        assert_eq!(enrollment(&world, invitation.id).await.status, EnrollmentStatus::Cancelled);
        let kinds = [EventKind::EnrollmentCancelled, EventKind::EnrollmentContested];
        assert_eq!(new_kinds(&before, world.kinds().await), kinds);
        expect_deleted(&world, &invitation, &first).await;
        // Said once: nobody can make the log grow with a dead ticket.
        assert_eq!(claim(&world, world.claim(&invitation)).await, ClaimOutcome::NotFound);
        assert_eq!(world.count(EventKind::EnrollmentContested).await, 1);
    }
}

/// The device that waited is gone, its key is free, and it no longer counts.
async fn expect_deleted(world: &World, invitation: &Invitation, deleted: &ClaimTicket) {
    assert_eq!(world.device(deleted.device_id).await, None);
    assert_eq!(world.store.key(&deleted.device_key.thumbprint).await, Ok(None));
    assert_eq!(world.store.claimed_device(world.tenant_id, invitation.id).await, Ok(None));
    assert_eq!(world.device_count(invitation.user.id).await, 0);
    // The enrollment still says which device it was; its first reply is still repeated.
    assert_eq!(enrollment(world, invitation.id).await.device.map(|device| device.id), Some(deleted.device_id));
    assert!(world.store.reply(deleted.reply.artefact, NOW).await.unwrap().is_some());
    let again = world.invite(&invitation.user.external_id).await;
    let claim = ClaimTicket { device_key: deleted.device_key.clone(), ..world.claim(&again) };
    assert_eq!(world.store.claim_ticket(claim).await, Ok(ClaimOutcome::Claimed));
}

#[tokio::test]
async fn a_key_is_registered_once_in_whatever_role_and_the_ticket_stays_unused() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let invitation = world.invite("bob").await;
        let before = world.kinds().await;
        let as_device_key = ClaimTicket { device_key: phone.key.clone(), ..world.claim(&invitation) };
        let as_uv_key = ClaimTicket { uv_key: Some(phone.key.clone()), ..world.claim(&invitation) };
        let key = world.key();
        let twice = ClaimTicket { device_key: key.clone(), uv_key: Some(key), ..world.claim(&invitation) };
        for command in [as_device_key, as_uv_key, twice] {
            assert_eq!(claim(&world, command.clone()).await, ClaimOutcome::KeyAlreadyRegistered);
            assert_eq!(world.device(command.device_id).await, None);
        }
        assert_eq!(world.kinds().await, before);
        assert_eq!(claim(&world, world.claim(&invitation)).await, ClaimOutcome::Claimed);
        // For ever: a revoked device's key does not come back.
        world.change(phone.id, StatusChange::Revoke(RevokeReason::Lost)).await;
        let again = ClaimTicket { device_key: phone.key, ..world.claim(&world.invite("cy").await) };
        assert_eq!(claim(&world, again).await, ClaimOutcome::KeyAlreadyRegistered);
    }
}

#[tokio::test]
async fn beyond_the_limit_the_ticket_stays_unused() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let invitation = world.invite("ada").await;
        let limited = |max_devices_per_user| ClaimTicket { max_devices_per_user, ..world.claim(&invitation) };
        let refused = limited(1);
        assert_eq!(claim(&world, refused.clone()).await, ClaimOutcome::TooManyDevices);
        assert_eq!(world.store.key(&refused.device_key.thumbprint).await, Ok(None));
        assert_eq!(enrollment(&world, invitation.id).await.status, EnrollmentStatus::Pending);
        // A suspended device counts, a revoked one does not.
        world.change(phone.id, StatusChange::Suspend).await;
        assert_eq!(claim(&world, limited(1)).await, ClaimOutcome::TooManyDevices);
        world.change(phone.id, StatusChange::Revoke(RevokeReason::Left)).await;
        assert_eq!(claim(&world, limited(1)).await, ClaimOutcome::Claimed);
        assert_eq!(world.device_count(phone.user.id).await, 1);
    }
}

#[tokio::test]
async fn another_tenants_enrollment_is_not_found() {
    for world in World::each().await {
        let (invitation, _) = world.waiting("ada").await;
        let neighbour = world.tenant("neighbour").await;
        assert_eq!(world.store.enrollment(neighbour, invitation.id).await, Ok(None));
        assert_eq!(world.store.claimed_device(neighbour, invitation.id).await, Ok(None));
        assert_eq!(world.store.enrollment(world.tenant_id, world.id()).await, Ok(None));
    }
}
