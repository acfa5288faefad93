//! Who may call what: walked from the one table that the server itself obeys, `operations::ALL`.
//!
//! Every row × every role × every object. What is expected follows from the row's [`Access`] alone, so a new row is
//! walked without a line here, and a route without a row fails.

use std::collections::BTreeSet;

use countersign::http::{
    operations::{ALL, Access, Operation},
    routes,
};
use countersign_core::api_client::Scope;
use countersign_tests::{
    ApiClient, Device, TestApp, path_of,
    providers::{both_with_providers, fcm_options},
    text,
};
use reqwest::{Method, header::AUTHORIZATION};
use serde_json::{Value, json};

const UNKNOWN: &str = "01939b5e-7a2c-7def-8abc-000000000001";

/// Who calls.
enum Role {
    Nobody,
    /// A key that nobody has.
    Garbage,
    /// A device that proves itself.
    Device(Box<Device>),
    /// An API client that may do this in its tenant.
    Client {
        client: ApiClient,
        scope: Scope,
        tenant: Org,
    },
    Revoked(ApiClient),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Org {
    Own,
    Other,
}

/// What is called upon.
struct Object {
    name: &'static str,
    /// `None`: nowhere.
    tenant: Option<Org>,
    /// Of the user whose device is the role's.
    is_own_users: bool,
    enrollment: String,
    user: String,
    device: String,
    test_push: String,
    api_client: String,
    api_key: String,
    webhook: String,
    webhook_delivery: String,
    /// Created by the admin, and by the client that holds `challenges` only; both are over.
    challenges: [String; 2],
}

impl Object {
    /// One that does not exist.
    fn none(name: &'static str, id: &str) -> Self {
        let id = id.to_owned();
        let challenges = [id.clone(), id.clone()];
        Self {
            name,
            tenant: None,
            is_own_users: false,
            enrollment: id.clone(),
            user: id.clone(),
            device: id.clone(),
            test_push: id.clone(),
            api_client: id.clone(),
            api_key: id.clone(),
            webhook: id.clone(),
            webhook_delivery: id,
            challenges,
        }
    }

    /// A user with a device that was rung for a test, an open enrollment and, by each creator, a cancelled challenge.
    async fn new(name: &'static str, tenant: Org, admin: &ApiClient, creator: &ApiClient, device: &Device) -> Self {
        let user = &device.registration().user;
        let body = json!({"user": {"external_id": user.external_id}});
        let enrollment = admin.create_enrollment(body.clone()).await;
        let mut challenges = [String::new(), String::new()];
        for (client, id) in [admin, creator].into_iter().zip(&mut challenges) {
            let challenge = client.create_challenge(body.clone()).await;
            client.post_empty(&format!("{}/cancel", path_of(&challenge))).await.ok(200);
            text(&challenge, "id").clone_into(id);
        }
        let enrollment = text(&enrollment, "id").to_owned();
        let (user, device) = (user.id.to_string(), device.device_id());
        let tested = admin.post_empty(&format!("/v1/devices/{device}/test-push")).await.ok(202);
        let test_push = text(&tested, "id").to_owned();
        let is_own_users = name == "own";
        let client = admin.post("/v1/api-clients", json!({"name": "other", "scopes": ["challenges"]})).await.ok(201);
        // Disabled, so that nothing leaves; and it leads nowhere.
        let body = json!({"url": "https://hooks.invalid/", "events": ["user.erased"]});
        let webhook = admin.post("/v1/webhooks", body).await.ok(201);
        let webhook = text(&webhook, "id").to_owned();
        admin.patch(&format!("/v1/webhooks/{webhook}"), json!({"enabled": false})).await.ok(200);
        let told = admin.post_empty(&format!("/v1/webhooks/{webhook}/test")).await.ok(202);
        Self {
            name,
            tenant: Some(tenant),
            is_own_users,
            enrollment,
            user,
            device,
            test_push,
            api_client: text(&client, "id").to_owned(),
            api_key: text(&client["keys"][0], "id").to_owned(),
            webhook,
            webhook_delivery: text(&told, "id").to_owned(),
            challenges,
        }
    }

