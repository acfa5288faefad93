//! Two organisations of two people each, every text of theirs a canary.
//!
//! To add a text: `flock.word` where it is put.

use countersign_proto::{api::enrollments::Registered, jose::Kind, vocabulary::Platform};
use countersign_simulator::phone::{Answer, Candidate, EnrollOptions, EnrollmentUri};
use countersign_tests::{
    ApiClient, Device, Ear, path_of,
    providers::{Providers, TOPIC, with_push},
    receiver::{Hook, Receiver},
    text,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::whose::{Flock, Owner, Sort};
use crate::{
    indistinguishable::things::{Thing, Things, thing},
    process::{Program, ServerProcess},
};

pub(crate) struct Organisation {
    pub(crate) name: char,
    pub(crate) admin: ApiClient,
    /// May do no more than ask people.
    pub(crate) asker: ApiClient,
    /// Told of everything.
    pub(crate) hook: Hook,
    pub(crate) ear: Ear,
    pub(crate) application: String,
}

pub(crate) struct Person {
    pub(crate) owner: Owner,
    pub(crate) external_id: String,
    pub(crate) ear: Ear,
    pub(crate) phone: Device,
    pub(crate) browser: Device,
    pub(crate) things: Things,
    /// The addresses at the providers.
    pub(crate) addresses: Vec<String>,
}

impl Organisation {
    pub(crate) async fn new(
        program: &Program,
        server: &ServerProcess,
        receiver: &Receiver,
        flock: &mut Flock,
        name: char,
    ) -> Self {
        let (own, admins) = (Owner::Organisation(name), Owner::Admins(name));
        let (slug, title) = (flock.word(admins, Sort::Told, "slug"), flock.word(own, Sort::Told, "title"));
        program.json(&["tenant", "create", "--name", &slug, "--display-name", &title]).await;
        let ear = Ear::default();
        let mut clients = Vec::new();
        for scopes in ["admin", "challenges"] {
            let word = flock.word(admins, Sort::Told, scopes);
            let made =
                program.json(&["api-client", "create", "--tenant", &slug, "--name", &word, "--scopes", scopes]).await;
            let client = ApiClient::connect(&server.issuer, text(&made, "client_id"), text(&made, "api_key")).await;
            flock.watch(admins, Sort::Kept, &client.key);
            flock.watch(own, Sort::Id, &client.id);
            let http = client.http.overheard(&ear);
            clients.push(client.at(&http));
        }
        let asker = clients.pop().unwrap();
        let admin = clients.pop().unwrap();
        let address = flock.word(admins, Sort::Told, "address");
        let body = json!({"url": receiver.hooks.url(&address), "events": ["*"],
            "description": flock.word(admins, Sort::Told, "description")});
        let made = admin.post("/v1/webhooks", body).await.ok(201);
        flock.watch(admins, Sort::Told, text(&made, "secret"));
        let hook = Hook::of(&made, &address);
        let application = flock.word(own, Sort::Told, "application");
        Self { name, admin, asker, hook, ear, application }
    }
}

/// A phone of the person, that says of itself what it can.
async fn device(admin: &ApiClient, ear: &Ear, flock: &mut Flock, owner: Owner, kind: &str, push: Value) -> Device {
    let mut word = |sort, field: &str| flock.word(owner, sort, &format!("{kind}_{field}"));
    let mut options = with_push(&word(Sort::Told, "name"), push);
    options.device.platform = Platform::Android;
    options.device.model = Some(word(Sort::Told, "model"));
    options.device.os_version = Some(word(Sort::Told, "os"));
    options.device.app_id = Some(word(Sort::Told, "app"));
    options.device.app_version = Some(word(Sort::Told, "version"));
    options.device.installation_id = Some(word(Sort::Told, "installation"));
    let user = json!({"external_id": owner.word("external_id"), "display_name": owner.word("display_name")});
    let body = json!({"user": user, "override": word(Sort::Kept, "override"), "qr": true});
    let enrollment = admin.create_enrollment(body).await;
    flock.watch(owner, Sort::Told, text(&enrollment, "ticket"));
    let device = register(admin, ear, &enrollment, options).await;
    // Six digits are part of too much else to be followed; numbers of eight are.
    let code = device.registration().confirmation_code.clone().unwrap();
    admin.confirm(&enrollment, &code).await.ok(200);
    flock.watch(owner, Sort::Id, &device.device_id());
    // As it says first: later it tells other versions.
    admin.get(&format!("/v1/devices/{}", device.device_id())).await.ok(200);
    device
}

/// Registers where the ear hears it, and once more, as after a lost reply, for the phone to keep.
async fn register(admin: &ApiClient, ear: &Ear, enrollment: &Value, options: EnrollOptions) -> Device {
    let http = admin.http().overheard(ear);
    let uri = EnrollmentUri::parse(text(enrollment, "enrollment_uri")).unwrap();
    let (server, surroundings) = admin.phones();
    let candidate = Candidate::new(server.clone(), uri.ticket(), options, surroundings.clone()).unwrap();
    let first = http.artefact(Method::POST, "/v1/device/registrations", candidate.token()).await.ok(201);
    let first: Registered = serde_json::from_value(first).unwrap();
    let phone = candidate.register().await.unwrap();
    assert_eq!(phone.id(), first.device_id);
    Device::new(phone, http)
}

impl Person {
    /// With three devices, one at each provider, and a challenge of each way, the fullest of which rings them all.
    pub(crate) async fn new(organisation: &Organisation, providers: &Providers, flock: &mut Flock, number: u8) -> Self {
        let (admin, owner, ear) = (&organisation.admin, Owner::Person(organisation.name, number), Ear::default());
        let external_id = flock.word(owner, Sort::Told, "external_id");
        flock.word(owner, Sort::Told, "display_name");
        let fcm = flock.word(owner, Sort::Kept, "fcm");
        let apns = format!("{}{number}", organisation.name).repeat(32);
        let subscription = providers.webpush.subscribe().unwrap();
        for kept in [&apns, &subscription.id, &subscription.p256dh, &subscription.auth] {
            flock.watch(owner, Sort::Kept, kept);
        }
        let binding = json!({"channel": "fcm", "token": fcm});
        let phone = device(admin, &ear, flock, owner, "phone", binding).await;
        let binding = json!({"channel": "apns", "token": apns, "topic": TOPIC, "environment": "production"});
        device(admin, &ear, flock, owner, "tablet", binding).await;
        let browser = device(admin, &ear, flock, owner, "browser", subscription.binding()).await;
        let mut things = Things::of(admin, &flock.word(owner, Sort::Told, "thing")).await;
        for ticket in &things.tickets {
            flock.watch(owner, Sort::Told, &ticket.1);
        }
        let challenge = full_challenge(organisation, flock, owner).await;
        // Before it is answered: who has answered is not rung any more.
        providers.next_fcm(&fcm, "challenge").await;
        providers.next_apns(&apns, "challenge").await;
        providers.next_webpush(&subscription, "challenge").await;
        approve(organisation, &phone, &challenge).await;
        let shown = shown_code(organisation, &phone, flock, owner).await;
        let message = flock.word(owner, Sort::Told, "message_waiting");
        let body = json!({"user": {"external_id": external_id}, "message": message, "verification": {"mode": "none"}});
        let waiting = organisation.asker.create_challenge(body).await;

        let own = phone.get("/v1/device").await.ok(200);
        let tablet = owner.word("tablet_name");
        let notice = own["notices"].as_array().unwrap().iter().find(|notice| notice["device"]["name"] == tablet);
        things.notices.push(thing("a notice to the canary", notice.unwrap()));
        things.challenges.extend([&challenge, &shown, &waiting].map(|it| thing("a canary's challenge", it)));
        let user = phone.registration().user.id.to_string();
        for (list, what, id) in
            [(&mut things.users, "a canary", user), (&mut things.devices, "a canary's device", phone.device_id())]
        {
            list.push(Thing { what, id, code: None });
        }
        for thing in things.users.iter().chain(&things.devices).chain(&things.challenges).chain(&things.enrollments) {
            flock.watch(owner, Sort::Id, &thing.id);
        }
        Self { owner, external_id, ear, phone, browser, things, addresses: vec![fcm, apns, subscription.id] }
    }
}

/// A challenge with all that one can have.
async fn full_challenge(organisation: &Organisation, flock: &mut Flock, owner: Owner) -> Value {
    let mut word = |field: &str| flock.word(owner, Sort::Told, field);
    let body = json!({
        "user": {"external_id": word("external_id")}, "application": organisation.application,
        "action": word("action"), "message": word("message"),
        "context": {"ip": word("ip"), "user_agent": word("agent"), "location": word("location"), "device": word("machine")},
        "details": [{"label": word("label"), "value": word("value")}], "client_reference": word("reference"),
        "risk": {"level": "low", "reasons": [word("risk")]}, "verification": {"mode": "enter", "digits": 8},
        "ttl_seconds": 600,
    });
    // Told to who exports all that is held.
    let key = flock.word(owner, Sort::Told, "idempotency_key");
    let request = || organisation.admin.request(Method::POST, "/v1/challenges").header("idempotency-key", &key);
    let challenge = organisation.admin.send(request().json(&body)).await.ok(201);
    let again = organisation.admin.send(request().json(&body)).await.ok(201);
    assert_eq!(again["id"], challenge["id"], "the key is in play");
    flock.watch(owner, Sort::Told, text(&challenge, "number"));
    challenge
}

/// The phone approves it with its number.
async fn approve(organisation: &Organisation, phone: &Device, challenge: &Value) {
    let id = text(challenge, "id");
    phone.get("/v1/device/challenges").await.ok(200);
    phone.get(&format!("/v1/device/challenges/{id}")).await.ok(200);
    let shown = phone.pending_of(challenge).await;
    let answer = Answer::approve(Some(text(challenge, "number")));
    phone.respond_with(id, &phone.sign_response(&shown, &answer).unwrap()).await.ok(200);
    organisation.admin.get(&format!("{}?include=evidence,deliveries", path_of(challenge))).await.ok(200);
}

/// A challenge whose code the phone shows and the person types.
async fn shown_code(organisation: &Organisation, phone: &Device, flock: &mut Flock, owner: Owner) -> Value {
    let body = json!({"user": {"external_id": owner.word("external_id")},
        "message": flock.word(owner, Sort::Told, "message_shown"), "verification": {"mode": "display"}});
    let challenge = organisation.asker.create_challenge(body).await;
    let shown = phone.pending_of(&challenge).await;
    let token = phone.sign_response(&shown, &Answer::approve(None)).unwrap();
    let recorded = phone.respond_with(text(&challenge, "id"), &token).await.ok(200);
    let code = text(&recorded, "display_code");
    organisation.asker.post(&format!("{}/code", path_of(&challenge)), json!({"code": code})).await.ok(200);
    challenge
}

impl Person {
    /// Whether it is one of theirs.
    pub(crate) fn is_of(&self, organisation: &Organisation) -> bool {
        matches!(self.owner, Owner::Person(name, _) if name == organisation.name)
    }

    /// What a phone does without being asked: it looks, tells where it is, replaces its key; the browser leaves.
    pub(crate) async fn live_on(&mut self, flock: &mut Flock) {
        for path in ["/v1/device", "/v1/device/policy", "/v1/device/challenges"] {
            self.phone.get(path).await.ok(200);
        }
        let push = json!({"channel": "fcm", "token": self.addresses[0]});
        let versions = ["app_after", "os_after"].map(|field| flock.word(self.owner, Sort::Told, field));
        let claims = json!({"push": push, "app_version": versions[0], "os_version": versions[1]});
        self.send(Kind::PushUpdate, Method::PUT, "/v1/device/push", claims).await;
        let rotation = self.phone.prepare_rotation(countersign_simulator::phone::Replace::DeviceKey).unwrap();
        self.phone.rotate_with(rotation.token()).await.ok(200);
        let http = self.phone_http();
        self.phone = Device::new(self.phone.rotate(&rotation).await.unwrap(), http);
    }

    /// The browser is not used any more.
    pub(crate) async fn leave(&self) {
        let token = self.browser.sign(Kind::Deregistration, &self.browser.claims()).unwrap();
        self.browser.artefact(Method::POST, "/v1/device/deregistration", &token).await.ok(200);
    }

    async fn send(&self, kind: Kind, method: Method, path: &str, claims: Value) {
        let token = self.phone.sign(kind, &self.phone.claims_with(claims)).unwrap();
        self.phone.artefact(method, path, &token).await.ok(200);
    }

    fn phone_http(&self) -> countersign_tests::Http {
        self.phone.http().overheard(&self.ear)
    }
}
