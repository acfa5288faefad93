//! `ports::users` on both databases.

use countersign_core::{
    event::EventKind,
    ports::{
        PageRequest,
        challenges::DecideOutcome,
        users::{UnlockOutcome, UserFilter, UserRecord},
    },
    verify::Verdict,
};

use crate::world::{NOW, World};

#[path = "users/erasure.rs"]
mod erasure;
#[path = "users/held.rs"]
mod held;
#[path = "users/search.rs"]
mod search;

const ALL: PageRequest<countersign_proto::ids::UserId> = PageRequest { before: None, limit: 100 };

#[tokio::test]
async fn users_are_listed_newest_first_in_pages() {
    for world in World::each().await {
        let mut ids = Vec::new();
        for external_id in ["ada", "bob", "cy", "di", "eve"] {
            ids.push(world.invite(external_id).await.user.id);
        }
        ids.sort_by(|one, other| other.cmp(one));
        let mut seen = Vec::new();
        let mut before = None;
        loop {
            let page = PageRequest { before, limit: 2 };
            let users = world.store.users(world.tenant_id, UserFilter::All, page).await.unwrap();
            assert!(users.len() <= 2);
            let Some(last) = users.last() else { break };
            before = Some(last.name.id);
            seen.extend(users.into_iter().map(|user| user.name.id));
        }
        assert_eq!(seen, ids);
    }
}

#[tokio::test]
async fn an_external_id_finds_its_one_user() {
    for world in World::each().await {
        let ada = world.invite("ada").await.user;
        world.invite("Ada").await;
        let found = world.store.users(world.tenant_id, UserFilter::ExternalId("ada".to_owned()), ALL).await.unwrap();
        let wanted = UserRecord {
            name: ada.clone(),
            created_at: NOW,
            device_count: 0,
            pending_challenges: 0,
            consecutive_failures: 0,
            locked_until: None,
            reported: None,
            pushes_stopped_until: None,
        };
        assert_eq!(found, std::slice::from_ref(&wanted));
        assert_eq!(world.store.user(world.tenant_id, ada.id).await, Ok(Some(wanted)));
        assert_eq!(
            world.store.users(world.tenant_id, UserFilter::ExternalId("nobody".to_owned()), ALL).await,
            Ok(Vec::new())
        );
    }
}

#[tokio::test]
async fn another_tenants_user_is_not_found() {
    for world in World::each().await {
        let neighbour = world.tenant("neighbour").await;
        let ada = world.invite("ada").await.user;
        assert_eq!(world.store.user(neighbour, ada.id).await, Ok(None));
        assert_eq!(world.store.users(neighbour, UserFilter::All, ALL).await, Ok(Vec::new()));
        assert_eq!(world.store.users(neighbour, UserFilter::ExternalId("ada".to_owned()), ALL).await, Ok(Vec::new()));
        let unlocked = world.store.unlock_user(world.stamp_in(neighbour), ada.id).await;
        assert_eq!(unlocked, Ok(UnlockOutcome::NotFound));
    }
}

#[tokio::test]
async fn an_unlock_forgets_the_failures_and_ends_the_lock() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for _ in 0..5 {
            let challenge_id = world.challenge(&[&phone]).await;
            let answer = world.answer(&phone, challenge_id, Verdict::WrongNumber);
            let outcome = world.store.decide_challenge(answer).await.unwrap();
            assert!(matches!(outcome, DecideOutcome::Won { .. }), "{outcome:?}");
        }
        let locked = world.store.user(world.tenant_id, phone.user.id).await.unwrap().unwrap();
        assert_eq!((locked.consecutive_failures, locked.locked_until), (5, Some(NOW.plus_seconds(900))));

        let free = UserRecord { consecutive_failures: 0, locked_until: None, ..locked };
        let unlock = || world.store.unlock_user(world.stamp(world.client), phone.user.id);
        assert_eq!(unlock().await, Ok(UnlockOutcome::Unlocked(free.clone())));
        assert_eq!(world.other.user(world.tenant_id, phone.user.id).await, Ok(Some(free.clone())));
        assert_eq!(unlock().await, Ok(UnlockOutcome::NotLocked(free)));
        assert_eq!(world.count(EventKind::UserUnlocked).await, 1);
    }
}
