//! Replays and repeats: a lost reply may be asked for again; anything else is stopped by the state.

use countersign_proto::jose::Kind;
use countersign_tests::{both, path_of, text};
use serde_json::json;

use super::Stage;

#[tokio::test]
async fn a_response_is_for_one_challenge_of_one_device() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let tablet = stage.idp.enroll("ada").await;
        let stranger = stage.idp.enroll("grace").await;
        let other_idp = app.client_of(&app.tenant("other").await, "admin").await;
        let foreigner = other_idp.enroll("ada").await;
        // On another challenge: the path, or the claim, or both.
        let other = stage.idp.plain_challenge("ada").await;
        let token = stage.phone.sign(Kind::Response, &stage.approval(json!({}))).unwrap();
        stage.phone.respond_with(text(&other, "id"), &token).await.problem("not-found");
        let renamed = stage.approval(json!({"sub": text(&other, "id")}));
        stage.respond(&renamed).await.problem("not-found");
        stage.phone.respond_claims(text(&other, "id"), &renamed).await.problem("challenge-mismatch");
        for id in ["x", "01939b5e-7a2c-7def-8abc-000000000001"] {
            stage.phone.respond_claims(id, &stage.approval(json!({"sub": id}))).await.problem("not-found");
        }
        // By another device of the user (enrolled later, so not addressed), another user's, another tenant's.
        for device in [&tablet, &stranger, &foreigner] {
            let claims = stage.approval(json!({"iss": device.device_id()}));
            device.respond_claims(stage.id(), &claims).await.problem("not-found");
        }
        stage.untouched().await;
        assert_eq!(stage.idp.show(&other).await["status"], "pending");
    })
    .await;
}

#[tokio::test]
async fn an_altered_challenge_text_is_told_and_leaves_the_challenge_pending() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let altered = countersign_proto::jose::sha256(format!("{} ", stage.shown));
        for digest in [altered.as_str(), "", "x"] {
            for decision in ["approve", "deny"] {
                let claims = stage.approval(json!({"challenge_sha256": digest, "decision": decision}));
                stage.respond(&claims).await.problem("challenge-mismatch");
            }
        }
        stage.untouched().await;
    })
    .await;
}

#[tokio::test]
async fn a_response_repeated_byte_for_byte_gets_the_first_reply_for_a_day() {
    both(async |app| {
        for wrong_number in [false, true] {
            let stage = Stage::with_number(app).await;
            let (right, wrong) = stage.numbers();
            let number = if wrong_number { wrong } else { right };
            let token = stage.phone.sign(Kind::Response, &stage.approval(json!({"number": number}))).unwrap();
            let first = stage.phone.respond_with(stage.id(), &token).await;
            let again = async || {
                let reply = stage.phone.respond_with(stage.id(), &token).await;
                if wrong_number {
                    reply.problem("number-mismatch");
                } else {
                    assert_eq!((reply.status, &reply.body), (200, &first.body));
                }
            };
            again().await;
            let failures = stage.failures().await;
            app.clock.advance(3600);
            again().await;
            stage.idp.delete(&format!("/v1/devices/{}", stage.phone.device_id())).await.ok(200);
            again().await;
            assert_eq!((stage.failures().await, failures), (failures, u64::from(wrong_number)));
            // The same words signed anew are another response.
            let anew = stage.phone.sign(Kind::Response, &stage.approval(json!({"number": number}))).unwrap();
            stage.phone.respond_with(stage.id(), &anew).await.problem("device-not-active");
            app.clock.advance(24 * 3600);
            let late = stage.phone.respond_with(stage.id(), &token).await;
            assert!(matches!(late.status, 401 | 403), "{}", late.text());
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_decision_is_told_the_first() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        stage.respond(&stage.approval(json!({"decision": "deny"}))).await.ok(200);
        for decision in ["approve", "deny"] {
            let late = stage.respond(&stage.approval(json!({"decision": decision}))).await;
            assert_eq!(late.problem("challenge-closed")["challenge_status"], "denied");
        }
        assert_eq!(stage.idp.get(&path_of(&stage.challenge)).await.ok(200)["status"], "denied");
    })
    .await;
}

#[tokio::test]
async fn a_revoked_device_is_told_so_for_ninety_days() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        stage.idp.delete(&format!("/v1/devices/{}", stage.phone.device_id())).await.ok(200);
        let day = 24 * 3600;
        for (seconds, slug) in
            [(0, "device-not-active"), (90 * day - 1, "device-not-active"), (1, "invalid-device-signature")]
        {
            app.clock.advance(seconds);
            stage.respond(&stage.approval(json!({}))).await.problem(slug);
            stage.phone.get("/v1/device").await.problem(slug);
        }
    })
    .await;
}
