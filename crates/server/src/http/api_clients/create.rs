//! `POST /v1/api-clients` (protocol 15).

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use countersign_core::{
    api_client::{ApiClient, Applications, Scopes, check_applications, check_scopes},
    ports::api_clients::{CreateApiClient, CreateApiClientOutcome},
    text::Checker,
};
use countersign_proto::{
    api::api_clients::{ApiClientCreated, CreateApiClient as Request},
    problem::FieldError,
};

use super::{MadeKey, key_known, seal, show_client};
use crate::http::{
    access::ApiCaller,
    body::StrictJson,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Makes an API client with its first key.
#[utoipa::path(post, path = "/v1/api-clients", tag = "api-clients", request_body = Request,
    responses((status = 201, description = "The client; the only reply that carries its secret", body = ApiClientCreated)))]
#[tracing::instrument(name = "http.api_clients.create", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictJson { value, .. }: StrictJson<Request>,
) -> ApiResult<(StatusCode, Json<ApiClientCreated>)> {
    let now = app.now();
    let (name, scopes, applications) = check(&value)?;
    let stamp = caller.stamp(&app, now);
    let whose = (stamp.tenant_id, app.new_id(now));
    let key = MadeKey::make(&app, whose, value.public_key.as_ref(), value.expires_in_days, now)?;
    let mut client = ApiClient {
        id: whose.1,
        tenant_id: stamp.tenant_id,
        name,
        scopes,
        applications,
        created_at: now,
        revoked_at: None,
        seal: None,
    };
    let seal = seal(&app, &client);
    client.seal = Some(seal.clone());
    let command = CreateApiClient {
        stamp,
        id: client.id,
        name: client.name.clone(),
        scopes: client.scopes.clone(),
        applications: client.applications.clone(),
        seal,
        key: key.stored.clone(),
    };
    match app.store.create_api_client(command).await? {
        CreateApiClientOutcome::Created => {}
        CreateApiClientOutcome::KeyKnown => return Err(key_known()),
    }
    let client = show_client(client, Some(vec![key.show(now)]));
    Ok((StatusCode::CREATED, Json(ApiClientCreated { client, api_key: key.reveal() })))
}

/// Its name, what it may do, and for which applications; `None`: all.
pub(crate) fn check(value: &Request) -> ApiResult<(String, Scopes, Option<Applications>)> {
    let mut errors: Vec<FieldError> = Vec::new();
    let mut checker = Checker::default();
    let name = checker.text("/name", &value.name, 1, 128);
    errors.extend(checker.finish().err().unwrap_or_default());
    let scopes = check_scopes("/scopes", &value.scopes).map_err(|more| errors.extend(more)).unwrap_or_default();
    let applications = match &value.applications {
        None => None,
        Some(names) => check_applications("/applications", names.iter().map(String::as_str))
            .map_err(|more| errors.extend(more))
            .ok(),
    };
    if !errors.is_empty() {
        return Err(ApiError::invalid_members(errors));
    }
    Ok((name, scopes, applications))
}
