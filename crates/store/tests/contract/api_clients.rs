//! `ports::api_clients` on both databases: keys, and the barrier that revoking a client is.

use std::sync::Arc;

use countersign_core::{
    actor::{Actor, Stamp},
    api_client::{Caller, CallerSeals, Credential, NewApiKey, check_applications, proof_digest},
    device::StatusChange,
    event::EventKind,
    policy::Policy,
    ports::{
        PageRequest, StoreError,
        api_clients::{
            AddApiKey, AddApiKeyOutcome, CreateApiClient, CreateApiClientOutcome, RevokeApiClientOutcome, SpendProof,
        },
        tenants::SetPolicy,
    },
};
use countersign_proto::{
    ids::ApiClientId,
    jose::{PublicKey, SigningKey},
    vocabulary::Confirmation,
};

use crate::world::{CODE, NOW, World};

mod change;

const ALL: PageRequest<ApiClientId> = PageRequest { before: None, limit: 100 };

#[tokio::test]
async fn a_key_says_who_holds_it() {
    for world in World::each().await {
        let applications = Some(check_applications("", ["VPN", "Mail"]).unwrap());
        let command = CreateApiClient { applications, ..world.new_client("challenges,users:read") };
        let wanted = Caller {
            tenant_id: world.tenant_id,
            tenant_name: "acme Inc.".to_owned(),
            client_id: command.id,
            key_id: command.key.id,
            scopes: command.scopes.clone(),
            applications: command.applications.clone(),
            public_key: None,
            expires_at: None,
            is_proof_required: false,
            seals: CallerSeals { client: Some("client".to_owned()), key: Some("key".to_owned()) },
        };
        let key = command.key.credential.digest();
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
        let key = NewApiKey { expires_at: Some(end), ..world.new_key() };
        let command = CreateApiClient { key, ..world.new_client("enrollments") };
        let key = command.key.credential.digest();
        let actor = Actor::ApiClient { client_id: command.id, key_id: command.key.id };
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
        let (id, key) = (command.id, command.key.credential.digest());
        world.store.create_api_client(command).await.unwrap();
        let revoke = |stamp| world.store.revoke_api_client(stamp, id);
        assert_eq!(revoke(world.stamp(Actor::Operator)).await, Ok(RevokeApiClientOutcome::Revoked));
        assert_eq!(world.store.authenticate(key, NOW).await, Ok(None));
        assert_eq!(world.other.authenticate(key, NOW).await, Ok(None));
        assert_eq!(revoke(world.stamp(Actor::Operator)).await, Ok(RevokeApiClientOutcome::AlreadyRevoked));
        assert_eq!(world.count(EventKind::ApiClientRevoked).await, 1);

        let clients = world.store.api_clients(world.tenant_id, ALL).await.unwrap();
        assert_eq!(clients.len(), 2);
        assert!(clients.iter().all(|client| client.revoked_at == (client.id == id).then_some(NOW)), "{clients:?}");
    }
}

