//! The order of checks of protocol 7.2: whoever stumbles over two things is told the first.

use countersign_proto::jose::Kind;
use countersign_tests::both;
use serde_json::json;

use super::Stage;

/// Locks the user by five wrong numbers, each on a challenge of its own.
async fn lock(stage: &Stage) {
    for _ in 0..5 {
        let challenge = stage.idp.challenge("ada").await;
        let shown = stage.phone.pending_of(&challenge).await;
        let wrong = if countersign_tests::text(&challenge, "number") == "000000" { "000001" } else { "000000" };
        let refused = stage.phone.approve(&shown, Some(wrong), None).await.unwrap_err();
        assert!(refused.is_problem("number-mismatch"), "{refused}");
    }
}

#[tokio::test]
async fn an_inactive_device_is_told_before_anything_about_the_challenge() {
    both(async |app| {
        let stage = Stage::with_number(app).await;
        stage.idp.post_empty(&format!("/v1/devices/{}/suspend", stage.phone.device_id())).await.ok(200);
        for members in [json!({"number": "x"}), json!({"challenge_sha256": "x"}), json!({"sub": "x"}), json!({})] {
            stage.respond(&stage.approval(members)).await.problem("device-not-active");
        }
        stage.phone.respond_claims("x", &stage.approval(json!({"sub": "x"}))).await.problem("device-not-active");
        assert_eq!(stage.status().await, "cancelled");
    })
    .await;
}

#[tokio::test]
async fn a_closed_challenge_is_told_before_a_wrong_text_or_number() {
    both(async |app| {
        let stage = Stage::with_number(app).await;
        stage.idp.post_empty(&format!("{}/cancel", countersign_tests::path_of(&stage.challenge))).await.ok(200);
        let wrong = stage.numbers().1;
        for members in [json!({"challenge_sha256": "x"}), json!({"number": "x"}), json!({"number": wrong}), json!({})] {
            stage.respond(&stage.approval(members)).await.problem("challenge-closed");
        }
        assert_eq!(stage.failures().await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_altered_text_is_told_before_the_missing_key_the_lock_and_the_number() {
    both(async |app| {
        let stage = Stage::new(app, json!({"user_verification": "required"})).await;
        lock(&stage).await;
        let altered = stage.approval(json!({"challenge_sha256": "x", "number": "x"}));
        stage.respond(&altered).await.problem("challenge-mismatch");
        // 7 before 8 and 9: the device key signed.
        stage.respond(&stage.approval(json!({"number": "x"}))).await.problem("user-verification-required");
        assert_eq!(stage.status().await, "pending");
    })
    .await;
}

#[tokio::test]
async fn a_lock_is_told_before_the_number_is_looked_at_and_a_denial_always_works() {
    both(async |app| {
        let stage = Stage::with_number(app).await;
        lock(&stage).await;
        let (right, wrong) = stage.numbers();
        for number in [json!({"number": right}), json!({"number": wrong}), json!({"number": "x"}), json!({})] {
            let locked = stage.respond(&stage.approval(number)).await;
            assert!(locked.problem("user-locked").get("locked_until").is_some());
            assert_eq!(locked.header("retry-after"), "900");
        }
        assert_eq!((stage.failures().await, stage.status().await.as_str()), (5, "pending"));
        stage.respond(&stage.approval(json!({"decision": "deny", "reason": "mistake"}))).await.ok(200);
        assert_eq!(stage.status().await, "denied");
    })
    .await;
}

#[tokio::test]
async fn user_verification_counts_only_by_the_key_that_stands_for_it() {
    both(async |app| {
        let stage = Stage::new(app, json!({"user_verification": "required", "verification": {"mode": "none"}})).await;
        // Saying so with the device key is not it.
        stage.respond(&stage.approval(json!({"uv": "face"}))).await.problem("user-verification-required");
        stage.untouched().await;
        let token =
            stage.phone.sign_with_user_verification(Kind::Response, &stage.approval(json!({"uv": "pin"}))).unwrap();
        stage.phone.respond_with(stage.id(), &token).await.ok(200);
        let shown = stage.idp.get(&countersign_tests::path_of(&stage.challenge)).await.ok(200);
        assert_eq!(shown["amr"], json!(["pop", "mca", "user", "mfa", "pin"]));
        // A denial needs no second key, even where an approval does.
        let other = json!({"user": {"external_id": "ada"}, "user_verification": "required"});
        stage.idp.create_challenge(other).await;
        stage.phone.deny(&stage.phone.only_pending().await, None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_user_verification_key_signs_responses_only() {
    both(async |app| {
        let stage = Stage::plain(app).await;
        let claims = stage.phone.claims_with(json!({"htm": "GET", "htu": format!("{}/v1/device", app.issuer())}));
        let token = stage.phone.sign_with_user_verification(Kind::Proof, &claims).unwrap();
        super::Endpoint::Read.send(app, stage.id(), &token).await.problem("invalid-device-signature");
    })
    .await;
}
