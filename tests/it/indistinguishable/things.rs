//! Somebody's things: one of each kind that a path can name, in each state in which it might be told from nothing.
//!
//! To add a kind: a member, and its arm in [`Things::at`].

use countersign::http::operations::Operation;
use countersign_simulator::phone::EnrollOptions;
use countersign_tests::{ApiClient, Device, path_of, providers::fcm_options, text};
use serde_json::{Value, json};

use super::asks::ticket;

/// One thing.
#[derive(Clone)]
pub(crate) struct Thing {
    pub(crate) what: &'static str,
    pub(crate) id: String,
    /// What would be right to type for it.
    pub(crate) code: Option<String>,
}

pub(crate) struct Things {
    pub(crate) external_id: String,
    pub(crate) users: Vec<Thing>,
    pub(crate) devices: Vec<Thing>,
    pub(crate) installation: String,
    pub(crate) challenges: Vec<Thing>,
    pub(crate) api_client: String,
    /// What is over, each with its state.
    pub(crate) tickets: Vec<(&'static str, String)>,
    /// The device that all of it is about.
    pub(crate) phone: Device,
    pub(crate) notices: Vec<Thing>,
    pub(crate) enrollments: Vec<Thing>,
    test_push: String,
    api_key: String,
    webhook: String,
    webhook_delivery: String,
    application: String,
}

fn one(what: &'static str, id: &str) -> Vec<Thing> {
    vec![Thing { what, id: id.to_owned(), code: None }]
}

pub(crate) fn thing(what: &'static str, value: &Value) -> Thing {
    Thing { what, id: text(value, "id").to_owned(), code: None }
}

impl Things {
    /// The things of a new user of the client's organisation. The name is part of all that has one.
    pub(crate) async fn of(admin: &ApiClient, name: &str) -> Self {
        let external_id = format!("{name}-external-id");
        let mut options = fcm_options(&format!("{name}-token"));
        options.device.installation_id = Some(format!("{name}-installation"));
        let phone = admin.enroll_with(&external_id, options).await;
        // The first hears of the second.
        admin.enroll(&external_id).await;
        let own = phone.get("/v1/device").await.ok(200);
        let (enrollments, tickets) = enrollments(admin, &external_id).await;
        let challenges = challenges(admin, &external_id, &phone).await;
        let device = phone.device_id();
        let tested = admin.post_empty(&format!("/v1/devices/{device}/test-push")).await.ok(202);
        let client = admin.post("/v1/api-clients", json!({"name": name, "scopes": ["challenges"]})).await.ok(201);
        let body = json!({"url": "https://hooks.invalid/", "events": ["user.erased"]});
        let webhook = text(&admin.post("/v1/webhooks", body).await.ok(201), "id").to_owned();
        admin.patch(&format!("/v1/webhooks/{webhook}"), json!({"enabled": false})).await.ok(200);
        let told = admin.post_empty(&format!("/v1/webhooks/{webhook}/test")).await.ok(202);
        let application = format!("{name}-application");
        admin.put(&format!("/v1/policy/applications/{application}"), json!({})).await.ok(200);
        Self {
            installation: format!("{name}-installation"),
            users: one("a user", &phone.registration().user.id.to_string()),
            devices: one("a device", &device),
            challenges,
            api_client: text(&client, "id").to_owned(),
            tickets,
            phone,
            notices: vec![thing("a notice", &own["notices"][0])],
            enrollments,
            test_push: text(&tested, "id").to_owned(),
            api_key: text(&client["keys"][0], "id").to_owned(),
            webhook,
            webhook_delivery: text(&told, "id").to_owned(),
            application,
            external_id,
        }
    }

    /// The ids of all that can be asked about.
    pub(crate) fn ids(&self) -> Vec<&str> {
        let lists = [&self.users, &self.devices, &self.challenges, &self.enrollments, &self.notices];
        let ones = [
            &self.api_client,
            &self.api_key,
            &self.webhook,
            &self.webhook_delivery,
            &self.test_push,
            &self.installation,
            &self.application,
        ];
        lists.into_iter().flatten().map(|thing| &thing.id).chain(ones).map(String::as_str).collect()
    }

    /// What can stand at this place of the operation's path.
    pub(crate) fn at(&self, operation: &Operation, placeholder: &str) -> Vec<Thing> {
        let nouns: Vec<_> = operation.path.split('/').filter(|part| !part.is_empty() && !part.contains('{')).collect();
        match (&nouns[1..], placeholder) {
            (["enrollments", ..], "id") => self.enrollments.clone(),
            (["challenges", ..] | ["device", "challenges", ..], "id") => self.challenges.clone(),
            (["users", ..], "id") => self.users.clone(),
            (["devices", ..], "id") => self.devices.clone(),
            (["devices", "test-push"], "test_id") => one("a test push", &self.test_push),
            (["installations"], "installation_id") => one("an installation", &self.installation),
            (["policy", "applications"], "name") => one("an application", &self.application),
            (["api-clients", ..], "id") => one("an API client", &self.api_client),
            (["api-clients", "keys"], "key_id") => one("an API key", &self.api_key),
            (["webhooks", ..], "id") => one("a webhook", &self.webhook),
            (["webhooks", "deliveries", ..], "delivery_id") => one("a delivery", &self.webhook_delivery),
            (["device", "notices", ..], "id") => self.notices.clone(),
            _ => panic!("what does {placeholder} of {} stand for?", operation.path),
        }
    }
}

/// An open one, and one that waits for its code; and tickets that are used, or over.
async fn enrollments(admin: &ApiClient, external_id: &str) -> (Vec<Thing>, Vec<(&'static str, String)>) {
    let body = json!({"user": {"external_id": external_id}});
    let open = admin.create_enrollment(body.clone()).await;
    let claimed = admin.create_enrollment(body.clone()).await;
    let waiting = admin.claim(&claimed, EnrollOptions::named("Phone")).await;
    let code = waiting.registration().confirmation_code.clone();
    let cancelled = admin.create_enrollment(body.clone()).await;
    admin.post_empty(&format!("/v1/enrollments/{}/cancel", text(&cancelled, "id"))).await.ok(200);
    // Not the one that waits: a second registration with its ticket is told apart by its owner (protocol 4.2).
    let used = admin.create_enrollment(body).await;
    let device = admin.claim(&used, EnrollOptions::named("Phone")).await;
    let right = device.registration().confirmation_code.clone().unwrap();
    admin.confirm(&used, &right).await.ok(200);
    let things = vec![
        thing("an open enrollment", &open),
        Thing { code, ..thing("an enrollment that waits for its code", &claimed) },
        thing("a cancelled enrollment", &cancelled),
    ];
    (things, vec![("a used", ticket(&used)), ("a cancelled", ticket(&cancelled))])
}

/// One that waits, one that is approved, one that waits for its code, and one that was asked for with the number.
async fn challenges(admin: &ApiClient, external_id: &str, phone: &Device) -> Vec<Thing> {
    let waiting = admin.plain_challenge(external_id).await;
    let approved = admin.plain_challenge(external_id).await;
    phone.approve(&phone.pending_of(&approved).await, None, None).await.unwrap();
    let code = crate::display::challenge(admin, external_id).await;
    let shown = crate::display::shown_code(phone, &code).await;
    let all = vec![
        thing("a waiting challenge", &waiting),
        thing("an approved challenge", &approved),
        Thing { code: Some(shown), ..thing("a challenge that waits for its code", &code) },
    ];
    // In memory, as far as anything is.
    for challenge in [&waiting, &approved, &code] {
        admin.get(&path_of(challenge)).await.ok(200);
    }
    all
}
