//! The store's contract: commands and outcomes as plain data, one trait per noun.
//!
//! Contract, on every implementation and tested on each: one method = one transaction; acknowledged means
//! durable; a state change is one conditional write that must touch exactly one row, and whose row did not
//! change has lost and is told the true state; no statement crosses tenants; the event is written in the
//! transaction of the change; a command whose actor is no longer allowed changes nothing.
//! Because commands and outcomes are plain data, a simulated store runs under the same contract suite.
//!
//! To add a method: its command and outcome here, the statement in `store/src/sql/<noun>.rs`, a contract test.

pub mod api_clients;
pub mod audit;
pub mod challenges;
pub mod devices;
pub mod enrollments;
pub mod events;
pub mod leases;
pub mod notifications;
pub mod retention;
pub mod system;
pub mod tenants;
pub mod test_pushes;
pub mod users;
pub mod webhooks;

/// What can go wrong with the store itself. "Not found" is an outcome, not an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, or not in time. Nothing is known to have been written.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// More commands wait than the writer's queue holds: shed load.
    #[error("too many writes are waiting")]
    Overloaded,
    /// A row holds what this server never writes. Somebody else did, or the disk is failing.
    #[error("corrupt {table}.{column} in row {row}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's id.
        row: String,
    },
    /// The command's API key, client or tenant has been revoked: nothing was changed.
    #[error("the actor is no longer allowed")]
    ActorGone,
    /// The command is a device's, and its tenant has been disabled: nothing was changed.
    #[error("the tenant is disabled")]
    TenantDisabled,
    /// The tenant has as many as its operator allows: nothing was changed.
    #[error("the tenant has as many {quota} as it may: {limit}")]
    QuotaExceeded {
        /// Of what.
        quota: tenants::Quota,
        /// How many it may have.
        limit: u32,
    },
}

/// A store: all ports at once.
pub trait Store:
    api_clients::ApiClients
    + audit::Audit
    + challenges::Challenges
    + devices::Devices
    + enrollments::Enrollments
    + events::Events
    + leases::Leases
    + notifications::Notifications
    + retention::Retention
    + system::System
    + tenants::Tenants
    + test_pushes::TestPushes
    + users::Users
    + webhooks::Webhooks
{
}

impl<T> Store for T where
    T: api_clients::ApiClients
        + audit::Audit
        + challenges::Challenges
        + devices::Devices
        + enrollments::Enrollments
        + events::Events
        + leases::Leases
        + notifications::Notifications
        + retention::Retention
        + system::System
        + tenants::Tenants
        + test_pushes::TestPushes
        + users::Users
        + webhooks::Webhooks
{
}

/// A page of a list that is sorted by id, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest<I> {
    /// Only entries older than this one.
    pub before: Option<I>,
    /// At most so many.
    pub limit: u32,
}

/// The first reply to an artefact, kept so that a byte-identical repeat gets it again (protocol 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// SHA-256 of the artefact's bytes.
    pub artefact: crate::digest::Digest,
    /// The reply's JSON.
    pub body: String,
    /// Forgotten from then on.
    pub expires_at: countersign_proto::timestamp::Timestamp,
}
