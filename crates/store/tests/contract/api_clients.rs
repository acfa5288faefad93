//! `ports::api_clients` on both databases: keys, and the barrier that revoking a client is.

use std::sync::Arc;

use countersign_core::{
    actor::{Actor, Stamp},
    api_client::Caller,
    device::StatusChange,
    event::EventKind,
    policy::Policy,
    ports::{
        PageRequest, StoreError,
        api_clients::{CreateApiClient, RevokeApiClientOutcome},
    },
};
use countersign_proto::vocabulary::Confirmation;

use crate::world::{CODE, NOW, World};

#[tokio::test]
async fn a_key_says_who_holds_it() {
    for world in World::each().await {
        let command = world.new_client("challenges,users:read");
        let wanted = Caller {
            tenant_id: world.tenant_id,
            tenant_name: "acme Inc.".to_owned(),
            client_id: command.id,
            key_id: command.key_id,
            scopes: command.scopes.clone(),
        };
        let key = command.key_digest;
        world.store.create_api_client(command).await.unwrap();
        assert_eq!(world.store.authenticate(key, NOW).await, Ok(Some(wanted.clone())));
        assert_eq!(world.other.authenticate(key, NOW).await, Ok(Some(wanted)));
        assert_eq!(world.store.authenticate(world.digest(), NOW).await, Ok(None));
        assert_eq!(world.count(EventKind::ApiClientCreated).await, 2);
    }
}

#[tokio::test]
async fn a_key_is_unknown_from_its_end_on() {
    for world in World::each().await {
        let end = NOW.plus_seconds(60);
        let command = CreateApiClient { key_expires_at: Some(end), ..world.new_client("enrollments") };
        let key = command.key_digest;
        let actor = Actor::ApiClient { client_id: command.id, key_id: command.key_id };
        world.store.create_api_client(command).await.unwrap();
        assert!(world.store.authenticate(key, end.plus_millis(-1)).await.unwrap().is_some());
        assert_eq!(world.store.authenticate(key, end).await, Ok(None));

        let mut command = world.new_enrollment("ada", Confirmation::Code);
        command.stamp = world.stamp_at(actor, end);
        assert_eq!(world.store.create_enrollment(command).await, Err(StoreError::ActorGone));
    }
}

#[tokio::test]
async fn a_revoked_clients_key_is_refused_on_every_node() {
    for world in World::each().await {
        let command = world.new_client("admin");
        let (id, key) = (command.id, command.key_digest);
        world.store.create_api_client(command).await.unwrap();
        let revoke = |stamp| world.store.revoke_api_client(stamp, id);
        assert_eq!(revoke(world.stamp(Actor::Operator)).await, Ok(RevokeApiClientOutcome::Revoked));
        assert_eq!(world.store.authenticate(key, NOW).await, Ok(None));
        assert_eq!(world.other.authenticate(key, NOW).await, Ok(None));
        assert_eq!(revoke(world.stamp(Actor::Operator)).await, Ok(RevokeApiClientOutcome::AlreadyRevoked));
        assert_eq!(world.count(EventKind::ApiClientRevoked).await, 1);

        let clients = world.store.api_clients(world.tenant_id).await.unwrap();
        assert_eq!(clients.len(), 2);
        assert!(clients.iter().all(|client| client.revoked_at == (client.id == id).then_some(NOW)), "{clients:?}");
    }
}

#[tokio::test]
async fn another_tenants_client_is_not_found_and_stays_live() {
    for world in World::each().await {
        let neighbour = world.tenant("neighbour").await;
        let command = world.new_client("admin");
        let (id, key) = (command.id, command.key_digest);
        world.store.create_api_client(command).await.unwrap();
        let revoked = world.store.revoke_api_client(world.stamp_in(neighbour), id).await;
        assert_eq!(revoked, Ok(RevokeApiClientOutcome::NotFound));
        assert!(world.store.authenticate(key, NOW).await.unwrap().is_some());
        assert_eq!(world.store.api_clients(neighbour).await, Ok(Vec::new()));
        // Nor may a client act in a tenant that is not its own.
        let stamp = Stamp { tenant_id: neighbour, ..world.stamp(world.client) };
        assert_eq!(world.store.set_policy(stamp, Policy::default()).await, Err(StoreError::ActorGone));
    }
}

#[tokio::test]
async fn a_revoked_client_changes_nothing() {
    for world in World::each().await {
        let (invitation, claim) = world.waiting("ada").await;
        let phone = world.phone("ada").await;
        let client = world.client().await;
        let Actor::ApiClient { client_id, .. } = client else { panic!("no client") };
        world.store.revoke_api_client(world.stamp(Actor::Operator), client_id).await.unwrap();
        let before = world.kinds().await;
        let user = world.store.user(world.tenant_id, phone.user.id).await.unwrap();

        let stamp = || world.stamp(client);
        let store = &world.other;
        let mut enrollment = world.new_enrollment("bob", Confirmation::Code);
        enrollment.stamp = stamp();
        assert_eq!(store.create_enrollment(enrollment).await, Err(StoreError::ActorGone));
        let mut confirm = world.confirm(&invitation, &claim, CODE);
        confirm.stamp = stamp();
        assert_eq!(store.confirm_enrollment(confirm).await, Err(StoreError::ActorGone));
        assert_eq!(store.cancel_enrollment(stamp(), invitation.id).await, Err(StoreError::ActorGone));
        let suspend = world.new_status(client, phone.id, StatusChange::Suspend);
        assert_eq!(store.change_device_status(suspend).await, Err(StoreError::ActorGone));
        assert_eq!(store.unlock_user(stamp(), phone.user.id).await, Err(StoreError::ActorGone));
        assert_eq!(store.set_policy(stamp(), Policy::default()).await, Err(StoreError::ActorGone));
        let another = CreateApiClient { stamp: stamp(), ..world.new_client("admin") };
        assert_eq!(store.create_api_client(another).await, Err(StoreError::ActorGone));
        assert_eq!(store.revoke_api_client(stamp(), client_id).await, Err(StoreError::ActorGone));

        assert_eq!(world.kinds().await, before);
        assert_eq!(world.store.user(world.tenant_id, phone.user.id).await.unwrap(), user);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_of_a_client_commits_after_its_revocation_has_returned() {
    for world in World::each().await {
        let world = Arc::new(world);
        for round in 0..25 {
            let client = world.client().await;
            let Actor::ApiClient { client_id, .. } = client else { panic!("no client") };
            let writes: Vec<_> = (0..8)
                .map(|number| {
                    let mut command = world.new_enrollment(&format!("user-{round}-{number}"), Confirmation::Code);
                    command.stamp = world.stamp(client);
                    let world = Arc::clone(&world);
                    tokio::spawn(async move { world.store.create_enrollment(command).await })
                })
                .collect();
            world.other.revoke_api_client(world.stamp(Actor::Operator), client_id).await.unwrap();
            let at_return = users(&world).await;
            let mut written = 0;
            for write in writes {
                match write.await.unwrap() {
                    Ok(_) => written += 1,
                    Err(error) => assert_eq!(error, StoreError::ActorGone),
                }
            }
            assert_eq!(users(&world).await, at_return, "{written} of 8 were written");
        }
    }
}

async fn users(world: &World) -> usize {
    let page = PageRequest { before: None, limit: 1000 };
    world.store.users(world.tenant_id, None, page).await.unwrap().len()
}
