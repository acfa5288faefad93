//! `ports::tenants` on both databases.

use countersign_core::{
    actor::Actor,
    event::EventKind,
    policy::Policy,
    ports::tenants::{CreateTenant, CreateTenantOutcome},
};

use crate::world::{NOW, World};

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
async fn a_policy_is_replaced_in_its_own_tenant_only() {
    for world in World::each().await {
        let neighbour = world.tenant("neighbour").await;
        let policy = Policy { version: 2, digits: 8, ..Policy::default() };
        assert_eq!(world.store.set_policy(world.stamp(Actor::Operator), policy.clone()).await, Ok(true));
        assert_eq!(world.other.tenant(world.tenant_id).await.unwrap().unwrap().policy, policy);
        assert_eq!(world.store.tenant(neighbour).await.unwrap().unwrap().policy, Policy::default());
        assert_eq!(world.store.set_policy(world.stamp_in(world.id()), policy).await, Ok(false));
    }
}
