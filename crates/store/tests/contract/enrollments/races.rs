//! Two nodes at once. Whatever the order, there is one outcome, and everybody is told it.

use std::sync::Arc;

use countersign_core::{
    actor::Actor,
    event::EventKind,
    limits::MAX_WRONG_CODES,
    ports::enrollments::{
        Activation, CancelEnrollmentOutcome, ClaimOutcome, ClaimTicket, ConfirmEnrollment, ConfirmOutcome,
        CreateEnrollmentOutcome,
    },
};
use countersign_proto::vocabulary::{Confirmation, EnrollmentStatus};

use super::enrollment;
use crate::world::{CODE, NOW, TTL_SECONDS, World};

const ROUNDS: usize = 50;

/// Claims on two nodes at once.
async fn claim_both(world: &World, one: ClaimTicket, other: ClaimTicket) -> Vec<ClaimOutcome> {
    let (one, other) = tokio::join!(world.store.claim_ticket(one), world.other.claim_ticket(other));
    vec![one.unwrap(), other.unwrap()]
}

fn expect_one_of_each(outcomes: &[ClaimOutcome], loser: ClaimOutcome) {
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    assert_eq!((count(ClaimOutcome::Claimed), count(loser)), (1, 1), "{outcomes:?}");
}

#[tokio::test]
async fn two_invitations_of_a_new_user_make_one_user() {
    for world in World::each().await {
        for round in 0..ROUNDS {
            let name = format!("user-{round}");
            let command = || world.new_enrollment(&name, Confirmation::Code);
            let (one, other) =
                tokio::join!(world.store.create_enrollment(command()), world.other.create_enrollment(command()));
            let id = |outcome| match outcome {
                Ok(CreateEnrollmentOutcome::Created(user)) => user.id,
                other => panic!("{other:?}"),
            };
            assert_eq!(id(one), id(other));
        }
        assert_eq!(world.count(EventKind::UserCreated).await, ROUNDS);
    }
}

#[tokio::test]
async fn of_two_claims_without_a_code_one_gets_the_device() {
    for world in World::each().await {
        for round in 0..ROUNDS {
            let invitation = world.invite(&format!("user-{round}")).await;
            let claim = || ClaimTicket { activation: Activation::AtOnce(world.binding()), ..world.claim(&invitation) };
            expect_one_of_each(&claim_both(&world, claim(), claim()).await, ClaimOutcome::NotFound);
            assert_eq!(enrollment(&world, invitation.id).await.status, EnrollmentStatus::Completed);
            assert_eq!(world.device_count(invitation.user.id).await, 1);
        }
        assert_eq!(world.count(EventKind::DeviceAdded).await, ROUNDS);
    }
}

/// Two phones with the same ticket, before the code is typed: the first gets it, the second contests it, always in
/// this order, so none of them is left with a device.
#[tokio::test]
async fn two_claims_with_different_keys_and_a_code_leave_no_device() {
    for world in World::each().await {
        for round in 0..ROUNDS {
            let invitation = world.invite(&format!("user-{round}")).await;
            let outcomes = claim_both(&world, world.claim(&invitation), world.claim(&invitation)).await;
            expect_one_of_each(&outcomes, ClaimOutcome::NotFound);
            assert_eq!(enrollment(&world, invitation.id).await.status, EnrollmentStatus::Cancelled);
            assert_eq!(world.device_count(invitation.user.id).await, 0);
        }
        assert_eq!(world.count(EventKind::EnrollmentContested).await, ROUNDS);
    }
}

#[tokio::test]
async fn one_phone_that_claims_twice_at_once_gets_one_device() {
    for world in World::each().await {
        for round in 0..ROUNDS {
            let invitation = world.invite(&format!("user-{round}")).await;
            let one = world.claim(&invitation);
            let other = ClaimTicket { device_key: one.device_key.clone(), ..world.claim(&invitation) };
            expect_one_of_each(&claim_both(&world, one, other).await, ClaimOutcome::NotFound);
            assert_eq!(enrollment(&world, invitation.id).await.status, EnrollmentStatus::Claimed);
            assert_eq!(world.device_count(invitation.user.id).await, 1);
        }
        assert_eq!(world.count(EventKind::EnrollmentContested).await, 0);
    }
}

