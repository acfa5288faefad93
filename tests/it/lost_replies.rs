//! Lost replies: what a phone repeats byte for byte gets the first reply again for a day, whatever happened since.
//!
//! Anything else by the same key is not a repeat and is judged anew. (Responses also: `artefacts/repeats.rs`.)

use countersign_proto::jose::Kind;
use countersign_simulator::phone::{Answer, Candidate, EnrollOptions, EnrollmentUri};
use countersign_tests::{ApiClient, Reply, TestApp, both, forge, path_of, text};
use reqwest::Method;
use serde_json::{Value, json};

const TEN_MINUTES: i64 = 600;
const DAY: i64 = 24 * 3600;

/// Sends the same bytes again and again while the world moves on, until the day is over.
struct Repeated<'a> {
    app: &'a TestApp,
    path: String,
    token: String,
    first: Reply,
}

impl<'a> Repeated<'a> {
    async fn send(app: &'a TestApp, path: impl Into<String>, token: impl Into<String>) -> Self {
        let (path, token) = (path.into(), token.into());
        let first = app.http.artefact(Method::POST, &path, token.clone()).await;
        Self { app, path, token, first }
    }

    async fn again(&self) -> Reply {
        self.app.http.artefact(Method::POST, &self.path, self.token.clone()).await
    }

    /// The same status and the same bytes; of a problem all but the request's id.
    async fn is_the_same(&self) {
        let again = self.again().await;
        assert_eq!(
            (again.status, again.header("content-type")),
            (self.first.status, self.first.header("content-type"))
        );
        if self.first.status < 400 {
            assert_eq!(again.text(), self.first.text());
        } else {
            let without_id = |reply: &Reply| {
                let mut document = reply.json();
                document.as_object_mut().unwrap().remove("request_id");
                document
            };
            assert_eq!(without_id(&again), without_id(&self.first));
        }
    }

    /// Now, after ten minutes, after `change`, and until the end of the day; then it is an old artefact.
    async fn holds_for_a_day(&self, change: impl AsyncFnOnce()) -> Reply {
        self.is_the_same().await;
        self.app.clock.advance(TEN_MINUTES);
        self.is_the_same().await;
        change().await;
        self.is_the_same().await;
        self.app.clock.advance(DAY - TEN_MINUTES - 1);
        self.app.sweep().await;
        self.is_the_same().await;
        self.app.clock.advance(1);
        let late = self.again().await;
        assert_eq!(late.status, 401, "{}", late.text());
        late
    }
}

async fn events(app: &TestApp) -> i64 {
    app.database.number("SELECT count(*) FROM events").await
}

fn candidate(idp: &ApiClient, enrollment: &Value) -> Candidate {
    let uri = EnrollmentUri::parse(text(enrollment, "enrollment_uri")).unwrap();
    let (server, surroundings) = idp.phones();
    Candidate::new(server.clone(), uri.ticket(), EnrollOptions::named("Phone"), surroundings.clone()).unwrap()
}

const REGISTRATIONS: &str = "/v1/device/registrations";

