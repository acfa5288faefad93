//! Every operation of the API: who may call it, and what it may answer.
//!
//! The one place that says so. The router asks it before a handler runs ([`super::access`]), OpenAPI is filled
//! from it, and a test walks every row. A route without a row is refused at run time and fails the build's test.
//! To add an operation: a row here, its handler in `http/<noun>/<verb>.rs`, its line in `http/routes.rs`.

use axum::http::Method;
use countersign_core::api_client::{Scope, Scopes};
use countersign_proto::{jose::Kind, problem::ProblemType as P};

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// An API client with one of these scopes (or `admin`).
    Client(&'static [Scope]),
    /// An API client with all of these scopes (or `admin`).
    ClientWithAll(&'static [Scope]),
    /// A device, by `Authorization: DeviceProof`.
    DeviceProof,
    /// A device, by the artefact that is the request's body.
    Artefact(Kind),
}

/// One operation.
#[derive(Debug)]
pub struct Operation {
    /// The method.
    pub method: Method,
    /// The path template.
    pub path: &'static str,
    /// Named like the code: `noun.verb`.
    pub id: &'static str,
    /// Who may call.
    pub access: Access,
    /// Problems of its own, beyond those that its access and its body bring.
    pub problems: &'static [P],
}

const fn op(method: Method, path: &'static str, id: &'static str, access: Access, problems: &'static [P]) -> Operation {
    Operation { method, path, id, access, problems }
}

const ENROLLMENTS: Access = Access::Client(&[Scope::Enrollments]);
const CHALLENGES: Access = Access::Client(&[Scope::Challenges]);
/// A client reads what it created; `audit:read` reads any of the tenant, without number and result token.
const CHALLENGES_OR_AUDIT: Access = Access::Client(&[Scope::Challenges, Scope::AuditRead]);
const USERS_READ: Access = Access::Client(&[Scope::UsersRead]);
/// Shows the log, and sign-ins of all clients.
const TIMELINE: Access = Access::ClientWithAll(&[Scope::UsersRead, Scope::AuditRead]);
/// Shows all that is held: sign-ins of all clients with their evidence, devices, the log.
const EXPORT: Access = Access::ClientWithAll(&[Scope::UsersRead, Scope::AuditRead, Scope::DevicesRead]);
const USERS_WRITE: Access = Access::Client(&[Scope::UsersWrite]);
const DEVICES_READ: Access = Access::Client(&[Scope::DevicesRead]);
const DEVICES_WRITE: Access = Access::Client(&[Scope::DevicesWrite]);
const AUDIT: Access = Access::Client(&[Scope::AuditRead]);
const ADMIN: Access = Access::Client(&[Scope::Admin]);

/// All of them.
#[rustfmt::skip]
pub const ALL: &[Operation] = &[
    op(Method::GET, "/healthz", "health.live", Access::Public, &[]),
    op(Method::GET, "/readyz", "health.ready", Access::Public, &[P::Unavailable]),
    op(Method::GET, "/openapi.json", "meta.openapi", Access::Public, &[]),
    op(Method::GET, "/problems/{slug}", "meta.problem", Access::Public, &[P::NotFound]),
    op(Method::GET, "/.well-known/jwks.json", "meta.jwks", Access::Public, &[]),
    op(Method::GET, "/.well-known/countersign", "meta.discovery", Access::Public, &[]),

    op(Method::POST, "/v1/enrollments", "enrollments.create", ENROLLMENTS,
        &[P::InvalidRequest, P::ApprovalRequired, P::UserLocked, P::QuotaExceeded]),
    op(Method::GET, "/v1/enrollments/{id}", "enrollments.show", ENROLLMENTS, &[P::NotFound]),
    op(Method::POST, "/v1/enrollments/{id}/confirmation", "enrollments.confirm", ENROLLMENTS,
        &[P::InvalidRequest, P::NotFound, P::WrongCode, P::EnrollmentNotClaimed, P::EnrollmentClosed, P::ApprovalRequired]),
    op(Method::POST, "/v1/enrollments/{id}/cancel", "enrollments.cancel", ENROLLMENTS, &[P::NotFound, P::EnrollmentClosed]),

    op(Method::POST, "/v1/challenges", "challenges.create", CHALLENGES,
        &[P::InvalidRequest, P::NoEligibleDevice, P::BelowPolicyFloor, P::ApplicationNotAllowed, P::ChallengeTooLarge,
          P::IdempotencyKeyReused, P::TooManyPending, P::RiskRefused]),
    op(Method::GET, "/v1/challenges", "challenges.list", CHALLENGES_OR_AUDIT, &[P::InvalidRequest]),
    op(Method::GET, "/v1/challenges/{id}", "challenges.show", CHALLENGES_OR_AUDIT, &[P::InvalidRequest, P::NotFound, P::Erased]),
    op(Method::GET, "/v1/challenges/{id}/events", "challenges.watch", CHALLENGES_OR_AUDIT, &[P::NotFound, P::Erased]),
    op(Method::POST, "/v1/challenges/{id}/cancel", "challenges.cancel", CHALLENGES, &[P::NotFound, P::ChallengeClosed, P::Erased]),
    op(Method::POST, "/v1/challenges/{id}/code", "challenges.code", CHALLENGES,
        &[P::InvalidRequest, P::NotFound, P::WrongCode, P::NotAwaitingCode, P::ChallengeClosed, P::UserLocked, P::Erased]),

    op(Method::GET, "/v1/users", "users.list", USERS_READ, &[P::InvalidRequest]),
    op(Method::GET, "/v1/users/{id}", "users.show", USERS_READ, &[P::NotFound]),
    op(Method::PATCH, "/v1/users/{id}", "users.change", USERS_WRITE, &[P::InvalidRequest, P::NotFound]),
    op(Method::DELETE, "/v1/users/{id}", "users.erase", USERS_WRITE, &[P::NotFound]),
    op(Method::GET, "/v1/users/{id}/methods", "users.methods", USERS_READ, &[P::NotFound]),
    op(Method::GET, "/v1/users/{id}/timeline", "users.timeline", TIMELINE, &[P::InvalidRequest, P::NotFound]),
    op(Method::GET, "/v1/users/{id}/export", "users.export", EXPORT, &[P::NotFound]),
    op(Method::GET, "/v1/users/{id}/devices", "users.devices", DEVICES_READ, &[P::InvalidRequest, P::NotFound]),
    op(Method::POST, "/v1/users/{id}/devices/revoke-all", "users.revoke_all", DEVICES_WRITE, &[P::InvalidRequest, P::NotFound]),
    op(Method::POST, "/v1/users/{id}/unlock", "users.unlock", USERS_WRITE, &[P::NotFound]),
    op(Method::POST, "/v1/users/{id}/report", "users.report", USERS_WRITE, &[P::InvalidRequest, P::NotFound]),
    op(Method::DELETE, "/v1/users/{id}/report", "users.clear_report", ADMIN, &[P::NotFound]),

    op(Method::GET, "/v1/devices", "devices.list", DEVICES_READ, &[P::InvalidRequest]),
    op(Method::GET, "/v1/devices/{id}", "devices.show", DEVICES_READ, &[P::NotFound]),
    op(Method::POST, "/v1/devices/{id}/suspend", "devices.suspend", DEVICES_WRITE, &[P::NotFound, P::DeviceStatusConflict]),
    op(Method::POST, "/v1/devices/{id}/resume", "devices.resume", DEVICES_WRITE, &[P::NotFound, P::DeviceStatusConflict]),
    op(Method::PATCH, "/v1/devices/{id}", "devices.rename", DEVICES_WRITE,
        &[P::InvalidRequest, P::NotFound, P::DeviceStatusConflict]),
    op(Method::POST, "/v1/devices/revoke", "devices.revoke_many", DEVICES_WRITE, &[P::InvalidRequest, P::ConfirmationStale]),
    op(Method::DELETE, "/v1/installations/{installation_id}", "installations.revoke", DEVICES_WRITE, &[P::InvalidRequest]),
    op(Method::DELETE, "/v1/devices/{id}", "devices.revoke", DEVICES_WRITE, &[P::InvalidRequest, P::NotFound]),
    op(Method::POST, "/v1/devices/{id}/test-push", "devices.test_push", DEVICES_WRITE,
        &[P::NotFound, P::DeviceStatusConflict, P::DeviceNotReachable, P::TooManyRequests]),
    op(Method::GET, "/v1/devices/{id}/test-push/{test_id}", "devices.show_test_push", DEVICES_READ, &[P::NotFound]),

    op(Method::GET, "/v1/tenant", "tenant.show", ADMIN, &[]),
    op(Method::PATCH, "/v1/tenant", "tenant.change", ADMIN, &[P::InvalidRequest]),

    op(Method::GET, "/v1/policy", "policy.show", AUDIT, &[P::InvalidRequest, P::NotFound]),
    op(Method::PUT, "/v1/policy", "policy.set", ADMIN, &[P::InvalidRequest, P::PolicyVersionConflict]),
    op(Method::PUT, "/v1/policy/applications/{name}", "policy.set_application", ADMIN, &[P::InvalidRequest, P::PolicyVersionConflict]),
    op(Method::GET, "/v1/policy/applications/{name}", "policy.show_application", AUDIT, &[P::NotFound]),
    op(Method::DELETE, "/v1/policy/applications/{name}", "policy.remove_application", ADMIN, &[P::PolicyVersionConflict]),
    op(Method::POST, "/v1/policy/dry-run", "policy.dry_run", ADMIN, &[P::InvalidRequest]),
    op(Method::GET, "/v1/reports/at-risk", "reports.at_risk", DEVICES_READ, &[P::InvalidRequest]),

    op(Method::POST, "/v1/api-clients", "api_clients.create", ADMIN, &[P::InvalidRequest, P::KeyAlreadyRegistered, P::QuotaExceeded]),
    op(Method::GET, "/v1/api-clients", "api_clients.list", ADMIN, &[P::InvalidRequest]),
    op(Method::GET, "/v1/api-clients/{id}", "api_clients.show", ADMIN, &[P::NotFound]),
    op(Method::PATCH, "/v1/api-clients/{id}", "api_clients.change", ADMIN, &[P::InvalidRequest, P::NotFound]),
    op(Method::POST, "/v1/api-clients/{id}/keys", "api_clients.add_key", ADMIN,
        &[P::InvalidRequest, P::NotFound, P::KeyAlreadyRegistered, P::QuotaExceeded]),
    op(Method::DELETE, "/v1/api-clients/{id}/keys/{key_id}", "api_clients.revoke_key", ADMIN, &[P::NotFound]),
    op(Method::DELETE, "/v1/api-clients/{id}", "api_clients.revoke", ADMIN, &[P::NotFound]),

    op(Method::POST, "/v1/webhooks", "webhooks.create", ADMIN, &[P::InvalidRequest, P::QuotaExceeded]),
    op(Method::GET, "/v1/webhooks", "webhooks.list", ADMIN, &[P::InvalidRequest]),
    op(Method::GET, "/v1/webhooks/{id}", "webhooks.show", ADMIN, &[P::NotFound]),
    op(Method::PATCH, "/v1/webhooks/{id}", "webhooks.change", ADMIN, &[P::InvalidRequest, P::NotFound]),
    op(Method::DELETE, "/v1/webhooks/{id}", "webhooks.delete", ADMIN, &[P::NotFound]),
    op(Method::POST, "/v1/webhooks/{id}/rotate-secret", "webhooks.rotate_secret", ADMIN, &[P::InvalidRequest, P::NotFound]),
    op(Method::POST, "/v1/webhooks/{id}/test", "webhooks.test", ADMIN, &[P::NotFound]),
    op(Method::GET, "/v1/webhooks/{id}/deliveries", "webhooks.deliveries", ADMIN, &[P::InvalidRequest, P::NotFound]),
    op(Method::GET, "/v1/webhooks/{id}/deliveries/{delivery_id}", "webhooks.show_delivery", ADMIN, &[P::NotFound]),
    op(Method::POST, "/v1/webhooks/{id}/deliveries/{delivery_id}/replay", "webhooks.replay_delivery", ADMIN, &[P::NotFound]),
    op(Method::POST, "/v1/webhooks/{id}/replay", "webhooks.replay", ADMIN, &[P::InvalidRequest, P::NotFound]),

    op(Method::GET, "/v1/events", "events.list", AUDIT, &[P::InvalidRequest]),
    op(Method::GET, "/v1/audit", "audit.list", AUDIT, &[P::InvalidRequest]),
    op(Method::GET, "/v1/audit/key", "audit.key", AUDIT, &[]),
    op(Method::GET, "/v1/audit/checkpoint", "audit.checkpoint", AUDIT, &[]),
    op(Method::GET, "/v1/audit/proof/inclusion", "audit.prove_inclusion", AUDIT, &[P::InvalidRequest]),
    op(Method::GET, "/v1/audit/proof/consistency", "audit.prove_consistency", AUDIT, &[P::InvalidRequest]),
    op(Method::GET, "/v1/audit/export", "audit.export", AUDIT, &[P::InvalidRequest]),

    op(Method::POST, "/v1/device/registrations", "device_api.register", Access::Artefact(Kind::Registration),
        &[P::InvalidRequest, P::EnrollmentNotFound, P::KeyAlreadyRegistered, P::TooManyDevices]),
    op(Method::GET, "/v1/device", "device_api.own", Access::DeviceProof, &[]),
    op(Method::GET, "/v1/device/policy", "device_api.policy", Access::DeviceProof, &[]),
    op(Method::GET, "/v1/device/challenges", "device_api.pending", Access::DeviceProof, &[P::InvalidRequest]),
    op(Method::GET, "/v1/device/challenges/{id}", "device_api.fetch", Access::DeviceProof, &[P::NotFound, P::ChallengeGone]),
    op(Method::POST, "/v1/device/challenges/{id}/response", "device_api.respond", Access::Artefact(Kind::Response),
        &[P::InvalidRequest, P::NotFound, P::ChallengeClosed, P::ChallengeMismatch, P::UserVerificationRequired,
          P::UserLocked, P::NumberMismatch, P::AwaitingCode, P::ApprovedTooFast]),
    op(Method::PUT, "/v1/device/push", "device_api.update_push", Access::Artefact(Kind::PushUpdate), &[P::InvalidRequest]),
    op(Method::POST, "/v1/device/key", "device_api.rotate_key", Access::Artefact(Kind::KeyRotation),
        &[P::InvalidRequest, P::KeyAlreadyRegistered, P::TooManyRequests]),
    op(Method::POST, "/v1/device/deregistration", "device_api.deregister", Access::Artefact(Kind::Deregistration), &[P::InvalidRequest]),
    op(Method::POST, "/v1/device/notices/{id}/dispute", "device_api.dispute", Access::Artefact(Kind::Dispute),
        &[P::NotFound, P::NoticeNotDisputable]),
];

impl Operation {
    /// The row of a route.
    pub fn find(method: &Method, path: &str) -> Option<&'static Self> {
        // HEAD is GET without the body.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        ALL.iter().find(|operation| operation.method == *method && operation.path == path)
    }

    /// Whether it reads a body of JSON.
    pub fn takes_json(&self) -> bool {
        matches!(
            self.id,
            "enrollments.create"
                | "enrollments.confirm"
                | "challenges.create"
                | "challenges.code"
                | "users.report"
                | "users.revoke_all"
                | "devices.rename"
                | "devices.revoke_many"
                | "users.change"
                | "tenant.change"
                | "policy.set"
                | "policy.set_application"
                | "policy.dry_run"
                | "webhooks.create"
                | "webhooks.change"
                | "webhooks.rotate_secret"
                | "webhooks.replay"
                | "api_clients.create"
                | "api_clients.change"
                | "api_clients.add_key"
        )
    }

    /// Whether a client with these scopes may call it.
    pub fn is_open_to(&self, held: &Scopes) -> bool {
        match self.access {
            Access::Client(scopes) => scopes.iter().any(|scope| held.allow(*scope)),
            Access::ClientWithAll(scopes) => scopes.iter().all(|scope| held.allow(*scope)),
            Access::Public | Access::DeviceProof | Access::Artefact(_) => false,
        }
    }

    /// Whether it does nothing but take access away from somebody, which goes on on a full disk (docs/operations.md).
    pub fn takes_access_away(&self) -> bool {
        matches!(
            self.id,
            "enrollments.cancel"
                | "users.report"
                | "users.revoke_all"
                | "devices.suspend"
                | "devices.revoke"
                | "devices.revoke_many"
                | "installations.revoke"
                | "api_clients.revoke_key"
                | "api_clients.revoke"
        )
    }

    /// All problems that it may answer, those of its access and body included, sorted by status.
    pub fn all_problems(&self) -> Vec<P> {
        let mut all = self.problems.to_vec();
        all.extend_from_slice(match self.access {
            Access::Public => &[],
            Access::Client(_) | Access::ClientWithAll(_) => {
                &[P::Unauthenticated, P::ClientProofRequired, P::ClockSkew, P::InsufficientScope]
            }
            Access::DeviceProof => &[P::InvalidDeviceSignature, P::ClockSkew, P::DeviceNotActive, P::TenantDisabled],
            Access::Artefact(Kind::Registration) => &[
                P::InvalidDeviceSignature,
                P::ClockSkew,
                P::TenantDisabled,
                P::PayloadTooLarge,
                P::UnsupportedMediaType,
                P::RequestTimeout,
            ],
            Access::Artefact(_) => &[
                P::InvalidDeviceSignature,
                P::ClockSkew,
                P::DeviceNotActive,
                P::TenantDisabled,
                P::PayloadTooLarge,
                P::UnsupportedMediaType,
                P::RequestTimeout,
            ],
        });
        if self.takes_json() {
            all.extend([P::MalformedRequest, P::PayloadTooLarge, P::UnsupportedMediaType, P::RequestTimeout]);
        }
        if !matches!(self.id, "health.live") {
            all.extend([P::Internal, P::Unavailable]);
        }
        all.sort_by_key(|problem| (problem.spec().status, problem.spec().slug));
        all.dedup();
        all
    }
}
