//! `POST /v1/projects/{project}/messages:send`.

use http::{Method, Request};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{Fcm, Push, message};
use crate::stand_in::http::{Act, Forms, Line, Reply, act, json_reply, read_body};
use crate::stand_in::wire::End;
use crate::stand_in::{Answer, Desk};

const FORMS: Forms = Forms {
    error: |status, word| error(status, word, "as scripted").to_string(),
    usual_reason,
    gone: (404, "UNREGISTERED"),
};

/// A refusal: status, FCM's word, and why.
type Refusal = (u16, &'static str, String);

/// Judges, records and answers one request.
pub(super) async fn send(desk: &Desk<Fcm>, request: Request<Incoming>, line: &Line) -> Option<Reply> {
    let (head, body) = request.into_parts();
    let body = read_body(body).await?;
    let path = head.uri.path().strip_prefix("/v1/projects/");
    let Some(project) = path.and_then(|path| path.strip_suffix("/messages:send")) else {
        return Some(json_reply(404, &[], &error(404, "NOT_FOUND", "no such method")));
    };
    if head.method != Method::POST {
        return Some(json_reply(405, &[("allow", "POST")], &error(405, "METHOD_NOT_ALLOWED", "POST only")));
    }
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let token = message::token_of(&request);
    let is_trial = message::is_trial(&request);
    let authorization = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    let judged = judge(desk, authorization, project, &token, &request);
    let mut push = match &judged {
        Ok(push) => push.clone(),
        Err(_) => refused_push(project, request),
    };
    let (status, body, answer) = match &judged {
        Ok(_) => {
            // Unique in this stand-in, and as unlike the next one as Google's are.
            push.message_id = format!("0:{}%stand-in", desk.ledger.attempted_count() + 1);
            let name = format!("projects/{project}/messages/{}", push.message_id);
            (200, json!({"name": name}), Answer::accepted(200))
        }
        Err((status, word, why)) => (*status, error(*status, word, why), Answer::refused(*status, word)),
    };
    // Judged and answered, and that is all: nobody is rung.
    let record = |answer: Answer| {
        if !is_trial {
            desk.ledger.record(desk.now(), line.number, &token, answer, || push);
        }
    };
    match act(desk.scripts.next(&token), line, &FORMS).await {
        Act::Normal => {
            // Taken before it is answered: who has the answer finds the push.
            record(answer);
            Some(json_reply(status, &[], &body))
        }
        Act::LoseAnswer => {
            record(answer);
            line.switch.end(End::Reset);
            std::future::pending().await
        }
        Act::Reply(reply, answer) => {
            record(answer);
            Some(reply)
        }
        Act::Break(answer) => {
            record(answer);
            None
        }
        Act::Hang(answer) => {
            record(answer);
            std::future::pending().await
        }
    }
}

fn judge(
    desk: &Desk<Fcm>,
    authorization: Option<&str>,
    project: &str,
    token: &str,
    request: &Value,
) -> Result<Push, Refusal> {
    let fcm = &desk.provider;
    if !fcm.oauth.is_authorized(authorization, desk.now()) {
        let why = "Request had invalid authentication credentials. Expected OAuth 2 access token.";
        return Err((401, "UNAUTHENTICATED", why.to_owned()));
    }
    if project != fcm.account.project_id {
        return Err((403, "PERMISSION_DENIED", "Permission denied on this project.".to_owned()));
    }
    let push = message::read(request, project).map_err(|why| (400, "INVALID_ARGUMENT", why))?;
    match fcm.registered(token) {
        Some(registered) if registered.is_gone => Err(unregistered()),
        Some(registered) if registered.project != project => {
            Err((403, "SENDER_ID_MISMATCH", "SenderId mismatch".to_owned()))
        }
        None if desk.common.known_tokens_only => Err(unregistered()),
        _ => Ok(push),
    }
}

fn unregistered() -> Refusal {
    (404, "UNREGISTERED", "Requested entity was not found.".to_owned())
}

/// What is kept of a request that was refused.
fn refused_push(project: &str, request: Value) -> Push {
    let android = |name: &str| request.pointer(&format!("/message/android/{name}")).and_then(Value::as_str);
    Push {
        project: project.to_owned(),
        message_id: String::new(),
        data: request.pointer("/message/data").and_then(Value::as_object).cloned().unwrap_or_default(),
        priority: android("priority").map(str::to_owned),
        ttl_seconds: None,
        collapse_key: android("collapse_key").map(str::to_owned),
        request,
    }
}

/// Google's error format (google.rpc.Status), with FCM's own word in the details.
fn error(status: u16, word: &str, message: &str) -> Value {
    let canonical = match (status, word) {
        (400, _) => "INVALID_ARGUMENT",
        (401, _) => "UNAUTHENTICATED",
        (403, _) => "PERMISSION_DENIED",
        (404, _) => "NOT_FOUND",
        (429, _) => "RESOURCE_EXHAUSTED",
        (503, _) => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    let detail = match word {
        // Google's own refusals of a bad access token carry none of FCM's words.
        "UNAUTHENTICATED" | "PERMISSION_DENIED" | "NOT_FOUND" => json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word, "domain": "googleapis.com",
        }),
        word => json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": word}),
    };
    json!({"error": {"code": status, "message": message, "status": canonical, "details": [detail]}})
}

/// FCM's usual word for a status.
fn usual_reason(code: u16) -> &'static str {
    match code {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "SENDER_ID_MISMATCH",
        404 => "UNREGISTERED",
        429 => "QUOTA_EXCEEDED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}