    fn id(&self, operation: &Operation, role: &Role) -> &str {
        let noun = operation.path.split('/').nth(2).unwrap_or_default();
        match noun {
            "enrollments" => &self.enrollment,
            "users" => &self.user,
            "devices" => &self.device,
            "api-clients" => &self.api_client,
            "webhooks" => &self.webhook,
            // A client sees what it created.
            "challenges" if matches!(role, Role::Client { scope: Scope::Challenges, .. }) => &self.challenges[1],
            "challenges" | "device" => &self.challenges[0],
            // A problem type's page.
            _ => "not-found",
        }
    }
}

impl Role {
    fn name(&self) -> String {
        match self {
            Self::Nobody => "nobody".to_owned(),
            Self::Garbage => "garbage".to_owned(),
            Self::Device(_) => "device".to_owned(),
            Self::Client { scope, tenant, .. } => format!("{} of {tenant:?}", scope.as_str()),
            Self::Revoked(_) => "revoked".to_owned(),
        }
    }

    fn authorization(&self, app: &TestApp, method: &Method, path: &str) -> Option<String> {
        match self {
            Self::Nobody => None,
            Self::Garbage => Some(format!("Bearer csk_{}", "A".repeat(43))),
            Self::Device(device) => Some(device.proof(method.as_str(), &format!("{}{path}", app.issuer())).unwrap()),
            Self::Client { client, .. } | Self::Revoked(client) => Some(format!("Bearer {}", client.key)),
        }
    }
}

/// The problem that must come, or `None`: the call reaches its object, whatever comes of it.
fn expected(operation: &Operation, role: &Role, object: &Object) -> Option<&'static str> {
    let has_object = operation.path.contains("{id}");
    match (operation.access, role) {
        (Access::Public, _) => None,
        // Whoever calls: the body is no artefact, and no header stands in for one.
        (Access::Artefact(_), _) => Some("invalid-device-signature"),
        (Access::DeviceProof, Role::Device(_)) if !has_object || object.is_own_users => None,
        (Access::DeviceProof, Role::Device(_)) => Some("not-found"),
        (Access::DeviceProof, _) => Some("invalid-device-signature"),
        (Access::Client(scopes), Role::Client { scope, tenant, .. }) => {
            if *scope != Scope::Admin && !scopes.contains(scope) {
                Some("insufficient-scope")
            } else if has_object && object.tenant != Some(*tenant) {
                Some("not-found")
            } else {
                None
            }
        }
        (Access::ClientWithAll(_), Role::Client { scope, tenant, .. }) => match (*scope, object.tenant) {
            // Each role has one scope only.
            (Scope::Admin, other) if has_object && other != Some(*tenant) => Some("not-found"),
            (Scope::Admin, _) => None,
            _ => Some("insufficient-scope"),
        },
        (Access::Client(_) | Access::ClientWithAll(_), _) => Some("unauthenticated"),
    }
}

struct World {
    roles: Vec<Role>,
    objects: Vec<Object>,
}

impl World {
    async fn new(app: &TestApp) -> Self {
        let tenant = app.tenant("other").await;
        let (admin, stranger) = (app.admin().await, app.client_of(&tenant, "admin").await);
        let revoked = app.admin().await;
        app.revoke_client(&revoked).await;
        let mut roles = vec![Role::Nobody, Role::Garbage, Role::Revoked(revoked)];
        for scope in Scope::ALL {
            let client = if scope == Scope::Admin { admin.clone() } else { app.client(scope.as_str()).await };
            roles.push(Role::Client { client, scope, tenant: Org::Own });
        }
        roles.push(Role::Client { client: stranger.clone(), scope: Scope::Admin, tenant: Org::Other });
        let challenger = roles.iter().find_map(|role| match role {
            Role::Client { client, scope: Scope::Challenges, .. } => Some(client.clone()),
            _ => None,
        });
        let challenger = challenger.unwrap();
        // The one that proves itself is not the one that gets suspended and revoked.
        let own_device = admin.enroll("ada").await;
        let phone = || fcm_options("fcm-token");
        let own = admin.enroll_with("ada", phone()).await;
        let others = admin.enroll_with("grace", phone()).await;
        let strangers = stranger.enroll_with("ada", phone()).await;
        let objects = vec![
            Object::new("own", Org::Own, &admin, &challenger, &own).await,
            Object::new("other user's", Org::Own, &admin, &challenger, &others).await,
            Object::new("other tenant's", Org::Other, &stranger, &stranger, &strangers).await,
            Object::none("unknown", UNKNOWN),
            Object::none("malformed", "not%20an%20id"),
        ];
        roles.push(Role::Device(Box::new(own_device)));
        Self { roles, objects }
    }
}

