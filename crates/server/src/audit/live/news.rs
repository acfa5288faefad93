//! What a log got while its database is looked through: followed, so that rows are compared with what it says by then.
//!
//! An event that can never be sealed, or that waits while later ones come, is a finding here: nothing else would name it.

use countersign_core::ports::StoreError;
use countersign_proto::{
    audit::{
        leaf_hash_of,
        verify::{Fault, Finding},
    },
    ids::TenantId,
    timestamp::Timestamp,
};

use super::{
    super::{Audit, AuditError, shown},
    Log, finding,
};

/// Events in one portion of what came since.
const NEWS: u32 = 1_000;
/// A server that runs seals within a second: more than this between the first event that is not sealed and the last one
/// is no accident.
const UNSEALED_SECONDS: i64 = 60;

/// What the log got since its head was read.
pub(super) struct News {
    /// The position up to which it was followed.
    after: i64,
    /// Positions and times, for whether they are sealed.
    unsealed: Vec<(i64, Timestamp)>,
}

impl News {
    /// Nothing yet, after a head of this size.
    pub(super) fn since(size: u64) -> Self {
        Self { after: i64::try_from(size).unwrap_or(i64::MAX), unsealed: Vec::new() }
    }

    /// Follows all there is by now; finds events where there should be none, and those that can never be sealed.
    pub(super) async fn follow(
        &mut self,
        audit: &Audit,
        tenant_id: TenantId,
        log: &mut Log,
        findings: &mut Vec<Finding>,
    ) -> Result<(), AuditError> {
        while audit.store.position_events(tenant_id, NEWS).await? >= u64::from(NEWS) {}
        let positioned = audit.store.audit_head(tenant_id).await?.map_or(0, |head| head.positioned);
        loop {
            let events = match audit.store.events(tenant_id, self.after, NEWS).await {
                Ok(events) => events,
                Err(StoreError::Corrupt { table, column, row }) => {
                    findings.push(finding(Fault::Row, format!("{table} {row}: {column} cannot be read")));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            let is_last = events.len() < NEWS as usize;
            for record in events {
                let (position, at) = (record.position, record.at);
                let at_position = Some(position.unsigned_abs());
                if position != self.after.saturating_add(1) {
                    let detail = format!("event {position} where {} should be", self.after.saturating_add(1));
                    findings.push(Finding { position: at_position, fault: Fault::Position, detail });
                }
                let event = shown(record);
                if !serde_json::to_value(&event).is_ok_and(|value| leaf_hash_of(&value).is_ok()) {
                    let detail = "not canonical: it is never sealed".to_owned();
                    findings.push(Finding { position: at_position, fault: Fault::Unreadable, detail });
                }
                log.follow(&event);
                self.unsealed.push((position, at));
                self.after = position;
            }
            if is_last {
                break;
            }
        }
        if self.after < positioned {
            let detail = format!("audit_heads says {positioned}, the last event is {}", self.after);
            findings.push(finding(Fault::Position, detail));
        }
        Ok(())
    }

    /// Whether the sealing keeps up.
    pub(super) async fn judge(
        &self,
        audit: &Audit,
        tenant_id: TenantId,
        findings: &mut Vec<Finding>,
    ) -> Result<(), AuditError> {
        let stored = audit.store.audit_head(tenant_id).await?;
        let (positioned, size) = stored.map_or((0, 0), |head| (head.positioned, head.size));
        if positioned < self.after {
            let detail = format!("audit_heads says {positioned}, there is an event {}", self.after);
            findings.push(finding(Fault::Position, detail));
        }
        let unsealed =
            || self.unsealed.iter().filter(|(position, _)| position.unsigned_abs() > size).map(|(_, at)| *at);
        if let (Some(first), Some(last)) = (unsealed().min(), unsealed().max())
            && first.plus_seconds(UNSEALED_SECONDS) < last
        {
            let detail = format!("{} events are not sealed, the first from {first}", unsealed().count());
            findings.push(finding(Fault::Position, detail));
        }
        Ok(())
    }
}
