//! The person's invitations in an export. Never in it: tickets, confirmation codes, seals.

use std::io;

use countersign_core::ports::{PageRequest, users::HeldEnrollment};
use countersign_proto::vocabulary::Word as _;
use serde_json::{Value, json};

use super::{Export, PAGE, broken, without_null};

/// Writes the member `enrollments`.
pub(super) async fn write(export: &Export) -> io::Result<()> {
    let mut entries = export.open("enrollments").await?;
    let mut page = PageRequest { before: None, limit: PAGE };
    loop {
        let id = export.user.name.id;
        let records = export.app.store.enrollments_of_user(export.tenant_id, id, page).await.map_err(broken)?;
        page.before = records.last().map(|last| last.id);
        let is_last = records.len() < PAGE as usize;
        for record in records {
            entries.add(&enrollment(record)).await?;
        }
        if is_last {
            return entries.close().await;
        }
    }
}

fn enrollment(held: HeldEnrollment) -> Value {
    let device = held.device_id.map(|id| {
        let platform = held.device_platform.map(|platform| platform.as_str());
        without_null(json!({"id": id, "name": held.device_name, "platform": platform,
            "key_thumbprint": held.key_thumbprint}))
    });
    without_null(json!({"id": held.id, "status": held.status, "confirmation": held.confirmation,
        "purpose": held.purpose, "device": device, "wrong_codes": held.wrong_codes,
        "approval_challenge_id": held.approval_id, "overridden": held.is_overridden.then_some(true),
        "created_at": held.created_at, "expires_at": held.expires_at}))
}
