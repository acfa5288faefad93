//! Several devices at once: all of a user's, those of an installed app, those whose place another one takes.

use std::sync::Arc;

use countersign_core::{
    device::StatusChange,
    event::EventKind,
    ports::{
        PageRequest,
        challenges::DecideOutcome,
        devices::{DeviceFilter, RenameDevice, RenameDeviceOutcome as Renamed, RevokeAllDevices},
        enrollments::{Activation, ClaimOutcome, ClaimTicket, ConfirmOutcome},
    },
    verify::Verdict,
};
use countersign_proto::{
    ids::{DeviceId, UserId},
    vocabulary::{
        ChallengeReason, ChallengeStatus, DeviceStatus, EnrollmentPurpose, EnrollmentStatus, PushChannel, RevokeReason,
    },
};

use super::REVOKE;
use crate::kit;
use crate::world::{NOW, Phone, World};

/// A claim by a phone that says of which installation it is.
fn claim_of(world: &World, invitation: &crate::world::Invitation, installation: &str) -> ClaimTicket {
    let mut claim = world.claim(invitation);
    claim.description.installation_id = Some(installation.to_owned());
    claim.description.app_id = Some("org.example".to_owned());
    claim
}

/// An active phone of this installation.
async fn phone(world: &World, user: &str, installation: &str) -> Phone {
    let invitation = world.invite(user).await;
    let binding = world.binding();
    let activation = Activation::AtOnce(binding.clone());
    let claim = ClaimTicket { activation, ..claim_of(world, &invitation, installation) };
    let phone = Phone { id: claim.device_id, user: invitation.user, key: claim.device_key.clone(), binding };
    assert_eq!(world.store.claim_ticket(claim).await, Ok(ClaimOutcome::Claimed));
    phone
}

async fn status(world: &World, id: DeviceId) -> (DeviceStatus, Option<RevokeReason>) {
    let device = world.device(id).await.unwrap();
    (device.status, device.revoke_reason)
}

const ACTIVE: (DeviceStatus, Option<RevokeReason>) = (DeviceStatus::Active, None);
const REPLACED: (DeviceStatus, Option<RevokeReason>) = (DeviceStatus::Revoked, Some(RevokeReason::Replaced));

