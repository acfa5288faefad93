//! Disabling an organisation, its settings, and what it may have at most.

use std::sync::Arc;

use countersign_core::{
    actor::Actor,
    event::EventKind,
    ports::{
        PageRequest, StoreError,
        challenges::{Close, CloseChallenge, CloseOutcome, DecideOutcome},
        tenants::{
            ChangeTenant, ChangeTenantOutcome, Quota, SetQuotas, SwitchTenantOutcome as Outcome, TenantRetention,
        },
    },
    verify::Verdict,
};
use countersign_proto::vocabulary::{ChallengeReason, ChallengeStatus, Confirmation, PushChannel};
use sqlx::Connection as _;

use crate::{
    kit::rounds,
    world::{NOW, World},
};

const APPROVE: Verdict = Verdict::Approve { with_number: true };

async fn disable(world: &World) -> Outcome {
    world.store.disable_tenant(world.stamp(Actor::Operator)).await.unwrap()
}

#[tokio::test]
async fn an_organisation_is_disabled_however_many_act_for_it() {
    for world in World::each().await.into_iter().filter(|world| world.database.is_postgres()) {
        // Of those who follow one another there is always one before its commit.
        let mut acting = world.database.postgres_connection().await;
        let mut acting = acting.begin().await.unwrap();
        sqlx::query("SELECT id FROM tenants FOR KEY SHARE").fetch_all(&mut *acting).await.unwrap();
        let (store, stamp) = (world.store.clone(), world.stamp(Actor::Operator));
        let disabling = tokio::spawn(async move { store.disable_tenant(stamp).await });
        let is_seen = async {
            while world.database.number("SELECT count(*) FROM tenants WHERE disabled_at IS NOT NULL").await == 0 {}
        };
        tokio::time::timeout(std::time::Duration::from_secs(2), is_seen).await.unwrap();
        // Nobody new gets in, and the barrier waits for whoever was there.
        let new = world.new_enrollment("ada", Confirmation::Code);
        assert_eq!(world.other.create_enrollment(new).await, Err(StoreError::ActorGone));
        assert!(!disabling.is_finished());
        acting.rollback().await.unwrap();
        assert_eq!(disabling.await.unwrap(), Ok(Outcome::Switched));
    }
}

#[tokio::test]
async fn nothing_of_a_disabled_organisation_commits_until_it_is_enabled() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let challenge = world.challenge(&[&phone]).await;
        let invitation = world.invite("bob").await;
        assert_eq!(disable(&world).await, Outcome::Switched);
        assert_eq!(disable(&world).await, Outcome::Already);
        let node = &world.other;
        let answer = || world.answer(&phone, challenge, APPROVE);
        assert_eq!(node.decide_challenge(answer()).await, Ok(DecideOutcome::TenantDisabled));
        assert_eq!(node.claim_ticket(world.claim(&invitation)).await, Err(StoreError::TenantDisabled));
        let leave = world.new_status(phone.actor(), phone.id, super::REVOKE);
        assert_eq!(node.change_device_status(leave).await, Err(StoreError::TenantDisabled));
        let enrollment = world.new_enrollment("carl", Confirmation::Code);
        assert_eq!(node.create_enrollment(enrollment).await, Err(StoreError::ActorGone));
        let lease = world.claim_of(PushChannel::Fcm, NOW, 100);
        assert_eq!(node.claim_notifications(lease).await, Ok(vec![]));
        assert_eq!(node.oldest_unsent(NOW).await, Ok(vec![]));
        assert!(node.key(&phone.key.thumbprint).await.unwrap().unwrap().is_tenant_disabled);
        // The operator and the server itself still may.
        assert_eq!(node.unlock_user(world.stamp(Actor::Operator), phone.user.id).await.map(|_| ()), Ok(()));

        let enabled = world.other.enable_tenant(world.stamp(Actor::Operator)).await;
        assert_eq!(enabled, Ok(Outcome::Switched));
        assert!(matches!(world.store.decide_challenge(answer()).await, Ok(DecideOutcome::Won { .. })));
        assert_eq!((world.count(EventKind::TenantDisabled).await, world.count(EventKind::TenantEnabled).await), (1, 1));
        assert_eq!(world.store.disable_tenant(world.stamp_in(world.id())).await, Ok(Outcome::NotFound));
    }
}

