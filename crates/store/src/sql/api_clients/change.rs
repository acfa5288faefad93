//! Changing what an API client is called, and what it may do.

use async_trait::async_trait;
use countersign_core::{
    event::{Event, EventKind},
    ports::api_clients::{ChangeApiClient, ChangeApiClientOutcome},
};
use countersign_proto::ids::{ApiClientId, TenantId};

use super::{
    super::{Outcome, Plain, Query, Tx, query},
    about,
};
use crate::{failure::Failure, rows};

/// A client of the tenant.
pub(super) fn by_id<'q>(tenant_id: TenantId, id: ApiClientId) -> Query<'q> {
    let client = "-- api_client
        SELECT id, tenant_id, name, scopes, applications, created_at, revoked_at, seal FROM api_clients
        WHERE id = $1 AND tenant_id = $2";
    query(client).bind(id.as_uuid()).bind(tenant_id.as_uuid())
}

#[async_trait]
impl Plain for ChangeApiClient {
    type Reply = ChangeApiClientOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<ChangeApiClientOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let changed = self.changed();
        if changed.is_empty() {
            return Ok(Outcome::Rollback(ChangeApiClientOutcome::Changed));
        }
        // Of two that change at once one finds the row as it is no more: what is sealed is what both of them saw.
        let update = "-- change_api_client
            UPDATE api_clients SET name = $7, scopes = $8, applications = $9, seal = $10
            WHERE id = $1 AND tenant_id = $2 AND revoked_at IS NULL
              AND name = $3 AND scopes = $4 AND applications IS NOT DISTINCT FROM $5
              AND seal IS NOT DISTINCT FROM $6";
        let update = query(update)
            .bind(self.before.id.as_uuid())
            .bind(self.stamp.tenant_id.as_uuid())
            .bind(&self.before.name)
            .bind(self.before.scopes.to_string())
            .bind(self.before.applications.as_ref().map(rows::json).transpose()?)
            .bind(&self.before.seal)
            .bind(&self.after.name)
            .bind(self.after.scopes.to_string())
            .bind(self.after.applications.as_ref().map(rows::json).transpose()?)
            .bind(&self.after.seal);
        if tx.execute(update).await? == 0 {
            return Ok(Outcome::Rollback(ChangeApiClientOutcome::Outdated));
        }
        let event = Event::new(&self.stamp, EventKind::ApiClientChanged, about(self.before.id));
        tx.insert_events(vec![event.with("changed", changed)]).await?;
        Ok(Outcome::Commit(ChangeApiClientOutcome::Changed))
    }
}
