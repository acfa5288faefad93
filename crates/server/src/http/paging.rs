//! Cursors: the id of the last entry. By key, so that a page costs the same wherever it is.

use std::str::FromStr;

use countersign_core::{limits::MAX_PAGE, ports::PageRequest};
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::{ApiError, ApiResult};

const USUAL_PAGE: u32 = 50;

/// Which part of a list that has no filters.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// From the previous page.
    pub cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
}

/// The page that a caller asks for.
///
/// # Errors
/// 422 for a cursor that is not ours or a limit outside 1–200.
pub fn page<I: FromStr>(cursor: Option<&str>, limit: Option<u32>) -> ApiResult<PageRequest<I>> {
    let before =
        cursor.map(str::parse).transpose().map_err(|_| ApiError::invalid("/cursor", "is not a cursor of this list"))?;
    Ok(PageRequest { before, limit: page_limit(limit)? })
}

/// Entries of a page.
///
/// # Errors
/// 422 outside 1–200.
pub fn page_limit(limit: Option<u32>) -> ApiResult<u32> {
    let limit = limit.unwrap_or(USUAL_PAGE);
    if (1..=MAX_PAGE).contains(&limit) { Ok(limit) } else { Err(ApiError::invalid("/limit", "must be 1 to 200")) }
}

/// The cursor of the next page: present whenever this one is full.
pub fn next_cursor<T, I: ToString>(entries: &[T], limit: u32, id: impl Fn(&T) -> I) -> Option<String> {
    let is_full = u32::try_from(entries.len()).is_ok_and(|length| length >= limit);
    entries.last().filter(|_| is_full).map(|last| id(last).to_string())
}
