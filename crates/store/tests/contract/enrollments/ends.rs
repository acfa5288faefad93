//! How an enrollment ends: confirmed, guessed at too often, cancelled, expired.

use countersign_core::{
    actor::Actor,
    event::EventKind,
    ports::enrollments::{CancelEnrollmentOutcome, ConfirmEnrollment, ConfirmOutcome, DueEnrollment},
};
use countersign_proto::vocabulary::{DeviceStatus, EnrollmentStatus};

use super::{enrollment, expect_deleted};
use crate::world::{CODE, NOW, TTL_SECONDS, World, new_kinds};

const WRONG: &str = "000000";

async fn confirm(world: &World, command: ConfirmEnrollment) -> ConfirmOutcome {
    world.store.confirm_enrollment(command).await.unwrap()
}

#[tokio::test]
async fn the_right_code_makes_the_device_active_and_may_be_repeated() {
    for world in World::each().await {
        let (invitation, claim) = world.waiting("ada").await;
        let before = world.kinds().await;
        let mut command = world.confirm(&invitation, &claim, CODE);
        command.stamp.at = NOW.plus_seconds(5);
        assert_eq!(confirm(&world, command.clone()).await, ConfirmOutcome::Completed);
        let device = world.device(claim.device_id).await.unwrap();
        assert_eq!((device.status, device.activated_at), (DeviceStatus::Active, Some(NOW.plus_seconds(5))));
        assert_eq!(device.binding, Some(command.binding));
        let kinds = [EventKind::DeviceAdded, EventKind::DeviceConfirmed, EventKind::EnrollmentCompleted];
        assert_eq!(new_kinds(&before, world.kinds().await), kinds);

        // Again, even past its end: the same answer, and the first binding stays.
        let mut again = world.confirm(&invitation, &claim, CODE);
        again.stamp.at = NOW.plus_seconds(TTL_SECONDS + 1);
        assert_eq!(confirm(&world, again).await, ConfirmOutcome::AlreadyCompleted);
        assert_eq!(world.device(claim.device_id).await, Some(device));
        for _ in 0..6 {
            let wrong = world.confirm(&invitation, &claim, WRONG);
            assert_eq!(confirm(&world, wrong).await, ConfirmOutcome::Closed(EnrollmentStatus::Completed));
        }
        assert_eq!(enrollment(&world, invitation.id).await.status, EnrollmentStatus::Completed);
        assert_eq!(world.count(EventKind::DeviceAdded).await, 1);
    }
}

#[tokio::test]
async fn the_fifth_wrong_code_cancels_and_deletes_the_device() {
    for world in World::each().await {
        let (invitation, claim) = world.waiting("ada").await;
        let before = world.kinds().await;
        for attempts_left in [4, 3, 2, 1, 0] {
            let wrong = world.confirm(&invitation, &claim, WRONG);
            assert_eq!(confirm(&world, wrong).await, ConfirmOutcome::WrongCode { attempts_left });
        }
        let right = world.confirm(&invitation, &claim, CODE);
        assert_eq!(confirm(&world, right).await, ConfirmOutcome::Closed(EnrollmentStatus::Cancelled));
        assert_eq!(new_kinds(&before, world.kinds().await), [EventKind::EnrollmentCancelled]);
        expect_deleted(&world, &invitation, &claim).await;
    }
}

#[tokio::test]
async fn the_right_code_still_counts_after_four_wrong_ones() {
    for world in World::each().await {
        let (invitation, claim) = world.waiting("ada").await;
        for _ in 0..4 {
            confirm(&world, world.confirm(&invitation, &claim, WRONG)).await;
        }
        assert_eq!(confirm(&world, world.confirm(&invitation, &claim, CODE)).await, ConfirmOutcome::Completed);
    }
}

#[tokio::test]
async fn what_is_not_claimed_by_this_device_is_not_confirmed_and_not_counted() {
    for world in World::each().await {
        let invitation = world.invite("ada").await;
        let claim = world.claim(&invitation);
        let command = world.confirm(&invitation, &claim, CODE);
        assert_eq!(confirm(&world, command).await, ConfirmOutcome::NotClaimed);

        world.store.claim_ticket(claim.clone()).await.unwrap();
        for code in [CODE, WRONG] {
            let device_id = world.id();
            let command = ConfirmEnrollment { device_id, ..world.confirm(&invitation, &claim, code) };
            assert_eq!(confirm(&world, command).await, ConfirmOutcome::NotClaimed);
        }
        let wrong = world.confirm(&invitation, &claim, WRONG);
        assert_eq!(confirm(&world, wrong).await, ConfirmOutcome::WrongCode { attempts_left: 4 });

        let mut elsewhere = world.confirm(&invitation, &claim, CODE);
        elsewhere.stamp = world.stamp_in(world.tenant("neighbour").await);
        assert_eq!(confirm(&world, elsewhere).await, ConfirmOutcome::NotFound);
        let unknown = ConfirmEnrollment { id: world.id(), ..world.confirm(&invitation, &claim, CODE) };
        assert_eq!(confirm(&world, unknown).await, ConfirmOutcome::NotFound);
        assert_eq!(world.device(claim.device_id).await.unwrap().status, DeviceStatus::PendingConfirmation);
    }
}

