//! Secrets and texts are followed through a whole life of the server at its most talkative: none may appear in a log,
//! a metric or an error.
//!
//! To follow one more: put it where a caller would, and hand it to [`Cage::watch`]; one that somebody may see and others
//! may not: [`whose`].

mod others;
mod people;
mod walk;
mod whose;

use countersign_proto::{jose::base64url, push::PushBinding};
use countersign_simulator::{
    phone::EnrollOptions,
    stand_in::{Behaviour, system_clock},
    webpush,
};
use countersign_tests::{
    ApiClient, Db, Device, Reply, forge, path_of,
    providers::{Providers, TOPIC},
    text,
};
use reqwest::{
    Method,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::json;

use crate::process::{Program, ServerProcess};

/// What must not be seen, each with its name.
#[derive(Default)]
pub(crate) struct Cage(Vec<(String, String)>);

impl Cage {
    pub(crate) fn watch(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= 6, "{name} is too short to be found for certain");
        self.0.push((name.to_owned(), secret.to_owned()));
    }

    /// Whether `text` holds any of it, as it is or in base64url, which is how a JWS would carry it.
    #[track_caller]
    pub(crate) fn check(&self, place: &str, text: &str) {
        let text = unfolded(text);
        for (name, secret) in &self.0 {
            assert!(!holds(&text, secret), "{name} ({secret}) is in {place}:\n{}", around(&text, secret));
        }
    }
}

/// The text, and after it all that it says in base64url.
fn unfolded(text: &str) -> String {
    let mut all = text.to_owned();
    let mut begin = 0;
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    // Bytes, not characters: there is much to look through. What ends a part is one byte, so both sides are text.
    for (end, byte) in text.bytes().chain([b' ']).enumerate() {
        if is_inside(byte) {
            continue;
        }
        if end - begin > 40
            && let Some(bytes) = base64url::decode(&text.as_bytes()[begin..end])
        {
            all.push('\n');
            all.push_str(&String::from_utf8_lossy(&bytes));
        }
        begin = end + 1;
    }
    all
}

/// A number counts only as a whole one: six digits are part of many a longer number.
fn holds(text: &str, secret: &str) -> bool {
    if !text.contains(secret) {
        return false;
    }
    if secret.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| run == secret);
    }
    true
}

