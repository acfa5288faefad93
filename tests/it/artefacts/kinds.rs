//! Every kind at every endpoint: only the diagonal is accepted.

use countersign_proto::jose::{KeyMember, Kind, SigningKey};
use countersign_tests::{TestApp, both, forge, text};
use serde_json::{Value, json};

use super::{Endpoint, Stage};

/// Claims that are right for every kind at once, so that nothing but the kind tells the artefacts apart.
fn claims_of_all_kinds(app: &TestApp, stage: &Stage, ticket: &str, next_key: &SigningKey) -> Value {
    let proof =
        json!({"aud": app.issuer(), "iat": app.clock.time().as_seconds(), "rotate_from": stage.phone.device_id()});
    let proof = next_key.sign(Kind::KeyProof, &proof).unwrap();
    let jwk = stage.phone.registration().device_key.public_key().to_jwk();
    stage.phone.claims_with(json!({
        "ticket": ticket, "device": {"name": "Phone", "platform": "ios"}, "push": {"channel": "none"},
        "htm": "GET", "htu": format!("{}/v1/device", app.issuer()), "body_sha256": "",
        "sub": stage.id(), "challenge_sha256": countersign_proto::jose::sha256(&stage.shown), "decision": "deny",
        "reason": "other", "proofs": [proof], "new_jwk": next_key.public_key().to_jwk(), "rotate_from": stage.phone.device_id(),
        "exp": app.clock.time().as_seconds() + 600, "nonce": "n", "tenant": stage.idp.tenant_id,
        "external_id": "ada", "cnf": {"jwk": jwk}, "action": "sign_in", "status": "approved",
    }))
}

fn sign(kind: Kind, device_key: &SigningKey, new_key: &SigningKey, claims: &Value) -> String {
    match kind.key_member() {
        KeyMember::Kid => forge::sign_json(device_key, &forge::header(kind.typ(), device_key), claims),
        KeyMember::Jwk => forge::sign_json(new_key, &forge::header_with_jwk(kind.typ(), new_key), claims),
    }
}

#[tokio::test]
async fn a_kind_is_accepted_at_its_own_endpoint_and_nowhere_else() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let enrollment = stage.idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let next_key = app.surroundings().new_key().unwrap();
        let claims = claims_of_all_kinds(app, &stage, text(&enrollment, "ticket"), &next_key);
        let mut device_key = stage.phone.registration().device_key.clone();
        let new_key = app.surroundings().new_key().unwrap();
        for endpoint in Endpoint::ALL {
            for kind in Kind::ALL.into_iter().filter(|kind| *kind != endpoint.kind()) {
                let token = sign(kind, &device_key, &new_key, &claims);
                endpoint.send(app, stage.id(), &token).await.problem("invalid-device-signature");
            }
            let token = sign(endpoint.kind(), &device_key, &new_key, &claims);
            let accepted = endpoint.send(app, stage.id(), &token).await;
            assert!(accepted.status < 300, "{endpoint:?}: {}", accepted.text());
            if endpoint == Endpoint::Key {
                device_key = next_key.clone();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_server_signed_is_nothing_that_a_device_may_send() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let binding = stage.phone.fetch_self().await.unwrap().binding.unwrap();
        let cancelled = stage.idp.plain_challenge("ada").await;
        let path = format!("{}/cancel", countersign_tests::path_of(&cancelled));
        let result = text(&stage.idp.post_empty(&path).await.ok(200), "result_token").to_owned();
        for endpoint in Endpoint::ALL {
            for token in [&stage.shown, &binding, &result] {
                endpoint.send(app, stage.id(), token).await.problem("invalid-device-signature");
            }
        }
        stage.untouched().await;
    })
    .await;
}

#[tokio::test]
async fn the_key_of_a_registration_opens_nothing_before_it_is_registered() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let stranger = app.surroundings().new_key().unwrap();
        let next_key = app.surroundings().new_key().unwrap();
        let claims = claims_of_all_kinds(app, &stage, &"A".repeat(43), &next_key);
        for endpoint in &Endpoint::ALL[1..] {
            let typ = endpoint.kind().typ();
            for header in [forge::header(typ, &stranger), forge::header_with_jwk(typ, &stranger)] {
                let token = forge::sign_json(&stranger, &header, &claims);
                endpoint.send(app, stage.id(), &token).await.problem("invalid-device-signature");
            }
        }
        stage.untouched().await;
    })
    .await;
}
