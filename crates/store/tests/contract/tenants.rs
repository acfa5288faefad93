//! `ports::tenants` on both databases.

use countersign_core::{
    actor::Actor,
    event::EventKind,
    policy::Policy,
    ports::tenants::{CreateTenant, CreateTenantOutcome, SetPolicy, SetPolicyOutcome},
};
use countersign_proto::vocabulary::{ClientAuthentication, Profile};

use crate::{
    devices::REVOKE,
    world::{NOW, World},
};

#[path = "tenants/disabled.rs"]
mod disabled;

fn new_tenant(world: &World, slug: &str) -> CreateTenant {
    CreateTenant { stamp: world.stamp_in(world.id()), slug: slug.to_owned(), name: "Name".to_owned() }
}

#[tokio::test]
async fn a_tenant_is_found_by_id_and_by_slug() {
    for world in World::each().await {
        let tenant = world.store.tenant(world.tenant_id).await.unwrap().unwrap();
        assert_eq!((tenant.id, tenant.slug.as_str(), tenant.name.as_str()), (world.tenant_id, "acme", "acme Inc."));
        assert_eq!((tenant.policy.clone(), tenant.created_at), (Policy::default(), NOW));
        assert_eq!(world.store.tenant_by_slug("acme").await.unwrap(), Some(tenant.clone()));
        assert_eq!(world.store.tenant_by_slug("ACME").await.unwrap(), None);
        assert_eq!(world.store.tenant(world.id()).await.unwrap(), None);
        assert!(world.store.tenants().await.unwrap().contains(&tenant));
        assert_eq!(world.count(EventKind::TenantCreated).await, 1);
    }
}

#[tokio::test]
async fn a_slug_is_taken_once_however_many_nodes_ask() {
    for world in World::each().await {
        for round in 0..30 {
            let slug = format!("tenant-{round}");
            let (one, other) = (new_tenant(&world, &slug), new_tenant(&world, &slug));
            let (one, other) = tokio::join!(world.store.create_tenant(one), world.other.create_tenant(other));
            let outcomes = [one.unwrap(), other.unwrap()];
            assert!(outcomes.contains(&CreateTenantOutcome::Created), "{outcomes:?}");
            assert!(outcomes.contains(&CreateTenantOutcome::SlugTaken), "{outcomes:?}");
        }
    }
}

#[tokio::test]
async fn a_policy_is_replaced_in_its_own_tenant_only_and_every_version_stays_readable() {
    for world in World::each().await {
        let neighbour = world.tenant("neighbour").await;
        let first = Policy::default();
        let digits = Policy { digits: 8, ..first.clone() };
        let set = SetPolicy::new(world.stamp(world.client), &first, digits);
        let second = set.policy.clone();
        assert_eq!((second.version, set.changed.clone()), (2, vec!["digits".to_owned()]));
        assert_eq!(world.store.set_policy(set).await, Ok(SetPolicyOutcome::Set));
        let third = Policy { lock_seconds: 60, ..second.clone() };
        let set = SetPolicy::new(world.stamp(world.client), &second, third);
        let third = set.policy.clone();
        assert_eq!(world.other.set_policy(set).await, Ok(SetPolicyOutcome::Set));

        assert_eq!(world.other.tenant(world.tenant_id).await.unwrap().unwrap().policy, third);
        assert_eq!(world.store.tenant(neighbour).await.unwrap().unwrap().policy, first);
        for (version, policy) in [(1, Some(first.clone())), (2, Some(second)), (3, Some(third)), (4, None)] {
            assert_eq!(world.store.policy_version(world.tenant_id, version).await, Ok(policy), "{version}");
        }
        assert_eq!(world.store.policy_version(neighbour, 1).await, Ok(Some(first.clone())));
        assert_eq!(world.store.policy_version(neighbour, 2).await, Ok(None));
        assert_eq!(world.count(EventKind::PolicyChanged).await, 2);
        let nobodys = SetPolicy::new(world.stamp_in(world.id()), &first, first.clone());
        assert_eq!(world.store.set_policy(nobodys).await, Ok(SetPolicyOutcome::NotFound));
    }
}

#[tokio::test]
async fn of_changes_that_were_made_from_the_same_version_one_is_in_force_and_the_others_are_told_which() {
    for world in World::each().await {
        let mut before = Policy::default();
        for round in 0..20 {
            let change = |digits| Policy { digits, ..before.clone() };
            let (six, eight) = (
                SetPolicy::new(world.stamp(world.client), &before, change(6)),
                SetPolicy::new(world.stamp(world.client), &before, change(8)),
            );
            let (one, other) = tokio::join!(world.store.set_policy(six), world.other.set_policy(eight));
            let outcomes = [one.unwrap(), other.unwrap()];
            let version = before.version + 1;
            assert!(outcomes.contains(&SetPolicyOutcome::Set), "{round}: {outcomes:?}");
            assert!(outcomes.contains(&SetPolicyOutcome::Conflict { version }), "{round}: {outcomes:?}");
            before = world.store.tenant(world.tenant_id).await.unwrap().unwrap().policy;
            assert_eq!(before.version, version);
            assert_eq!(world.other.policy_version(world.tenant_id, version).await, Ok(Some(before.clone())));
        }
        assert_eq!(world.count(EventKind::PolicyChanged).await, 20);
    }
}

#[tokio::test]
async fn a_policy_that_an_older_program_wrote_can_still_be_changed() {
    for world in World::each().await {
        world.database.tamper(r#"UPDATE tenants SET policy = '{"version":7,"digits":8}' WHERE slug = 'acme'"#).await;
        let before = world.store.tenant(world.tenant_id).await.unwrap().unwrap().policy;
        assert_eq!((before.version, before.digits), (1, 8));
        let set = SetPolicy::new(world.stamp(world.client), &before, Policy::default());
        assert_eq!(world.store.set_policy(set).await, Ok(SetPolicyOutcome::Set));
        assert_eq!(world.other.policy_version(world.tenant_id, 1).await, Ok(Some(before)));
    }
}

#[tokio::test]
async fn a_policy_that_asks_for_proof_is_known_to_whoever_authenticates() {
    for world in World::each().await {
        let client = world.new_client("admin");
        let key = client.key.credential.digest();
        world.store.create_api_client(client).await.unwrap();
        let mut before = Policy::default();
        let profile = Policy { profile: Some(Profile::Nist80063b4), ..Policy::default() };
        let asking = Policy { client_authentication: ClientAuthentication::ClientProof, ..Policy::default() };
        for (policy, is_asked) in [(profile, true), (Policy::default(), false), (asking, true)] {
            let set = SetPolicy::new(world.stamp(Actor::Operator), &before, policy);
            before = set.policy.clone();
            assert_eq!(world.store.set_policy(set).await, Ok(SetPolicyOutcome::Set));
            let caller = world.other.authenticate(key, NOW).await.unwrap().unwrap();
            assert_eq!((caller.is_proof_required, caller.has_shown_enough()), (is_asked, !is_asked));
        }
    }
}
