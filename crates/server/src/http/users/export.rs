//! `GET /v1/users/{id}/export` (protocol 10.8): all that is held on a person, as one JSON document.
//!
//! Written a page at a time while it is read, so that a long history costs no memory; each page is as true as when it was
//! read. Whether the caller may still read, and the person is still there, is asked before each entry. What is broken off
//! lacks its last member, `complete`. Only so many at once, and none that nobody reads. Never in it: push tokens (whoever has one can ring the
//! phone; that there is one, and since when, is in it), numbers and codes that wait, MACs.
//! To add what is held: its array in `Export::write`, its page in the store, its blanking in the erasure.

use std::{io, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::header,
    response::{IntoResponse as _, Response},
};
use countersign_core::{
    device::DeviceRecord,
    ports::{
        PageRequest,
        challenges::ChallengeFilter,
        devices::DeviceFilter,
        users::{Happened, HeldEnrollment, HeldKey, UserRecord},
    },
};
use countersign_proto::{
    api::users::UserExport, ids::TenantId, jose::base64url, problem::ProblemType, timestamp::Timestamp,
    vocabulary::Word as _,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{parse, show_user, timeline};
use crate::{
    decisions::Viewer,
    http::{
        access::ApiCaller,
        challenges::show_delivery,
        devices::{show_device, show_push_health},
        problem::{ApiError, ApiResult},
        state::App,
    },
};

/// Exports under way at once, on this node: each keeps a page in memory for as long as its reader takes.
pub const MAX_EXPORTS: usize = 4;
/// How long a part may wait for its reader.
const PART_SECONDS: i64 = 30;
/// Entries that are read at once.
const PAGE: u32 = 50;
/// Parts that wait for a slow reader.
const WAITING_PARTS: usize = 2;

/// Streams all that is held on a person.
#[utoipa::path(get, path = "/v1/users/{id}/export", tag = "users", params(("id" = String, Path)),
    responses((status = 200, description = "What is held on the person", body = UserExport)))]
#[tracing::instrument(name = "http.users.export", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, caller: ApiCaller, Path(id): Path<String>) -> ApiResult<Response> {
    let (id, now) = (parse(&id)?, app.now());
    let tenant_id = caller.caller.tenant_id;
    let permit = Arc::clone(&app.exports).try_acquire_owned();
    let permit = permit.map_err(|_| ApiError::new(ProblemType::Unavailable).retry_after(5))?;
    if !app.store.record_export(caller.stamp(&app, now), id).await? {
        return Err(ApiError::not_found());
    }
    let user = app.store.user(tenant_id, id).await?.ok_or_else(ApiError::not_found)?;
    let (parts, waiting) = mpsc::channel(WAITING_PARTS);
    let export = Export { app, caller, tenant_id, user, now, parts };
    // Ends by itself when nobody reads any more.
    tokio::spawn(async move {
        let parts = export.parts.clone();
        if let Err(error) = export.write().await {
            tracing::warn!(%error, "an export broke off");
            // Nobody may read any more, or nobody reads: then there is no place for it, and the end tells.
            let _ = parts.try_send(Err(error));
        }
        drop(permit);
    });
    let body = futures_util::stream::unfold(waiting, |mut waiting: mpsc::Receiver<io::Result<Bytes>>| async move {
        waiting.recv().await.map(|part| (part, waiting))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response())
}

struct Export {
    app: Arc<App>,
    caller: ApiCaller,
    tenant_id: TenantId,
    user: UserRecord,
    now: Timestamp,
    parts: mpsc::Sender<io::Result<Bytes>>,
}

impl Export {
    async fn write(&self) -> io::Result<()> {
        let head = json!({"format": "countersign-user-export/1", "issuer": self.app.issuer(), "created_at": self.now,
            "user": show_user(self.user.clone(), self.now)});
        let mut head = head.to_string();
        // The document goes on.
        head.pop();
        self.send(head).await?;
        self.devices().await?;
        self.enrollments().await?;
        self.challenges().await?;
        self.events().await?;
        self.may_go_on().await?;
        self.send(",\"complete\":true}".to_owned()).await
    }

    /// Somebody may have been erased, or the caller's key revoked, or its organisation disabled, meanwhile: then nothing
    /// more is told, and what was read is not all.
    async fn may_go_on(&self) -> io::Result<()> {
        let is_there = self.app.store.user(self.tenant_id, self.user.name.id).await.map_err(broken)?.is_some();
        let may_read = self.caller.reauthenticate(&self.app).await.is_ok();
        if is_there && may_read { Ok(()) } else { Err(io::Error::other("the user or the caller is gone")) }
    }

