//! `ports::retention` on both databases.

use countersign_core::{
    ports::{
        challenges::{CreateOutcome, Idempotency},
        retention::{Forget, Forgotten},
    },
    verify::Verdict,
};
use countersign_proto::{ids::ChallengeId, timestamp::Timestamp};

use crate::world::{NOW, Phone, World};

/// A portion from the beginning, of what was made before `made_before`.
fn portion<I>(made_before: Timestamp, limit: u32) -> Forget<I> {
    Forget { tenant_id: None, made_before, after: None, limit }
}

/// Ids begin with the time: everything here was made at `NOW`.
const AFTER: Timestamp = Timestamp::from_millis(NOW.as_millis() + 1);

async fn approved(world: &World, phone: &Phone) -> ChallengeId {
    let id = world.challenge(&[phone]).await;
    world.store.decide_challenge(world.answer(phone, id, Verdict::Approve { with_number: false })).await.unwrap();
    id
}

#[tokio::test]
async fn an_ended_challenge_goes_with_its_deliveries_and_is_then_unknown() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = approved(&world, &phone).await;
        let events = world.kinds().await;
        // Not before its time.
        let none = Forgotten { count: 0, last: None };
        assert_eq!(world.store.forget_challenges(portion(NOW, 100)).await, Ok(none));
        assert!(world.store.challenge(world.tenant_id, id).await.unwrap().is_some());

        assert_eq!(
            world.store.forget_challenges(portion(AFTER, 100)).await,
            Ok(Forgotten { count: 1, last: Some(id) })
        );
        assert_eq!(world.other.challenge(world.tenant_id, id).await, Ok(None));
        assert_eq!(world.other.recorded_response(id).await, Ok(None));
        assert_eq!(world.store.deliveries(world.tenant_id, id).await, Ok(vec![]));
        assert_eq!(world.database.number("SELECT count(*) FROM deliveries").await, 0);
        // What happened stays on record, and so do people and devices.
        assert_eq!(world.kinds().await, events);
        assert!(world.device(phone.id).await.is_some());
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 0);
        // Again does no harm.
        assert_eq!(world.other.forget_challenges(portion(AFTER, 100)).await, Ok(none));
    }
}

#[tokio::test]
async fn what_still_waits_is_never_deleted_however_old() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let waiting = world.challenge(&[&phone]).await;
        let ended = approved(&world, &phone).await;
        let (invitation, _) = world.waiting("grace").await;
        let far = NOW.plus_seconds(1_000 * 86_400);
        assert_eq!(
            world.store.forget_challenges(portion(far, 100)).await,
            Ok(Forgotten { count: 1, last: Some(ended) })
        );
        assert!(world.store.challenge(world.tenant_id, waiting).await.unwrap().is_some());
        // The phone's own invitation was completed at once; the other one is claimed.
        assert_eq!(world.store.forget_enrollments(portion(far, 100)).await.map(|forgotten| forgotten.count), Ok(1));
        assert!(world.store.enrollment(world.tenant_id, invitation.id).await.unwrap().is_some());
        assert!(world.device(phone.id).await.is_some());
        // It can still be answered.
        let answer = world.answer(&phone, waiting, Verdict::Approve { with_number: false });
        assert!(world.store.decide_challenge(answer).await.is_ok());
    }
}

#[tokio::test]
async fn portions_go_on_where_the_one_before_stopped_and_on_two_nodes_delete_once() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let mut ids = Vec::new();
        for _ in 0..7 {
            ids.push(approved(&world, &phone).await);
        }
        ids.sort_by_key(|id| id.as_uuid());
        let first = world.store.forget_challenges(portion(AFTER, 3)).await.unwrap();
        assert_eq!(first, Forgotten { count: 3, last: Some(ids[2]) });
        assert!(world.store.challenge(world.tenant_id, ids[3]).await.unwrap().is_some());
        let next = Forget { after: first.last, ..portion(AFTER, 3) };
        let (one, other) = tokio::join!(world.store.forget_challenges(next), world.other.forget_challenges(next));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!((3..=4).contains(&(one.count + other.count)), "{one:?} {other:?}");
        world.store.forget_challenges(portion(AFTER, 3)).await.unwrap();
        assert_eq!(world.database.number("SELECT count(*) FROM challenges").await, 0);
    }
}

