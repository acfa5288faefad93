//! `/v1/users` (protocol 10).

pub mod change;
pub mod clear_report;
pub mod devices;
pub mod erase;
pub mod export;
pub mod list;
pub mod methods;
pub mod report;
pub mod revoke_all;
pub mod show;
pub mod timeline;
pub mod unlock;

use countersign_core::ports::users::UserRecord;
use countersign_proto::{api::users::User, ids::UserId, timestamp::Timestamp};

use super::problem::{ApiError, ApiResult};

fn parse(id: &str) -> ApiResult<UserId> {
    id.parse().map_err(|_| ApiError::not_found())
}

fn show_user(record: UserRecord, now: Timestamp) -> User {
    User {
        id: record.name.id,
        external_id: record.name.external_id,
        display_name: record.name.display_name,
        created_at: record.created_at,
        device_count: record.device_count,
        pending_challenges: record.pending_challenges,
        consecutive_failures: record.consecutive_failures,
        locked_until: record.locked_until.filter(|until| *until > now),
        reported: record.reported,
        pushes_stopped_until: record.pushes_stopped_until.filter(|until| *until > now),
    }
}