#[tokio::test]
async fn another_tenants_client_is_not_found_and_stays_live() {
    for world in World::each().await {
        let neighbour = world.tenant("neighbour").await;
        let command = world.new_client("admin");
        let (id, key) = (command.id, command.key.credential.digest());
        world.store.create_api_client(command).await.unwrap();
        let revoked = world.store.revoke_api_client(world.stamp_in(neighbour), id).await;
        assert_eq!(revoked, Ok(RevokeApiClientOutcome::NotFound));
        assert!(world.store.authenticate(key, NOW).await.unwrap().is_some());
        assert_eq!(world.store.api_clients(neighbour, ALL).await, Ok(Vec::new()));
        // Nor may a client act in a tenant that is not its own.
        let stamp = Stamp { tenant_id: neighbour, ..world.stamp(world.client) };
        let set = SetPolicy::new(stamp, &Policy::default(), Policy::default());
        assert_eq!(world.store.set_policy(set).await, Err(StoreError::ActorGone));
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
        let set = SetPolicy::new(stamp(), &Policy::default(), Policy::default());
        assert_eq!(store.set_policy(set).await, Err(StoreError::ActorGone));
        let add = AddApiKey { stamp: stamp(), client_id, key: world.new_key() };
        assert_eq!(store.add_api_key(add).await, Err(StoreError::ActorGone));
        assert_eq!(store.revoke_api_key(stamp(), client_id, world.id()).await, Err(StoreError::ActorGone));
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
    world.store.users(world.tenant_id, countersign_core::ports::users::UserFilter::All, page).await.unwrap().len()
}

fn public_key() -> PublicKey {
    SigningKey::generate().unwrap().public_key()
}

#[tokio::test]
async fn a_public_key_says_who_holds_it_by_its_thumbprint_and_is_ever_only_one_clients() {
    for world in World::each().await {
        let key = public_key();
        let signing = || NewApiKey { credential: Credential::PublicKey(key), ..world.new_key() };
        let command = CreateApiClient { key: signing(), ..world.new_client("challenges") };
        let (id, key_id) = (command.id, command.key.id);
        assert_eq!(world.store.create_api_client(command).await, Ok(CreateApiClientOutcome::Created));
        let digest = proof_digest(&key.thumbprint());
        let caller = world.other.authenticate(digest, NOW).await.unwrap().unwrap();
        assert_eq!((caller.client_id, caller.key_id, caller.public_key), (id, key_id, Some(key)));

        let again = CreateApiClient { key: signing(), ..world.new_client("admin") };
        let another = again.id;
        assert_eq!(world.other.create_api_client(again).await, Ok(CreateApiClientOutcome::KeyKnown));
        let clients = world.store.api_clients(world.tenant_id, ALL).await.unwrap();
        assert!(clients.iter().all(|client| client.id != another), "nothing of it stays");
        // Also after its revocation.
        let revoked = world.store.revoke_api_key(world.stamp(Actor::Operator), id, key_id).await;
        assert_eq!(revoked, Ok(RevokeApiClientOutcome::Revoked));
        assert_eq!(world.other.authenticate(digest, NOW).await, Ok(None));
        let back = AddApiKey { stamp: world.stamp(Actor::Operator), client_id: id, key: signing() };
        assert_eq!(world.store.add_api_key(back).await, Ok(AddApiKeyOutcome::KeyKnown));
    }
}

#[tokio::test]
async fn a_client_has_two_live_keys_of_a_sort_however_many_nodes_add_them() {
    for world in World::each().await {
        let command = world.new_client("challenges");
        let (id, first) = (command.id, command.key.clone());
        world.store.create_api_client(command).await.unwrap();
        let secret = || AddApiKey { stamp: world.stamp(Actor::Operator), client_id: id, key: world.new_key() };
        let (one, other) = tokio::join!(world.store.add_api_key(secret()), world.other.add_api_key(secret()));
        let outcomes = [one.unwrap(), other.unwrap()];
        assert!(outcomes.contains(&AddApiKeyOutcome::Added), "{outcomes:?}");
        assert!(outcomes.contains(&AddApiKeyOutcome::TooMany), "{outcomes:?}");
        // Of the other sort there may be two more.
        for outcome in [AddApiKeyOutcome::Added, AddApiKeyOutcome::Added, AddApiKeyOutcome::TooMany] {
            let key = NewApiKey { credential: Credential::PublicKey(public_key()), ..world.new_key() };
            assert_eq!(world.store.add_api_key(AddApiKey { key, ..secret() }).await, Ok(outcome));
        }
        // One that is revoked makes room, and the others stay.
        let revoke = |stamp| world.store.revoke_api_key(stamp, id, first.id);
        assert_eq!(revoke(world.stamp(Actor::Operator)).await, Ok(RevokeApiClientOutcome::Revoked));
        assert_eq!(revoke(world.stamp(Actor::Operator)).await, Ok(RevokeApiClientOutcome::AlreadyRevoked));
        assert_eq!(world.other.authenticate(first.credential.digest(), NOW).await, Ok(None));
        assert_eq!(world.store.add_api_key(secret()).await, Ok(AddApiKeyOutcome::Added));
        let keys = world.store.api_keys(world.tenant_id, id).await.unwrap();
        assert_eq!(keys.len(), 5);
        let live = keys.iter().filter(|key| key.revoked_at.is_none());
        assert_eq!(live.filter(|key| key.public_key.is_some()).count(), 2);
        assert_eq!(world.count(EventKind::ApiKeyAdded).await, 4);
        assert_eq!(world.count(EventKind::ApiKeyRevoked).await, 1);

        let neighbour = world.tenant("neighbour").await;
        let theirs = |client_id| AddApiKey { stamp: world.stamp_in(neighbour), client_id, key: world.new_key() };
        assert_eq!(world.store.add_api_key(theirs(id)).await, Ok(AddApiKeyOutcome::NotFound));
        assert_eq!(world.store.api_keys(neighbour, id).await, Ok(Vec::new()));
        let stamp = world.stamp_in(neighbour);
        let revoked = world.store.revoke_api_key(stamp, id, keys[4].id).await;
        assert_eq!(revoked, Ok(RevokeApiClientOutcome::NotFound));
        world.store.revoke_api_client(world.stamp(Actor::Operator), id).await.unwrap();
        assert_eq!(world.store.add_api_key(secret()).await, Ok(AddApiKeyOutcome::NotFound));
    }
}

#[tokio::test]
async fn a_proof_is_spent_once_on_whatever_node_until_it_is_forgotten() {
    for world in World::each().await {
        let Actor::ApiClient { client_id, .. } = world.client else { panic!("no client") };
        let proof = |jti: &str| SpendProof {
            command_id: world.id(),
            tenant_id: world.tenant_id,
            client_id,
            jti: jti.to_owned(),
            expires_at: NOW.plus_seconds(120),
            takes_access_away: false,
        };
        for round in 0..20 {
            let jti = format!("jti-{round}");
            let (one, other) = tokio::join!(world.store.spend_proof(proof(&jti)), world.other.spend_proof(proof(&jti)));
            let mut spent = [one.unwrap(), other.unwrap()];
            spent.sort_unstable();
            assert_eq!(spent, [false, true], "{round}");
        }
        let others = SpendProof { client_id: world.id(), ..proof("jti-0") };
        assert_eq!(world.store.spend_proof(others).await, Ok(true), "another client's own");
        // Run again after a COMMIT whose answer was lost, a command finds its own row.
        let same = proof("same");
        assert_eq!(world.store.spend_proof(same.clone()).await, Ok(true));
        assert_eq!(world.other.spend_proof(same).await, Ok(true));

        world.store.forget_expired(NOW.plus_seconds(119), 100).await.unwrap();
        assert_eq!(world.store.spend_proof(proof("jti-0")).await, Ok(false));
        world.store.forget_expired(NOW.plus_seconds(120), 100).await.unwrap();
        assert_eq!(world.store.spend_proof(proof("jti-0")).await, Ok(true));
    }
}
