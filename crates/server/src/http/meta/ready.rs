//! `GET /readyz`: the database takes a durable write, its migrations are ours, the signing key signs.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::extract::State;
use countersign_proto::{problem::ProblemType, timestamp::Timestamp};
use tokio::sync::Mutex;

use crate::http::{
    problem::{ApiError, ApiResult},
    state::App,
};

/// Ready for traffic. 503 while the database refuses writes and from the moment the server begins to leave.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses((status = 200, description = "`ready`", body = String)))]
#[tracing::instrument(name = "http.health.ready", skip_all)]
pub async fn handle(State(app): State<Arc<App>>) -> ApiResult<&'static str> {
    if app.readiness.is_leaving() || app.waiters.is_stopping() {
        return Err(ApiError::new(ProblemType::Unavailable).retry_after(5).saying("The server is stopping."));
    }
    app.readiness.check(&app).await?;
    Ok("ready\n")
}

/// The last check: anybody may ask, and each check is a durable write that all tenants' writes queue behind, so
/// however many ask at once, there is one check a second.
#[derive(Default)]
pub struct Readiness {
    last: Mutex<Option<(Timestamp, ApiResult<()>)>>,
    leaving: AtomicBool,
}

impl Readiness {
    /// From now on not ready, for good, though everything is still served: whoever balances sends new traffic to
    /// other nodes.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    /// Whether [`Self::leave`] was called.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    async fn check(&self, app: &App) -> ApiResult<()> {
        // Those who come meanwhile wait here, and are told what the one before them found.
        let mut last = self.last.lock().await;
        let now = app.now();
        if let Some((at, outcome)) = &*last
            && *at <= now
            && now.millis_since(*at) < 1_000
        {
            return outcome.clone();
        }
        let outcome = check(app, now).await;
        *last = Some((now, outcome.clone()));
        outcome
    }
}

async fn check(app: &App, now: Timestamp) -> ApiResult<()> {
    app.store.check_ready(now).await?;
    // An older database was put back under the running server: nothing that it says is known to be true still.
    if app.audit.is_halted() {
        return Err(ApiError::new(ProblemType::Unavailable).retry_after(5).because("the database was rolled back"));
    }
    app.keys.check_signing(now)?;
    Ok(())
}
