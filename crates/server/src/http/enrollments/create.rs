//! `POST /v1/enrollments` (protocol 4.1).

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use countersign_core::{
    enrollment::{self, EnrollmentRecord, Ticket},
    ports::enrollments::{CreateEnrollment, CreateEnrollmentOutcome},
};
use countersign_proto::{
    api::enrollments::{CreateEnrollment as Request, EnrollmentCreated},
    timestamp::Timestamp,
    vocabulary::EnrollmentStatus,
};
use qrcode::{EcLevel, QrCode, render::svg};

use super::{admission, show_enrollment};
use crate::{
    http::{
        access::ApiCaller,
        body::StrictJson,
        problem::{self, ApiError, ApiResult},
        state::App,
    },
    signing::Sealed,
};

/// Invites a device of a user; the user is created if new.
#[utoipa::path(post, path = "/v1/enrollments", tag = "enrollments", request_body = Request,
    responses((status = 201, description = "The invitation; the only reply that carries the ticket", body = EnrollmentCreated)))]
#[tracing::instrument(name = "http.enrollments.create", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictJson { value, .. }: StrictJson<Request>,
) -> ApiResult<(StatusCode, Json<EnrollmentCreated>)> {
    let tenant_id = caller.caller.tenant_id;
    let tenant = app.store.tenant(tenant_id).await?.ok_or_else(|| ApiError::internal("the caller's tenant is gone"))?;
    let request = enrollment::check(&value, &tenant.policy).map_err(ApiError::invalid_members)?;
    let now = app.now();
    let admission = admission::of_request(&app, &caller, &request, &tenant.policy, now).await?;
    let created_at = now.floor_to_second();
    let expires_at = created_at.plus_seconds(request.ttl_seconds);
    let ticket = Ticket::generate(app.entropy.as_ref());
    let id = app.new_id(now);
    let seal = app.keys.seals().seal(&Sealed::Ticket {
        enrollment_id: id,
        tenant_id,
        external_id: &request.external_id,
        ticket: Ticket::digest_of(ticket.reveal()),
        confirmation: request.confirmation,
        purpose: request.purpose,
        expires_at,
    });
    let command = CreateEnrollment {
        stamp: caller.stamp(&app, now),
        id,
        new_user_id: app.new_id(now),
        external_id: request.external_id,
        display_name: request.display_name,
        ticket: Ticket::digest_of(ticket.reveal()),
        confirmation: request.confirmation,
        purpose: request.purpose,
        expires_at,
        seal,
        admission,
    };
    let user = match app.store.create_enrollment(command).await? {
        CreateEnrollmentOutcome::Created(user) => user,
        CreateEnrollmentOutcome::ApprovalRequired => return Err(admission::required()),
        CreateEnrollmentOutcome::UserLocked => return Err(problem::user_locked(Timestamp::NEVER, now)),
    };
    let record = EnrollmentRecord {
        id,
        tenant_id,
        user,
        status: EnrollmentStatus::Pending,
        confirmation: request.confirmation,
        purpose: request.purpose,
        device: None,
        expires_at,
        created_at,
    };
    let enrollment_uri = ticket.uri(app.issuer());
    let qr_svg = value.qr.unwrap_or(false).then(|| draw_qr(&enrollment_uri)).transpose()?;
    let enrollment = show_enrollment(record, now);
    Ok((
        StatusCode::CREATED,
        Json(EnrollmentCreated { enrollment, enrollment_uri, ticket: ticket.reveal().to_owned(), qr_svg }),
    ))
}

/// The URI as an SVG image, dark on light with the quiet zone that readers need.
fn draw_qr(uri: &str) -> ApiResult<String> {
    let code =
        QrCode::with_error_correction_level(uri, EcLevel::M).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(code.render::<svg::Color<'_>>().min_dimensions(240, 240).quiet_zone(true).build())
}
