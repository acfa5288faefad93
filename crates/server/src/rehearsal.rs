//! Request bodies, read and checked as far as that needs neither database nor caller: for the fuzz targets
//! (`tests/src/hostile/bodies.rs`).
//!
//! Not part of the API: hidden from the documents, called by nothing that serves. It adds no rule of its own: each arm calls
//! what the handler calls. To add an operation with a body of JSON: its arm in [`read`], which a test asks for.

use countersign_core::{
    bulk, challenge, enrollment,
    policy::{self, Policy, PolicyOverrides},
};
use countersign_proto::api::{
    api_clients::{AddApiKey, ChangeApiClient, CreateApiClient},
    challenges::{CreateChallenge, EnterCode},
    devices::RenameDevice,
    enrollments::{ConfirmEnrollment, CreateEnrollment},
    policy::DryRun,
    revocations::{RevokeAllDevices, RevokeDevices},
    tenants::ChangeTenant,
    users::{ChangeUser, ReportUser},
    webhooks::{ChangeWebhook, CreateWebhook, ReplayWebhook, RotateWebhookSecret},
};
use countersign_push::WebhookSender;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::http::{
    api_clients, body, devices, enrollments, policy as policies,
    problem::{ApiError, ApiResult},
    tenant, users, webhooks,
};

/// What the body of an operation says, if the operation takes it so far, written again; `None`: no operation of that name
/// reads JSON.
pub fn read(operation: &str, bytes: &[u8], sender: &WebhookSender) -> Option<ApiResult<Value>> {
    let members = ApiError::invalid_members;
    let usual = Policy::default();
    Some(match operation {
        "enrollments.create" => {
            with(bytes, |it: CreateEnrollment| enrollment::check(&it, &usual).map(drop).map_err(members))
        }
        "enrollments.confirm" => with(bytes, |it: ConfirmEnrollment| enrollments::confirm::check(&it)),
        "challenges.create" => with(bytes, |it: CreateChallenge| {
            let request = challenge::check(it).map_err(members)?;
            policy::effective(&usual, &request.policy).map(drop).map_err(ApiError::from)
        }),
        "challenges.code" => with(bytes, |_: EnterCode| Ok(())),
        "users.report" => with(bytes, |_: ReportUser| Ok(())),
        "users.revoke_all" => with(bytes, |_: RevokeAllDevices| Ok(())),
        "users.change" => with(bytes, |it: ChangeUser| users::change::check(it).map(drop)),
        "devices.rename" => with(bytes, |it: RenameDevice| devices::rename::check(&it).map(drop)),
        "devices.revoke_many" => {
            with(bytes, |it: RevokeDevices| bulk::check_filter(&it.filter).map(drop).map_err(members))
        }
        "tenant.change" => with(bytes, |it: ChangeTenant| tenant::change::check(it).map(drop)),
        "policy.set" => with(bytes, |it: Policy| policy::check::policy(&it).map_err(members)),
        "policy.set_application" => {
            with(bytes, |it: PolicyOverrides| policy::check::overrides(&usual, "VPN", &it).map_err(members))
        }
        "policy.dry_run" => with(bytes, |it: DryRun| policies::dry_run::check(&usual, it).map(drop)),
        "webhooks.create" => with(bytes, |it: CreateWebhook| webhooks::create::check(sender, it).map(drop)),
        "webhooks.change" => with(bytes, |it: ChangeWebhook| webhooks::change::check(sender, &it).map(drop)),
        "webhooks.rotate_secret" => {
            with(bytes, |it: RotateWebhookSecret| webhooks::rotate_secret::check(&it).map(drop))
        }
        "webhooks.replay" => with(bytes, |it: ReplayWebhook| webhooks::replay::check(&it).map(drop)),
        "api_clients.create" => with(bytes, |it: CreateApiClient| {
            api_clients::create::check(&it)?;
            api_clients::check_key(it.public_key.as_ref(), it.expires_in_days).map(drop)
        }),
        "api_clients.change" => with(bytes, |it: ChangeApiClient| api_clients::change::check(&it).map(drop)),
        "api_clients.add_key" => {
            with(bytes, |it: AddApiKey| api_clients::check_key(it.public_key.as_ref(), it.expires_in_days).map(drop))
        }
        _ => return None,
    })
}

/// Reads the body, writes it again, and checks it.
fn with<T: DeserializeOwned + Serialize>(bytes: &[u8], check: impl FnOnce(T) -> ApiResult<()>) -> ApiResult<Value> {
    let value: T = body::parse(bytes)?;
    let written = serde_json::to_value(&value).map_err(|error| ApiError::internal(error.to_string()))?;
    check(value)?;
    Ok(written)
}
