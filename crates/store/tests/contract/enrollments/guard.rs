//! Who agreed to one more device: under the user's row, when it is invited and when it comes.

use countersign_core::{
    device::StatusChange,
    digest::Digest,
    event::EventKind,
    ports::{
        challenges::DecideOutcome,
        enrollments::{
            Activation, Admission, Approval, ClaimOutcome, ClaimTicket, ConfirmEnrollment, ConfirmOutcome,
            CreateEnrollment, CreateEnrollmentOutcome,
        },
    },
    verify::Verdict,
};
use countersign_proto::vocabulary::{Confirmation, EnrollmentPurpose, EnrollmentStatus, RevokeReason};

use super::{claim, enrollment};
use crate::world::{CODE, Invitation, Phone, World, new_kinds};

fn asking(world: &World, external_id: &str, admission: Admission) -> CreateEnrollment {
    CreateEnrollment { admission, ..world.new_enrollment(external_id, Confirmation::Code) }
}

/// A challenge that the phone has approved.
async fn approval(world: &World, phone: &Phone) -> Approval {
    let challenge_id = world.challenge(&[phone]).await;
    let answer = world.answer(phone, challenge_id, Verdict::Approve { with_number: true });
    assert!(matches!(world.store.decide_challenge(answer).await, Ok(DecideOutcome::Won { .. })));
    Approval { challenge_id, user_id: phone.user.id, device_id: phone.id }
}

async fn is_let_in(world: &World, command: CreateEnrollment) -> bool {
    matches!(world.store.create_enrollment(command).await, Ok(CreateEnrollmentOutcome::Created(_)))
}

async fn invite_first(world: &World, external_id: &str) -> Invitation {
    let command = asking(world, external_id, Admission::FirstDevice);
    let (id, ticket) = (command.id, command.ticket);
    Invitation { id, ticket, user: world.create(command).await }
}

fn guarded(world: &World, invitation: &Invitation) -> ClaimTicket {
    ClaimTicket { is_guarded: true, ..world.claim(invitation) }
}

#[tokio::test]
async fn who_has_a_device_is_invited_only_with_an_agreement() {
    for world in World::each().await {
        assert!(is_let_in(&world, asking(&world, "ada", Admission::FirstDevice)).await);
        let phone = world.phone("ada").await;
        let before = world.kinds().await;
        assert!(!is_let_in(&world, asking(&world, "ada", Admission::FirstDevice)).await);
        // A suspended device is no reason to let another one in unasked; one that is gone is.
        world.change(phone.id, StatusChange::Suspend).await;
        assert!(!is_let_in(&world, asking(&world, "ada", Admission::FirstDevice)).await);
        world.change(phone.id, StatusChange::Revoke(RevokeReason::Lost)).await;
        assert!(is_let_in(&world, asking(&world, "ada", Admission::FirstDevice)).await);
        use EventKind::{DeviceRevoked, DeviceSuspended, EnrollmentCreated};
        assert_eq!(new_kinds(&before, world.kinds().await), [DeviceRevoked, DeviceSuspended, EnrollmentCreated]);
    }
}

#[tokio::test]
async fn a_refused_invitation_leaves_no_user_behind() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        assert!(!is_let_in(&world, asking(&world, "bob", Admission::Approved(approval(&world, &phone).await))).await);
        assert_eq!(world.database.number("SELECT count(*) FROM users WHERE external_id = 'bob'").await, 0);
        assert_eq!(world.database.number("SELECT count(*) FROM enrollments").await, 1);
    }
}

