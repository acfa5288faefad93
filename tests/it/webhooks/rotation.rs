//! Secrets that are replaced, and for how long the former ones sign.

use countersign_tests::{
    providers::SOON,
    receiver::{Hook, both_with_receiver},
};
use serde_json::json;

use super::drain;

#[tokio::test]
async fn a_rotated_secret_signs_beside_the_old_one_for_as_long_as_was_asked() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        let old = receiver.hook(&admin, "idp", &["user.*"]).await;
        let shown = admin.get(&old.path()).await.ok(200);
        assert!(shown.get("secret").is_none() && shown["public_key"] == old.public_key.as_str(), "{shown}");
        let rotated =
            admin.post(&format!("{}/rotate-secret", old.path()), json!({"overlap_seconds": 600})).await.ok(200);
        let new = Hook::of(&rotated, "idp");
        assert!(new.secret != old.secret && new.public_key != old.public_key);
        assert!(rotated["previous_secret_until"].is_string());

        let send = async || {
            admin.post_empty(&format!("{}/test", old.path())).await.ok(202);
            let sent = receiver.hooks.next("idp", SOON).await.unwrap().push;
            // Before the clock moves on: what has no verdict by the end of its lease is sent again.
            drain(app).await;
            sent
        };
        let both = send().await;
        assert!(old.verifies(&both) && new.verifies(&both), "{both:?}");
        assert_eq!(both.signature.as_deref().unwrap().split(' ').count(), 4);
        app.clock.advance(600);
        let one = send().await;
        assert!(!old.verifies(&one) && new.verifies(&one), "{one:?}");
        let at_once = admin.post(&format!("{}/rotate-secret", old.path()), json!({"overlap_seconds": 0})).await.ok(200);
        let newest = Hook::of(&at_once, "idp");
        let last = send().await;
        assert!(!new.verifies(&last) && newest.verifies(&last), "{last:?}");
        for wrong in [json!({"overlap_seconds": -1}), json!({"overlap_seconds": 604_801})] {
            admin.post(&format!("{}/rotate-secret", old.path()), wrong).await.invalid(&["/overlap_seconds"]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_rotation_whose_reply_was_lost_is_repeated_without_harm() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        let old = receiver.hook(&admin, "idp", &["user.*"]).await;
        let rotate = async || {
            let reply = admin.post(&format!("{}/rotate-secret", old.path()), json!({"overlap_seconds": 600})).await;
            Hook::of(&reply.ok(200), "idp")
        };
        let (_lost, new) = (rotate().await, rotate().await);
        admin.post_empty(&format!("{}/test", old.path())).await.ok(202);
        let sent = receiver.hooks.next("idp", SOON).await.unwrap().push;
        assert!(old.verifies(&sent) && new.verifies(&sent), "{sent:?}");
        drain(app).await;
        app.clock.advance(600);
        admin.post_empty(&format!("{}/test", old.path())).await.ok(202);
        let sent = receiver.hooks.next("idp", SOON).await.unwrap().push;
        assert!(!old.verifies(&sent) && new.verifies(&sent), "{sent:?}");
        drain(app).await;
    })
    .await;
}
