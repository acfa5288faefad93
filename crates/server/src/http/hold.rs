//! Held reads: how long.

use countersign_core::limits::MAX_WAIT_SECONDS;
use countersign_proto::timestamp::Timestamp;

use super::problem::{ApiError, ApiResult};

/// When a read with `?wait=` ends at the latest.
///
/// # Errors
/// 422 beyond 50 seconds.
pub fn wait_end(now: Timestamp, wait: Option<u32>) -> ApiResult<Timestamp> {
    let seconds = wait.unwrap_or(0);
    if seconds > MAX_WAIT_SECONDS {
        return Err(ApiError::invalid("/wait", "must be 0 to 50"));
    }
    Ok(now.plus_seconds(i64::from(seconds)))
}
