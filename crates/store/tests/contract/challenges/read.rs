//! Reading.

use countersign_core::{
    actor::Actor,
    device::{StatusChange, StoredBinding},
    ports::{
        PageRequest, StoreError,
        challenges::{Asker, ChallengeFilter, ChangedChallenge},
    },
    verify::{DecisionState, Verdict},
};
use countersign_proto::{
    ids::ChallengeId,
    vocabulary::{ChallengeStatus, DeviceStatus, PushChannel},
};

use crate::world::{NOW, World};

const END: i64 = 120;

#[tokio::test]
async fn addressees_are_the_active_approval_devices_in_id_order() {
    for world in World::each().await {
        let (one, two, gone) = (world.phone("ada").await, world.phone("ada").await, world.phone("ada").await);
        world.change(gone.id, StatusChange::Suspend).await;
        world.waiting("ada").await;
        world.phone("eve").await;
        let found = world.store.addressees(world.tenant_id, "ada").await.unwrap().unwrap();
        let mut expected = [one.id, two.id];
        expected.sort_unstable();
        let ids: Vec<_> = found.devices.iter().map(|device| device.device_id).collect();
        assert_eq!((found.user, ids.as_slice(), found.locked_until), (one.user, expected.as_slice(), None));
        assert!(found.devices.iter().all(|device| device.channel == PushChannel::Fcm && !device.has_uv_key));
        // A token that is gone is told as such: the channel stays.
        world.database.tamper("UPDATE devices SET push_token_gone = 1, uv_thumbprint = 'x'").await;
        let found = world.store.addressees(world.tenant_id, "ada").await.unwrap().unwrap();
        assert!(
            found
                .devices
                .iter()
                .all(|device| device.is_token_gone && device.channel == PushChannel::Fcm && device.has_uv_key)
        );

        assert_eq!(world.store.addressees(world.tenant_id, "ADA").await, Ok(None));
        assert_eq!(world.store.addressees(world.tenant("neighbour").await, "ada").await, Ok(None));
        world.invite("bob").await;
        assert_eq!(world.store.addressees(world.tenant_id, "bob").await.unwrap().unwrap().devices, []);
    }
}

#[tokio::test]
async fn a_challenge_is_found_for_whom_it_is_and_for_nobody_else() {
    for world in World::each().await {
        let (phone, others) = (world.phone("ada").await, world.phone("eve").await);
        let id = world.challenge(&[&phone]).await;
        let client = |actor: Actor| match actor {
            Actor::ApiClient { client_id, .. } => Asker::Client(client_id),
            _ => panic!("no client"),
        };
        let is_found = async |asker: Asker, tenant_id| {
            world.store.challenge_for(asker, tenant_id, id).await.unwrap().is_some_and(|found| found.facts.id == id)
        };
        for asker in [Asker::Anybody, Asker::User(phone.user.id), client(world.client)] {
            assert!(is_found(asker, world.tenant_id).await, "{asker:?}");
            assert!(!is_found(asker, world.id()).await, "{asker:?}");
        }
        for asker in [Asker::User(others.user.id), client(world.client().await)] {
            assert!(!is_found(asker, world.tenant_id).await, "{asker:?}");
        }
    }
}

#[tokio::test]
async fn every_change_of_the_users_devices_moves_the_version() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let version = async || world.store.addressees(world.tenant_id, "ada").await.unwrap().unwrap().devices_version;
        let mut seen = vec![version().await];
        world.change(phone.id, StatusChange::Suspend).await;
        seen.push(version().await);
        world.change(phone.id, StatusChange::Resume).await;
        seen.push(version().await);
        world.phone("ada").await;
        seen.push(version().await);
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    }
}