/// What ends the very objects that the others are tried on comes last.
const LAST: [&str; 3] = ["users.revoke_all", "users.erase", "webhooks.delete"];

pub(crate) fn body_of(operation: &Operation) -> Option<Value> {
    match operation.id {
        "enrollments.confirm" | "challenges.code" => Some(json!({"code": "123456"})),
        "webhooks.change" | "webhooks.rotate_secret" | "webhooks.replay" => Some(json!({})),
        "users.report" | "users.revoke_all" | "api_clients.change" | "api_clients.add_key" => Some(json!({})),
        "policy.set" | "policy.set_application" | "policy.dry_run" => Some(json!({})),
        "devices.rename" => Some(json!({"name": "Phone"})),
        "users.change" => Some(json!({"display_name": "Ada"})),
        _ if operation.takes_json() => Some(json!({"user": {"external_id": "ada"}})),
        _ => None,
    }
}

async fn call(app: &TestApp, operation: &Operation, role: &Role, object: &Object) {
    let path = operation.path.replace("{id}", object.id(operation, role)).replace("{slug}", "not-found");
    let path = path
        .replace("{test_id}", &object.test_push)
        .replace("{delivery_id}", &object.webhook_delivery)
        .replace("{name}", "VPN");
    let path = path.replace("{key_id}", &object.api_key);
    let mut request = app.http.request(operation.method.clone(), &path);
    if let Some(authorization) = role.authorization(app, &operation.method, &path) {
        request = request.header(AUTHORIZATION, authorization);
    }
    if let Some(body) = body_of(operation) {
        request = request.json(&body);
    } else if matches!(operation.access, Access::Artefact(_)) {
        request = request.header("content-type", "application/jwt").body("e30.e30.e30");
    }
    let reply = app.http.send(request).await;
    let what = format!("{} by {} on {}: {}", operation.id, role.name(), object.name, reply.text());
    match expected(operation, role, object) {
        Some(slug) => {
            let kind = reply.json()["type"].as_str().unwrap_or_default().to_owned();
            assert!(kind.ends_with(&format!("/{slug}")), "expected {slug}: {what}");
            reply.problem(slug);
        }
        None => assert!(reply.status < 500 && !matches!(reply.status, 401 | 403 | 404 | 405 | 415), "{what}"),
    }
    // Whatever it says, it says nothing of another organisation's.
    if let (Role::Client { tenant, .. }, Some(other)) = (role, object.tenant) {
        let ids = [&object.enrollment, &object.user, &object.device, &object.webhook];
        let says = |id: &String| reply.text().contains(id.as_str());
        assert!(other == *tenant || !ids.into_iter().chain(&object.challenges).any(says), "{what}");
    }
}

#[tokio::test]
async fn every_operation_admits_whom_its_row_names_to_what_is_theirs() {
    both_with_providers(async |app, _| {
        let world = World::new(app).await;
        let first = ALL.iter().filter(|operation| !LAST.contains(&operation.id));
        let last = LAST.iter().filter_map(|id| ALL.iter().find(|operation| operation.id == *id));
        let mut ended = BTreeSet::new();
        for operation in first.chain(last) {
            for role in &world.roles {
                for object in &world.objects {
                    // Whoever else may end an object comes too late.
                    let ends = LAST.contains(&operation.id) && expected(operation, role, object).is_none();
                    if !ends || ended.insert((operation.id, object.name)) {
                        call(app, operation, role, object).await;
                    }
                }
            }
        }
    })
    .await;
}

