//! Finding users by the beginning of their id, and by their state.

use countersign_core::ports::{PageRequest, users::UserFilter};
use countersign_proto::vocabulary::UserState;

use super::ALL;
use crate::world::{NOW, World};

impl World {
    /// The ids that begin so, page by page of two.
    async fn beginning(&self, prefix: &str) -> Vec<String> {
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = self.other.users_by_prefix(self.tenant_id, prefix, after.as_deref(), 2).await.unwrap();
            assert!(page.len() <= 2);
            let Some(last) = page.last() else { return all };
            after = Some(last.name.external_id.clone());
            all.extend(page.into_iter().map(|user| user.name.external_id));
        }
    }

    async fn in_state(&self, state: UserState) -> Vec<String> {
        self.in_state_at(state, 0).await
    }

    async fn in_state_at(&self, state: UserState, seconds: i64) -> Vec<String> {
        let filter = UserFilter::In(state, NOW.plus_seconds(seconds));
        let users = self.other.users(self.tenant_id, filter, ALL).await.unwrap();
        assert!(users.is_sorted_by(|one, other| one.name.id > other.name.id), "newest first");
        let mut names: Vec<_> = users.into_iter().map(|user| user.name.external_id).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn a_prefix_finds_what_begins_with_these_bytes_in_their_order() {
    for world in World::each().await {
        // A language would sort and compare some of these otherwise.
        let ids = ["a", "A", "a-b", "a_b", "a%b", "ab", "aB", "ab c", "abc", "äb", "b", "a\u{10FFFD}", "a'b", "a\\b"];
        for id in ids {
            world.invite(id).await;
        }
        for prefix in ["a", "A", "ab", "a_", "a%", "ä", "b", "abc", "abcd", "a\u{10FFFD}", "a'", "a\\", "%", "_"] {
            let mut wanted: Vec<_> = ids.iter().filter(|id| id.starts_with(prefix)).map(ToString::to_string).collect();
            wanted.sort();
            assert_eq!(world.beginning(prefix).await, wanted, "{prefix:?}");
        }
        // The longest id that there may be, by the longest prefix.
        let longest = "\u{1F980}".repeat(255);
        world.invite(&longest).await;
        assert_eq!(world.beginning(&longest).await, [longest.as_str()]);
        assert_eq!(world.beginning(&char::MAX.to_string().repeat(255)).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_prefix_finds_nobody_who_was_erased_and_nobody_elses_users() {
    for world in World::each().await {
        let neighbour = world.tenant("neighbour").await;
        world.invite("ada-1").await;
        let gone = world.invite("ada-2").await.user;
        world.invite("ada-3").await;
        let page = world.store.users_by_prefix(world.tenant_id, "ada", None, 2).await.unwrap();
        world.store.erase_user(world.stamp(world.client), gone.id).await.unwrap();
        // Whoever was the last of a page leads on all the same.
        let after = Some(page[1].name.external_id.as_str());
        let next = world.store.users_by_prefix(world.tenant_id, "ada", after, 2).await.unwrap();
        assert_eq!(next.iter().map(|user| user.name.external_id.as_str()).collect::<Vec<_>>(), ["ada-3"]);
        assert_eq!(world.beginning("ada").await, ["ada-1", "ada-3"]);
        assert_eq!(world.store.users_by_prefix(neighbour, "ada", None, 9).await, Ok(vec![]));
        assert_eq!(world.in_state(UserState::WithoutDevice).await, ["ada-1", "ada-3"]);
    }
}

#[tokio::test]
async fn ids_are_compared_byte_for_byte_whatever_language_the_cluster_speaks() {
    for world in World::each().await.into_iter().filter(|world| world.database.is_postgres()) {
        let collation = "SELECT collation_name::text FROM information_schema.columns
            WHERE table_schema = 'public' AND table_name = 'users' AND column_name = 'external_id'";
        assert_eq!(world.database.texts(collation).await, ["C"]);
    }
}

#[tokio::test]
async fn users_are_found_by_their_state_while_it_lasts() {
    for world in World::each().await {
        for name in ["locked", "reported", "well"] {
            world.phone(name).await;
        }
        world.invite("empty-handed").await;
        let user = |name: &'static str| UserFilter::ExternalId(name.to_owned());
        let id = async |name| world.store.users(world.tenant_id, user(name), ALL).await.unwrap().remove(0).name.id;
        let (locked, reported) = (id("locked").await, id("reported").await);
        let until = NOW.plus_seconds(900).as_millis();
        world.database.tamper(&format!("UPDATE users SET locked_until = {until} WHERE external_id = 'locked'")).await;
        let report = "UPDATE users SET reported_at = 1, reported_by = 'device' WHERE external_id = 'reported'";
        world.database.tamper(report).await;
        assert_eq!(world.in_state(UserState::Locked).await, ["locked"]);
        assert_eq!(world.in_state_at(UserState::Locked, 900).await, Vec::<String>::new());
        assert_eq!(world.in_state(UserState::Reported).await, ["reported"]);
        assert_eq!(world.in_state(UserState::WithoutDevice).await, ["empty-handed"]);
        let before = |id| PageRequest { before: Some(id), limit: 9 };
        let filter = UserFilter::In(UserState::Locked, NOW);
        assert_eq!(world.store.users(world.tenant_id, filter.clone(), before(locked)).await, Ok(vec![]));
        let neighbour = world.tenant("neighbour").await;
        for state in [UserState::Locked, UserState::Reported, UserState::WithoutDevice] {
            let filter = UserFilter::In(state, NOW);
            assert_eq!(world.store.users(neighbour, filter, ALL).await, Ok(vec![]));
        }
        world.store.clear_report(world.stamp(world.client), reported).await.unwrap();
        world.store.unlock_user(world.stamp(world.client), locked).await.unwrap();
        assert_eq!(world.in_state(UserState::Reported).await, Vec::<String>::new());
        assert_eq!(world.in_state(UserState::Locked).await, Vec::<String>::new());
    }
}