    async fn send(&self, part: String) -> io::Result<()> {
        let until = self.app.now().plus_seconds(PART_SECONDS);
        tokio::select! {
            biased;
            sent = self.parts.send(Ok(Bytes::from(part))) => sent.map_err(|_| io::ErrorKind::BrokenPipe.into()),
            () = self.app.clock.sleep_until(until) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Opens the array of this name.
    async fn open(&self, name: &str) -> io::Result<Entries<'_>> {
        self.send(format!(",\"{name}\":[")).await?;
        Ok(Entries { export: self, is_empty: true })
    }

    async fn devices(&self) -> io::Result<()> {
        let mut entries = self.open("devices").await?;
        let mut page = PageRequest { before: None, limit: PAGE };
        loop {
            let filter = DeviceFilter { user_id: Some(self.user.name.id), ..DeviceFilter::default() };
            let records = self.app.store.devices(self.tenant_id, filter, page).await.map_err(broken)?;
            page.before = records.last().map(|last| last.id);
            let is_last = records.len() < PAGE as usize;
            for record in records {
                let keys = self.app.store.keys_of_device(self.tenant_id, record.id).await.map_err(broken)?;
                entries.add(&self.device(record, keys)?).await?;
            }
            if is_last {
                return entries.close().await;
            }
        }
    }

    fn device(&self, record: DeviceRecord, keys: Vec<HeldKey>) -> io::Result<Value> {
        let binding = record.binding.as_ref().map(|binding| binding.jws.clone());
        let push_health = Some(show_push_health(&record, self.now));
        let mut device = show_device(record, self.now);
        device.push_health = push_health;
        let mut device = serde_json::to_value(device)?;
        let key = |key: HeldKey| {
            json!({"thumbprint": key.thumbprint, "role": key.role, "public_key": base64url::encode(key.public_key),
                "created_at": key.created_at, "retired_at": key.retired_at})
        };
        if let Value::Object(members) = &mut device {
            members.insert("keys".to_owned(), keys.into_iter().map(key).map(without_null).collect());
            members.extend(binding.map(|binding| ("binding".to_owned(), binding.into())));
        }
        Ok(device)
    }

    async fn enrollments(&self) -> io::Result<()> {
        let mut entries = self.open("enrollments").await?;
        let mut page = PageRequest { before: None, limit: PAGE };
        loop {
            let id = self.user.name.id;
            let records = self.app.store.enrollments_of_user(self.tenant_id, id, page).await.map_err(broken)?;
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

    async fn challenges(&self) -> io::Result<()> {
        let mut entries = self.open("challenges").await?;
        let mut page = PageRequest { before: None, limit: PAGE };
        loop {
            // By our id: the same name may be somebody else's by the next page.
            let user_id = Some(self.user.name.id);
            let filter = ChallengeFilter { user_id, now: Some(self.now), ..ChallengeFilter::default() };
            let records = self.app.store.challenges(self.tenant_id, filter, page).await.map_err(broken)?;
            page.before = records.last().map(|last| last.facts.id);
            let is_last = records.len() < PAGE as usize;
            for record in records {
                let id = record.facts.id;
                // One that does not verify is named, and has raised its alarm; it hides nothing else.
                let Ok(mut shown) = self.app.decisions.show(&record, Viewer::Auditor, true, self.now) else {
                    entries.add(&json!({"id": id, "unverifiable": true})).await?;
                    continue;
                };
                let deliveries = self.app.store.deliveries(self.tenant_id, id).await.map_err(broken)?;
                shown.deliveries = Some(deliveries.into_iter().map(show_delivery).collect());
                entries.add(&shown).await?;
            }
            if is_last {
                return entries.close().await;
            }
        }
    }

    async fn events(&self) -> io::Result<()> {
        let mut entries = self.open("events").await?;
        let mut before = None;
        loop {
            let id = self.user.name.id;
            let records = self.app.store.timeline(self.tenant_id, id, before, PAGE).await.map_err(broken)?;
            before = records.last().map(|last| last.id);
            let is_last = records.len() < PAGE as usize;
            for record in records {
                // The challenges are all there already.
                if matches!(record.what, Happened::Event { .. }) {
                    entries.add(&timeline::show(record, self.now)).await?;
                }
            }
            if is_last {
                return entries.close().await;
            }
        }
    }
}

/// An array that is being written.
struct Entries<'e> {
    export: &'e Export,
    is_empty: bool,
}

impl Entries<'_> {
    async fn add(&mut self, entry: &(impl Serialize + Sync)) -> io::Result<()> {
        self.export.may_go_on().await?;
        let entry = serde_json::to_string(entry)?;
        let separator = if std::mem::replace(&mut self.is_empty, false) { "" } else { "," };
        self.export.send(format!("{separator}{entry}")).await
    }

    async fn close(self) -> io::Result<()> {
        self.export.send("]".to_owned()).await
    }
}

fn enrollment(held: HeldEnrollment) -> Value {
    let device = held.device_id.map(|id| {
        let platform = held.device_platform.map(|platform| platform.as_str());
        without_null(json!({"id": id, "name": held.device_name, "platform": platform}))
    });
    without_null(json!({"id": held.id, "status": held.status, "confirmation": held.confirmation,
        "purpose": held.purpose, "device": device, "created_at": held.created_at, "expires_at": held.expires_at}))
}

/// Optional members are absent, never null.
fn without_null(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        members.retain(|_, member| !member.is_null());
    }
    value
}

fn broken(error: countersign_core::ports::StoreError) -> io::Error {
    io::Error::other(error)
}
