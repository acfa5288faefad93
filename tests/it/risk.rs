//! What the caller thinks of a sign-in leads to what the policy says, and never to less.

use countersign_proto::vocabulary::RiskAction;
use countersign_tests::{
    ApiClient, both,
    providers::{apns_options, apns_token, both_with_providers},
    text,
};
use serde_json::{Value, json};

fn at_risk(level: &str) -> Value {
    json!({"user": {"external_id": "ada"}, "risk": {"level": level, "reasons": ["new country"]}})
}

async fn refused(idp: &ApiClient, body: Value, slug: &str) {
    idp.post("/v1/challenges", body).await.problem(slug);
}

#[tokio::test]
async fn a_risk_is_kept_and_told_to_the_caller_but_never_to_a_phone() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let challenge = idp.create_challenge(at_risk("low")).await;
        let risk = json!({"level": "low", "reasons": ["new country"]});
        assert_eq!(challenge["risk"], risk);
        assert_eq!(idp.show(&challenge).await["risk"], risk);
        assert_eq!(text(&challenge, "number").len(), 6);
        let claims = serde_json::to_value(phone.only_pending().await.claims()).unwrap();
        assert!(claims.get("risk").is_none() && !claims.to_string().contains("new country"), "{claims}");
        for (wrong, pointer) in [
            (json!({"level": "severe"}), "/risk/level"),
            (json!({"level": "low", "reasons": [""]}), "/risk/reasons/0"),
            (json!({"level": "low", "reasons": vec!["x"; 11]}), "/risk/reasons"),
            (json!({"level": "low", "colour": "red"}), "/risk/colour"),
        ] {
            let body = json!({"user": {"external_id": "ada"}, "risk": wrong});
            idp.post("/v1/challenges", body).await.invalid(&[pointer]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_higher_risk_gets_a_longer_number_then_a_silent_challenge_and_then_none() {
    both_with_providers(async |app, _| {
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        let medium = idp.create_challenge(at_risk("medium")).await;
        assert_eq!((text(&medium, "number").len(), text(&medium, "push_status")), (8, "ok"));
        let plain =
            json!({"user": {"external_id": "ada"}, "risk": {"level": "medium"}, "verification": {"mode": "none"}});
        refused(&idp, plain, "below-policy-floor").await;

        let high = idp.create_challenge(at_risk("high")).await;
        assert_eq!(high["push_status"], "none");
        assert_eq!(crate::push::delivery(&idp, &high, &phone.device_id()).await["state"], "pull_only");
        phone.approve(&phone.pending_of(&high).await, Some(text(&high, "number")), None).await.unwrap();
        assert_eq!(idp.show(&high).await["status"], "approved");

        app.change_policy(|policy| policy.risk.high = RiskAction::Refuse).await;
        let before = crate::log::events(&idp).await.len();
        refused(&idp, at_risk("high"), "risk-refused").await;
        assert_eq!(crate::log::events(&idp).await.len(), before);
        idp.create_challenge(at_risk("medium")).await;
    })
    .await;
}
