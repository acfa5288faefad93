//! Changing API clients, paging through them, their quota, and when their keys were used.

use countersign_core::{
    actor::{Actor, Stamp},
    api_client::{ApiClient, Scopes, check_applications},
    event::EventKind,
    ports::{
        PageRequest, StoreError,
        api_clients::{ChangeApiClient, ChangeApiClientOutcome, CreateApiClientOutcome, RevokeApiClientOutcome},
        tenants::{ChangeTenantOutcome, Quota, SetQuotas},
    },
};
use countersign_proto::ids::ApiClientId;

use crate::world::{NOW, World};

/// The client as it is now, to be made another.
async fn change(world: &World, stamp: Stamp, id: ApiClientId, edit: impl FnOnce(&mut ApiClient)) -> ChangeApiClient {
    let before = world.store.api_client(world.tenant_id, id).await.unwrap().unwrap();
    let mut after = before.clone();
    edit(&mut after);
    after.seal = Some("another".to_owned());
    ChangeApiClient { stamp, before, after }
}

#[tokio::test]
async fn a_change_holds_from_the_next_request_on_and_of_two_that_saw_the_same_one_wins() {
    for world in World::each().await {
        let command = world.new_client("challenges");
        let (id, key) = (command.id, command.key.credential.digest());
        world.store.create_api_client(command).await.unwrap();
        let stamp = || world.stamp(world.client);
        let listed = check_applications("", ["VPN"]).unwrap();
        let scopes: Scopes = "enrollments,audit:read".parse().unwrap();
        let edit = |client: &mut ApiClient| {
            client.name = "another".to_owned();
            client.scopes = scopes.clone();
            client.applications = Some(listed.clone());
        };
        let one = change(&world, stamp(), id, edit).await;
        let late = change(&world, stamp(), id, |client| client.applications = Some(listed.clone())).await;
        let wanted = one.after.clone();
        assert_eq!(world.store.change_api_client(one).await, Ok(ChangeApiClientOutcome::Changed));
        assert_eq!(world.other.change_api_client(late).await, Ok(ChangeApiClientOutcome::Outdated));
        assert_eq!(world.store.api_client(world.tenant_id, id).await, Ok(Some(wanted)));
        let caller = world.other.authenticate(key, NOW).await.unwrap().unwrap();
        assert_eq!((&caller.scopes, caller.may_ask_for(Some("Mail"))), (&scopes, false));
        assert_eq!(caller.seals.client.as_deref(), Some("another"));

        // All of them again; then what changes nothing writes nothing.
        for _ in 0..2 {
            let all = change(&world, stamp(), id, |client| client.applications = None).await;
            assert_eq!(world.store.change_api_client(all).await, Ok(ChangeApiClientOutcome::Changed));
        }
        let now = world.store.api_client(world.tenant_id, id).await.unwrap().unwrap();
        assert_eq!((now.applications, now.scopes), (None, scopes.clone()));
        while world.store.position_events(world.tenant_id, 100).await.unwrap() > 0 {}
        let events = world.store.events(world.tenant_id, 0, 100).await.unwrap();
        let changes: Vec<_> = events.iter().filter(|event| event.kind == EventKind::ApiClientChanged).collect();
        // Of one moment, so in no order.
        let mut members: Vec<_> = changes.iter().map(|event| event.body["changed"].to_string()).collect();
        members.sort();
        assert_eq!(members, [r#"["applications"]"#, r#"["name","scopes","applications"]"#]);
    }
}

#[tokio::test]
async fn a_revoked_client_and_another_tenants_are_not_changed() {
    for world in World::each().await {
        let neighbour = world.tenant("neighbour").await;
        let command = world.new_client("challenges");
        let id = command.id;
        world.store.create_api_client(command).await.unwrap();
        let rename = async |stamp| {
            let command = change(&world, stamp, id, |client| client.name = "mine".to_owned()).await;
            world.store.change_api_client(command).await
        };
        assert_eq!(rename(world.stamp_in(neighbour)).await, Ok(ChangeApiClientOutcome::Outdated));
        assert_eq!(world.store.api_client(neighbour, id).await, Ok(None));
        let revoked = world.store.revoke_api_client(world.stamp(Actor::Operator), id).await;
        assert_eq!(revoked, Ok(RevokeApiClientOutcome::Revoked));
        assert_eq!(rename(world.stamp(Actor::Operator)).await, Ok(ChangeApiClientOutcome::Outdated));
        assert_eq!(world.count(EventKind::ApiClientChanged).await, 0);
    }
}

#[tokio::test]
async fn pages_of_clients_are_newest_first_and_complete() {
    for world in World::each().await {
        for _ in 0..4 {
            world.store.create_api_client(world.new_client("challenges")).await.unwrap();
        }
        let all = world.store.api_clients(world.tenant_id, super::ALL).await.unwrap();
        assert!(all.is_sorted_by_key(|client| std::cmp::Reverse(client.id.as_uuid())));
        let mut paged = Vec::new();
        let mut before = None;
        loop {
            let page = PageRequest { before, limit: 2 };
            let page = world.store.api_clients(world.tenant_id, page).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            paged.extend(page);
        }
        assert_eq!(paged, all);
    }
}

#[tokio::test]
async fn a_quota_bounds_the_clients_that_are_not_revoked() {
    for world in World::each().await {
        // The world's own client is one.
        let limits = vec![(Quota::ApiClients, Some(2))];
        let quotas = SetQuotas { stamp: world.stamp(Actor::Operator), limits };
        assert!(matches!(world.store.set_quotas(quotas).await, Ok(ChangeTenantOutcome::Changed(_))));
        let (one, another) = (world.new_client("challenges"), world.new_client("challenges"));
        let ids = [one.id, another.id];
        let (one, another) = tokio::join!(world.store.create_api_client(one), world.other.create_api_client(another));
        let full: Result<CreateApiClientOutcome, _> =
            Err(StoreError::QuotaExceeded { quota: Quota::ApiClients, limit: 2 });
        let outcomes = [one, another];
        let made = outcomes.iter().position(Result::is_ok).unwrap();
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == full).count(), 1, "{outcomes:?}");
        let revoked = world.store.revoke_api_client(world.stamp(Actor::Operator), ids[made]).await;
        assert_eq!(revoked, Ok(RevokeApiClientOutcome::Revoked));
        let next = world.store.create_api_client(world.new_client("challenges")).await;
        assert_eq!(next, Ok(CreateApiClientOutcome::Created));
        assert_eq!(world.store.create_api_client(world.new_client("challenges")).await, full);
    }
}

#[tokio::test]
async fn the_last_use_of_a_key_never_goes_back() {
    for world in World::each().await {
        let command = world.new_client("challenges");
        let (client_id, key_id) = (command.id, command.key.id);
        world.store.create_api_client(command).await.unwrap();
        let used = async || world.store.api_keys(world.tenant_id, client_id).await.unwrap()[0].used_at;
        assert_eq!(used().await, None);
        for (store, seconds, expected) in [(&world.store, 60, 60), (&world.other, 30, 60), (&world.other, 90, 90)] {
            store.record_key_uses(vec![(world.tenant_id, key_id, NOW.plus_seconds(seconds))]).await.unwrap();
            assert_eq!(used().await, Some(NOW.plus_seconds(expected)));
        }
    }
}
