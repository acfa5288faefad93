//! What all flows share: the callers, the server as phones know it, and where everything is written down.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use countersign_simulator::phone::Server;
use reqwest::Method;
use serde_json::json;

use crate::{
    ProofError,
    history::History,
    http::{Caller, Http},
    rig::Rig,
};

/// Two organisations at one server that runs.
#[derive(Debug)]
pub(crate) struct World {
    /// Who enrolls people and asks for sign-ins, and revokes devices.
    pub(crate) idp: Caller,
    /// A caller of another organisation.
    pub(crate) stranger: Caller,
    pub(crate) server: Server,
    pub(crate) history: Arc<History>,
    is_over: AtomicBool,
}

impl World {
    /// Makes the callers, and a webhook at this address that is told of every challenge.
    pub(crate) async fn begin(rig: &Rig, hook: Option<&str>) -> Result<Arc<Self>, ProofError> {
        rig.command(&["tenant", "create", "--name", "other"]).await?;
        let (key, foreign) = (rig.api_key("admin", None).await?, rig.api_key("admin", Some("other")).await?);
        let history = Arc::new(History::new());
        let http = Http::new(Arc::clone(&history))?;
        let idp = Caller::new(http.clone(), &rig.url(), &key);
        if let Some(url) = hook {
            let body = json!({"url": url, "events": ["challenge.*"]});
            let made = idp.request(Method::POST, "/v1/webhooks", Some(&body)).send().await;
            if !made.is_ok_and(|reply| reply.status().is_success()) {
                return Err(ProofError::Rig("no webhook was made".to_owned()));
            }
        }
        let stranger = Caller::new(http, &rig.url(), &foreign);
        let server = Server::discover(&rig.url()).await.map_err(|error| ProofError::Rig(error.to_string()))?;
        Ok(Arc::new(Self { idp, stranger, server, history, is_over: AtomicBool::new(false) }))
    }

    /// Everybody goes home when what they are at is certain.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}
