//! From an invitation to a device, and all the ways in which it ends otherwise.

use countersign_simulator::phone::{Candidate, EnrollOptions, EnrollmentUri};
use countersign_tests::{ApiClient, TestApp, both, text};
use serde_json::{Value, json};

fn path_of(enrollment: &Value) -> String {
    format!("/v1/enrollments/{}", text(enrollment, "id"))
}

async fn invite(idp: &ApiClient) -> Value {
    idp.create_enrollment(json!({"user": {"external_id": "ada", "display_name": "Ada"}})).await
}

fn candidate(app: &TestApp, enrollment: &Value) -> Candidate {
    let options = EnrollOptions::named("Phone");
    Candidate::new(app.phones().clone(), text(enrollment, "ticket"), options, app.surroundings()).unwrap()
}

async fn refusal(candidate: &Candidate) -> String {
    candidate.register().await.unwrap_err().problem().unwrap().slug().to_owned()
}

#[tokio::test]
async fn a_device_is_active_only_once_its_code_was_typed() {
    both(async |app| {
        let idp = app.admin().await;
        let enrollment = invite(&idp).await;
        assert_eq!(text(&enrollment, "status"), "pending");
        let uri = EnrollmentUri::parse(text(&enrollment, "enrollment_uri")).unwrap();
        assert_eq!((uri.issuer(), uri.ticket()), (app.issuer(), text(&enrollment, "ticket")));
        idp.confirm(&enrollment, "000000").await.problem("enrollment-not-claimed");
        let phone = idp.claim(&enrollment, EnrollOptions::named("Phone")).await;
        let code = phone.registration().confirmation_code.clone().unwrap();
        let claimed = idp.get(&path_of(&enrollment)).await.ok(200);
        assert_eq!(text(&claimed, "status"), "claimed");
        assert_eq!(claimed["device"]["id"], phone.device_id());
        assert!(claimed.get("ticket").is_none() && claimed.get("enrollment_uri").is_none());
        // It may read itself, and nothing is addressed to it.
        let own = phone.fetch_self().await.unwrap();
        assert!(own.binding.is_none());
        assert!(phone.all_pending().await.is_empty());
        idp.post("/v1/challenges", json!({"user": {"external_id": "ada"}})).await.problem("no-eligible-device");
        for _ in 0..2 {
            assert_eq!(text(&idp.confirm(&enrollment, &code).await.ok(200), "status"), "completed");
        }
        assert!(phone.fetch_self().await.unwrap().binding.is_some());
        idp.post_empty(&format!("{}/cancel", path_of(&enrollment))).await.problem("enrollment-closed");
    })
    .await;
}

