//! Cancelling and expiring.

use countersign_core::{
    actor::Actor,
    event::EventKind,
    ports::{
        StoreError,
        challenges::{CloseOutcome, DueChallenge},
    },
    verify::Verdict,
};
use countersign_proto::vocabulary::{ChallengeReason, ChallengeStatus};

use crate::world::{NOW, World, new_kinds};

#[tokio::test]
async fn its_creator_cancels_a_challenge_once() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        let before = world.kinds().await;
        let cancel = || world.cancel(phone.user.id, id);
        assert_eq!(world.store.close_challenge(cancel()).await, Ok(CloseOutcome::Closed));
        let already = CloseOutcome::AlreadyClosed(ChallengeStatus::Cancelled);
        assert_eq!(world.other.close_challenge(cancel()).await, Ok(already));
        let record = world.store.challenge(world.tenant_id, id).await.unwrap().unwrap();
        assert_eq!((record.status, record.reason), (ChallengeStatus::Cancelled, Some(ChallengeReason::Client)));
        assert_eq!((record.decided_at, record.device), (Some(NOW), None));
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 0);
        assert_eq!(new_kinds(&before, world.kinds().await), [EventKind::ChallengeCancelled]);
    }
}

#[tokio::test]
async fn nobody_else_cancels_it() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        let mut other_client = world.cancel(phone.user.id, id);
        other_client.stamp.actor = world.client().await;
        let mut other_tenant = world.cancel(phone.user.id, id);
        other_tenant.stamp = world.stamp_in(world.tenant("neighbour").await);
        let mut operator = world.cancel(phone.user.id, id);
        operator.stamp.actor = Actor::Operator;
        let other_user = world.cancel(world.id(), id);
        let unknown = world.cancel(phone.user.id, world.id());
        for command in [other_client, other_tenant, operator, other_user, unknown] {
            assert_eq!(world.store.close_challenge(command).await, Ok(CloseOutcome::NotFound));
        }
        let mut revoked = world.cancel(phone.user.id, id);
        revoked.stamp.actor = world.client().await;
        let Actor::ApiClient { client_id, .. } = revoked.stamp.actor else { panic!("no client") };
        world.store.revoke_api_client(world.stamp(Actor::Operator), client_id).await.unwrap();
        assert_eq!(world.store.close_challenge(revoked).await, Err(StoreError::ActorGone));
        assert_eq!(world.stored_status(id).await, ChallengeStatus::Pending);
    }
}

#[tokio::test]
async fn a_challenge_expires_at_its_end_and_not_before() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        let before = world.kinds().await;
        let end = NOW.plus_seconds(120);
        let early = world.expire(phone.user.id, id, end.plus_millis(-1));
        assert_eq!(world.store.close_challenge(early).await, Ok(CloseOutcome::NotDue));
        assert_eq!(world.store.due_challenges(end.plus_millis(-1), 10).await, Ok(vec![]));
        let due = DueChallenge { tenant_id: world.tenant_id, user_id: phone.user.id, id };
        assert_eq!(world.store.due_challenges(end, 10).await, Ok(vec![due]));
        // From then on its creator cannot cancel it, swept or not.
        let mut late = world.cancel(phone.user.id, id);
        late.stamp.at = end;
        let expired = CloseOutcome::AlreadyClosed(ChallengeStatus::Expired);
        assert_eq!(world.store.close_challenge(late).await, Ok(expired));
        let sweep = world.expire(phone.user.id, id, end.plus_seconds(30));
        assert_eq!(world.store.close_challenge(sweep).await, Ok(CloseOutcome::Closed));
        let again = world.expire(phone.user.id, id, end.plus_seconds(31));
        assert_eq!(world.store.close_challenge(again).await, Ok(expired));
        let record = world.store.challenge(world.tenant_id, id).await.unwrap().unwrap();
        assert_eq!((record.status, record.reason), (ChallengeStatus::Expired, None));
        assert_eq!(record.decided_at, Some(end));
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 0);
        assert_eq!(world.store.due_challenges(end.plus_seconds(60), 10).await, Ok(vec![]));
        assert_eq!(new_kinds(&before, world.kinds().await), [EventKind::ChallengeExpired]);
    }
}

#[tokio::test]
async fn what_a_device_decided_stays_decided() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        world.store.decide_challenge(world.answer(&phone, id, Verdict::Deny(None))).await.unwrap();
        let denied = CloseOutcome::AlreadyClosed(ChallengeStatus::Denied);
        assert_eq!(world.store.close_challenge(world.cancel(phone.user.id, id)).await, Ok(denied));
        let expire = world.expire(phone.user.id, id, NOW.plus_seconds(600));
        assert_eq!(world.store.close_challenge(expire).await, Ok(denied));
    }
}