#[tokio::test]
async fn a_registration_takes_the_place_of_the_former_one_when_it_becomes_active() {
    for world in World::each().await {
        let former = phone(&world, "ada", "i1").await;
        let (suspended, elsewhere) = (phone(&world, "ada", "i2").await, phone(&world, "ada", "i3").await);
        world.change(suspended.id, StatusChange::Suspend).await;
        let invitation = world.invite("ada").await;
        let claim = claim_of(&world, &invitation, "i1");
        assert_eq!(world.store.claim_ticket(claim.clone()).await, Ok(ClaimOutcome::Claimed));
        // Not while it waits.
        assert_eq!(status(&world, former.id).await, ACTIVE);
        let challenge = world.challenge(&[&former]).await;
        let confirm = world.confirm(&invitation, &claim, crate::world::CODE);
        assert_eq!(world.store.confirm_enrollment(confirm).await, Ok(ConfirmOutcome::Completed));
        assert_eq!(status(&world, former.id).await, REPLACED);
        assert_eq!(status(&world, elsewhere.id).await, ACTIVE);
        assert_eq!(status(&world, claim.device_id).await, ACTIVE);
        assert_eq!(world.device(former.id).await.unwrap().push_channel, PushChannel::None);
        let ended = world.store.challenge(world.tenant_id, challenge).await.unwrap().unwrap();
        assert_eq!((ended.status, ended.reason), (ChallengeStatus::Cancelled, Some(ChallengeReason::DeviceRevoked)));
        // At once, where no code is typed; a suspended one, too.
        let again = phone(&world, "ada", "i2").await;
        assert_eq!(status(&world, suspended.id).await, REPLACED);
        assert_eq!(status(&world, again.id).await, ACTIVE);
        assert_eq!(world.device_count(former.user.id).await, 3);
        let by = format!(r#"SELECT body FROM events WHERE device_id = {}"#, world.database.sql_id(former.id));
        let bodies = world.database.texts(&format!("{by} AND kind = 'device.revoked'")).await;
        let said: serde_json::Value = serde_json::from_str(&bodies[0]).unwrap();
        let wanted = serde_json::json!({"reason": "replaced", "superseded_by": claim.device_id.to_string()});
        assert_eq!((bodies.len(), said), (1, wanted));
    }
}

#[tokio::test]
async fn nobody_elses_registration_is_displaced() {
    for world in World::each().await {
        let ada = phone(&world, "ada", "i1").await;
        let nameless = world.phone("ada").await;
        phone(&world, "bob", "i1").await;
        world.phone("ada").await;
        let invitation = world.invite("ada").await;
        let broker = ClaimTicket {
            purpose: EnrollmentPurpose::Broker,
            activation: Activation::AtOnce(world.binding()),
            ..claim_of(&world, &invitation, "i1")
        };
        assert_eq!(world.store.claim_ticket(broker).await, Ok(ClaimOutcome::Claimed));
        for id in [ada.id, nameless.id] {
            assert_eq!(status(&world, id).await, ACTIVE);
        }
    }
}

#[tokio::test]
async fn a_user_at_the_limit_registers_the_same_installation_anew_and_no_other() {
    for world in World::each().await {
        let former = phone(&world, "ada", "i1").await;
        phone(&world, "ada", "i2").await;
        let claim = async |installation: &str, code: bool| {
            let invitation = world.invite("ada").await;
            let mut claim = ClaimTicket { max_devices_per_user: 2, ..claim_of(&world, &invitation, installation) };
            if !code {
                claim.activation = Activation::AtOnce(world.binding());
            }
            (world.store.claim_ticket(claim.clone()).await.unwrap(), invitation, claim)
        };
        assert_eq!(claim("i3", false).await.0, ClaimOutcome::TooManyDevices);
        let (outcome, invitation, waiting) = claim("i1", true).await;
        assert_eq!(outcome, ClaimOutcome::Claimed);
        assert_eq!(world.device_count(former.user.id).await, 3);
        // One too many waits: there is no room for another one, of whatever installation.
        assert_eq!(claim("i1", true).await.0, ClaimOutcome::TooManyDevices);
        assert_eq!(claim("i2", false).await.0, ClaimOutcome::TooManyDevices);
        let confirm = world.confirm(&invitation, &waiting, crate::world::CODE);
        assert_eq!(world.store.confirm_enrollment(confirm).await, Ok(ConfirmOutcome::Completed));
        assert_eq!(world.device_count(former.user.id).await, 2);
        assert_eq!(claim("i1", false).await.0, ClaimOutcome::Claimed);
        assert_eq!(world.device_count(former.user.id).await, 2);
    }
}

fn revoke_all(world: &World, user_id: UserId) -> RevokeAllDevices {
    RevokeAllDevices { stamp: world.stamp(world.client), user_id, reason: RevokeReason::Left }
}

#[tokio::test]
async fn all_devices_of_a_user_are_revoked_with_their_enrollments_and_challenges() {
    for world in World::each().await {
        let (one, two, bob) = (world.phone("ada").await, world.phone("ada").await, world.phone("bob").await);
        let user_id = one.user.id;
        world.change(two.id, StatusChange::Suspend).await;
        let three = world.phone("ada").await;
        world.change(three.id, REVOKE).await;
        let (_, waiting) = world.waiting("ada").await;
        let open = world.invite("ada").await;
        let challenge = world.challenge(&[&one]).await;
        let revoked = world.store.revoke_all_devices(revoke_all(&world, user_id)).await.unwrap().unwrap();
        let mut wanted = vec![one.id, two.id, waiting.device_id];
        wanted.sort();
        assert_eq!(revoked, wanted);
        for id in wanted {
            assert_eq!(status(&world, id).await, (DeviceStatus::Revoked, Some(RevokeReason::Left)));
        }
        assert_eq!(status(&world, bob.id).await, ACTIVE);
        assert_eq!(world.device_count(user_id).await, 0);
        let ended = world.store.challenge(world.tenant_id, challenge).await.unwrap().unwrap();
        assert_eq!((ended.status, ended.reason), (ChallengeStatus::Cancelled, Some(ChallengeReason::DeviceRevoked)));
        let enrollment = world.store.enrollment(world.tenant_id, open.id).await.unwrap().unwrap();
        assert_eq!(enrollment.status, EnrollmentStatus::Cancelled);
        assert_eq!(world.count(EventKind::DeviceRevoked).await, 4);
        // Repeated, it finds nothing; of nobody, and of another tenant's user, there is nothing to find.
        let kinds = world.kinds().await;
        assert_eq!(world.other.revoke_all_devices(revoke_all(&world, user_id)).await, Ok(Some(Vec::new())));
        assert_eq!(world.store.revoke_all_devices(revoke_all(&world, world.id())).await, Ok(None));
        let neighbour = world.tenant("neighbour").await;
        let theirs = RevokeAllDevices { stamp: world.stamp_in(neighbour), ..revoke_all(&world, bob.user.id) };
        assert_eq!(world.store.revoke_all_devices(theirs).await, Ok(None));
        assert_eq!(world.kinds().await, kinds);
        assert_eq!(status(&world, bob.id).await, ACTIVE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_approve_commits_and_nothing_is_leased_after_all_were_revoked() {
    for world in World::each().await {
        let world = Arc::new(world);
        for _ in 0..kit::rounds(40, 1_500) {
            let (one, two) = (world.phone("ada").await, world.phone("ada").await);
            let challenges = [world.challenge(&[&one, &two]).await, world.challenge(&[&two]).await];
            let answers = [(&one, challenges[0]), (&two, challenges[1])];
            let approves: Vec<_> = answers
                .map(|(phone, id)| world.answer(phone, id, Verdict::Approve { with_number: true }))
                .into_iter()
                .map(|answer| {
                    let node = Arc::clone(&world);
                    tokio::spawn(async move { node.store.decide_challenge(answer).await.unwrap() })
                })
                .collect();
            world.other.revoke_all_devices(revoke_all(&world, one.user.id)).await.unwrap().unwrap();
            let state = async |id| world.store.challenge(world.tenant_id, id).await.unwrap().unwrap().status;
            let at_return = [state(challenges[0]).await, state(challenges[1]).await];
            let leased = world.store.claim_notifications(world.claim_of(PushChannel::Fcm, NOW, 100)).await.unwrap();
            assert_eq!(leased, [], "leased after the barrier");
            for (approve, at_return) in approves.into_iter().zip(at_return) {
                let outcome = approve.await.unwrap();
                let has_won = matches!(outcome, DecideOutcome::Won { .. });
                assert_eq!(has_won, at_return == ChallengeStatus::Approved, "{outcome:?}");
                assert_ne!(at_return, ChallengeStatus::Pending);
            }
            assert_eq!([state(challenges[0]).await, state(challenges[1]).await], at_return);
        }
        assert_eq!(world.deadlocks().await, 0);
    }
}

#[tokio::test]
async fn devices_are_found_by_installation_app_and_time() {
    for world in World::each().await {
        let (one, two) = (phone(&world, "ada", "i1").await, phone(&world, "bob", "i1").await);
        let (three, _) = (phone(&world, "ada", "i2").await, world.phone("ada").await);
        let list = async |filter: DeviceFilter| -> Vec<DeviceId> {
            let page = PageRequest { before: None, limit: 100 };
            let mut ids: Vec<_> = world.store.devices(world.tenant_id, filter, page).await.unwrap();
            ids.sort_by_key(|device| device.id);
            ids.into_iter().map(|device| device.id).collect()
        };
        let sorted = |mut ids: Vec<DeviceId>| {
            ids.sort();
            ids
        };
        let all = DeviceFilter::default;
        let of = |installation: &str| DeviceFilter { installation_id: Some(installation.to_owned()), ..all() };
        assert_eq!(list(of("i1")).await, sorted(vec![one.id, two.id]));
        assert_eq!(list(of("none")).await, []);
        let of_ada = |filter| DeviceFilter { external_id: Some("ada".to_owned()), ..filter };
        assert_eq!(list(of_ada(of("i1"))).await, [one.id]);
        let of_app = DeviceFilter { app_id: Some("org.example".to_owned()), ..all() };
        assert_eq!(list(of_app.clone()).await, sorted(vec![one.id, two.id, three.id]));
        assert_eq!(list(of_ada(of_app)).await, sorted(vec![one.id, three.id]));
        let after = |at| DeviceFilter { created_after: Some(at), ..all() };
        let before = |at| DeviceFilter { created_before: Some(at), ..all() };
        // The time that is named is not part of it.
        assert_eq!((list(after(NOW)).await.len(), list(before(NOW)).await.len()), (0, 0));
        assert_eq!(list(after(NOW.plus_millis(-1))).await.len(), 4);
        assert_eq!(list(before(NOW.plus_millis(1))).await.len(), 4);
    }
}

#[tokio::test]
async fn a_device_gets_another_name_until_it_is_revoked() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let rename =
            |name: &str| RenameDevice { stamp: world.stamp(world.client), device_id: phone.id, name: name.to_owned() };
        let renamed = world.store.rename_device(rename("Ada's")).await.unwrap();
        assert!(matches!(renamed, Renamed::Renamed(device) if device.description.name == "Ada's"));
        let again = world.other.rename_device(rename("Ada's")).await.unwrap();
        assert!(matches!(again, Renamed::Already(device) if device.description.name == "Ada's"));
        assert_eq!(world.count(EventKind::DeviceRenamed).await, 1);
        let neighbour = world.tenant("neighbour").await;
        let theirs = RenameDevice { stamp: world.stamp_in(neighbour), ..rename("Theirs") };
        assert_eq!(world.store.rename_device(theirs).await, Ok(Renamed::NotFound));
        world.change(phone.id, REVOKE).await;
        assert_eq!(world.store.rename_device(rename("Gone")).await, Ok(Renamed::Revoked));
        assert_eq!(world.device(phone.id).await.unwrap().description.name, "Ada's");
    }
}
