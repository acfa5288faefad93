//! Wrong numbers: each denies for good and is counted; the fifth in a row locks the user.

use countersign_tests::{ApiClient, Device, both, text};
use serde_json::{Value, json};

#[tokio::test]
async fn a_wrong_number_denies_for_good_and_is_counted() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let challenge = idp.challenge("ada").await;
        let shown = phone.only_pending().await;
        let wrong = if text(&challenge, "number") == "000000" { "000001" } else { "000000" };
        let refused = phone.approve(&shown, Some(wrong), None).await.unwrap_err();
        assert!(refused.is_problem("number-mismatch"), "{refused}");
        let denied = idp.show(&challenge).await;
        assert_eq!((text(&denied, "status"), text(&denied, "reason")), ("denied", "wrong_number"));
        let user = user_of(&idp, "ada").await;
        assert_eq!(user["consecutive_failures"], 1);
        let again = phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap_err();
        assert!(again.is_problem("challenge-closed"), "{again}");
    })
    .await;
}

async fn user_of(idp: &ApiClient, external_id: &str) -> Value {
    idp.get(&format!("/v1/users?external_id={external_id}")).await.ok(200)["items"][0].clone()
}

async fn answer_wrongly(idp: &ApiClient, phone: &Device) {
    let challenge = idp.challenge("ada").await;
    let wrong = if text(&challenge, "number") == "000000" { "000001" } else { "000000" };
    let refused = phone.approve(&phone.only_pending().await, Some(wrong), None).await.unwrap_err();
    assert!(refused.is_problem("number-mismatch"), "{refused}");
}

#[tokio::test]
async fn the_fifth_wrong_number_locks_until_the_time_is_up_or_an_admin_unlocks() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        for _ in 0..5 {
            answer_wrongly(&idp, &phone).await;
        }
        let user = user_of(&idp, "ada").await;
        assert_eq!(user["consecutive_failures"], 5);
        let challenge = idp.challenge("ada").await;
        assert_eq!(challenge["locked_until"], user["locked_until"]);
        let shown = phone.only_pending().await;
        let locked = phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap_err();
        assert!(locked.is_problem("user-locked"), "{locked}");
        let unlock = format!("/v1/users/{}/unlock", text(&user, "id"));
        for _ in 0..2 {
            let unlocked = idp.post_empty(&unlock).await.ok(200);
            assert_eq!((&unlocked["consecutive_failures"], unlocked.get("locked_until")), (&json!(0), None));
        }
        phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap();
        // A right number sets the count to 0; a lock ends by itself.
        for _ in 0..5 {
            answer_wrongly(&idp, &phone).await;
        }
        app.clock.advance(900);
        let challenge = idp.challenge("ada").await;
        assert_eq!(challenge.get("locked_until"), None);
        phone.approve(&phone.only_pending().await, Some(text(&challenge, "number")), None).await.unwrap();
        assert_eq!(user_of(&idp, "ada").await["consecutive_failures"], 0);
    })
    .await;
}
