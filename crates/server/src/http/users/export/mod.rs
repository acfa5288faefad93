//! `GET /v1/users/{id}/export` (protocol 10.8): all that is held on a person, as one JSON document.
//!
//! Written a page at a time while it is read, so that a long history costs no memory; each page is as true as when it was
//! read. Whether the caller may still read, and the person is still there, is asked before each entry. What is broken off
//! lacks its last member, `complete`. Only so many at once, and none that nobody reads. Never in it: push tokens (whoever
//! has one can ring the phone; that there is one, and since when, is in it), numbers and codes that wait, MACs, the texts
//! of kept replies (that they are kept is in it).
//! To add what is held: its page in the store, its member in the file of its noun beside this one and in `Export::write`,
//! its blanking in the erasure; `tests/it/users/inventory.rs` names every column and asks for it.

mod challenges;
mod devices;
mod enrollments;
mod events;

use std::{io, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::header,
    response::{IntoResponse as _, Response},
};
use countersign_core::ports::{
    StoreError,
    users::{Kept, KeptRow, UserRecord},
};
use countersign_proto::{api::users::UserExport, ids::TenantId, problem::ProblemType, timestamp::Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{parse, show_user};
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
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
        let guards = self.kept(Kept::Guards(self.user.name.id)).await?.pop();
        let head = json!({"format": "countersign-user-export/1", "issuer": self.app.issuer(), "created_at": self.now,
            "user": show_user(self.user.clone(), self.now), "guards": guards.unwrap_or_default()});
        let mut head = head.to_string();
        // The document goes on.
        head.pop();
        self.send(head).await?;
        devices::write(self).await?;
        enrollments::write(self).await?;
        let mut replies = self.open("stored_replies").await?;
        for reply in self.kept(Kept::Replies(self.user.name.id)).await? {
            replies.add(&reply).await?;
        }
        replies.close().await?;
        challenges::write(self).await?;
        events::write(self).await?;
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

    async fn kept(&self, what: Kept) -> io::Result<Vec<KeptRow>> {
        self.app.store.kept(self.tenant_id, what).await.map_err(broken)
    }

    /// Opens the array of this name.
    async fn open(&self, name: &str) -> io::Result<Entries<'_>> {
        self.send(format!(",\"{name}\":[")).await?;
        Ok(Entries { export: self, is_empty: true })
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

/// Optional members are absent, never null.
fn without_null(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        members.retain(|_, member| !member.is_null());
    }
    value
}

fn broken(error: StoreError) -> io::Error {
    io::Error::other(error)
}
