//! The barrier (protocol 10.1): what a suspension or revocation ends, and that nothing slips past it.

use std::sync::Arc;

use countersign_core::{
    device::StatusChange,
    event::EventKind,
    ports::{challenges::DecideOutcome, devices::ChangeDeviceStatusOutcome as Outcome},
    verify::Verdict,
    wake::WakeKey,
};
use countersign_proto::{
    ids::ChallengeId,
    vocabulary::{ChallengeReason, ChallengeStatus, DeliveryState, DeviceStatus, PushChannel},
};

use super::REVOKE;
use crate::kit::{self, Wakes};
use crate::world::{NOW, Phone, World};

const APPROVE: Verdict = Verdict::Approve { with_number: true };

async fn state(world: &World, id: ChallengeId) -> (ChallengeStatus, Option<ChallengeReason>) {
    let challenge = world.store.challenge(world.tenant_id, id).await.unwrap().unwrap();
    (challenge.status, challenge.reason)
}

async fn delivery(world: &World, id: ChallengeId, phone: &Phone) -> DeliveryState {
    let deliveries = world.store.deliveries(world.tenant_id, id).await.unwrap();
    deliveries.into_iter().find(|delivery| delivery.device_id == phone.id).unwrap().state
}

#[tokio::test]
async fn what_was_addressed_to_nobody_else_ends_with_the_device() {
    let ways = [(StatusChange::Suspend, ChallengeReason::DeviceSuspended), (REVOKE, ChallengeReason::DeviceRevoked)];
    for world in World::each().await {
        for (change, reason) in ways {
            let (phone, other) = (world.phone("ada").await, world.phone("ada").await);
            let only = world.challenge(&[&phone]).await;
            let both = world.challenge(&[&phone, &other]).await;
            let others = world.challenge(&[&other]).await;
            let cancelled_before = world.count(EventKind::ChallengeCancelled).await;

            let changed = world.change(phone.id, change).await;
            let Outcome::Changed { cancelled, .. } = changed else { panic!("{changed:?}") };
            assert_eq!(cancelled, [only]);
            assert_eq!(state(&world, only).await, (ChallengeStatus::Cancelled, Some(reason)));
            assert_eq!(state(&world, both).await, (ChallengeStatus::Pending, None));
            assert_eq!(state(&world, others).await, (ChallengeStatus::Pending, None));
            assert_eq!(delivery(&world, both, &phone).await, DeliveryState::Withdrawn);
            assert_eq!(delivery(&world, both, &other).await, DeliveryState::Queued);
            assert_eq!(world.count(EventKind::ChallengeCancelled).await, cancelled_before + 1);
            let user = world.store.user(world.tenant_id, phone.user.id).await.unwrap().unwrap();
            assert_eq!(user.pending_challenges, 2);

            // And when the last of the addressed devices goes, the shared one ends too.
            let changed = world.change(other.id, change).await;
            let Outcome::Changed { mut cancelled, .. } = changed else { panic!("{changed:?}") };
            cancelled.sort();
            let mut wanted = vec![both, others];
            wanted.sort();
            assert_eq!(cancelled, wanted);
            let user = world.store.user(world.tenant_id, phone.user.id).await.unwrap().unwrap();
            assert_eq!(user.pending_challenges, 0);
        }
    }
}

#[tokio::test]
async fn whoever_waits_hears_of_the_end_on_the_node_that_brought_it() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let challenge = world.challenge(&[&phone]).await;
        let wakes = Arc::new(Wakes::default());
        let node = world.database.open_with(kit::options(), Arc::clone(&wakes) as _).await.unwrap();
        node.change_device_status(world.new_status(world.client, phone.id, REVOKE)).await.unwrap();
        wakes.hear(WakeKey::Challenge(challenge)).await;
        wakes.hear(WakeKey::Device(phone.id)).await;
    }
}

#[tokio::test]
async fn resuming_revives_nothing() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let challenge = world.challenge(&[&phone]).await;
        world.change(phone.id, StatusChange::Suspend).await;
        world.change(phone.id, StatusChange::Resume).await;
        let cancelled = (ChallengeStatus::Cancelled, Some(ChallengeReason::DeviceSuspended));
        assert_eq!(state(&world, challenge).await, cancelled);
        let outcome = world.store.decide_challenge(world.answer(&phone, challenge, APPROVE)).await;
        assert_eq!(outcome, Ok(DecideOutcome::Closed(ChallengeStatus::Cancelled)));
    }
}

#[tokio::test]
async fn nothing_more_is_sent_to_a_device_that_is_gone() {
    for world in World::each().await {
        for change in [StatusChange::Suspend, REVOKE] {
            let (phone, other) = (world.phone("ada").await, world.phone("ada").await);
            world.challenge(&[&phone, &other]).await;
            world.change(phone.id, change).await;
            let lease = world.claim_of(PushChannel::Fcm, NOW, 100);
            let leased = world.store.claim_notifications(lease).await.unwrap();
            assert!(leased.iter().all(|job| job.device_id != phone.id), "{leased:?}");
            assert!(leased.iter().any(|job| job.device_id == other.id), "{leased:?}");
        }
    }
}

/// One round of the race: an approve on one node, a change of the phone's status on another. Returns what became of
/// the challenge, which nothing may change once the change of status has returned.
async fn race(world: &Arc<World>, phone: &Phone, challenge: ChallengeId, change: StatusChange) -> ChallengeStatus {
    let answer = world.answer(phone, challenge, APPROVE);
    let node = Arc::clone(world);
    let approve = tokio::spawn(async move { node.store.decide_challenge(answer).await.unwrap() });
    let command = world.new_status(world.client, phone.id, change);
    let changed = world.other.change_device_status(command).await.unwrap();
    assert!(matches!(changed, Outcome::Changed { .. }), "{changed:?}");
    let (at_return, _) = state(world, challenge).await;
    let outcome = approve.await.unwrap();
    assert_eq!(state(world, challenge).await.0, at_return, "{outcome:?} after {change:?} had returned");
    match (&outcome, at_return) {
        (DecideOutcome::Won { .. }, ChallengeStatus::Approved)
        | (DecideOutcome::Closed(ChallengeStatus::Cancelled), ChallengeStatus::Cancelled) => {}
        (DecideOutcome::DeviceNotActive(status), ChallengeStatus::Cancelled | ChallengeStatus::Pending) => {
            assert_ne!(*status, DeviceStatus::Active);
        }
        other => panic!("{other:?}"),
    }
    at_return
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_approve_commits_after_a_suspension_or_revocation_has_returned() {
    for world in World::each().await {
        let world = Arc::new(world);
        let (mut approved, rounds) = (0, kit::rounds(80, 2_000));
        for round in 0..rounds {
            let change = if round % 2 == 0 { StatusChange::Suspend } else { REVOKE };
            let (phone, other) = (world.phone("ada").await, world.phone("ada").await);
            // A challenge that others may still answer is not cancelled: there only the device's row stands
            // between a late approve and its commit.
            let addressed = if round % 4 < 3 { vec![&phone, &other] } else { vec![&phone] };
            let challenge = world.challenge(&addressed).await;
            approved += usize::from(race(&world, &phone, challenge, change).await == ChallengeStatus::Approved);
            world.change(phone.id, REVOKE).await;
            world.change(other.id, REVOKE).await;
        }
        assert_eq!(world.count(EventKind::ChallengeApproved).await, approved);
        assert_eq!(world.count(EventKind::ChallengeCancelled).await, rounds - approved);
    }
}
