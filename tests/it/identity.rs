//! However an identifier is spelled, it is the same person everywhere, or refused everywhere.

use countersign_tests::{ApiClient, both, text};
use serde_json::{Value, json};

/// Escapes for a query parameter.
fn escaped(value: &str) -> String {
    value.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The user whom each list finds under this spelling: of the users, the devices and the challenges.
async fn found(idp: &ApiClient, spelling: &str) -> Vec<Value> {
    let query = escaped(spelling);
    let mut ids = Vec::new();
    for (list, id) in [("users", "/id"), ("devices", "/user/id"), ("challenges", "/user/id")] {
        let page = idp.get(&format!("/v1/{list}?external_id={query}")).await.ok(200);
        let items = page["items"].as_array().unwrap();
        assert_eq!(items.len(), 1, "{list} of {spelling:?}: {page}");
        ids.push(items[0].pointer(id).unwrap().clone());
    }
    ids
}

#[tokio::test]
async fn composed_and_decomposed_letters_are_one_person_everywhere() {
    both(async |app| {
        let idp = app.admin().await;
        let (composed, decomposed) = ("jos\u{e9}", "jose\u{301}");
        let phone = idp.enroll(decomposed).await;
        let challenge = idp.challenge(composed).await;
        let user = challenge["user"]["id"].clone();
        assert_eq!(challenge["user"]["external_id"], composed);
        assert_eq!(phone.only_pending().await.claims().user.external_id, composed);
        for spelling in [composed, decomposed] {
            assert_eq!(found(&idp, spelling).await, [user.clone(), user.clone(), user.clone()]);
            let body = json!({"user": {"external_id": spelling}});
            assert_eq!(idp.create_enrollment(body).await["user"]["id"], user);
        }
        phone.approve(&phone.only_pending().await, Some(text(&challenge, "number")), None).await.unwrap();
        let counted = idp.get(&format!("/v1/users/{}", user.as_str().unwrap())).await.ok(200);
        assert_eq!((&counted["device_count"], &counted["pending_challenges"]), (&json!(1), &json!(0)));
    })
    .await;
}

#[tokio::test]
async fn capital_letters_are_another_person_everywhere() {
    both(async |app| {
        let idp = app.admin().await;
        let (small, capital) = (idp.enroll("john").await, idp.enroll("John").await);
        let (one, other) = (idp.challenge("john").await, idp.challenge("John").await);
        assert_ne!(one["user"]["id"], other["user"]["id"]);
        assert_eq!(small.only_pending().await.id().to_string(), text(&one, "id"));
        assert_eq!(capital.only_pending().await.id().to_string(), text(&other, "id"));
        for (spelling, challenge) in [("john", &one), ("John", &other)] {
            let user = &challenge["user"]["id"];
            assert_eq!(found(&idp, spelling).await, [user.clone(), user.clone(), user.clone()]);
        }
        // Nobody has this name, and nobody's phone is rung for it.
        let nobody = json!({"user": {"external_id": "JOHN"}});
        idp.post("/v1/challenges", nobody).await.problem("no-eligible-device");
        assert_eq!(idp.get("/v1/users?external_id=JOHN").await.ok(200)["items"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn blanks_at_the_ends_and_what_nobody_sees_are_refused_everywhere() {
    both(async |app| {
        let idp = app.admin().await;
        idp.enroll("john").await;
        for spelling in ["john ", " john", "john\u{a0}", "john\u{3000}", "jo\thn", "john\u{200b}", "jo\u{202e}hn", ""] {
            for path in ["/v1/enrollments", "/v1/challenges"] {
                let body = json!({"user": {"external_id": spelling}});
                idp.post(path, body).await.invalid(&["/user/external_id"]);
            }
            for list in ["users", "devices", "challenges"] {
                let path = format!("/v1/{list}?external_id={}", escaped(spelling));
                idp.get(&path).await.invalid(&["/external_id"]);
            }
        }
        assert_eq!(idp.get("/v1/users").await.ok(200)["items"].as_array().unwrap().len(), 1);
    })
    .await;
}
