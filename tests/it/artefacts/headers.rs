//! The strict form: each trick that fooled some JOSE library is refused at each endpoint, and nothing changes.

use aws_lc_rs::hmac;
use countersign_proto::jose::{SigningKey, base64url};
use countersign_tests::{both, forge};
use serde_json::{Value, json};

use super::{Endpoint, Stage};

/// Headers that are almost right for a key named by `kid`, as exact texts.
fn wrong_headers(typ: &str, key: &SigningKey, stranger: &SigningKey) -> Vec<String> {
    let good = forge::header(typ, key);
    let with = |member: &str, value: Value| {
        let mut header = good.clone();
        header[member] = value;
        header.to_string()
    };
    let without = |member: &str| {
        let mut header = good.clone();
        header.as_object_mut().unwrap().remove(member);
        header.to_string()
    };
    let jwk = serde_json::to_value(key.public_key().to_jwk()).unwrap();
    let kid = key.public_key().thumbprint().to_string();
    let mut headers: Vec<_> =
        ["none", "None", "", "HS256", "ES384", "RS256", "EdDSA", "es256"].map(|alg| with("alg", json!(alg))).into();
    headers.extend([
        with("alg", json!(["ES256"])),
        with("alg", Value::Null),
        with("typ", json!("JWT")),
        with("typ", json!(typ.to_uppercase())),
        with("typ", json!(typ.trim_end_matches("+jwt"))),
        with("typ", json!(format!("application/{typ}"))),
        with("typ", json!([typ])),
        with("kid", json!(stranger.public_key().thumbprint().to_string())),
        with("kid", json!("../../etc/passwd")),
        with("kid", json!([kid])),
        with("kid", Value::Null),
        with("jwk", jwk.clone()),
        with("jku", json!("https://example.org/jwks.json")),
        with("x5u", json!("https://example.org/cert.pem")),
        with("x5c", json!([])),
        with("crit", json!(["exp"])),
        with("b64", json!(false)),
        with("cty", json!("JWT")),
        with("zip", json!("DEF")),
        with("x", json!(1)),
        without("alg"),
        without("typ"),
        without("kid"),
        json!({"alg": "ES256", "typ": typ, "jwk": jwk}).to_string(),
        format!(r#"{{"alg":"ES256","typ":"{typ}","kid":"{kid}","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"none","alg":"ES256","typ":"{typ}","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"ES256","\u0061lg":"ES256","typ":"{typ}","kid":"{kid}"}}"#),
        format!(r#"["ES256","{typ}","{kid}"]"#),
        "null".to_owned(),
        "{".to_owned(),
        String::new(),
    ]);
    headers
}

/// Tokens that are almost `good`.
fn wrong_shapes(good: &str, key: &SigningKey) -> Vec<String> {
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let public = key.public_key().to_jwk();
    let input = |header: &str| format!("{header}.{payload}");
    let hs256 = base64url::encode(
        json!({"alg": "HS256", "typ": forge::part(good, 0)["typ"], "kid": forge::part(good, 0)["kid"]}).to_string(),
    );
    let secret = hmac::Key::new(hmac::HMAC_SHA256, serde_json::to_string(&public).unwrap().as_bytes());
    let mac = base64url::encode(hmac::sign(&secret, input(&hs256).as_bytes()));
    let raw = forge::signature(good);
    vec![
        String::new(),
        "..".to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!("{good}\n"),
        format!(" {good}"),
        format!("\"{good}\""),
        json!({"protected": header, "payload": payload, "signature": signature}).to_string(),
        format!("{}.{mac}", input(&hs256)),
        forge::with_der(good),
        forge::with_signature(good, &[0; 64]),
        forge::with_signature(good, &[0xff; 64]),
        forge::with_signature(good, &raw[..63]),
        forge::with_signature(good, &[&raw[..], &[0]].concat()),
        forge::with_signature(good, &[&raw[32..], &raw[..32]].concat()),
        format!("{header}.{}.{signature}", base64url::encode(b"{}")),
    ]
}

#[tokio::test]
async fn a_header_that_is_not_exactly_the_kinds_is_refused() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let key = stage.phone.registration().device_key.clone();
        let stranger = stage.idp.enroll("grace").await.registration().device_key.clone();
        let payload = stage
            .approval(json!({"decision": "deny", "htm": "GET", "htu": format!("{}/v1/device", app.issuer()),
            "push": {"channel": "none"}}))
            .to_string();
        for endpoint in &Endpoint::ALL[1..] {
            for header in wrong_headers(endpoint.kind().typ(), &key, &stranger) {
                let reply = endpoint.send(app, stage.id(), &forge::sign(&key, &header, &payload)).await;
                reply.problem("invalid-device-signature");
            }
        }
        stage.untouched().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_not_exactly_three_canonical_parts_is_refused() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let key = stage.phone.registration().device_key.clone();
        let payload = stage.approval(json!({"push": {"channel": "none"}}));
        for endpoint in &Endpoint::ALL[2..] {
            let good = forge::sign_json(&key, &forge::header(endpoint.kind().typ(), &key), &payload);
            for token in wrong_shapes(&good, &key) {
                endpoint.send(app, stage.id(), &token).await.problem("invalid-device-signature");
            }
        }
        stage.untouched().await;
        // The other s of the same signature is a signature (FIPS 186-5): nothing is keyed on its bytes.
        let token = stage.phone.sign(countersign_proto::jose::Kind::Response, &stage.approval(json!({}))).unwrap();
        stage.phone.respond_with(stage.id(), &forge::with_other_s(&token)).await.ok(200);
        let twin = stage.phone.respond_with(stage.id(), &token).await;
        assert_eq!(twin.problem("challenge-closed")["challenge_status"], "approved");
    })
    .await;
}

#[tokio::test]
async fn what_is_too_large_or_too_deep_is_refused() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let key = stage.phone.registration().device_key.clone();
        for endpoint in &Endpoint::ALL[2..] {
            let header = forge::header(endpoint.kind().typ(), &key);
            let padded = stage.approval(json!({"push": {"channel": "none"}, "padding": "x".repeat(8 * 1024)}));
            let token = forge::sign_json(&key, &header, &padded);
            endpoint.send(app, stage.id(), &token).await.problem("payload-too-large");
            endpoint.send(app, stage.id(), &"x".repeat(500_000)).await.problem("payload-too-large");
            let depth = 2_000;
            let nested = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            let reply = endpoint.send(app, stage.id(), &forge::sign(&key, &header.to_string(), &nested)).await;
            reply.problem("invalid-device-signature");
        }
        stage.untouched().await;
    })
    .await;
}

#[tokio::test]
async fn an_artefact_travels_as_application_jwt_only() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let token = stage.phone.sign(countersign_proto::jose::Kind::Response, &stage.approval(json!({}))).unwrap();
        let path = format!("/v1/device/challenges/{}/response", stage.id());
        for wrong in ["application/json", "text/plain", "application/jose", ""] {
            let request = app.http.request(reqwest::Method::POST, &path).header("content-type", wrong);
            app.http.send(request.body(token.clone())).await.problem("unsupported-media-type");
        }
        stage.untouched().await;
    })
    .await;
}