#[tokio::test]
async fn an_inbox_holds_what_waits_for_an_active_device() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let both = world.challenge(&[&phone, &watch]).await;
        let one = world.challenge(&[&phone]).await;
        let ids = async |id, now| -> Vec<ChallengeId> {
            world.store.inbox(id, now).await.unwrap().into_iter().map(|entry| entry.id).collect()
        };
        let mut expected = vec![both, one];
        expected.sort_unstable();
        assert_eq!(ids(phone.id, NOW).await, expected);
        assert_eq!(ids(watch.id, NOW).await, [both]);
        assert_eq!(ids(phone.id, NOW.plus_seconds(END)).await, []);
        let mut all = world.store.inboxes(&[phone.id, watch.id, world.id()], NOW).await.unwrap();
        all.sort_unstable();
        let mut pairs = vec![(phone.id, both), (phone.id, one), (watch.id, both)];
        pairs.sort_unstable();
        assert_eq!(all, pairs);
        assert_eq!(world.store.inboxes(&[], NOW).await, Ok(vec![]));

        let entry = world.store.inbox_entry(phone.id, one).await.unwrap().unwrap();
        assert_eq!((entry.0.jws, entry.1), (format!("challenge.{one}"), ChallengeStatus::Pending));
        assert_eq!(entry.0.expires_at, NOW.plus_seconds(END));
        assert_eq!(world.store.inbox_entry(watch.id, one).await, Ok(None));
        world.store.decide_challenge(world.answer(&phone, one, Verdict::Deny(None))).await.unwrap();
        assert_eq!(ids(phone.id, NOW).await, [both]);
        assert_eq!(world.store.inbox_entry(phone.id, one).await.unwrap().unwrap().1, ChallengeStatus::Denied);
        // A device that is not active finds nothing.
        world.change(watch.id, StatusChange::Suspend).await;
        assert_eq!(ids(watch.id, NOW).await, []);
        assert_eq!(world.store.inboxes(&[watch.id], NOW).await, Ok(vec![]));
    }
}

#[tokio::test]
async fn the_poller_learns_which_challenges_have_ended() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let (open, closed) = (world.challenge(&[&phone]).await, world.challenge(&[&phone]).await);
        world.store.close_challenge(world.cancel(phone.user.id, closed)).await.unwrap();
        let changed = |id, is_awaiting_code| ChangedChallenge { id, is_awaiting_code };
        let poll = async |ids: &[ChallengeId], now| {
            let mut found = world.store.changed(ids, now).await.unwrap();
            found.sort_unstable_by_key(|changed| changed.id);
            found
        };
        assert_eq!(poll(&[open, closed, world.id()], NOW).await, [changed(closed, false)]);
        world.store.decide_challenge(world.ask_for_code(&phone, open)).await.unwrap();
        let mut expected = [changed(open, true), changed(closed, false)];
        expected.sort_unstable_by_key(|changed| changed.id);
        assert_eq!(poll(&[open, closed], NOW).await, expected);
        let over = expected.map(|one| changed(one.id, false));
        assert_eq!(poll(&[open, closed], NOW.plus_seconds(END)).await, over);
        assert_eq!(poll(&[], NOW).await, []);
    }
}

#[tokio::test]
async fn a_list_is_filtered_and_paged_newest_first() {
    for world in World::each().await {
        let (ada, eve) = (world.phone("ada").await, world.phone("eve").await);
        let mut ids = Vec::new();
        for number in 0..6 {
            ids.push(world.challenge(&[if number % 2 == 0 { &ada } else { &eve }]).await);
        }
        world.store.decide_challenge(world.answer(&ada, ids[0], Verdict::Deny(None))).await.unwrap();
        let adas: Vec<_> = ids.iter().copied().step_by(2).collect();
        let first = PageRequest { before: None, limit: 200 };
        let list = async |filter: ChallengeFilter, page| -> Vec<ChallengeId> {
            let found = world.store.challenges(world.tenant_id, filter, page).await.unwrap();
            found.into_iter().map(|record| record.facts.id).collect()
        };
        let newest_first = |mut ids: Vec<ChallengeId>| {
            ids.sort_unstable_by(|a, b| b.cmp(a));
            ids
        };
        let all = newest_first(ids.clone());
        assert_eq!(list(ChallengeFilter::default(), first).await, all);
        let page = list(ChallengeFilter::default(), PageRequest { before: Some(all[1]), limit: 3 }).await;
        assert_eq!(page, all[2..5]);

        let of_ada = ChallengeFilter { external_id: Some("ada".to_owned()), ..ChallengeFilter::default() };
        assert_eq!(list(of_ada.clone(), first).await, newest_first(adas));
        let nobody = ChallengeFilter { external_id: Some("bob".to_owned()), ..ChallengeFilter::default() };
        assert_eq!(list(nobody, first).await, []);
        let denied = ChallengeFilter { status: Some(ChallengeStatus::Denied), now: Some(NOW), ..of_ada.clone() };
        assert_eq!(list(denied.clone(), first).await, [ids[0]]);
        let later = Some(NOW.plus_seconds(END));
        let expired = ChallengeFilter { status: Some(ChallengeStatus::Expired), now: later, ..of_ada.clone() };
        assert_eq!(list(expired, first).await, newest_first(vec![ids[2], ids[4]]));
        let pending = ChallengeFilter { status: Some(ChallengeStatus::Pending), now: later, ..of_ada };
        assert_eq!(list(pending, first).await, []);

        let Actor::ApiClient { client_id, .. } = world.client else { panic!("no client") };
        let mine = ChallengeFilter { client_id: Some(client_id), ..ChallengeFilter::default() };
        assert_eq!(list(mine.clone(), first).await, all);
        let others = ChallengeFilter { client_id: Some(world.id()), ..ChallengeFilter::default() };
        assert_eq!(list(others, first).await, []);
        let recent = ChallengeFilter { created_after: Some(NOW), ..mine };
        assert_eq!(list(recent, first).await, []);
        let neighbour = world.tenant("neighbour").await;
        assert_eq!(world.store.challenges(neighbour, ChallengeFilter::default(), first).await, Ok(vec![]));
    }
}

