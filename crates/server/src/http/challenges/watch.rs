//! `GET /v1/challenges/{id}/events`: server-sent events (protocol 6.5).
//!
//! One `status` event now, one at each change, then the end; a comment every 15 s keeps proxies from closing it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    response::sse::{Event, KeepAlive, Sse},
};
use countersign_core::wake::WakeKey;
use countersign_proto::{ids::ChallengeId, vocabulary::ChallengeStatus};
use futures_util::Stream;
use utoipa::ToSchema;

use super::find;
use crate::{
    http::{
        access::ApiCaller,
        problem::{ApiError, ApiResult},
        state::App,
    },
    waiters::Waiter,
};

struct Watch {
    app: Arc<App>,
    caller: ApiCaller,
    id: ChallengeId,
    waiter: Waiter,
    is_first: bool,
    has_told_of_code: bool,
}

/// An event of the stream, as its lines say it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what axum writes line by line")]
struct StatusEvent {
    /// `status`.
    #[schema(example = "status")]
    event: String,
    /// The challenge, as its caller reads it.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// Streams the challenge's status.
#[utoipa::path(get, path = "/v1/challenges/{id}/events", tag = "challenges", params(("id" = String, Path)),
    responses((status = 200, description = "`status` events, each with the challenge as JSON", content_type = "text/event-stream", body = StatusEvent)))]
#[tracing::instrument(name = "http.challenges.watch", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
) -> ApiResult<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let id = id.parse().map_err(|_| ApiError::not_found())?;
    let (record, _) = find(&app, &caller, id).await?;
    let waiter = app.waiters.register_for(WakeKey::Challenge(record.facts.id), Some(caller.caller.client_id));
    let waiter = waiter.ok_or_else(|| {
        ApiError::new(countersign_proto::problem::ProblemType::Unavailable).retry_after(1).because("waiter table full")
    })?;
    let watch = Watch { app, caller, id, waiter, is_first: true, has_told_of_code: false };
    let stream = futures_util::stream::unfold(Some(watch), |watch| async move {
        let watch = watch?;
        let (event, rest) = watch.next().await?;
        Some((Ok(event), rest))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

impl Watch {
    /// The next event, and what is left to watch. `None`: the stream ends without one, and the client reads the
    /// challenge itself (the key was revoked, the server stops, the database does not answer).
    async fn next(mut self) -> Option<(Event, Option<Self>)> {
        let app = Arc::clone(&self.app);
        let mut _turn = None;
        loop {
            let (record, viewer) = find(&self.app, &self.caller, self.id).await.ok()?;
            let now = self.app.now();
            let is_over = record.status != ChallengeStatus::Pending;
            let is_news = record.is_awaiting_code() && !self.has_told_of_code;
            if is_over || is_news || self.is_first {
                if !self.is_first {
                    self.caller.reauthenticate(&self.app).await.ok()?;
                }
                self.is_first = false;
                if record.is_awaiting_code() {
                    self.has_told_of_code = true;
                    self.waiter.has_seen_code();
                }
                let shown = self.app.decisions.show(&record, viewer, false, now).ok()?;
                let event = Event::default().event("status").json_data(shown).ok()?;
                return Some((event, if is_over { None } else { Some(self) }));
            }
            _turn = None;
            if !self.waiter.wait(self.app.clock.as_ref(), record.facts.expires_at).await {
                return None;
            }
            _turn = app.waiters.turn().await;
        }
    }
}