#[tokio::test]
async fn a_replay_is_answered_though_its_challenge_is_gone() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let mut command = world.new_challenge(&[&phone]).await;
        let id = command.facts.id;
        command.idempotency = Some(Idempotency {
            key: "key".to_owned(),
            body: world.digest(),
            reply: "the first reply".to_owned(),
            suppressed_reply: "{}".to_owned(),
            expires_at: NOW.plus_seconds(86_400),
        });
        assert!(matches!(world.store.create_challenge(command.clone()).await, Ok(CreateOutcome::Created(_))));
        world.store.close_challenge(world.cancel(phone.user.id, id)).await.unwrap();
        assert_eq!(world.store.forget_challenges(portion(AFTER, 9)).await.map(|forgotten| forgotten.count), Ok(1));
        let stored = world.store.stored_creation(command.facts.client_id, "key", NOW).await.unwrap().unwrap();
        assert_eq!((stored.reply.as_str(), stored.number), ("the first reply", None));
    }
}

#[tokio::test]
async fn an_organisation_forgets_its_own_before_others_do() {
    for world in World::each().await {
        let neighbour = world.tenant("neighbour").await;
        let phone = world.phone("ada").await;
        let id = approved(&world, &phone).await;
        let of = |tenant_id| Forget { tenant_id: Some(tenant_id), ..portion(AFTER, 100) };
        let of_enrollments = |tenant_id| Forget { tenant_id: Some(tenant_id), ..portion(AFTER, 100) };
        let none = Forgotten { count: 0, last: None };
        assert_eq!(world.store.forget_challenges(of(neighbour)).await, Ok(none));
        assert_eq!(
            world.store.forget_enrollments(of_enrollments(neighbour)).await.map(|forgotten| forgotten.count),
            Ok(0)
        );
        assert!(world.store.challenge(world.tenant_id, id).await.unwrap().is_some());
        let forgotten = Forgotten { count: 1, last: Some(id) };
        assert_eq!(world.store.forget_challenges(of(world.tenant_id)).await, Ok(forgotten));
        let enrollments = world.store.forget_enrollments(of_enrollments(world.tenant_id)).await;
        assert_eq!(enrollments.map(|forgotten| forgotten.count), Ok(1));
        assert_eq!(world.other.challenge(world.tenant_id, id).await, Ok(None));
        assert_eq!(world.database.number("SELECT count(*) FROM deliveries").await, 0);
    }
}

#[tokio::test]
async fn of_two_that_put_a_note_of_what_is_forgotten_one_is_told_so() {
    for world in World::each().await {
        let other = world.tenant("other").await;
        let put = async |of, before: Option<&str>, note: &str| {
            world.store.put_forgotten(of, before.map(str::to_owned), note.to_owned()).await.unwrap()
        };
        let note = async |of| world.other.forgotten(of).await.unwrap();
        let own = Some(world.tenant_id);
        assert_eq!(note(own).await, None);
        assert!(put(own, None, "first").await);
        assert!(!put(own, None, "second").await, "somebody was faster");
        assert!(!put(own, Some("another"), "second").await);
        assert!(put(own, Some("first"), "second").await);
        assert_eq!(
            (note(own).await.as_deref(), note(Some(other)).await, note(None).await),
            (Some("second"), None, None)
        );
        assert!(put(None, None, "all").await);
        assert_eq!((note(None).await.as_deref(), note(own).await.as_deref()), (Some("all"), Some("second")));
    }
}
