//! The life of a challenge and its surroundings, as an identity provider and a phone see them.

use countersign_tests::{both, path_of, text};

#[tokio::test]
async fn an_approval_ends_the_waiting_call() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let challenge = idp.challenge("ada").await;
        let waiting = idp.hold(&format!("{}?wait=50", path_of(&challenge)));
        app.until_held(1).await;
        let shown = phone.only_pending().await;
        phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap();
        assert_eq!(waiting.await.unwrap().ok(200)["status"], "approved");
    })
    .await;
}
