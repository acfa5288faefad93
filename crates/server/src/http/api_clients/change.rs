//! `PATCH /v1/api-clients/{id}` (protocol 15).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{
    api_client::{ApiClient as Client, Applications, Scopes, check_applications, check_scopes},
    ports::api_clients::{ChangeApiClient, ChangeApiClientOutcome},
    text::Checker,
};
use countersign_proto::{
    api::api_clients::{ApiClient, ChangeApiClient as Request},
    problem::FieldError,
};

use super::{is_sealed, parse, seal, with_keys};
use crate::alarm;
use crate::http::{
    access::ApiCaller,
    body::StrictJson,
    overtaken::unless_overtaken,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Changes what an API client is called, and what it may do, for the requests that come from then on.
#[utoipa::path(patch, path = "/v1/api-clients/{id}", tag = "api-clients", params(("id" = String, Path)),
    request_body = Request,
    responses((status = 200, description = "The client as it is now", body = ApiClient)))]
#[tracing::instrument(name = "http.api_clients.change", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictJson { value, .. }: StrictJson<Request>,
) -> ApiResult<Json<ApiClient>> {
    let id = parse(&id)?;
    let wanted = check(&value)?;
    let changed = unless_overtaken(|| async {
        let client = app.store.api_client(caller.caller.tenant_id, id).await?;
        let before = client.filter(|client| client.revoked_at.is_none()).ok_or_else(ApiError::not_found)?;
        // What is kept of the row is sealed anew: never what somebody else wrote into it.
        if !is_sealed(&app, &before) {
            alarm::raise("api_client_seal_invalid", &id.to_string());
            return Err(ApiError::internal("an API client that this server did not seal"));
        }
        let mut after = wanted.clone().of(&before);
        after.seal = Some(seal(&app, &after));
        let command = ChangeApiClient { stamp: caller.stamp(&app, app.now()), before, after: after.clone() };
        Ok(match app.store.change_api_client(command).await? {
            ChangeApiClientOutcome::Changed => Some(after),
            // Read again: what others have changed stays, unless this names it.
            ChangeApiClientOutcome::Outdated => None,
        })
    });
    Ok(Json(with_keys(&app, changed.await?).await?))
}

/// What the request asks for, checked.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    name: Option<String>,
    scopes: Option<Scopes>,
    /// `Some(None)`: all.
    applications: Option<Option<Applications>>,
}

impl Wanted {
    fn of(self, before: &Client) -> Client {
        Client {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            scopes: self.scopes.unwrap_or_else(|| before.scopes.clone()),
            applications: self.applications.unwrap_or_else(|| before.applications.clone()),
            ..before.clone()
        }
    }
}

pub(crate) fn check(value: &Request) -> ApiResult<Wanted> {
    let mut errors: Vec<FieldError> = Vec::new();
    let mut checker = Checker::default();
    let name = checker.optional_text("/name", value.name.as_deref(), 1, 128);
    errors.extend(checker.finish().err().unwrap_or_default());
    let scopes = match &value.scopes {
        None => None,
        Some(words) => check_scopes("/scopes", words).map_err(|more| errors.extend(more)).ok(),
    };
    let applications = applications(value, &mut errors);
    if errors.is_empty() { Ok(Wanted { name, scopes, applications }) } else { Err(ApiError::invalid_members(errors)) }
}

fn applications(value: &Request, errors: &mut Vec<FieldError>) -> Option<Option<Applications>> {
    let mut refuse = |detail: &str| {
        let pointer = "/all_applications".to_owned();
        errors.push(FieldError { pointer, detail: detail.to_owned() });
        None
    };
    match (&value.applications, value.all_applications) {
        (None, None) => None,
        (None, Some(true)) => Some(None),
        (_, Some(false)) => refuse("must be true, or absent"),
        (Some(_), Some(true)) => refuse("cannot come together with applications"),
        (Some(names), None) => check_applications("/applications", names.iter().map(String::as_str))
            .map_err(|more| errors.extend(more))
            .ok()
            .map(Some),
    }
}