#[tokio::test]
async fn what_waits_in_a_disabled_organisation_is_found_and_ended() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let challenge = world.challenge(&[&phone]).await;
        let open = world.invite("bob").await;
        disable(&world).await;
        let pending = world.other.pending_of_tenant(world.tenant_id, NOW, 10).await.unwrap();
        assert_eq!(pending.iter().map(|due| due.id).collect::<Vec<_>>(), [challenge]);
        let enrollments = world.other.open_enrollments_of_tenant(world.tenant_id, NOW, 10).await;
        assert_eq!(enrollments, Ok(vec![open.id]));
        let neighbour = world.tenant("neighbour").await;
        assert_eq!(world.store.pending_of_tenant(neighbour, NOW, 10).await, Ok(vec![]));
        assert_eq!(world.store.open_enrollments_of_tenant(neighbour, NOW, 10).await, Ok(vec![]));
        let close = |at| CloseChallenge {
            stamp: world.stamp_at(Actor::Operator, at),
            challenge_id: challenge,
            user_id: phone.user.id,
            how: Close::TenantDisabled,
        };
        // One whose time is up expires.
        let late = close(NOW.plus_seconds(120));
        assert_eq!(world.store.close_challenge(late).await, Ok(CloseOutcome::AlreadyClosed(ChallengeStatus::Expired)));
        assert_eq!(world.store.close_challenge(close(NOW)).await, Ok(CloseOutcome::Closed));
        let ended = world.store.challenge(world.tenant_id, challenge).await.unwrap().unwrap();
        assert_eq!((ended.status, ended.reason), (ChallengeStatus::Cancelled, Some(ChallengeReason::TenantDisabled)));
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_commits_after_disabling_has_returned() {
    for world in World::each().await {
        let world = Arc::new(world);
        let mut approved = 0;
        for round in 0..rounds(60, 1_500) {
            let phone = world.phone("ada").await;
            let challenge = world.challenge(&[&phone]).await;
            let answer = world.answer(&phone, challenge, APPROVE);
            let enrollment = world.new_enrollment(&format!("new-{round}"), Confirmation::Code);
            let node = Arc::clone(&world);
            let lease = world.claim_of(PushChannel::Fcm, NOW, 100);
            let work = tokio::spawn(async move {
                tokio::join!(
                    node.store.decide_challenge(answer),
                    node.store.create_enrollment(enrollment),
                    node.store.claim_notifications(lease)
                )
            });
            assert_eq!(world.other.disable_tenant(world.stamp(Actor::Operator)).await, Ok(Outcome::Switched));
            let state = || async {
                let status = world.store.challenge(world.tenant_id, challenge).await.unwrap().unwrap().status;
                let leased = "SELECT count(*) FROM notifications WHERE lease IS NOT NULL";
                let users = world.database.number("SELECT count(*) FROM users").await;
                (status, users, world.database.number(leased).await)
            };
            let at_return = state().await;
            let (decided, _, _) = work.await.unwrap();
            assert_eq!(state().await, at_return, "{decided:?} after the organisation was disabled");
            approved += usize::from(at_return.0 == ChallengeStatus::Approved);
            world.other.enable_tenant(world.stamp(Actor::Operator)).await.unwrap();
            world.change(phone.id, super::REVOKE).await;
        }
        assert_eq!(world.count(EventKind::ChallengeApproved).await, approved);
        assert_eq!(world.deadlocks().await, 0);
    }
}

#[tokio::test]
async fn settings_change_together_and_are_found_when_they_differ() {
    for world in World::each().await {
        let page = PageRequest { before: None, limit: 10 };
        assert_eq!(world.store.tenants_with_settings(page).await, Ok(vec![]));
        let retention = TenantRetention { challenge_days: Some(7), enrollment_days: None };
        let change = |name: Option<&str>, retention| ChangeTenant {
            stamp: world.stamp(world.client),
            name: name.map(str::to_owned),
            retention,
        };
        let changed = world.store.change_tenant(change(Some("New"), Some(retention))).await.unwrap();
        let ChangeTenantOutcome::Changed(details) = changed else { panic!("{changed:?}") };
        assert_eq!((details.tenant.name.as_str(), details.settings.retention), ("New", retention));
        assert_eq!(details.settings_version, 2);
        // The same again is no change.
        let same = world.other.change_tenant(change(Some("New"), None)).await;
        assert_eq!(same, Ok(ChangeTenantOutcome::Changed(details.clone())));
        assert_eq!(world.count(EventKind::TenantChanged).await, 1);
        let found = world.other.tenants_with_settings(page).await;
        assert_eq!(found, Ok(vec![(world.tenant_id, details.settings.clone())]));
        world.store.change_tenant(change(None, Some(TenantRetention::default()))).await.unwrap();
        assert_eq!(world.store.tenants_with_settings(page).await, Ok(vec![]));
        let stranger = ChangeTenant { stamp: world.stamp_in(world.id()), name: None, retention: None };
        assert_eq!(world.store.change_tenant(stranger).await, Ok(ChangeTenantOutcome::NotFound));
    }
}

#[tokio::test]
async fn a_quota_lets_in_as_many_as_it_says_however_many_nodes_ask() {
    for world in World::each().await {
        let limits = vec![(Quota::Users, Some(3)), (Quota::Webhooks, None)];
        let set = SetQuotas { stamp: world.stamp(Actor::Operator), limits };
        assert!(matches!(world.store.set_quotas(set).await, Ok(ChangeTenantOutcome::Changed(_))));
        world.invite("ada").await;
        let mut made = 0;
        for round in 0..4 {
            let new = |node: u8| world.new_enrollment(&format!("user-{round}-{node}"), Confirmation::Code);
            let (one, other) =
                tokio::join!(world.store.create_enrollment(new(1)), world.other.create_enrollment(new(2)));
            for outcome in [one, other] {
                match outcome {
                    Ok(_) => made += 1,
                    Err(error) => assert_eq!(error, StoreError::QuotaExceeded { quota: Quota::Users, limit: 3 }),
                }
            }
        }
        assert_eq!(made, 2);
        // Who is known already takes no place.
        world.invite("ada").await;
        let usage = world.store.tenant_details(world.tenant_id).await.unwrap().unwrap().usage;
        assert_eq!((usage[0].count, usage[0].limit, usage[2].limit), (3, Some(3), None));
        assert_eq!(world.database.number("SELECT count(*) FROM users").await, 3);
    }
}
