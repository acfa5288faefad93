//! Somebody who has the password begins sign-ins without end, and takes none of them back.

use countersign_proto::vocabulary::DenyReason;
use countersign_tests::{both, proof::rounds, text};
use serde_json::json;

#[tokio::test]
async fn a_flood_that_nobody_takes_back_leaves_the_person_a_way_in() {
    both(async |app| {
        let idp = app.client("challenges,enrollments").await;
        let phone = idp.enroll("ada").await;
        let second = app.second_node().await;
        let nodes = [idp.clone(), idp.at(&second.http)];
        let body = || json!({"user": {"external_id": "ada"}, "ttl_seconds": 600});
        for number in 0..rounds(200, 1_000) {
            let reply = nodes[number % 2].post("/v1/challenges", body()).await;
            if number < 20 {
                reply.ok(201);
            } else {
                reply.problem("too-many-pending");
                assert!(reply.header("retry-after").parse::<u32>().unwrap() > 0);
            }
            if number % 50 == 49 {
                // Whatever the flood does, the phone is answered, and never shown more than it can hold.
                assert_eq!(phone.all_pending().await.len(), 20);
            }
        }
        // The way out is the one that a person would take.
        let shown = phone.all_pending().await;
        phone.deny(&shown[7], Some(DenyReason::NotMe)).await.unwrap();
        assert_eq!(phone.all_pending().await.len(), 0, "one word ends all of it");
        let honest = nodes[1].create_challenge(body()).await;
        assert_eq!(honest["push_status"], "none");
        let shown = phone.pending_of(&honest).await;
        phone.approve(&shown, Some(text(&honest, "number")), None).await.unwrap();
        assert_eq!(idp.show(&honest).await["status"], "approved");
        second.stop().await;
    })
    .await;
}
