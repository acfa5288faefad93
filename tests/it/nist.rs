//! The profile of NIST SP 800-63B-4 from outside: what it asks of an organisation's challenges holds for real ones
//! (`docs/nist-800-63b-4.md` names the test of each requirement).

use countersign_tests::{both, text};
use serde_json::{Value, json};

use crate::display::{shown_code, type_code};

fn ada(further: Value) -> Value {
    let mut body = json!({"user": {"external_id": "ada"}});
    body.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn under_the_profile_a_number_or_a_code_is_carried_across_and_nothing_less() {
    both(async |app| {
        let client = app.proving_client("admin").await;
        // As weak as a policy gets, and bound to the profile: the profile holds.
        let lax = json!({"profile": "nist-800-63b-4", "digits": 2, "confirmation_required": false,
            "client_authentication": "api_key", "enrollment_approval": "none"});
        client.put("/v1/policy", lax).await.ok(200);
        let phone = client.enroll("ada").await;
        // In force on every node from the reply on.
        let second = app.second_node().await;
        let elsewhere = client.at(&second.http);
        for weaker in [
            json!({"verification": {"mode": "none"}}),
            json!({"verification": {"mode": "choose"}}),
            json!({"verification": {"mode": "enter", "digits": 5}}),
        ] {
            for client in [&client, &elsewhere] {
                client.post("/v1/challenges", ada(weaker.clone())).await.problem("below-policy-floor");
            }
        }
        client.post("/v1/challenges", ada(json!({"ttl_seconds": 601}))).await.problem("invalid-request");

        let typed = client.create_challenge(ada(json!({"ttl_seconds": 600}))).await;
        assert_eq!((&typed["policy"]["profile"], text(&typed, "number").len()), (&json!("nist-800-63b-4"), 6));
        let shown = phone.pending_of(&typed).await;
        assert!(phone.approve(&shown, None, None).await.is_err(), "a mere yes is none");
        phone.approve(&shown, Some(text(&typed, "number")), None).await.unwrap();
        assert_eq!(client.show(&typed).await["status"], "approved");

        let displayed = client.create_challenge(ada(json!({"verification": {"mode": "display"}}))).await;
        assert_eq!((displayed.get("number"), &displayed["verification"]["digits"]), (None, &json!(6)));
        let code = shown_code(&phone, &displayed).await;
        assert_eq!(client.show(&displayed).await["status"], "pending", "a mere yes is none");
        assert_eq!(type_code(&client, &displayed, &code).await.ok(200)["status"], "approved");

        second.stop().await;

        // Nobody is let in without a code back, or beside the device that is there.
        let uncoded = json!({"user": {"external_id": "grace"}, "confirmation": "none"});
        client.post("/v1/enrollments", uncoded).await.problem("invalid-request");
        client.post("/v1/enrollments", ada(json!({}))).await.problem("approval-required");
    })
    .await;
}
