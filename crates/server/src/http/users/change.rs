//! `PATCH /v1/users/{id}` (protocol 10.8).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{ports::users::RenameUser, text::Checker};
use countersign_proto::api::users::{ChangeUser, User};

use super::{parse, show_user};
use crate::http::{
    access::ApiCaller,
    body::StrictJson,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Changes what the phone shows of a user. Challenges that were made before keep what was signed.
#[utoipa::path(patch, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)),
    request_body = ChangeUser,
    responses((status = 200, description = "The user", body = User)))]
#[tracing::instrument(name = "http.users.change", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictJson { value, .. }: StrictJson<ChangeUser>,
) -> ApiResult<Json<User>> {
    let (id, now) = (parse(&id)?, app.now());
    let Some(display_name) = check(value)? else {
        let record = app.store.user(caller.caller.tenant_id, id).await?.ok_or_else(ApiError::not_found)?;
        return Ok(Json(show_user(record, now)));
    };
    let renamed = app.store.rename_user(RenameUser { stamp: caller.stamp(&app, now), id, display_name }).await?;
    Ok(Json(show_user(renamed.ok_or_else(ApiError::not_found)?, now)))
}

/// The name to be shown from now on, `Some(None)`: none; `None`: as it is.
pub(crate) fn check(value: ChangeUser) -> ApiResult<Option<Option<String>>> {
    let Some(display_name) = value.display_name else { return Ok(None) };
    let mut checker = Checker::default();
    let display_name = Some(display_name).filter(|name| !name.is_empty());
    let display_name = checker.optional_text("/display_name", display_name.as_deref(), 1, 128);
    checker.finish().map_err(ApiError::invalid_members)?;
    Ok(Some(display_name))
}
