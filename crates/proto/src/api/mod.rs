//! The JSON bodies of the HTTP API, one file per noun.
//!
//! Requests refuse unknown members and nulls; replies omit what is absent and may gain members.
//! To add one: a struct in its noun's file, with units and shapes documented: OpenAPI is generated from it.

pub mod api_clients;
pub mod challenges;
pub mod devices;
pub mod enrollments;
pub mod events;
pub mod meta;
pub mod policy;
pub mod reports;
pub mod revocations;
pub mod tenants;
pub mod users;
pub mod webhooks;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list, newest first unless the endpoint says otherwise.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The entries of this page.
    pub items: Vec<T>,
    /// Opaque; pass it as `cursor` for the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
