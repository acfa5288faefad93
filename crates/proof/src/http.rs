//! Requests to the server under attack, each sent once and recorded as what it was.
//!
//! Never repeats by itself, and never takes an answer for more than it is: whatever is neither a success nor a problem
//! document of the protocol is [`End::Wrong`]. To add a way to ask: a method of [`Http`].

use std::{sync::Arc, time::Duration};

use reqwest::{
    Client, Method, RequestBuilder,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::Value;

use crate::{
    ProofError,
    history::{Asked, End, History},
};

/// Every request is answered within this, however much is going on (architecture: requests have deadlines); it is far
/// above the server's own, so that a slow machine is no violation.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// One HTTP client, and where everything is written down.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client,
    history: Arc<History>,
}

/// A caller of the API.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) http: Http,
    /// `http://127.0.0.1:PORT`
    pub(crate) base: String,
    key: String,
}

impl Http {
    pub(crate) fn new(history: Arc<History>) -> Result<Self, ProofError> {
        let builder = Client::builder().no_proxy().tls_certs_only([]).timeout(DEADLINE);
        let client = builder.build().map_err(|error| ProofError::Rig(format!("no HTTP client: {error}")))?;
        Ok(Self { client, history })
    }

    /// A request to be filled in.
    pub(crate) fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// A signed artefact as the whole body.
    pub(crate) fn artefact(&self, method: Method, url: &str, token: &str) -> RequestBuilder {
        self.request(method, url).header(CONTENT_TYPE, "application/jwt").body(token.to_owned())
    }

    /// Sends it, once, and keeps what became of it.
    pub(crate) async fn send(&self, asked: Asked, request: RequestBuilder) -> End {
        self.history.record(asked, judge(request)).await
    }
}

impl Caller {
    pub(crate) fn new(http: Http, base: &str, key: &str) -> Self {
        Self { http, base: base.to_owned(), key: key.to_owned() }
    }

    /// The same caller at another node.
    pub(crate) fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// A request of this caller.
    pub(crate) fn request(&self, method: Method, path: &str, body: Option<&Value>) -> RequestBuilder {
        let request = self.http.request(method, &format!("{}{path}", self.base));
        let request = request.header(AUTHORIZATION, format!("Bearer {}", self.key));
        body.into_iter().fold(request, RequestBuilder::json)
    }

    /// Sends it, once, and keeps what became of it.
    pub(crate) async fn call(&self, asked: Asked, method: Method, path: &str, body: Option<&Value>) -> End {
        self.http.send(asked, self.request(method, path, body)).await
    }

    /// Reads something when all is over; not a part of the history.
    pub(crate) async fn read(&self, path: &str) -> Result<String, ProofError> {
        let failed = |error: reqwest::Error| ProofError::Rig(format!("{path}: {error}"));
        let reply = self.request(Method::GET, path, None).send().await.map_err(failed)?;
        let status = reply.status();
        let text = reply.text().await.map_err(failed)?;
        if status.is_success() { Ok(text) } else { Err(ProofError::Rig(format!("{path}: {status}: {text}"))) }
    }

    /// The same as JSON.
    pub(crate) async fn read_json(&self, path: &str) -> Result<Value, ProofError> {
        let text = self.read(path).await?;
        serde_json::from_str(&text).map_err(|error| ProofError::Rig(format!("{path}: {error}")))
    }
}

async fn judge(request: RequestBuilder) -> End {
    let reply = match request.send().await {
        Ok(reply) => reply,
        Err(error) if error.is_connect() => return End::NotAsked,
        Err(error) if error.is_timeout() => return End::Wrong { why: format!("no answer within {DEADLINE:?}") },
        Err(error) => return End::Unknown { why: error.to_string() },
    };
    let status = reply.status().as_u16();
    let kind = reply.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    match reply.bytes().await {
        Ok(body) => judge_reply(status, &kind, &body),
        Err(error) if error.is_timeout() => End::Wrong { why: format!("half an answer within {DEADLINE:?}") },
        Err(error) => End::Unknown { why: error.to_string() },
    }
}

fn judge_reply(status: u16, kind: &str, body: &[u8]) -> End {
    let wrong = |why: &str| End::Wrong { why: format!("{status} {kind}: {why}") };
    if status == 204 || status == 304 {
        return if body.is_empty() { End::Ok { status, said: Value::Null } } else { wrong("a body") };
    }
    let Ok(said) = serde_json::from_slice::<Value>(body) else { return wrong("not JSON") };
    if (200..300).contains(&status) {
        return if kind == "application/json" { End::Ok { status, said } } else { wrong("not application/json") };
    }
    let slug = said.get("type").and_then(Value::as_str).and_then(|uri| uri.rsplit('/').next()).unwrap_or_default();
    // Whoever reads only `status` of a body must not find a decision in an error.
    let is_problem = kind == "application/problem+json"
        && !slug.is_empty()
        && said.get("status").and_then(Value::as_u64) == Some(u64::from(status));
    match status {
        _ if !is_problem => wrong("an error that is no problem document"),
        // What was asked for may still happen (docs/configuration.md, database.max_wait_seconds).
        503 => End::Unknown { why: format!("503 {slug}") },
        500..=599 => wrong(slug),
        _ => End::Refused { status, slug: slug.to_owned(), said: said.clone() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBLEM: &[u8] = br#"{"type":"https://a.example/problems/not-found","status":404}"#;

    #[test]
    fn only_what_the_protocol_allows_is_an_answer() {
        let problem = "application/problem+json";
        assert!(matches!(judge_reply(200, "application/json", b"{}"), End::Ok { status: 200, .. }));
        assert!(matches!(judge_reply(204, "", b""), End::Ok { status: 204, .. }));
        assert!(
            matches!(judge_reply(404, problem, PROBLEM), End::Refused { status: 404, slug, .. } if slug == "not-found")
        );
        let unavailable = br#"{"type":"https://a.example/problems/unavailable","status":503}"#;
        assert!(matches!(judge_reply(503, problem, unavailable), End::Unknown { .. }));
        for (status, kind, body) in [
            (200, "text/html", &b"{}"[..]),
            (200, "application/json", b"{"),
            (404, "application/json", PROBLEM),
            (403, problem, PROBLEM),
            (404, problem, br#"{"status":"approved"}"#),
            (500, problem, br#"{"type":"https://a.example/problems/internal","status":500}"#),
            (204, "", b"{}"),
        ] {
            assert!(matches!(judge_reply(status, kind, body), End::Wrong { .. }), "{status} {kind}");
        }
    }
}
