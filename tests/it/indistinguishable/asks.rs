//! What can be asked about somebody else's things: derived from the operations, so that a new one is asked about, too.
//!
//! Every placeholder of every path, asked by whoever is admitted to the operation; and, by hand, the members of bodies
//! and queries that name things: [`in_texts`]. To add a kind of thing: its arm in [`Things::at`]; an operation with a
//! placeholder that has none fails.

use countersign::http::operations::{ALL, Access, Operation};
use countersign_proto::jose::Kind;
use countersign_simulator::phone::{Answer, Candidate, EnrollOptions};
use countersign_tests::{ApiClient, Device, Reply, text};
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};

use super::things::{Thing, Things};

/// Stands for the id that is asked about, in paths and bodies.
const ID: &str = "{asked}";

/// Who asks.
#[derive(Clone)]
pub(crate) enum By {
    Client(ApiClient),
    Device(Device),
}

#[derive(Clone)]
enum Body {
    None,
    Json(Value),
    Response,
    Dispute,
    /// A registration with this as its ticket.
    Registration,
}

/// One question.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) name: String,
    /// What is somebody else's.
    pub(crate) foreign: String,
    /// Whether the organisation is the asker's own: then a row may be found, and is not shown.
    pub(crate) is_own_tenants: bool,
    by: By,
    method: Method,
    path: String,
    body: Body,
}

impl Ask {
    /// Like what is asked about, and nobody's: beside it in any order of ids.
    pub(crate) fn unknown(&self, end: char) -> String {
        let kept = &self.foreign[..self.foreign.len() - 3];
        format!("{kept}{}", end.to_string().repeat(3))
    }

    /// Asks about this.
    pub(crate) async fn about(&self, id: &str) -> Reply {
        let path = self.path.replace(ID, id);
        let client = match &self.by {
            By::Client(client) => client,
            By::Device(device) => return self.by_device(device, &path, id).await,
        };
        let request = client.request(self.method.clone(), &path);
        match &self.body {
            Body::Json(body) => {
                let body = body.to_string().replace(ID, id);
                client.send(request.header(CONTENT_TYPE, "application/json").body(body)).await
            }
            Body::Registration => {
                let (server, surroundings) = client.phones();
                let options = EnrollOptions::named("Phone");
                let candidate = Candidate::new(server.clone(), id, options, surroundings.clone()).unwrap();
                client.http().artefact(self.method.clone(), &path, candidate.token()).await
            }
            _ => client.send(request).await,
        }
    }

    async fn by_device(&self, device: &Device, path: &str, id: &str) -> Reply {
        let token = match self.body {
            Body::Response => {
                let claims = device.response_claims(id, "a text", &Answer::approve(Some("123456")));
                device.sign(Kind::Response, &claims)
            }
            Body::Dispute => device.sign(Kind::Dispute, &device.claims_with(json!({"sub": id}))),
            _ => return device.get(path).await,
        };
        device.artefact(self.method.clone(), path, &token.unwrap()).await
    }
}

/// Whether the path names a thing that can be somebody else's.
fn names_a_thing(operation: &Operation) -> bool {
    match operation.id {
        // Anybody's.
        "meta.problem" => false,
        // A name that the asker gives: it makes one of its own.
        "policy.set_application" => false,
        _ => operation.path.contains('{'),
    }
}

fn placeholders(path: &str) -> Vec<&str> {
    path.split('{').skip(1).map(|rest| rest.split_once('}').unwrap().0).collect()
}

/// The questions of all paths that `by` may ask about the things of `theirs`; where a path goes deeper than the thing,
/// it begins with what is the asker's own.
pub(crate) fn in_paths(by: &By, own: &Things, theirs: &Things, is_own_tenants: bool) -> Vec<Ask> {
    let mut all = Vec::new();
    for operation in ALL.iter().filter(|operation| names_a_thing(operation)) {
        let is_admitted = match (operation.access, by) {
            (Access::Public, _) => false,
            (Access::Client(_) | Access::ClientWithAll(_), By::Client(_)) => true,
            (Access::DeviceProof | Access::Artefact(_), By::Device(_)) => true,
            _ => false,
        };
        if !is_admitted {
            continue;
        }
        for asked in placeholders(operation.path) {
            for thing in theirs.at(operation, asked) {
                all.push(ask(operation, by, own, theirs, asked, thing, is_own_tenants));
            }
        }
    }
    all
}

