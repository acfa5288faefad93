//! Finding users: all of an organisation, the one with an id, those whose id begins so, those in a state.
//!
//! Each list has an index that leads to its page; what no index leads to is not offered, and two of them are not asked
//! for together. Ids are compared byte for byte on both databases, whatever language PostgreSQL's cluster speaks: the
//! column says so. To add a state: its word, its partial index in a migration, its statement here.

use countersign_core::ports::{
    PageRequest, StoreError,
    users::{UserFilter, UserRecord},
};
use countersign_proto::{
    ids::{TenantId, UserId},
    vocabulary::UserState,
};
use uuid::Uuid;

use super::super::{Database, query};
use super::{select, user};
use crate::statement::Statement;

/// See the module.
pub(super) struct Statements {
    page: Statement,
    by_external_id: Statement,
    by_prefix: Statement,
    locked: Statement,
    reported: Statement,
    without_device: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        let newest_first = "id < $2 ORDER BY id DESC LIMIT $3";
        Self {
            page: select("users", newest_first),
            by_external_id: select("user_by_external_id", "external_id = $4 AND id < $2 LIMIT $3"),
            by_prefix: select(
                "users_by_prefix",
                "external_id >= $2 AND external_id < $3 ORDER BY external_id LIMIT $4",
            ),
            locked: select(
                "locked_users",
                &format!("locked_until IS NOT NULL AND locked_until > $4 AND {newest_first}"),
            ),
            reported: select("reported_users", &format!("reported_at IS NOT NULL AND {newest_first}")),
            without_device: select("users_without_device", &format!("device_count = 0 AND {newest_first}")),
        }
    }
}

pub(super) async fn page(
    database: &Database,
    tenant_id: TenantId,
    filter: UserFilter,
    page: PageRequest<UserId>,
) -> Result<Vec<UserRecord>, StoreError> {
    let statements = &database.statements.users.search;
    let statement = match &filter {
        UserFilter::All => &statements.page,
        UserFilter::ExternalId(_) => &statements.by_external_id,
        UserFilter::In(UserState::Locked, _) => &statements.locked,
        UserFilter::In(UserState::Reported, _) => &statements.reported,
        UserFilter::In(UserState::WithoutDevice, _) => &statements.without_device,
    };
    let before = page.before.map_or(Uuid::max(), UserId::as_uuid);
    let list = query(statement).bind(tenant_id.as_uuid()).bind(before).bind(i64::from(page.limit));
    let list = match filter {
        UserFilter::ExternalId(external_id) => list.bind(external_id),
        UserFilter::In(UserState::Locked, now) => list.bind(now.as_millis()),
        UserFilter::All | UserFilter::In(UserState::Reported | UserState::WithoutDevice, _) => list,
    };
    database.fetch_all(list).await?.iter().map(user).collect()
}

/// One range of the index, from its beginning or from behind the last page: nothing is gone through that is not shown.
/// The emptied rows of the erased lie below every prefix, for those begin with no white space.
pub(super) async fn by_prefix(
    database: &Database,
    tenant_id: TenantId,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<UserRecord>, StoreError> {
    // Nothing lies between an id and the same with the least control character behind it: ids have none.
    let from = after.map(|after| format!("{after}\u{1}")).filter(|from| from.as_str() > prefix);
    let list = query(&database.statements.users.search.by_prefix)
        .bind(tenant_id.as_uuid())
        .bind(from.unwrap_or_else(|| prefix.to_owned()))
        .bind(end_of(prefix))
        .bind(i64::from(limit));
    database.fetch_all(list).await?.iter().map(user).collect()
}

/// Characters that an id has at most.
const LONGEST_ID: usize = 255;

/// The least text above all that begin with `prefix`. The order of UTF-8's bytes is that of the characters.
fn end_of(prefix: &str) -> String {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // Over the surrogates, which are no characters.
        if let Some(next) = (u32::from(last)..=u32::from(char::MAX)).skip(1).find_map(char::from_u32) {
            characters.push(next);
            return characters.into_iter().collect();
        }
    }
    // Of the last characters of all: longer than any id.
    char::MAX.to_string().repeat(LONGEST_ID + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_above_all_that_begin_with_it_and_below_all_else() {
        for prefix in ["a", "ab", "é", "a%", "a_", "\u{D7FF}", "a\u{10FFFF}", "\u{10FFFF}\u{10FFFF}"] {
            let end = end_of(prefix);
            assert!(end.as_bytes() > prefix.as_bytes(), "{prefix:?}");
            for behind in ["", "\u{1}", "z", "\u{10FFFF}", &"\u{10FFFF}".repeat(200)] {
                let id = format!("{prefix}{behind}");
                assert!(id.as_bytes() < end.as_bytes(), "{id:?} {end:?}");
            }
        }
        assert_eq!(end_of("\u{D7FF}"), "\u{E000}");
        assert_eq!(end_of("a\u{10FFFF}"), "b");
    }
}