#[tokio::test]
async fn the_state_that_decides_is_read_for_device_key_and_binding() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let stranger = world.phone("eve").await;
        let id = world.challenge(&[&phone]).await;
        let state = async |key, binding| world.store.decision_state(id, phone.id, key, binding).await.unwrap();
        let expected = DecisionState {
            device_status: DeviceStatus::Active,
            key_is_current: true,
            challenge_status: ChallengeStatus::Pending,
            expires_at: NOW.plus_seconds(END),
            locked_until: None,
        };
        assert_eq!(state(&phone.key.thumbprint, &phone.binding).await, Some(expected));
        let stale = DecisionState { key_is_current: false, ..expected };
        assert_eq!(state(&stranger.key.thumbprint, &phone.binding).await, Some(stale));
        let other = StoredBinding { id: world.id(), jws: phone.binding.jws.clone() };
        assert_eq!(state(&phone.key.thumbprint, &other).await, Some(stale));
        world.change(phone.id, StatusChange::Suspend).await;
        let (device_status, challenge_status) = (DeviceStatus::Suspended, ChallengeStatus::Cancelled);
        let suspended = DecisionState { device_status, challenge_status, ..expected };
        assert_eq!(state(&phone.key.thumbprint, &phone.binding).await, Some(suspended));
        let (key, binding) = (&phone.key.thumbprint, &phone.binding);
        assert_eq!(world.store.decision_state(world.id(), phone.id, key, binding).await, Ok(None));
        assert_eq!(world.store.decision_state(id, world.id(), key, binding).await, Ok(None));
    }
}

#[tokio::test]
async fn deliveries_of_another_tenant_are_not_shown() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        assert_eq!(world.store.deliveries(world.tenant_id, id).await.unwrap().len(), 1);
        assert_eq!(world.store.deliveries(world.tenant("neighbour").await, id).await, Ok(vec![]));
        assert_eq!(world.store.recorded_response(id).await, Ok(None));
        assert_eq!(world.store.challenge(world.tenant_id, world.id()).await, Ok(None));
    }
}

#[tokio::test]
async fn a_row_that_this_server_never_writes_is_named() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        world.database.tamper("UPDATE challenges SET status = 'maybe'").await;
        let corrupt = StoreError::Corrupt { table: "challenges", column: "status", row: id.to_string() };
        assert_eq!(world.store.challenge(world.tenant_id, id).await, Err(corrupt));
        world.database.tamper("UPDATE challenges SET status = 'pending', policy = '{\"mode\":7}'").await;
        let corrupt = StoreError::Corrupt { table: "challenges", column: "policy", row: id.to_string() };
        assert_eq!(world.store.challenge(world.tenant_id, id).await, Err(corrupt));
    }
}