#[tokio::test]
async fn a_registration_repeated_gets_its_first_reply_though_the_device_was_revoked() {
    both(async |app| {
        let idp = app.admin().await;
        let body = json!({"user": {"external_id": "ada"}, "confirmation": "none"});
        let enrollment = idp.create_enrollment(body).await;
        let repeated = Repeated::send(app, REGISTRATIONS, candidate(&idp, &enrollment).token()).await;
        let registered = repeated.first.ok(201);
        assert_eq!(text(&registered, "status"), "active");
        let late = repeated
            .holds_for_a_day(async || {
                idp.delete(&format!("/v1/devices/{}", text(&registered, "device_id"))).await.ok(200);
            })
            .await;
        late.problem("clock-skew");
        assert_eq!(app.database.number("SELECT count(*) FROM devices").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_registration_repeated_shows_the_same_code_and_contests_nothing() {
    both(async |app| {
        let idp = app.admin().await;
        let enrollment = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let repeated = Repeated::send(app, REGISTRATIONS, candidate(&idp, &enrollment).token()).await;
        let code = text(&repeated.first.ok(201), "confirmation_code").to_owned();
        for _ in 0..3 {
            repeated.is_the_same().await;
        }
        // The typed code too may be repeated: its reply can be lost on the caller's side.
        for _ in 0..2 {
            assert_eq!(idp.confirm(&enrollment, &code).await.ok(200)["status"], "completed");
        }
        repeated.holds_for_a_day(async || app.sweep().await).await.problem("clock-skew");
        let devices = idp.get("/v1/devices?external_id=ada").await.ok(200);
        assert_eq!((devices["items"].as_array().unwrap().len(), &devices["items"][0]["status"]), (1, &json!("active")));
    })
    .await;
}

#[tokio::test]
async fn a_registration_repeated_gets_its_first_reply_though_its_device_was_never_confirmed() {
    both(async |app| {
        let idp = app.admin().await;
        let enrollment = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let repeated = Repeated::send(app, REGISTRATIONS, candidate(&idp, &enrollment).token()).await;
        repeated.first.ok(201);
        repeated.holds_for_a_day(async || app.sweep().await).await;
        let path = format!("/v1/enrollments/{}", text(&enrollment, "id"));
        assert_eq!(idp.get(&path).await.ok(200)["status"], "expired");
        assert_eq!(app.database.number("SELECT count(*) FROM devices").await, 0);
    })
    .await;
}

#[tokio::test]
async fn another_registration_by_the_same_key_is_no_repeat() {
    both(async |app| {
        let idp = app.admin().await;
        let enrollment = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let phone = candidate(&idp, &enrollment);
        let repeated = Repeated::send(app, REGISTRATIONS, phone.token()).await;
        let code = text(&repeated.first.ok(201), "confirmation_code").to_owned();
        let mut claims = forge::part(phone.token(), 1);
        claims["jti"] = json!("another");
        let anew = phone.device_key().sign(Kind::Registration, &claims).unwrap();
        let before = events(app).await;
        app.http.artefact(Method::POST, REGISTRATIONS, anew.clone()).await.problem("enrollment-not-found");
        // The same signature over the same words, but not the same bytes.
        app.http
            .artefact(Method::POST, REGISTRATIONS, forge::with_other_s(phone.token()))
            .await
            .problem("enrollment-not-found");
        assert_eq!(events(app).await, before, "the phone itself is no second phone");
        assert_eq!(idp.confirm(&enrollment, &code).await.ok(200)["status"], "completed");
        app.http.artefact(Method::POST, REGISTRATIONS, anew).await.problem("enrollment-not-found");
        repeated.is_the_same().await;
    })
    .await;
}

#[tokio::test]
async fn a_response_repeated_gets_its_first_reply_whatever_it_was() {
    both(async |app| {
        let idp = app.admin().await;
        let body = json!({"user": {"external_id": "ada"}, "ttl_seconds": 600});
        for kind in ["approve", "deny", "wrong"] {
            let phone = idp.enroll("ada").await;
            let challenge = idp.create_challenge(body.clone()).await;
            let right = text(&challenge, "number").to_owned();
            let wrong = if right == "000000" { "000001" } else { "000000" };
            let answer = match kind {
                "approve" => Answer::approve(Some(&right)),
                "wrong" => Answer::approve(Some(wrong)),
                _ => Answer::deny(None),
            };
            let shown = phone.only_pending().await;
            let token = phone.sign_response(&shown, &answer).unwrap();
            let path = format!("/v1/device/challenges/{}/response", text(&challenge, "id"));
            let repeated = Repeated::send(app, &path, &token).await;
            match kind {
                "wrong" => drop(repeated.first.problem("number-mismatch")),
                _ => drop(repeated.first.ok(200)),
            }
            let before = events(app).await;
            repeated.is_the_same().await;
            assert_eq!(events(app).await, before, "a repeat changes nothing");
            // The same decision signed anew, and the same with another signature, came too late.
            let anew = phone.sign_response(&shown, &answer).unwrap();
            for other in [anew, forge::with_other_s(&token)] {
                let late = phone.respond_with(text(&challenge, "id"), &other).await;
                assert_eq!(late.problem("challenge-closed")["challenge_status"], idp.show(&challenge).await["status"]);
            }
            repeated
                .holds_for_a_day(async || {
                    idp.delete(&format!("/v1/devices/{}", phone.device_id())).await.ok(200);
                })
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_deregistration_repeated_gets_its_first_reply() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let deregister =
            |reason: &str| phone.sign(Kind::Deregistration, &phone.claims_with(json!({"reason": reason}))).unwrap();
        let repeated = Repeated::send(app, "/v1/device/deregistration", deregister("left")).await;
        assert_eq!(text(&repeated.first.ok(200), "status"), "revoked");
        let before = events(app).await;
        repeated.is_the_same().await;
        app.clock.advance(30);
        // Another one is welcome too, and tells the first's time; it changes nothing.
        let other = Repeated::send(app, "/v1/device/deregistration", deregister("lost")).await;
        assert_eq!(other.first.ok(200)["revoked_at"], repeated.first.json()["revoked_at"]);
        let shown = idp.get(&format!("/v1/devices/{}", phone.device_id())).await.ok(200);
        assert_eq!(shown["revoke_reason"], "left", "{shown}");
        assert_eq!(events(app).await, before);
        app.clock.advance(-30);
        repeated.holds_for_a_day(async || other.is_the_same().await).await.problem("clock-skew");
    })
    .await;
}

#[tokio::test]
async fn a_challenge_asked_for_again_after_its_end_is_the_same_without_its_number() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        for end in ["approved", "denied", "cancelled", "expired"] {
            let body = json!({"user": {"external_id": "ada"}, "client_reference": end, "ttl_seconds": 60});
            let create = async || {
                let request = idp.request(Method::POST, "/v1/challenges").header("idempotency-key", end);
                idp.send(request.json(&body)).await
            };
            let first = create().await;
            let mut challenge = first.ok(201);
            let number = text(&challenge, "number").to_owned();
            let again = create().await;
            assert_eq!((again.header("idempotent-replay"), again.ok(201)), ("true", challenge.clone()));
            let shown = phone.only_pending().await;
            match end {
                "approved" => drop(phone.approve(&shown, Some(&number), None).await.unwrap()),
                "denied" => drop(phone.deny(&shown, None).await.unwrap()),
                "cancelled" => drop(idp.post_empty(&format!("{}/cancel", path_of(&challenge))).await.ok(200)),
                _ => app.clock.advance(60),
            }
            assert_eq!(idp.show(&challenge).await["status"], end);
            challenge.as_object_mut().unwrap().remove("number");
            let late = create().await;
            assert_eq!((late.header("idempotent-replay"), late.ok(201)), ("true", challenge));
        }
    })
    .await;
}
