//! Claims: presence, type, value; and the clock.

use countersign_proto::jose::Kind;
use countersign_tests::{both, text};
use serde_json::{Value, json};

use super::{Endpoint, Stage};

/// One value of each JSON type (integers and fractions apart).
fn one_of_each_type() -> Vec<Value> {
    vec![Value::Null, json!(true), json!(1), json!(1.5), json!("x"), json!([]), json!({})]
}

fn is_of_type(claim: &str, value: &Value) -> bool {
    if claim == "iat" { value.is_i64() } else { value.is_string() }
}

#[tokio::test]
async fn a_claim_of_a_wrong_type_is_never_taken_for_an_absent_one() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let claims = ["iss", "aud", "sub", "iat", "jti", "challenge_sha256", "decision", "number", "reason", "uv"];
        for claim in claims {
            for value in one_of_each_type().into_iter().filter(|value| !is_of_type(claim, value)) {
                let reply = stage.respond(&stage.approval(json!({claim: value}))).await;
                reply.problem("invalid-device-signature");
            }
        }
        for claim in &claims[..7] {
            let mut missing = stage.approval(json!({}));
            missing.as_object_mut().unwrap().remove(*claim);
            stage.respond(&missing).await.problem("invalid-device-signature");
        }
        stage.respond(&json!([])).await.problem("invalid-device-signature");
        stage.untouched().await;
        stage.respond(&stage.approval(json!({"unknown": null, "exp": "whenever"}))).await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn a_duplicate_claim_is_refused() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let key = &stage.phone.registration().device_key;
        let header = countersign_tests::forge::header(Kind::Response.typ(), key).to_string();
        let payload = stage.approval(json!({})).to_string().replacen('{', r#"{"decision":"deny","#, 1);
        let token = countersign_tests::forge::sign(key, &header, &payload);
        stage.phone.respond_with(stage.id(), &token).await.problem("invalid-device-signature");
        stage.untouched().await;
    })
    .await;
}

#[tokio::test]
async fn a_claim_of_a_wrong_value_is_named_to_the_holder_of_the_key() {
    both(async |app| {
        let stage = Stage::with_number(app).await;
        for (members, pointer) in [
            (json!({"decision": "maybe"}), "/decision"),
            (json!({"decision": "deny", "reason": "bored"}), "/reason"),
            (json!({"uv": "smell"}), "/uv"),
            (json!({}), "/number"),
            (json!({"number": ""}), "/number"),
            (json!({"number": "12345"}), "/number"),
            (json!({"number": "1234567"}), "/number"),
            (json!({"number": "12345x"}), "/number"),
            (json!({"number": " 12345"}), "/number"),
            (json!({"number": "１２３４５６"}), "/number"),
            (json!({"number": stage.numbers().0, "decision": "deny"}), "/number"),
            (json!({"number": stage.numbers().0, "reason": "not_me"}), "/reason"),
        ] {
            stage.respond(&stage.approval(members)).await.invalid(&[pointer]);
            stage.untouched().await;
        }
        let plain = Stage { challenge: stage.idp.plain_challenge("ada").await, ..stage };
        let shown = plain.phone.pending_of(&plain.challenge).await.text().to_owned();
        let plain = Stage { shown, ..plain };
        plain.respond(&plain.approval(json!({"number": "123456"}))).await.invalid(&["/number"]);
        plain.untouched().await;
    })
    .await;
}

#[tokio::test]
async fn another_audience_issuer_or_id_is_refused_at_every_endpoint() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let other = stage.idp.enroll("grace").await.device_id();
        let issuer = app.issuer();
        for endpoint in &Endpoint::ALL[1..] {
            for wrong in [
                json!({"aud": "https://approve.example.org"}),
                json!({"aud": format!("{issuer}/")}),
                json!({"aud": issuer.to_uppercase()}),
                json!({"aud": [issuer]}),
                json!({"iss": other}),
                json!({"iss": issuer}),
                json!({"iss": stage.phone.device_id().to_uppercase()}),
                json!({"jti": ""}),
                json!({"jti": "x".repeat(129)}),
            ] {
                let mut claims = stage.approval(json!({"push": {"channel": "none"}, "htm": "GET",
                    "htu": format!("{issuer}/v1/device")}));
                claims.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
                if *endpoint == Endpoint::Deregistration {
                    claims.as_object_mut().unwrap().remove("reason");
                }
                let token = stage.phone.sign(endpoint.kind(), &claims).unwrap();
                endpoint.send(app, stage.id(), &token).await.problem("invalid-device-signature");
            }
        }
        stage.untouched().await;
    })
    .await;
}

#[tokio::test]
async fn a_proof_is_for_one_method_and_path() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let issuer = app.issuer();
        for (htm, htu) in [
            ("POST", format!("{issuer}/v1/device")),
            ("get", format!("{issuer}/v1/device")),
            ("GET", format!("{issuer}/v1/device/challenges")),
            ("GET", format!("{issuer}/v1/device/")),
            ("GET", format!("{issuer}/v1/device?wait=1")),
            ("GET", "/v1/device".to_owned()),
        ] {
            let token =
                stage.phone.sign(Kind::Proof, &stage.phone.claims_with(json!({"htm": htm, "htu": htu}))).unwrap();
            Endpoint::Read.send(app, stage.id(), &token).await.problem("invalid-device-signature");
        }
        stage.phone.get("/v1/device/challenges?wait=0").await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn a_clock_may_be_off_by_a_minute_and_a_new_phones_by_five() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let now = app.clock.time().as_seconds();
        let send = async |endpoint: Endpoint, off: i64| {
            let claims = stage.approval(json!({"iat": now + off, "push": {"channel": "none"}, "htm": "GET",
                "htu": format!("{}/v1/device", app.issuer())}));
            let token = stage.phone.sign(endpoint.kind(), &claims).unwrap();
            endpoint.send(app, stage.id(), &token).await
        };
        for off in [-61, 61, -86_400, i64::MIN / 2, i64::MAX - now] {
            for endpoint in &Endpoint::ALL[1..] {
                let refused = send(*endpoint, off).await;
                assert!(text(&refused.problem("clock-skew"), "server_time").starts_with("2026-01-01T00:00:00"));
            }
        }
        stage.untouched().await;
        for off in [-60, 60] {
            send(Endpoint::Read, off).await.ok(200);
            send(Endpoint::Push, off).await.ok(200);
        }
        send(Endpoint::Response, 60).await.ok(200);

        let enrollment = stage.idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        for (off, status) in [(-301, 401), (301, 401), (300, 201)] {
            let key = app.surroundings().new_key().unwrap();
            let claims = json!({"aud": app.issuer(), "iat": now + off, "jti": "1", "ticket": text(&enrollment, "ticket"),
                "push": {"channel": "none"}, "device": {"name": "Phone", "platform": "ios"}});
            let token = key.sign(Kind::Registration, &claims).unwrap();
            let reply = Endpoint::Registrations.send(app, stage.id(), &token).await;
            assert_eq!(reply.status, status, "{off}: {}", reply.text());
            if status == 401 {
                assert!(reply.problem("clock-skew").get("server_time").is_some());
            }
        }
    })
    .await;
}