#[tokio::test]
async fn from_its_end_on_an_enrollment_is_expired_swept_or_not() {
    for world in World::each().await {
        let end = NOW.plus_seconds(TTL_SECONDS);
        let (invitation, claim) = world.waiting("ada").await;
        let mut late = world.confirm(&invitation, &claim, CODE);
        late.stamp.at = end;
        assert_eq!(confirm(&world, late.clone()).await, ConfirmOutcome::Closed(EnrollmentStatus::Expired));
        let cancelled = world.store.cancel_enrollment(late.stamp.clone(), invitation.id).await;
        assert_eq!(cancelled, Ok(CancelEnrollmentOutcome::Closed(EnrollmentStatus::Expired)));

        let sweep = |at| world.store.expire_enrollment(world.stamp_at(Actor::System, at), invitation.id);
        assert_eq!(sweep(end.plus_millis(-1)).await, Ok(false));
        let due = DueEnrollment { tenant_id: world.tenant_id, id: invitation.id };
        assert_eq!(world.store.due_enrollments(end.plus_millis(-1), 10).await, Ok(Vec::new()));
        assert_eq!(world.store.due_enrollments(end, 10).await, Ok(vec![due]));
        let before = world.kinds().await;
        assert_eq!(sweep(end).await, Ok(true));
        assert_eq!(sweep(end).await, Ok(false));
        assert_eq!(new_kinds(&before, world.kinds().await), [EventKind::EnrollmentExpired]);
        assert_eq!(world.store.due_enrollments(end, 10).await, Ok(Vec::new()));
        assert_eq!(enrollment(&world, invitation.id).await.status, EnrollmentStatus::Expired);
        assert_eq!(confirm(&world, late).await, ConfirmOutcome::Closed(EnrollmentStatus::Expired));
        expect_deleted(&world, &invitation, &claim).await;
    }
}

#[tokio::test]
async fn a_completed_enrollment_never_expires() {
    for world in World::each().await {
        let (invitation, claim) = world.waiting("ada").await;
        confirm(&world, world.confirm(&invitation, &claim, CODE)).await;
        let end = NOW.plus_seconds(TTL_SECONDS);
        assert_eq!(world.store.due_enrollments(end, 10).await, Ok(Vec::new()));
        let stamp = world.stamp_at(Actor::System, end);
        assert_eq!(world.store.expire_enrollment(stamp, invitation.id).await, Ok(false));
        let cancelled = world.store.cancel_enrollment(world.stamp(world.client), invitation.id).await;
        assert_eq!(cancelled, Ok(CancelEnrollmentOutcome::Closed(EnrollmentStatus::Completed)));
        assert_eq!(world.device(claim.device_id).await.unwrap().status, DeviceStatus::Active);
    }
}

#[tokio::test]
async fn a_cancellation_deletes_the_waiting_device_and_may_be_repeated() {
    for world in World::each().await {
        let (invitation, claim) = world.waiting("ada").await;
        let unclaimed = world.invite("ada").await;
        let neighbour = world.tenant("neighbour").await;
        let elsewhere = world.store.cancel_enrollment(world.stamp_in(neighbour), invitation.id).await;
        assert_eq!(elsewhere, Ok(CancelEnrollmentOutcome::NotFound));
        let before = world.kinds().await;
        for id in [invitation.id, unclaimed.id] {
            let cancel = || world.store.cancel_enrollment(world.stamp(world.client), id);
            assert_eq!(cancel().await, Ok(CancelEnrollmentOutcome::Cancelled));
            assert_eq!(cancel().await, Ok(CancelEnrollmentOutcome::AlreadyCancelled));
        }
        let kinds = [EventKind::EnrollmentCancelled; 2];
        assert_eq!(new_kinds(&before, world.kinds().await), kinds);
        expect_deleted(&world, &invitation, &claim).await;
    }
}
