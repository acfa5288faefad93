//! The person's devices in an export: revoked ones too, each with its keys and with what waits or is kept for it.

use std::io;

use countersign_core::{
    device::DeviceRecord,
    ports::{
        PageRequest,
        devices::DeviceFilter,
        users::{HeldKey, Kept},
    },
};
use countersign_proto::jose::base64url;
use serde_json::{Map, Value, json};

use super::{Export, PAGE, broken, without_null};
use crate::http::devices::{show_device, show_push_health};

/// Writes the member `devices`.
pub(super) async fn write(export: &Export) -> io::Result<()> {
    let mut entries = export.open("devices").await?;
    let mut page = PageRequest { before: None, limit: PAGE };
    loop {
        let filter = DeviceFilter { user_id: Some(export.user.name.id), ..DeviceFilter::default() };
        let records = export.app.store.devices(export.tenant_id, filter, page).await.map_err(broken)?;
        page.before = records.last().map(|last| last.id);
        let is_last = records.len() < PAGE as usize;
        for record in records {
            entries.add(&device(export, record).await?).await?;
        }
        if is_last {
            return entries.close().await;
        }
    }
}

async fn device(export: &Export, record: DeviceRecord) -> io::Result<Map<String, Value>> {
    let id = record.id;
    let keys = export.app.store.keys_of_device(export.tenant_id, id).await.map_err(broken)?;
    let binding = record.binding.as_ref().map(|binding| Value::String(binding.jws.clone()));
    let push_health = Some(show_push_health(&record, export.now));
    let mut device = show_device(record, export.now);
    device.push_health = push_health;
    let Value::Object(mut device) = serde_json::to_value(device)? else {
        return Err(io::Error::other("a device is no object"));
    };
    device.insert("keys".to_owned(), keys.into_iter().map(key).collect());
    device.extend(binding.map(|binding| ("binding".to_owned(), binding)));
    device.extend(export.kept(Kept::Device(id)).await?.into_iter().flatten());
    for (name, what) in [
        ("queued_pushes", Kept::QueuedPushes(id)),
        ("test_pushes", Kept::TestPushes(id)),
        ("spent_ids", Kept::SpentIds(id)),
    ] {
        let rows = export.kept(what).await?;
        device.insert(name.to_owned(), rows.into_iter().map(Value::Object).collect());
    }
    Ok(device)
}

fn key(key: HeldKey) -> Value {
    without_null(json!({"thumbprint": key.thumbprint, "role": key.role,
        "public_key": base64url::encode(key.public_key), "created_at": key.created_at, "retired_at": key.retired_at}))
}
