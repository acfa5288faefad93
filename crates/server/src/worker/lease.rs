//! A node's hold on a kind of background work: one of several nodes does it, the others look on.
//!
//! Only to spare work. A lease ends by time, and a node that stalls over its end goes on beside the one that has taken
//! over: no harm, because every step of the work is a conditional write that lets one win.
//! To lease one more kind: a [`Tenure`] in its worker, [`Tenure::is_held`] before each portion of its work, and
//! [`Tenure::give_back`] at its end.

use countersign_core::ports::{
    StoreError,
    leases::{HolderId, TakeLease},
};
use countersign_proto::timestamp::Timestamp;

use crate::http::state::App;

/// What this node knows of a lease.
pub struct Tenure {
    name: &'static str,
    seconds: i64,
    holder: HolderId,
    until: Option<Timestamp>,
}

impl Tenure {
    /// Nobody's yet. If its holder dies, nobody does the work for up to `seconds`.
    pub fn new(app: &App, name: &'static str, seconds: i64) -> Self {
        Self { name, seconds, holder: app.new_id(app.now()), until: None }
    }

    /// Whether the work is this node's now: takes the lease if it is free, and renews it when less than half of it is
    /// left, so that an idle holder writes seldom.
    ///
    /// # Errors
    /// The store does not answer: then it is not known whose it is, and so nobody's here.
    pub async fn is_held(&mut self, app: &App) -> Result<bool, StoreError> {
        let now = app.now();
        let left = self.until.take().map_or(i64::MIN, |until| until.as_millis().saturating_sub(now.as_millis()));
        let full = self.seconds.saturating_mul(1_000);
        let until = now.plus_millis(full);
        // More than all of it is left if the clock was set back; others would not see it so.
        if (full / 2..=full).contains(&left) {
            self.until = Some(now.plus_millis(left));
            return Ok(true);
        }
        let command = TakeLease { name: self.name, holder: self.holder, now, until };
        let is_held = app.store.take_lease(command).await?;
        self.until = is_held.then_some(until);
        Ok(is_held)
    }

    /// A node that stops lets another go on at once. If it cannot say so, the lease's end does.
    pub async fn give_back(&mut self, app: &App) {
        if self.until.take().is_none() {
            return;
        }
        if let Err(error) = app.store.give_back_lease(self.name, self.holder).await {
            tracing::warn!(lease = self.name, %error, "a lease could not be given back; it ends by itself");
        }
    }
}
