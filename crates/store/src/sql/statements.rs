//! All statements that are put together from the dialect's pieces: made once, when the store is opened.
//! (A statement that is the same on both databases is a literal where it is used.)

use super::{
    api_clients, audit, challenges, devices, events, locks, notifications, retention, tenants, test_pushes, users,
    webhooks,
};

/// One field per file that has such statements.
pub(super) struct Statements {
    pub(super) api_clients: api_clients::Statements,
    pub(super) audit: audit::Statements,
    pub(super) challenges: challenges::Statements,
    pub(super) devices: devices::Statements,
    pub(super) events: events::Statements,
    pub(super) locks: locks::Statements,
    pub(super) notifications: notifications::Statements,
    pub(super) retention: retention::Statements,
    pub(super) tenants: tenants::Statements,
    pub(super) test_pushes: test_pushes::Statements,
    pub(super) users: users::Statements,
    pub(super) webhooks: webhooks::Statements,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            api_clients: api_clients::Statements::new(),
            audit: audit::Statements::new(),
            challenges: challenges::Statements::new(),
            devices: devices::Statements::new(),
            events: events::Statements::new(),
            locks: locks::Statements::new(),
            notifications: notifications::Statements::new(),
            retention: retention::Statements::new(),
            tenants: tenants::Statements::new(),
            test_pushes: test_pushes::Statements::new(),
            users: users::Statements::new(),
            webhooks: webhooks::Statements::new(),
        }
    }
}