fn rows() -> BTreeSet<(String, String)> {
    ALL.iter().map(|operation| (operation.method.to_string(), operation.path.to_owned())).collect()
}

fn operations_of(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
    let all = paths.iter().flat_map(|(path, item)| {
        let members = item.as_object().unwrap().keys().filter(|member| methods.contains(&member.as_str()));
        members.map(move |method| (method.to_uppercase(), path.clone()))
    });
    all.collect()
}

#[tokio::test]
async fn every_route_has_a_row_and_every_row_a_route() {
    let routed = serde_json::to_value(routes::documented().into_openapi()).unwrap();
    assert_eq!(operations_of(&routed), rows());
    assert_eq!(rows().len(), ALL.len(), "a row is there twice");
    let names: BTreeSet<_> = ALL.iter().map(|operation| operation.id).collect();
    assert_eq!(names.len(), ALL.len(), "a name is there twice");
}

#[tokio::test]
async fn the_openapi_document_says_of_each_operation_who_may_call_it_and_how_it_fails() {
    let app = TestApp::start(countersign_tests::Db::Sqlite).await;
    let document = app.http.get("/openapi.json").await.ok(200);
    assert!(text(&document, "openapi").starts_with("3.1."));
    assert_eq!(operations_of(&document), rows());
    for operation in ALL {
        let described = &document["paths"][operation.path][operation.method.as_str().to_lowercase()];
        assert_eq!(described["operationId"], operation.id);
        let scopes: Vec<_> = match operation.access {
            Access::Client(scopes) => {
                let ways = |scope: &Scope| ["api_key", "client_proof"].map(|way| json!({way: [scope.as_str()]}));
                scopes.iter().flat_map(ways).collect()
            }
            Access::ClientWithAll(scopes) => {
                let all: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
                ["api_key", "client_proof"].map(|way| json!({way: all})).into()
            }
            Access::DeviceProof => vec![json!({"device_proof": []})],
            Access::Public | Access::Artefact(_) => Vec::new(),
        };
        let security = described.get("security").cloned().unwrap_or_else(|| json!([]));
        assert_eq!(security, Value::Array(scopes), "{}", operation.id);
        for problem in operation.all_problems() {
            let spec = problem.spec();
            let response = &described["responses"][spec.status.to_string()];
            let said = response.to_string();
            assert!(said.contains(&format!("`{}`", spec.slug)), "{} says nothing of {}", operation.id, spec.slug);
            assert!(response["content"]["application/problem+json"]["example"].is_object(), "{}", operation.id);
        }
        let responses = described["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{}", operation.id);
        let summary = described["summary"].as_str().or(described["description"].as_str()).unwrap_or_default();
        assert!(!summary.is_empty(), "{}", operation.id);
        let takes_body = operation.takes_json() || matches!(operation.access, Access::Artefact(_));
        assert_eq!(described.get("requestBody").is_some(), takes_body, "{}", operation.id);
    }
    every_reference_leads_somewhere(&document, &document);
    app.finish().await;
}

fn every_reference_leads_somewhere(document: &Value, part: &Value) {
    match part {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            members.values().for_each(|member| every_reference_leads_somewhere(document, member));
        }
        Value::Array(items) => items.iter().for_each(|item| every_reference_leads_somewhere(document, item)),
        _ => {}
    }
}

#[tokio::test]
async fn every_problem_type_has_its_page() {
    let app = TestApp::start(countersign_tests::Db::Sqlite).await;
    for kind in countersign_proto::problem::ProblemType::ALL {
        let page = app.http.get(&format!("/problems/{}", kind.spec().slug)).await;
        assert_eq!(page.status, 200);
        assert!(page.text().contains(kind.spec().title), "{}", kind.spec().slug);
    }
    app.http.get("/problems/nothing").await.problem("not-found");
    app.finish().await;
}
