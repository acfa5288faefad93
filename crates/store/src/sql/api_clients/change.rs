//! Changing what an API client is called, and what it may do.

use async_trait::async_trait;
use countersign_core::{
    event::{Event, EventKind},
    ports::api_clients::{ChangeApiClient, ChangeApiClientOutcome},
};
use countersign_proto::ids::{ApiClientId, TenantId};

use super::{
    super::{Outcome, Plain, Query, Tx, query},
    about, api_client,
};
use crate::{failure::Failure, rows};

/// A client of the tenant.
pub(super) fn by_id<'q>(tenant_id: TenantId, id: ApiClientId) -> Query<'q> {
    let client = "-- api_client
        SELECT id, tenant_id, name, scopes, applications, created_at, revoked_at FROM api_clients
        WHERE id = $1 AND tenant_id = $2";
    query(client).bind(id.as_uuid()).bind(tenant_id.as_uuid())
}

#[async_trait]
impl Plain for ChangeApiClient {
    type Reply = ChangeApiClientOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<ChangeApiClientOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let tenant_id = self.stamp.tenant_id;
        // Changes nothing but holds the row: of two that change at once the second sees what the first has made of it.
        let hold = "-- hold_api_client_to_change
            UPDATE api_clients SET name = name WHERE id = $1 AND tenant_id = $2 AND revoked_at IS NULL";
        if tx.execute(query(hold).bind(self.id.as_uuid()).bind(tenant_id.as_uuid())).await? == 0 {
            return Ok(Outcome::Rollback(ChangeApiClientOutcome::NotFound));
        }
        let Some(row) = tx.fetch_optional(by_id(tenant_id, self.id)).await? else {
            return Ok(Outcome::Rollback(ChangeApiClientOutcome::NotFound));
        };
        let before = api_client(&row)?;
        let mut after = before.clone();
        if let Some(name) = &self.name {
            after.name.clone_from(name);
        }
        if let Some(scopes) = &self.scopes {
            after.scopes.clone_from(scopes);
        }
        if let Some(applications) = &self.applications {
            after.applications.clone_from(applications);
        }
        let differs = [
            ("name", after.name != before.name),
            ("scopes", after.scopes != before.scopes),
            ("applications", after.applications != before.applications),
        ];
        let changed: Vec<_> = differs.into_iter().filter_map(|(member, differs)| differs.then_some(member)).collect();
        if changed.is_empty() {
            return Ok(Outcome::Rollback(ChangeApiClientOutcome::Changed(before)));
        }
        let update = "-- change_api_client
            UPDATE api_clients SET name = $3, scopes = $4, applications = $5
            WHERE id = $1 AND tenant_id = $2 AND revoked_at IS NULL";
        let update = query(update)
            .bind(self.id.as_uuid())
            .bind(tenant_id.as_uuid())
            .bind(&after.name)
            .bind(after.scopes.to_string())
            .bind(after.applications.as_ref().map(rows::json).transpose()?);
        if tx.execute(update).await? != 1 {
            // The row is held and was just read.
            return Err(sqlx::Error::RowNotFound.into());
        }
        let event = Event::new(&self.stamp, EventKind::ApiClientChanged, about(self.id)).with("changed", changed);
        tx.insert_events(vec![event]).await?;
        Ok(Outcome::Commit(ChangeApiClientOutcome::Changed(after)))
    }
}
