//! `POST /v1/device/registrations` (protocol 4.2, 4.3).

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use countersign_core::{
    actor::Actor,
    device::{NewKey, check_registration},
    digest::Digest,
    enrollment::{Ticket, confirmation_code},
    limits,
    ports::{
        Reply,
        enrollments::{Activation, ClaimOutcome, ClaimTicket, TicketHolder},
    },
};
use countersign_proto::{
    api::{enrollments::Registered, users::TenantSummary},
    ids::DeviceId,
    jose::{Kind, PublicKey, Unverified, check_audience, check_iat, check_jti, claims::RegistrationClaims},
    problem::ProblemType,
    timestamp::Timestamp,
    vocabulary::{Confirmation, DeviceStatus},
};

use super::{require_configured, show_user};
use crate::{
    alarm,
    http::{
        access::RequestId,
        body::Artefact,
        problem::{ApiError, ApiResult},
        state::App,
    },
    signing::{BindingSubject, Sealed},
};

/// Registers a device: a ticket turns into a key that is a user's.
#[utoipa::path(post, path = "/v1/device/registrations", tag = "device",
    request_body(content = String, content_type = "application/jwt", description = "`countersign-registration+jwt`"),
    responses((status = 201, description = "Registered", body = Registered)))]
#[tracing::instrument(name = "http.device_api.register", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    request_id: RequestId,
    Artefact(body): Artefact,
) -> ApiResult<Response> {
    let now = app.now();
    // First the kind: the reply to another endpoint's artefact is nobody's business here.
    let unverified = Unverified::parse(Kind::Registration, &body)?;
    let artefact = Digest::of(&body);
    // A byte-identical repeat, whatever its iat and whatever has happened since: phones lose replies.
    if let Some(reply) = app.store.reply(artefact, now).await? {
        return Ok(created(reply));
    }
    let (claims, device_key) = open(&app, unverified, now)?;
    let registration = check_registration(&claims, &device_key).map_err(ApiError::invalid_members)?;
    let ticket = Ticket::digest_of(&claims.ticket);
    let holder = app.store.ticket_holder(ticket).await?.ok_or_else(enrollment_not_found)?;

    require_seal(&app, &holder, ticket)?;
    require_configured(&app, holder.tenant_id, &registration.push)?;
    let device_id: DeviceId = app.new_id(now);
    let subject = BindingSubject {
        device_id,
        user_id: holder.user.id,
        tenant_id: holder.tenant_id,
        external_id: &holder.user.external_id,
        purpose: holder.purpose,
        device_key: &device_key,
        uv_key: registration.uv_key.as_ref(),
    };
    let (activation, reply) = prepare(&app, &holder, &subject, now)?;
    let reply = serde_json::to_string(&reply).map_err(|error| ApiError::internal(error.to_string()))?;
    let command = ClaimTicket {
        stamp: app.stamp(Actor::Device(device_id), holder.tenant_id, &request_id.0, now),
        ticket,
        enrollment_id: holder.enrollment_id,
        user_id: holder.user.id,
        device_id,
        description: registration.description,
        push: registration.push,
        purpose: holder.purpose,
        device_key: NewKey::from(&device_key),
        uv_key: registration.uv_key.as_ref().map(NewKey::from),
        activation,
        claim_seal: seal_claim(&app, &holder, &subject),
        max_devices_per_user: holder.max_devices_per_user,
        is_guarded: holder.is_guarded,
        reply: Reply { artefact, body: reply.clone(), expires_at: now.plus_seconds(limits::REPLAY_SECONDS) },
    };
    match app.store.claim_ticket(command).await? {
        ClaimOutcome::Claimed => Ok(created(reply)),
        // The same bytes may have been faster on another connection.
        ClaimOutcome::NotFound => match app.store.reply(artefact, now).await? {
            Some(first) => Ok(created(first)),
            None => Err(enrollment_not_found()),
        },
        ClaimOutcome::KeyAlreadyRegistered => Err(ApiError::new(ProblemType::KeyAlreadyRegistered)),
        ClaimOutcome::TooManyDevices => Err(ApiError::new(ProblemType::TooManyDevices)),
    }
}

/// Proof of possession: the key of the header signed this, for us, now.
fn open(app: &App, unverified: Unverified<'_>, now: Timestamp) -> ApiResult<(RegistrationClaims, PublicKey)> {
    let verified = unverified.verify_with_header_key()?;
    let claims: RegistrationClaims = verified.claims()?;
    check_audience(&claims.aud, app.issuer()).map_err(|_| ApiError::invalid_signature("audience"))?;
    check_jti(&claims.jti).map_err(|_| ApiError::invalid_signature("jti"))?;
    check_iat(claims.iat, now.as_seconds(), limits::REGISTRATION_SKEW_SECONDS)
        .map_err(|_| ApiError::clock_skew(now))?;
    Ok((claims, *verified.signer()))
}

/// How the device gets active, and what it is told.
fn prepare(
    app: &App,
    holder: &TicketHolder,
    subject: &BindingSubject<'_>,
    now: Timestamp,
) -> ApiResult<(Activation, Registered)> {
    let mut reply = Registered {
        device_id: subject.device_id,
        status: DeviceStatus::PendingConfirmation,
        confirmation_code: None,
        user: show_user(holder.user.clone()),
        tenant: TenantSummary { id: holder.tenant_id, name: holder.tenant_name.clone() },
        issuer: app.issuer().to_owned(),
        binding: None,
    };
    let activation = match holder.confirmation {
        Confirmation::Code => {
            let code = confirmation_code(app.entropy.as_ref());
            reply.confirmation_code = Some(code.clone());
            Activation::ByCode(code)
        }
        Confirmation::None => {
            let binding = app.keys.sign_binding(subject, now, app.entropy.as_ref())?;
            reply.status = DeviceStatus::Active;
            reply.binding = Some(binding.jws.clone());
            Activation::AtOnce(binding)
        }
    };
    Ok((activation, reply))
}

/// Whose ticket it is must be what we wrote: a rewritten row makes nobody's key another person's.
fn require_seal(app: &App, holder: &TicketHolder, ticket: Digest) -> ApiResult<()> {
    let content = Sealed::Ticket {
        enrollment_id: holder.enrollment_id,
        tenant_id: holder.tenant_id,
        external_id: &holder.user.external_id,
        ticket,
        confirmation: holder.confirmation,
        purpose: holder.purpose,
        expires_at: holder.expires_at,
    };
    if app.keys.seals().holds(&holder.seal, &content) {
        return Ok(());
    }
    alarm::raise("ticket_seal", &holder.enrollment_id.to_string());
    Err(ApiError::internal("ticket_seal"))
}

fn seal_claim(app: &App, holder: &TicketHolder, subject: &BindingSubject<'_>) -> String {
    app.keys.seals().seal(&Sealed::Claim {
        enrollment_id: holder.enrollment_id,
        tenant_id: holder.tenant_id,
        external_id: subject.external_id,
        device_id: subject.device_id,
        purpose: subject.purpose,
        device_key: subject.device_key,
        uv_key: subject.uv_key,
    })
}

fn enrollment_not_found() -> ApiError {
    ApiError::new(ProblemType::EnrollmentNotFound)
}

fn created(reply: String) -> Response {
    (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], reply).into_response()
}