#[tokio::test]
async fn a_key_that_is_registered_twice_at_once_belongs_to_one() {
    for world in World::each().await {
        for round in 0..ROUNDS {
            let (ada, bob) = (world.invite(&format!("ada-{round}")).await, world.invite(&format!("bob-{round}")).await);
            // Crossed roles: each waits for the other's key unless both take them in the same order.
            let (one, two) = (world.key(), world.key());
            let of_ada = ClaimTicket { device_key: one.clone(), uv_key: Some(two.clone()), ..world.claim(&ada) };
            let of_bob = ClaimTicket { device_key: two, uv_key: Some(one), ..world.claim(&bob) };
            let outcomes = claim_both(&world, of_ada, of_bob).await;
            expect_one_of_each(&outcomes, ClaimOutcome::KeyAlreadyRegistered);
            let status = [enrollment(&world, ada.id).await.status, enrollment(&world, bob.id).await.status];
            assert!(status.contains(&EnrollmentStatus::Pending), "{status:?}");
            assert!(status.contains(&EnrollmentStatus::Claimed), "{status:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_on_devices_is_exact_under_parallel_claims() {
    for world in World::each().await {
        let world = Arc::new(world);
        for round in 0..15 {
            let name = format!("user-{round}");
            let mut claims = Vec::new();
            for number in 0..8 {
                let invitation = world.invite(&name).await;
                let claim = ClaimTicket { max_devices_per_user: 3, ..world.claim(&invitation) };
                let world = Arc::clone(&world);
                claims.push(tokio::spawn(async move {
                    let node = if number % 2 == 0 { &world.store } else { &world.other };
                    let user_id = claim.user_id;
                    (node.claim_ticket(claim).await.unwrap(), user_id)
                }));
            }
            let mut claimed = 0;
            let mut user_id = None;
            for claim in claims {
                let (outcome, of) = claim.await.unwrap();
                user_id = Some(of);
                match outcome {
                    ClaimOutcome::Claimed => claimed += 1,
                    other => assert_eq!(other, ClaimOutcome::TooManyDevices),
                }
            }
            assert_eq!((claimed, world.device_count(user_id.unwrap()).await), (3, 3));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_five_wrong_codes_are_judged_however_many_nodes_are_asked() {
    for world in World::each().await {
        let world = Arc::new(world);
        for round in 0..15 {
            let (invitation, claim) = world.waiting(&format!("user-{round}")).await;
            let guesses: Vec<_> = (0..10)
                .map(|number| {
                    let command = world.confirm(&invitation, &claim, &format!("{number:06}"));
                    let world = Arc::clone(&world);
                    tokio::spawn(async move {
                        let node = if number % 2 == 0 { &world.store } else { &world.other };
                        node.confirm_enrollment(command).await.unwrap()
                    })
                })
                .collect();
            let mut left = Vec::new();
            for guess in guesses {
                match guess.await.unwrap() {
                    ConfirmOutcome::WrongCode { attempts_left } => left.push(attempts_left),
                    other => assert_eq!(other, ConfirmOutcome::Closed(EnrollmentStatus::Cancelled)),
                }
            }
            left.sort_unstable();
            assert_eq!(left, (0..MAX_WRONG_CODES).collect::<Vec<_>>());
            assert_eq!(world.device(claim.device_id).await, None);
            assert_eq!(world.device_count(invitation.user.id).await, 0);
        }
    }
}

#[tokio::test]
async fn of_confirmation_cancellation_and_expiry_one_wins() {
    for world in World::each().await {
        let mut winners = [0; 3];
        for round in 0..ROUNDS {
            let (invitation, claim) = world.waiting(&format!("user-{round}")).await;
            // The sweeper's clock is at the end, the others' just before it: all three may win.
            let end = NOW.plus_seconds(TTL_SECONDS);
            let confirm = ConfirmEnrollment {
                stamp: world.stamp_at(world.client, end.plus_millis(-1)),
                ..world.confirm(&invitation, &claim, CODE)
            };
            let cancel = world.stamp_at(world.client, end.plus_millis(-1));
            let expire = world.stamp_at(Actor::System, end);
            let (one, other) = if round % 2 == 0 { (&world.store, &world.other) } else { (&world.other, &world.store) };
            let (confirmed, cancelled, expired) = tokio::join!(
                one.confirm_enrollment(confirm),
                other.cancel_enrollment(cancel, invitation.id),
                one.expire_enrollment(expire, invitation.id),
            );
            let won = [
                confirmed.unwrap() == ConfirmOutcome::Completed,
                cancelled.unwrap() == CancelEnrollmentOutcome::Cancelled,
                expired.unwrap(),
            ];
            assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
            let status = enrollment(&world, invitation.id).await.status;
            let of_winner = [EnrollmentStatus::Completed, EnrollmentStatus::Cancelled, EnrollmentStatus::Expired];
            assert_eq!(won, of_winner.map(|wanted| wanted == status));
            assert_eq!(world.device(claim.device_id).await.is_some(), won[0]);
            assert_eq!(world.device_count(invitation.user.id).await, u32::from(won[0]));
            for (count, won) in winners.iter_mut().zip(won) {
                *count += usize::from(won);
            }
        }
        let ends = [EventKind::EnrollmentCompleted, EventKind::EnrollmentCancelled, EventKind::EnrollmentExpired];
        for (kind, count) in ends.into_iter().zip(winners) {
            assert_eq!(world.count(kind).await, count, "{kind:?}");
        }
    }
}