fn ask(
    operation: &Operation,
    by: &By,
    own: &Things,
    theirs: &Things,
    asked: &str,
    thing: Thing,
    is_own_tenants: bool,
) -> Ask {
    let mut path = operation.path.replace(&format!("{{{asked}}}"), ID);
    let mut holder = own;
    for placeholder in placeholders(operation.path) {
        if placeholder == asked {
            holder = theirs;
        } else {
            let id = holder.at(operation, placeholder).swap_remove(0).id;
            path = path.replace(&format!("{{{placeholder}}}"), &id);
        }
    }
    let body = match (operation.access, thing.code) {
        (Access::Artefact(Kind::Response), _) => Body::Response,
        (Access::Artefact(Kind::Dispute), _) => Body::Dispute,
        (Access::Artefact(kind), _) => panic!("how is a {kind:?} asked about a thing?"),
        (_, Some(code)) if matches!(operation.id, "enrollments.confirm" | "challenges.code") => {
            Body::Json(json!({"code": code}))
        }
        _ => crate::access::body_of(operation).map_or(Body::None, Body::Json),
    };
    let name = format!("{} ({}, {asked})", operation.id, thing.what);
    let method = operation.method.clone();
    Ask { name, foreign: thing.id, is_own_tenants, by: by.clone(), method, path, body }
}

/// The questions that name things elsewhere than in the path.
pub(crate) fn in_texts(client: &ApiClient, own_user: &str, theirs: &Things) -> Vec<Ask> {
    let get = |name: &str, path: &str| (format!("{name} {path}"), Method::GET, path.to_owned(), Body::None);
    let post = |name: &str, path: &str, body: Value| {
        (format!("{name} {body}"), Method::POST, path.to_owned(), Body::Json(body))
    };
    let (user, installation) = (&theirs.external_id, &theirs.installation);
    let own = json!({"external_id": own_user});
    let all = [
        (get("devices.list", "/v1/devices?user_id={asked}"), &theirs.users[0].id),
        (get("devices.list", "/v1/devices?external_id={asked}"), user),
        (get("devices.list", "/v1/devices?installation_id={asked}"), installation),
        (get("devices.list", "/v1/devices?cursor={asked}&status=suspended"), &theirs.devices[0].id),
        (get("challenges.list", "/v1/challenges?user_id={asked}"), &theirs.users[0].id),
        (get("challenges.list", "/v1/challenges?external_id={asked}"), user),
        (get("challenges.list", "/v1/challenges?device_id={asked}"), &theirs.devices[0].id),
        (get("users.list", "/v1/users?external_id={asked}"), user),
        (get("users.list", "/v1/users?q={asked}"), user),
        (get("audit.list", "/v1/audit?user_id={asked}"), &theirs.users[0].id),
        (get("audit.list", "/v1/audit?device_id={asked}"), &theirs.devices[0].id),
        (get("audit.list", "/v1/audit?challenge_id={asked}"), &theirs.challenges[0].id),
        (get("audit.list", "/v1/audit?api_client_id={asked}"), &theirs.api_client),
        (post("challenges.create", "/v1/challenges", json!({"user": own, "device_ids": [ID]})), &theirs.devices[0].id),
        (post("challenges.create", "/v1/challenges", json!({"user": {"external_id": ID}})), user),
        (post("enrollments.create", "/v1/enrollments", json!({"user": own, "approval": ID})), &theirs.challenges[1].id),
        (
            post("devices.revoke_many", "/v1/devices/revoke", json!({"filter": {"user_id": ID}, "dry_run": true})),
            &theirs.users[0].id,
        ),
        (
            post("devices.revoke_many", "/v1/devices/revoke", json!({"filter": {"external_id": ID}, "dry_run": true})),
            user,
        ),
        (
            post(
                "devices.revoke_many",
                "/v1/devices/revoke",
                json!({"filter": {"installation_id": ID}, "dry_run": true}),
            ),
            installation,
        ),
        (post("policy.dry_run", "/v1/policy/dry-run", json!({"user": {"external_id": ID}})), user),
    ];
    let ask = |((name, method, path, body), foreign): ((String, Method, String, Body), &String)| Ask {
        name,
        foreign: foreign.clone(),
        is_own_tenants: false,
        by: By::Client(client.clone()),
        method,
        path,
        body,
    };
    all.into_iter().map(ask).collect()
}

/// Tickets that let nobody in any more: who has one of them knows it, and learns no more than who made one up.
pub(crate) fn of_tickets(client: &ApiClient, theirs: &Things) -> Vec<Ask> {
    let ask = |(what, ticket): &(&str, String)| Ask {
        name: format!("device_api.register ({what} ticket)"),
        foreign: ticket.clone(),
        is_own_tenants: true,
        by: By::Client(client.clone()),
        method: Method::POST,
        path: "/v1/device/registrations".to_owned(),
        body: Body::Registration,
    };
    theirs.tickets.iter().map(ask).collect()
}

/// The text of an enrollment's ticket.
pub(crate) fn ticket(enrollment: &Value) -> String {
    text(enrollment, "ticket").to_owned()
}
