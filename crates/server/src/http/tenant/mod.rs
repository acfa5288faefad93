//! `/v1/tenant` (protocol 15): an organisation's administrators look at, and set, what is theirs.
//!
//! Only ever the caller's own: no id is taken. Quotas and disabling belong to the operator, on the command line.

pub mod change;
pub mod show;

use countersign_core::ports::tenants::{Quota, TenantDetails, TenantRetention as Kept};
use countersign_proto::api::tenants::{Quotas, Tenant, TenantRetention, Usage};

fn show_tenant(details: TenantDetails) -> Tenant {
    let usage = |quota: Quota| {
        let found = details.usage.iter().find(|usage| usage.quota == quota);
        found.map(|usage| Usage { count: usage.count, limit: usage.limit }).unwrap_or_default()
    };
    let Kept { challenge_days, enrollment_days } = details.settings.retention;
    Tenant {
        id: details.tenant.id,
        slug: details.tenant.slug.clone(),
        name: details.tenant.name.clone(),
        created_at: details.tenant.created_at,
        settings_version: details.settings_version,
        retention: TenantRetention { challenge_days, enrollment_days },
        quotas: Quotas {
            users: usage(Quota::Users),
            api_clients: usage(Quota::ApiClients),
            webhooks: usage(Quota::Webhooks),
        },
    }
}
