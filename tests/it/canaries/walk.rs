//! Every operation, by every caller, upon everybody's things.
//!
//! What names a thing in its path comes from the operations themselves ([`crate::indistinguishable::asks`]); the others
//! stand in [`elsewhere`], where one that is missing fails. To add one: its arm there.

use countersign::http::operations::{ALL, Access, Operation};
use countersign_tests::{ApiClient, receiver::Receiver};
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};

use super::{
    people::{Organisation, Person},
    whose::Owner,
};
use crate::indistinguishable::asks::{Ask, By, in_paths};

/// What ends the things that the others are tried on: done last, to what is no canary's own.
const LAST: [&str; 12] = [
    "users.report ",
    "enrollments.cancel ",
    "challenges.cancel ",
    "policy.remove_application ",
    "api_clients.revoke_key ",
    "api_clients.revoke ",
    "device_api.dispute ",
    "devices.revoke ",
    "installations.revoke ",
    "users.revoke_all ",
    "webhooks.delete ",
    "users.erase ",
];

fn rank(ask: &Ask) -> usize {
    LAST.iter().position(|name| ask.name.starts_with(name)).map_or(0, |place| place + 1)
}

/// Somebody asks about a person's things, in an order in which each question still finds them; only by operations whose
/// names begin so.
pub(crate) async fn ask_in_paths(by: &By, own: &Person, theirs: &Person, what: &str) {
    let mut asks = in_paths(by, &own.things, &theirs.things, own.owner == theirs.owner);
    asks.retain(|ask| ask.name.starts_with(what));
    asks.sort_by_key(rank);
    for ask in asks {
        // The canaries' own things stay, to be heard of until the end; what a stream is held for does not end.
        let is_canarys = ask.name.contains("a canary");
        let is_endless = ask.name.starts_with("challenges.watch ") && !ask.name.contains("approved");
        if !(is_endless || is_canarys && rank(&ask) > 0) {
            ask.about(&ask.foreign).await;
        }
    }
}

/// A request that names no thing in its path.
struct Request {
    path: String,
    body: Option<Value>,
    idempotency_key: Option<String>,
}

fn get(path: &str) -> Request {
    Request { path: path.to_owned(), body: None, idempotency_key: None }
}

fn with(path: &str, body: Value) -> Request {
    Request { body: Some(body), ..get(path) }
}

/// What the caller of this organisation asks of each operation without a thing in its path, about this person.
fn elsewhere(operation: &Operation, organisation: &Organisation, theirs: &Person, receiver: &Receiver) -> Vec<Request> {
    let path = operation.path;
    let is_own = theirs.is_of(organisation);
    let word = |field: &str| theirs.owner.word(field);
    let (external_id, user) = (&theirs.external_id, &theirs.things.users[1].id);
    let listed = |queries: &[String]| {
        let all = queries.iter().map(|query| get(&format!("{path}?{query}")));
        all.chain([get(&format!("{path}?limit=200"))]).collect()
    };
    let of_user = [format!("user_id={user}"), format!("external_id={external_id}")];
    match operation.id {
        "enrollments.create" if is_own => {
            vec![with(path, json!({"user": {"external_id": external_id, "display_name": word("display_name")}}))]
        }
        "challenges.create" => vec![Request {
            idempotency_key: Some(word("idempotency_key")),
            ..with(path, json!({"user": {"external_id": external_id}, "message": word("message")}))
        }],
        "challenges.list" | "devices.list" => listed(&of_user),
        "users.list" => listed(&[of_user[1].clone(), format!("q={external_id}"), "state=reported".to_owned()]),
        "devices.revoke_many" => ["external_id", "installation_id", "app_id"]
            .into_iter()
            .zip([external_id.clone(), word("phone_installation"), word("phone_app")])
            .map(|(name, value)| with(path, json!({"filter": {name: value}, "dry_run": true})))
            .collect(),
        "tenant.change" => vec![with(path, json!({"name": Owner::Organisation(organisation.name).word("title")}))],
        "policy.set" if is_own => vec![with(path, json!({"applications": {&organisation.application: {}}}))],
        "policy.dry_run" => vec![with(
            path,
            json!({"user": {"external_id": external_id}, "application": organisation.application,
                "risk": {"level": "low", "reasons": [word("risk")]}}),
        )],
        "api_clients.create" if is_own => vec![with(
            path,
            json!({"name": Owner::Admins(organisation.name).word("challenges"), "scopes": ["challenges"],
                "applications": [organisation.application]}),
        )],
        "webhooks.create" if is_own => {
            let admins = Owner::Admins(organisation.name);
            vec![with(
                path,
                json!({"url": receiver.hooks.url(&admins.word("address")), "events": ["user.erased"],
                    "description": admins.word("description")}),
            )]
        }
        "events.list" => listed(&[]),
        "audit.list" => listed(&of_user[..1]),
        "audit.export" => ["", "?include=evidence", "?format=csv"].map(|query| get(&format!("{path}{query}"))).into(),
        "audit.prove_inclusion" => vec![get(&format!("{path}?position=1"))],
        "audit.prove_consistency" => vec![get(&format!("{path}?from=1"))],
        "meta.problem" => vec![get("/problems/not-found")],
        "enrollments.create" | "policy.set" | "api_clients.create" | "webhooks.create" => Vec::new(),
        "health.live" | "health.ready" | "meta.openapi" | "meta.jwks" | "meta.discovery" | "tenant.show"
        | "policy.show" | "reports.at_risk" | "api_clients.list" | "webhooks.list" | "audit.key"
        | "audit.checkpoint" => vec![get(path)],
        // With the person's own credentials: `Person::live_on` and before.
        _ if matches!(operation.access, Access::DeviceProof | Access::Artefact(_)) => Vec::new(),
        _ if path.contains('{') => Vec::new(),
        new => panic!("nobody asks for {new}"),
    }
}

/// A caller asks all that names no thing in its path.
pub(crate) async fn ask_elsewhere(
    client: &ApiClient,
    organisation: &Organisation,
    theirs: &Person,
    receiver: &Receiver,
) {
    for operation in ALL {
        for Request { path, body, idempotency_key } in elsewhere(operation, organisation, theirs, receiver) {
            let mut request = client.request(operation.method.clone(), &path);
            if let Some(key) = idempotency_key {
                request = request.header("idempotency-key", key);
            }
            if let Some(body) = body {
                request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
            }
            client.send(request).await;
        }
    }
}

/// Revokes, by filter, what the person of the organisation has of one app.
pub(crate) async fn revoke_many(organisation: &Organisation, person: &Person) {
    let filter = json!({"app_id": person.owner.word("tablet_app")});
    let admin = &organisation.admin;
    let seen = admin.post("/v1/devices/revoke", json!({"filter": filter, "dry_run": true})).await.ok(200);
    let body = json!({"filter": filter, "dry_run": false, "confirmation": seen["confirmation"]});
    admin.post("/v1/devices/revoke", body).await.ok(200);
}

/// The operation of a request.
pub(crate) fn operation_of(method: &Method, path: &str) -> Option<&'static Operation> {
    let is_like = |template: &str| {
        let (asked, known): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
        asked.len() == known.len() && asked.iter().zip(&known).all(|(a, k)| k.starts_with('{') || a == k)
    };
    ALL.iter().find(|operation| operation.method == *method && is_like(operation.path))
}