fn around(text: &str, secret: &str) -> String {
    text.lines().filter(|line| line.contains(secret)).take(3).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_cage_finds_what_is_there_and_not_what_only_looks_like_it() {
    let mut cage = Cage::default();
    cage.watch("number", "123456");
    cage.watch("name", "Canary");
    cage.check("a log", "at 1234567 and 0123456, id a123456");
    let finds = |text: String| std::panic::catch_unwind(|| cage.check("a log", &text)).is_err();
    assert!(finds("number=\"123456\"".to_owned()));
    assert!(finds("name: Canary".to_owned()));
    let claims = json!({"name": "Canary", "filler": "of a length that makes it a token"}).to_string();
    assert!(finds(format!("jws=a.{}.c", base64url::encode(claims))));
}

/// The log without its times, whose digits could be any number.
pub(crate) fn without_times(logs: &str) -> String {
    let lines = logs.lines().map(|line| {
        let Ok(mut record) = serde_json::from_str::<serde_json::Value>(line) else { return line.to_owned() };
        record.as_object_mut().unwrap().remove("timestamp");
        record.to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}

const APNS_TOKEN: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";
const FCM_TOKEN: &str = "canary-fcm-token:APA91bCanary";

fn push_bindings(cage: &mut Cage, browser: &webpush::Subscription) -> Vec<PushBinding> {
    let bindings = [
        json!({"channel": "fcm", "token": FCM_TOKEN}),
        browser.binding(),
        json!({"channel": "apns", "token": APNS_TOKEN, "topic": TOPIC, "environment": "production"}),
    ];
    cage.watch("APNs token", APNS_TOKEN);
    cage.watch("FCM token", "canary-fcm-token");
    cage.watch("Web Push endpoint", &browser.id);
    cage.watch("Web Push key", &browser.p256dh);
    cage.watch("Web Push auth", &browser.auth);
    bindings.into_iter().map(|binding| serde_json::from_value(binding).unwrap()).collect()
}

/// A whole life: enrollment, push, a wrong number, an approval, a denial, replays, refusals.
async fn live(client: &ApiClient, cage: &mut Cage, providers: &Providers) -> Vec<Reply> {
    cage.watch("API key", &client.key);
    cage.watch("external id", "canary-external-id");
    cage.watch("display name", "Canary Display Name");
    let user = json!({"external_id": "canary-external-id", "display_name": "Canary Display Name"});
    let mut errors = Vec::new();

    let enrollment = client.create_enrollment(json!({"user": user})).await;
    cage.watch("ticket", text(&enrollment, "ticket"));
    cage.watch("device name", "Canary Phone");
    let browser = providers.webpush.subscribe().unwrap();
    let bindings = push_bindings(cage, &browser);
    let options = EnrollOptions { push: bindings[0].clone(), ..EnrollOptions::named("Canary Phone").with_uv_key() };
    let device = client.claim(&enrollment, options.clone()).await;
    let code = device.registration().confirmation_code.clone().unwrap();
    cage.watch("confirmation code", &code);
    let wrong_code = if code == "918273" { "918274" } else { "918273" };
    cage.watch("wrong confirmation code", wrong_code);
    errors.push(client.confirm(&enrollment, wrong_code).await);
    client.confirm(&enrollment, &code).await.ok(200);
    errors.push(client.http().artefact(Method::POST, "/v1/device/registrations", "canary-body.canary.canary").await);
    cage.watch("a broken artefact", "canary-body");
    let unknown = json!({"channel": "apns", "token": APNS_TOKEN, "topic": "org.unknown", "environment": "sandbox"});
    let unknown = serde_json::from_value(unknown).unwrap();
    for binding in bindings.into_iter().skip(1).chain([unknown]) {
        // The last is not configured: a refusal that must not repeat the token.
        let claims = device.claims_with(json!({"push": binding}));
        let token = device.sign(countersign_proto::jose::Kind::PushUpdate, &claims).unwrap();
        cage.watch("push update", &token);
        let reply = client.http().artefact(Method::PUT, "/v1/device/push", token).await;
        if reply.status == 200 {
            // Each channel rings once, and once more after its provider has had trouble.
            providers.apns.script(APNS_TOKEN, [Behaviour::status(503)]);
            providers.webpush.script(&browser.id, [Behaviour::status(503)]);
            let challenge = client.plain_challenge("canary-external-id").await;
            match &binding {
                PushBinding::Apns { .. } => drop(providers.next_apns(APNS_TOKEN, "challenge").await),
                PushBinding::Webpush { .. } => drop(providers.next_webpush(&browser, "challenge").await),
                PushBinding::Fcm { .. } | PushBinding::None => {}
            }
            device.deny(&device.pending_of(&challenge).await, None).await.unwrap();
        }
        errors.push(reply);
    }

    for number_is_right in [false, true] {
        let body = json!({
            "user": {"external_id": "canary-external-id"}, "application": "canary-application",
            "message": "canary-message", "context": {"ip": "203.0.113.77", "location": "canary-location"},
            "details": [{"label": "canary-label", "value": "canary-value"}], "client_reference": "canary-reference",
            "verification": {"mode": "enter", "digits": 8},
        });
        let request =
            client.request(Method::POST, "/v1/challenges").header("Idempotency-Key", "canary-idempotency-key");
        let challenge = if number_is_right {
            client.send(request.json(&body)).await.ok(201)
        } else {
            client.create_challenge(body).await
        };
        let number = text(&challenge, "number").to_owned();
        cage.watch("number", &number);
        let shown = device.only_pending().await;
        cage.watch("challenge", shown.text());
        let wrong = if number == "91827364" { "91827365" } else { "91827364" };
        let answer = countersign_simulator::phone::Answer::approve(Some(if number_is_right { &number } else { wrong }));
        let token = device.sign_response(&shown, &answer).unwrap();
        cage.watch("response", &token);
        for _ in 0..2 {
            let reply = device.respond_with(text(&challenge, "id"), &token).await;
            assert_eq!(reply.status, if number_is_right { 200 } else { 403 });
            errors.extend((!number_is_right).then_some(reply));
        }
        cage.watch("wrong number", wrong);
        client.get(&format!("{}?include=evidence,deliveries", path_of(&challenge))).await.ok(200);
    }
    errors.extend(show_code(client, &device, cage).await);
    for text in ["canary-application", "canary-message", "203.0.113.77", "canary-location", "canary-label"] {
        cage.watch(text, text);
    }
    for text in ["canary-value", "canary-reference", "canary-idempotency-key"] {
        cage.watch(text, text);
    }
    errors.extend(provoke(client, cage).await);
    errors
}

/// A code that the phone shows, typed wrong, too short, and right.
async fn show_code(client: &ApiClient, device: &Device, cage: &mut Cage) -> Vec<Reply> {
    let body = json!({"user": {"external_id": "canary-external-id"}, "verification": {"mode": "display"}});
    let challenge = client.create_challenge(body).await;
    let shown = device.pending_of(&challenge).await;
    let recorded = device.approve(&shown, None, None).await.unwrap();
    let code = recorded.display_code.clone().unwrap();
    cage.watch("display code", &code);
    cage.check("what is printed of the reply", &format!("{recorded:?}"));
    let wrong = if code == "573829" { "573820" } else { "573829" };
    cage.watch("wrong display code", wrong);
    let path = format!("{}/code", path_of(&challenge));
    let mut errors = Vec::new();
    for typed in [wrong, "4739281"] {
        errors.push(client.post(&path, json!({"code": typed})).await);
    }
    client.post(&path, json!({"code": code})).await.ok(200);
    errors
}

/// Requests that are wrong in many ways, each with something in it that must not come back.
async fn provoke(client: &ApiClient, cage: &mut Cage) -> Vec<Reply> {
    cage.watch("anything wrong", "canary-wrong");
    let mut errors = Vec::new();
    for body in [
        json!({"user": {"external_id": "ada"}, "message": 17, "application": ["canary-wrong"]}),
        json!({"user": {"external_id": " canary-wrong"}}),
        json!({"user": {"external_id": "canary-wrong\u{202e}"}}),
        json!({"user": {"external_id": "ada"}, "verification": {"mode": "canary-wrong"}}),
        json!({"user": {"external_id": "ada"}, "ttl_seconds": "canary-wrong"}),
        json!({"user": {"external_id": "ada"}, "device_ids": ["canary-wrong"]}),
        json!({"user": {"external_id": "ada"}, "action": "CANARY canary-wrong"}),
        json!({"user": {"external_id": "ada"}, "push": "canary-wrong"}),
        json!({"user": "canary-wrong"}),
        json!("canary-wrong"),
    ] {
        errors.push(client.post("/v1/challenges", body.clone()).await);
        errors.push(client.post("/v1/enrollments", body).await);
    }
    for body in ["{\"canary-wrong", "{\"user\":{\"external_id\":\"canary-wrong\"},\"user\":1}", "canary-wrong"] {
        let request = client.request(Method::POST, "/v1/challenges").header(CONTENT_TYPE, "application/json");
        errors.push(client.send(request.body(body)).await);
    }
    for path in [
        "/v1/challenges/canary-wrong",
        "/v1/challenges?status=canary-wrong",
        "/v1/challenges?cursor=canary-wrong",
        "/v1/devices?canary-wrong=1",
        "/v1/devices/canary-wrong",
        "/v1/users?limit=canary-wrong",
        "/canary-wrong",
        "/problems/canary-wrong",
        "/v1/events?cursor=canary-wrong",
        "/v1/users/canary-wrong/methods",
        "/v1/users/canary-wrong/timeline?cursor=canary-wrong",
        "/v1/users/canary-wrong/export",
    ] {
        errors.push(client.get(path).await);
    }
    for (path, body) in [
        ("/v1/users/canary-wrong", json!({"display_name": "canary-wrong"})),
        ("/v1/users/canary-wrong", json!({"display_name": {"canary-wrong": 1}})),
        ("/v1/tenant", json!({"name": "canary-wrong\u{202e}"})),
        ("/v1/tenant", json!({"retention": {"challenge_days": "canary-wrong"}})),
    ] {
        errors.push(client.patch(path, body).await);
    }
    errors.push(client.delete("/v1/users/canary-wrong").await);
    for authorization in ["Bearer canary-wrong", "DeviceProof canary-wrong", "Basic canary-wrong", "canary-wrong"] {
        for path in ["/v1/devices", "/v1/device", "/v1/device/challenges"] {
            let request = client.http().request(Method::GET, path).header(AUTHORIZATION, authorization);
            errors.push(client.http().send(request).await);
        }
    }
    let key = countersign_proto::jose::SigningKey::generate().unwrap();
    let header = forge::header("canary-wrong", &key);
    let token = forge::sign_json(&key, &header, &json!({"iss": "canary-wrong", "jti": "canary-wrong"}));
    for (method, path) in [(Method::POST, "/v1/device/registrations"), (Method::PUT, "/v1/device/push")] {
        errors.push(client.http().artefact(method, path, token.clone()).await);
    }
    errors
}

async fn nothing_escapes(db: Db, filter: &str) {
    let providers = Providers::start_by(system_clock()).await;
    let program = Program::on(db).await.set("log.filter", filter).ringing(&providers);
    let server = program.serve().await;
    let client = program.client(&server, "admin").await;
    let mut cage = Cage::default();
    let errors = live(&client, &mut cage, &providers).await;
    over_http_2(&server, &client).await;
    let metrics = server.metrics().await;
    let finished = server.stop().await;

    for reply in errors {
        assert!(reply.status >= 400 || reply.status == 200, "{reply:?}");
        if reply.status >= 400 {
            assert_eq!(reply.header("content-type"), "application/problem+json", "{reply:?}");
            cage.check("an error", &format!("{:?}\n{}", reply.headers, reply.text()));
        }
    }
    cage.check("the metrics", &metrics);
    cage.check("stdout", &finished.stdout);
    let logs = without_times(&finished.stderr);
    // A silent server would pass: it must have said a lot.
    assert!(logs.lines().count() > 50, "{logs}");
    cage.check("the log", &logs);
    for name in ["apns.p8", "fcm.json"] {
        let credential = std::fs::read_to_string(providers.file(name)).unwrap();
        // A line of the key within its PEM, which JSON writes with `\n`.
        let line = credential.split(['\n', '\\']).find(|part| part.len() > 60 && !part.contains(' ')).unwrap();
        assert!(!logs.contains(&line[5..45]), "{name} is in the log");
    }
    // The tokens that our senders show to providers are secrets, too.
    assert!(!logs.contains("bearer eyJ") && !logs.contains("Bearer stand-in.") && !logs.contains("vapid t="), "{logs}");
    assert_eq!(providers.apns.accepted_count().min(1) + providers.webpush.accepted_count().min(1), 2);
    providers.stop().await;
}

/// HTTP/2 has a log of its own, down to single headers.
async fn over_http_2(server: &ServerProcess, client: &ApiClient) {
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).http2_prior_knowledge().build().unwrap();
    let url = format!("{}/v1/users?external_id=canary-external-id", server.issuer);
    let reply = http.get(url).header(AUTHORIZATION, format!("Bearer {}", client.key)).send().await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.version()), (200, reqwest::Version::HTTP_2));
}

#[tokio::test]
async fn no_secret_and_no_text_escapes_at_level_trace() {
    for db in [Db::Sqlite, Db::Postgres] {
        nothing_escapes(db, "trace").await;
    }
}

#[tokio::test]
async fn no_secret_and_no_text_escapes_at_level_debug() {
    for db in [Db::Sqlite, Db::Postgres] {
        nothing_escapes(db, "debug").await;
    }
}

#[tokio::test]
async fn a_command_prints_a_new_api_key_on_stdout_only() {
    let program = Program::on(Db::Sqlite).await.set("log.filter", "trace");
    let made = program.run(&["api-client", "create", "--name", "canary-name", "--scopes", "admin", "--json"]).await;
    let key = text(&made.object(), "api_key").to_owned();
    assert!(!made.stderr.contains(&key) && !made.stderr.contains("canary-name"), "{}", made.stderr);
}