#[tokio::test]
async fn an_approval_lets_one_in_as_long_as_its_device_is_active() {
    for world in World::each().await {
        let (phone, other) = (world.phone("ada").await, world.phone("ada").await);
        let (used, late) = (approval(&world, &phone).await, approval(&world, &other).await);
        assert!(is_let_in(&world, asking(&world, "ada", Admission::Approved(used))).await);
        assert!(!is_let_in(&world, asking(&world, "ada", Admission::Approved(used))).await);
        world.change(other.id, StatusChange::Suspend).await;
        assert!(!is_let_in(&world, asking(&world, "ada", Admission::Approved(late))).await);
        world.change(other.id, StatusChange::Resume).await;
        assert!(is_let_in(&world, asking(&world, "ada", Admission::Approved(late))).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_invitations_that_race_with_one_approval_one_is_made() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for _ in 0..20 {
            let approval = Admission::Approved(approval(&world, &phone).await);
            let (one, two) = (asking(&world, "ada", approval), asking(&world, "ada", approval));
            let (store, other) = (world.store.clone(), world.other.clone());
            let one = tokio::spawn(async move { store.create_enrollment(one).await.unwrap() });
            let two = tokio::spawn(async move { other.create_enrollment(two).await.unwrap() });
            let outcomes = [one.await.unwrap(), two.await.unwrap()];
            let refused = outcomes.iter().filter(|outcome| **outcome == CreateEnrollmentOutcome::ApprovalRequired);
            assert_eq!(refused.count(), 1, "{outcomes:?}");
        }
    }
}

#[tokio::test]
async fn an_override_is_told_with_a_digest_of_its_reason() {
    for world in World::each().await {
        world.phone("ada").await;
        let before = world.kinds().await;
        let reason = Digest::of("the phone fell into the lake");
        assert!(is_let_in(&world, asking(&world, "ada", Admission::Overridden { reason })).await);
        use EventKind::{EnrollmentCreated, EnrollmentOverridden};
        assert_eq!(new_kinds(&before, world.kinds().await), [EnrollmentCreated, EnrollmentOverridden]);
        let events = world.store.events(world.tenant_id, 0, 200).await.unwrap();
        let told = events.iter().find(|event| event.kind == EnrollmentOverridden).unwrap();
        assert_eq!(told.body["reason_sha256"], reason.to_b64u());
    }
}

#[tokio::test]
async fn a_broker_is_no_device_that_could_agree() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let invitation = world.invite("ada").await;
        let activation = Activation::AtOnce(world.binding());
        let broker = ClaimTicket { purpose: EnrollmentPurpose::Broker, activation, ..world.claim(&invitation) };
        let approval = Approval { device_id: broker.device_id, ..approval(&world, &phone).await };
        assert_eq!(claim(&world, broker).await, ClaimOutcome::Claimed);
        assert!(!is_let_in(&world, asking(&world, "ada", Admission::Approved(approval))).await);
        assert!(!is_let_in(&world, asking(&world, "ada", Admission::FirstDevice)).await);
        world.change(phone.id, StatusChange::Revoke(RevokeReason::Lost)).await;
        assert!(is_let_in(&world, asking(&world, "ada", Admission::FirstDevice)).await);
    }
}

#[tokio::test]
async fn of_two_tickets_for_a_first_device_one_makes_a_device() {
    for world in World::each().await {
        let (one, two) = (invite_first(&world, "ada").await, invite_first(&world, "ada").await);
        let at_once = || Activation::AtOnce(world.binding());
        let first = ClaimTicket { activation: at_once(), ..guarded(&world, &one) };
        let second = ClaimTicket { activation: at_once(), ..guarded(&world, &two) };
        assert_eq!(claim(&world, first).await, ClaimOutcome::Claimed);
        assert_eq!(claim(&world, second.clone()).await, ClaimOutcome::NotFound);
        assert_eq!(enrollment(&world, two.id).await.status, EnrollmentStatus::Pending);
        // Where nobody has to be asked, it is a ticket like any other.
        assert_eq!(claim(&world, ClaimTicket { is_guarded: false, ..second }).await, ClaimOutcome::Claimed);
    }
}

#[tokio::test]
async fn of_two_first_devices_that_wait_for_their_codes_one_becomes_active() {
    for world in World::each().await {
        let (one, two) = (invite_first(&world, "ada").await, invite_first(&world, "ada").await);
        let (first, second) = (guarded(&world, &one), guarded(&world, &two));
        assert_eq!(claim(&world, first.clone()).await, ClaimOutcome::Claimed);
        assert_eq!(claim(&world, second.clone()).await, ClaimOutcome::Claimed);
        let confirm =
            |invitation, claim| ConfirmEnrollment { is_guarded: true, ..world.confirm(invitation, claim, CODE) };
        assert_eq!(world.store.confirm_enrollment(confirm(&one, &first)).await, Ok(ConfirmOutcome::Completed));
        let before = world.kinds().await;
        let refused = world.store.confirm_enrollment(confirm(&two, &second)).await;
        assert_eq!(refused, Ok(ConfirmOutcome::ApprovalRequired));
        assert_eq!(new_kinds(&before, world.kinds().await), [EventKind::EnrollmentCancelled]);
        assert_eq!(world.device(second.device_id).await, None);
        assert_eq!(world.device_count(one.user.id).await, 1);
        // The first one's repeat is told what it was told.
        let repeat = world.store.confirm_enrollment(confirm(&one, &first)).await;
        assert_eq!(repeat, Ok(ConfirmOutcome::AlreadyCompleted));
        let again = world.store.confirm_enrollment(confirm(&two, &second)).await;
        assert_eq!(again, Ok(ConfirmOutcome::Closed(EnrollmentStatus::Cancelled)));
    }
}

#[tokio::test]
async fn what_was_agreed_to_comes_in_beside_other_devices() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let reason = Digest::of("reason");
        for admission in [Admission::Approved(approval(&world, &phone).await), Admission::Overridden { reason }] {
            let command = asking(&world, "ada", admission);
            let (id, ticket) = (command.id, command.ticket);
            let invitation = Invitation { id, ticket, user: world.create(command).await };
            let claimed = guarded(&world, &invitation);
            assert_eq!(claim(&world, claimed.clone()).await, ClaimOutcome::Claimed);
            let confirm = ConfirmEnrollment { is_guarded: true, ..world.confirm(&invitation, &claimed, CODE) };
            assert_eq!(world.store.confirm_enrollment(confirm).await, Ok(ConfirmOutcome::Completed));
        }
    }
}
