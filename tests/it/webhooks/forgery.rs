//! Who rewrites the database keeps messages from leaving at most: makes none, and sends none elsewhere.

use countersign_tests::{
    receiver::{Receiver, both_with_receiver},
    text,
};

use super::{until, until_tried};

fn heard(receiver: &Receiver, name: &str) -> usize {
    receiver.hooks.attempts().iter().filter(|attempt| attempt.token == name).count()
}

#[tokio::test]
async fn a_webhook_that_was_rewritten_is_told_nothing() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        let tenant = app.tenant("other").await;
        let hook = receiver.hook(&admin, "idp", &["user.created"]).await;
        let (database, id) = (&app.database, app.database.id(&hook.id));
        let original = receiver.hooks.url("idp");
        let other = database.id(&tenant.id.to_string());
        let own = database.id(&admin.tenant_id);
        let evil = receiver.hooks.url("evil");
        let edits = [
            (format!("url = '{evil}'"), format!("url = '{original}'")),
            ("events = ' * '".to_owned(), "events = ' user.created '".to_owned()),
            ("secret_generation = 2".to_owned(), "secret_generation = 1".to_owned()),
            ("previous_until = 9999999999999".to_owned(), "previous_until = NULL".to_owned()),
            ("seal = 'AAAA'".to_owned(), "failing_since = NULL".to_owned()),
        ];
        for (number, (edit, undo)) in edits.into_iter().enumerate() {
            let seal = database.texts(&format!("SELECT seal FROM webhooks WHERE id = {id}")).await.remove(0);
            assert_eq!(database.tamper(&format!("UPDATE webhooks SET {edit} WHERE id = {id}")).await, 1);
            let before = receiver.hooks.attempted_count();
            admin.enroll(&format!("user-{number}")).await;
            let refused = until_tried(app, &admin, &hook, "user.created", 1).await;
            assert_eq!(refused["attempts"][0]["error"], "seal-invalid", "{edit}: {refused}");
            assert_eq!(receiver.hooks.attempted_count(), before, "{edit}");
            database.tamper(&format!("UPDATE webhooks SET {undo}, seal = '{seal}' WHERE id = {id}")).await;
        }
        // Another organisation's messages do not come by moving the webhook there either.
        database.tamper(&format!("UPDATE webhooks SET tenant_id = {other} WHERE id = {id}")).await;
        let theirs = app.client_of(&tenant, "admin").await;
        theirs.enroll("canary").await;
        app.node().tell().await;
        database.tamper(&format!("UPDATE webhooks SET tenant_id = {own} WHERE id = {id}")).await;
        assert_eq!((heard(receiver, "evil"), heard(receiver, "idp")), (0, 0));
        // What waited arrives, now that the row is ours again.
        app.clock.advance(3_600);
        until(app, &admin, &hook, "user.created", "delivered").await;
    })
    .await;
}

#[tokio::test]
async fn an_approval_that_is_only_in_the_database_is_never_told() {
    both_with_receiver(async |app, receiver| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let hook = receiver.hook(&idp, "idp", &["challenge.*"]).await;
        let database = &app.database;
        for status in ["denied", "pending"] {
            let challenge = idp.plain_challenge("ada").await;
            if status == "denied" {
                phone.deny(&phone.pending_of(&challenge).await, None).await.unwrap();
                receiver.next(&hook, "challenge.denied").await;
            }
            until(app, &idp, &hook, "challenge.created", "delivered").await;
            let id = database.id(text(&challenge, "id"));
            // The log says that it was approved, and a message is to say so; then the challenge's row says so, too.
            let claim = "UPDATE events SET kind = 'challenge.approved' WHERE kind = 'challenge.created'";
            assert_eq!(database.tamper(&format!("{claim} AND challenge_id = {id}")).await, 1);
            let claim = "UPDATE webhook_deliveries SET kind = 'challenge.approved', status = 'pending', due_at = 0, \
                         attempts = '[]' WHERE message_id IN (SELECT id FROM events WHERE kind = 'challenge.approved')";
            assert_eq!(database.tamper(claim).await, 1);
            let refused = until_tried(app, &idp, &hook, "challenge.approved", 1).await;
            assert_eq!(refused["attempts"][0]["error"], "challenge-invalid", "{status}");
            let row = "UPDATE challenges SET status = 'approved', decided_at = created_at";
            assert_eq!(database.tamper(&format!("{row} WHERE id = {id}")).await, 1);
            database.tamper("UPDATE webhook_deliveries SET due_at = 0 WHERE kind = 'challenge.approved'").await;
            let refused = until_tried(app, &idp, &hook, "challenge.approved", 2).await;
            assert_eq!(refused["attempts"][1]["error"], "challenge-invalid", "{status}");
            let told = receiver.taken(&hook);
            assert!(told.iter().all(|(_, kind)| kind != "challenge.approved"), "{told:?}");
            // As it was, so that it ends as it would have.
            database.tamper("DELETE FROM webhook_deliveries WHERE kind = 'challenge.approved'").await;
            database.tamper("UPDATE events SET kind = 'challenge.created' WHERE kind = 'challenge.approved'").await;
            let end = if status == "pending" { "NULL" } else { "created_at" };
            let undo = format!("UPDATE challenges SET status = '{status}', decided_at = {end} WHERE id = {id}");
            assert_eq!(database.tamper(&undo).await, 1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_message_without_its_event_is_not_told() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        let hook = receiver.hook(&admin, "idp", &["user.created"]).await;
        admin.enroll("ada").await;
        until(app, &admin, &hook, "user.created", "delivered").await;
        let other = "UPDATE webhook_deliveries SET kind = 'user.locked', status = 'pending', due_at = 0";
        app.database.tamper(other).await;
        let refused = until(app, &admin, &hook, "user.locked", "failed").await;
        assert_eq!(refused["attempts"].as_array().unwrap().last().unwrap()["error"], "event-invalid");
        assert_eq!(receiver.taken(&hook).len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_was_erased_is_told_without_the_person_and_an_approval_not_at_all() {
    both_with_receiver(async |app, receiver| {
        let idp = app.admin().await;
        let phone = idp.enroll("canary-of-a-person").await;
        let hook = receiver.hook(&idp, "idp", &["challenge.approved", "challenge.denied"]).await;
        receiver.hooks.always(Some(countersign_simulator::stand_in::Behaviour::status(503)));
        for approves in [true, false] {
            let challenge = idp.plain_challenge("canary-of-a-person").await;
            let pending = phone.pending_of(&challenge).await;
            match approves {
                true => drop(phone.approve(&pending, None, None).await.unwrap()),
                false => drop(phone.deny(&pending, None).await.unwrap()),
            }
        }
        until_tried(app, &idp, &hook, "challenge.denied", 1).await;
        until_tried(app, &idp, &hook, "challenge.approved", 1).await;
        app.database.tamper("UPDATE challenges SET erased_at = 1").await;
        receiver.hooks.always(None);
        app.clock.advance(3_600);
        let told = receiver.next(&hook, "challenge.denied").await;
        assert!(told["data"].get("challenge").is_none() && told["data"]["challenge_id"].is_string(), "{told}");
        assert!(!told.to_string().contains("canary-of-a-person"), "{told}");
        let refused = until(app, &idp, &hook, "challenge.approved", "failed").await;
        assert_eq!(refused["attempts"].as_array().unwrap().last().unwrap()["error"], "challenge-gone");
        assert!(receiver.taken(&hook).iter().all(|(_, kind)| kind == "challenge.denied"));
    })
    .await;
}