#[tokio::test]
async fn without_confirmation_a_device_is_active_at_once() {
    both(async |app| {
        let idp = app.admin().await;
        let body = json!({"user": {"external_id": "ada"}, "confirmation": "none", "qr": true});
        let enrollment = idp.create_enrollment(body).await;
        assert!(text(&enrollment, "qr_svg").contains("<svg"));
        let phone = idp.claim(&enrollment, EnrollOptions::named("Phone")).await;
        assert_eq!(phone.registration().confirmation_code, None);
        assert_eq!(idp.get(&path_of(&enrollment)).await.ok(200)["status"], "completed");
        idp.plain_challenge("ada").await;
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_fifth_wrong_code_ends_the_enrollment_and_its_device() {
    both(async |app| {
        let idp = app.admin().await;
        let enrollment = invite(&idp).await;
        let phone = idp.claim(&enrollment, EnrollOptions::named("Phone")).await;
        let code = phone.registration().confirmation_code.clone().unwrap();
        let wrong = if code == "000000" { "000001" } else { "000000" };
        idp.confirm(&enrollment, "12345").await.invalid(&["/code"]);
        for left in (0..5).rev() {
            assert_eq!(idp.confirm(&enrollment, wrong).await.problem("wrong-code")["attempts_left"], left);
        }
        assert_eq!(
            idp.confirm(&enrollment, &code).await.problem("enrollment-closed")["enrollment_status"],
            "cancelled"
        );
        assert_eq!(idp.get("/v1/devices?external_id=ada").await.ok(200)["items"], json!([]));
        assert!(phone.fetch_self().await.unwrap_err().is_problem("invalid-device-signature"));
    })
    .await;
}

#[tokio::test]
async fn another_key_with_the_right_ticket_ends_a_claimed_enrollment() {
    both(async |app| {
        let idp = app.admin().await;
        let enrollment = invite(&idp).await;
        let phone = idp.claim(&enrollment, EnrollOptions::named("Phone")).await;
        assert_eq!(refusal(&candidate(app, &enrollment)).await, "enrollment-not-found");
        assert_eq!(idp.get(&path_of(&enrollment)).await.ok(200)["status"], "cancelled");
        let code = phone.registration().confirmation_code.clone().unwrap();
        idp.confirm(&enrollment, &code).await.problem("enrollment-closed");
        assert!(phone.fetch_self().await.unwrap_err().is_problem("invalid-device-signature"));
        let kinds = crate::log::kinds(&idp).await;
        assert!(kinds.contains(&"enrollment.contested".to_owned()), "{kinds:?}");
    })
    .await;
}

#[tokio::test]
async fn a_completed_enrollment_is_not_contested_by_a_late_key() {
    both(async |app| {
        let idp = app.admin().await;
        let enrollment = invite(&idp).await;
        let phone = idp.claim(&enrollment, EnrollOptions::named("Phone")).await;
        let code = phone.registration().confirmation_code.clone().unwrap();
        idp.confirm(&enrollment, &code).await.ok(200);
        assert_eq!(refusal(&candidate(app, &enrollment)).await, "enrollment-not-found");
        assert!(phone.fetch_self().await.unwrap().binding.is_some());
    })
    .await;
}

#[tokio::test]
async fn unknown_used_expired_and_cancelled_tickets_get_one_answer() {
    both(async |app| {
        let idp = app.admin().await;
        let cancelled = invite(&idp).await;
        for _ in 0..2 {
            let reply = idp.post_empty(&format!("{}/cancel", path_of(&cancelled))).await.ok(200);
            assert_eq!(reply["status"], "cancelled");
        }
        let unknown = json!({"ticket": "A".repeat(43)});
        let expired = idp.create_enrollment(json!({"user": {"external_id": "ada"}, "ttl_seconds": 60})).await;
        let claimed_late = idp.create_enrollment(json!({"user": {"external_id": "ada"}, "ttl_seconds": 60})).await;
        let phone = idp.claim(&claimed_late, EnrollOptions::named("Phone")).await;
        app.clock.advance(60);
        assert_eq!(idp.get(&path_of(&expired)).await.ok(200)["status"], "expired");
        let late = idp.confirm(&claimed_late, &phone.registration().confirmation_code.clone().unwrap()).await;
        assert_eq!(late.problem("enrollment-closed")["enrollment_status"], "expired");
        app.sweep().await;
        assert!(phone.fetch_self().await.unwrap_err().is_problem("invalid-device-signature"));
        for ticket in [&cancelled, &unknown, &expired, &claimed_late] {
            assert_eq!(refusal(&candidate(app, ticket)).await, "enrollment-not-found");
        }
    })
    .await;
}

#[tokio::test]
async fn a_repeated_registration_gets_the_first_reply_for_a_day_and_makes_no_second_device() {
    both(async |app| {
        let idp = app.admin().await;
        let enrollment = invite(&idp).await;
        let candidate = candidate(app, &enrollment);
        let post =
            async || app.http.artefact(reqwest::Method::POST, "/v1/device/registrations", candidate.token()).await;
        let first = post().await;
        first.ok(201);
        app.clock.advance(599);
        assert_eq!((post().await.status, post().await.body), (201, first.body.clone()));
        assert_eq!(idp.get("/v1/devices?external_id=ada").await.ok(200)["items"].as_array().unwrap().len(), 1);
        // Whatever has happened to the device since.
        idp.post_empty(&format!("{}/cancel", path_of(&enrollment))).await.ok(200);
        assert_eq!(post().await.body, first.body);
        app.clock.advance(24 * 3600);
        post().await.problem("clock-skew");
    })
    .await;
}

#[tokio::test]
async fn a_known_key_and_a_full_user_leave_the_ticket_unused() {
    both(async |app| {
        let idp = app.admin().await;
        let first = candidate(app, &invite(&idp).await);
        first.register().await.unwrap();
        let enrollment = invite(&idp).await;
        let claims = json!({"aud": app.issuer(), "iat": app.clock.time().as_seconds(), "jti": "1",
            "ticket": text(&enrollment, "ticket"), "push": {"channel": "none"},
            "device": {"name": "Phone", "platform": "ios"}});
        let token = first.device_key().sign(countersign_proto::jose::Kind::Registration, &claims).unwrap();
        app.http
            .artefact(reqwest::Method::POST, "/v1/device/registrations", token)
            .await
            .problem("key-already-registered");
        for _ in 1..10 {
            candidate(app, &invite(&idp).await).register().await.unwrap();
        }
        assert_eq!(refusal(&candidate(app, &enrollment)).await, "too-many-devices");
        assert_eq!(idp.get(&path_of(&enrollment)).await.ok(200)["status"], "pending");
        let devices = idp.get("/v1/devices?external_id=ada").await.ok(200);
        idp.delete(&format!("/v1/devices/{}", text(&devices["items"][0], "id"))).await;
        candidate(app, &enrollment).register().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_a_registration_says_is_checked_member_by_member() {
    both(async |app| {
        let idp = app.admin().await;
        let enrollment = invite(&idp).await;
        let key = app.surroundings().new_key().unwrap();
        let claims = |further: Value| {
            let mut claims = json!({"aud": app.issuer(), "iat": app.clock.time().as_seconds(), "jti": "1",
                "ticket": text(&enrollment, "ticket"), "push": {"channel": "none"},
                "device": {"name": "Phone", "platform": "ios"}});
            claims.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
            claims
        };
        let own = serde_json::to_value(key.public_key().to_jwk()).unwrap();
        for (further, pointer) in [
            (json!({"device": {"name": "", "platform": "ios"}}), "/device/name"),
            (json!({"device": {"name": "a\u{202e}b", "platform": "ios"}}), "/device/name"),
            (json!({"device": {"name": "x".repeat(65), "platform": "ios"}}), "/device/name"),
            (json!({"device": {"name": "Phone", "platform": "toaster"}}), "/device/platform"),
            (json!({"uv_jwk": own}), "/uv_jwk"),
            (
                json!({"push": {"channel": "apns", "token": "xyz", "topic": "t", "environment": "sandbox"}}),
                "/push/token",
            ),
        ] {
            let token = key.sign(countersign_proto::jose::Kind::Registration, &claims(further)).unwrap();
            let reply = app.http.artefact(reqwest::Method::POST, "/v1/device/registrations", token).await;
            reply.invalid(&[pointer]);
        }
        assert_eq!(idp.get(&path_of(&enrollment)).await.ok(200)["status"], "pending");
    })
    .await;
}

#[tokio::test]
async fn the_other_devices_of_the_user_are_told_of_a_new_one() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        app.clock.advance(1);
        let tablet = idp.enroll_with("ada", EnrollOptions::named("Tablet")).await;
        let notices = phone.fetch_self().await.unwrap().notices;
        assert_eq!(
            (notices[0].kind.as_str(), notices[0].device.as_ref().unwrap().name.as_str()),
            ("device.added", "Tablet")
        );
        // Not of oneself.
        assert!(
            tablet.fetch_self().await.unwrap().notices.iter().all(|it| it.device.as_ref().unwrap().name != "Tablet")
        );
        app.clock.advance(30 * 24 * 3600 + 1);
        assert!(phone.fetch_self().await.unwrap().notices.is_empty());
    })
    .await;
}
