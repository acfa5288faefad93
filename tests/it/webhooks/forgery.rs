//! Who rewrites the database keeps messages from leaving at most: makes none, and sends none elsewhere.

use countersign::{
    telling::{self, Hindrance},
    worker::forget,
};
use countersign_core::{
    ports::webhooks::{ClaimDeliveries, Share},
    webhook::DELIVERED_KEPT_SECONDS,
};
use countersign_simulator::stand_in::Behaviour;
use countersign_tests::{
    Db, TestApp,
    receiver::{Receiver, both_with_receiver},
    text,
};
use serde_json::json;

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
        let shown = match database.db() {
            Db::Sqlite => "lower(hex(secret_id))",
            Db::Postgres => "CAST(secret_id AS TEXT)",
        };
        let secret = database.texts(&format!("SELECT {shown} FROM webhooks WHERE id = {id}")).await.remove(0);
        let secret = database.id(&secret);
        let previous = json!([{"id": hook.id, "until": "2040-01-01T00:00:00.000Z"}]);
        let edits = [
            (format!("url = '{evil}'"), format!("url = '{original}'")),
            ("events = ' * '".to_owned(), "events = ' user.created '".to_owned()),
            (format!("secret_id = {id}"), format!("secret_id = {secret}")),
            (format!("previous_secrets = '{previous}'"), "previous_secrets = '[]'".to_owned()),
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
        receiver.hooks.always(Some(Behaviour::status(503)));
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
        // The worker may have looked just before time jumped, and time stands still for it now.
        app.node().tell().await;
        let told = receiver.next(&hook, "challenge.denied").await;
        assert!(told["data"].get("challenge").is_none() && told["data"]["challenge_id"].is_string(), "{told}");
        assert!(!told.to_string().contains("canary-of-a-person"), "{told}");
        let refused = until(app, &idp, &hook, "challenge.approved", "failed").await;
        assert_eq!(refused["attempts"].as_array().unwrap().last().unwrap()["error"], "challenge-gone");
        assert!(receiver.taken(&hook).iter().all(|(_, kind)| kind == "challenge.denied"));
    })
    .await;
}

#[tokio::test]
async fn what_somebody_wrote_into_a_webhook_is_not_sealed_anew() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        let hook = receiver.hook(&admin, "idp", &["user.created"]).await;
        let evil = receiver.hooks.url("evil");
        let edit = format!("UPDATE webhooks SET url = '{evil}' WHERE id = {}", app.database.id(&hook.id));
        assert_eq!(app.database.tamper(&edit).await, 1);
        for change in [json!({"description": "renamed"}), json!({"events": ["*"]}), json!({"enabled": false})] {
            admin.patch(&hook.path(), change).await.problem("internal");
        }
        admin.post(&format!("{}/rotate-secret", hook.path()), json!({})).await.problem("internal");
        app.http.take_failures();
        admin.enroll("ada").await;
        let refused = until_tried(app, &admin, &hook, "user.created", 1).await;
        assert_eq!(refused["attempts"][0]["error"], "seal-invalid");
        assert_eq!(heard(receiver, "evil"), 0);
        // What helps: another one in its place.
        assert_eq!(admin.delete(&hook.path()).await.status, 204);
    })
    .await;
}

#[tokio::test]
async fn a_decision_is_told_only_as_its_evidence_has_it() {
    both_with_receiver(async |app, receiver| {
        let idp = app.admin().await;
        let (phone, other) = (idp.enroll("mallory").await, idp.enroll("ada").await);
        let hook = receiver.hook(&idp, "idp", &["challenge.approved", "challenge.denied"]).await;
        let database = &app.database;
        let challenge = idp.plain_challenge("mallory").await;
        phone.approve(&phone.pending_of(&challenge).await, None, None).await.unwrap();
        let told = receiver.next(&hook, "challenge.approved").await;
        until(app, &idp, &hook, "challenge.approved", "delivered").await;
        let ada = idp.plain_challenge("ada").await;
        let (ada, device) = (text(&ada["user"], "id"), other.device_id());
        let data = told["data"]["data"].to_string();
        let event = "UPDATE events SET";
        let which = "WHERE kind = 'challenge.approved'";
        let own = |member: &str| database.id(text(&told["data"], member));
        let edits = [
            (format!("user_id = {}", database.id(ada)), format!("user_id = {}", own("user_id"))),
            (format!("device_id = {}", database.id(&device)), format!("device_id = {}", own("device_id"))),
            (format!("actor_id = '{device}'"), format!("actor_id = '{}'", text(&told["data"], "device_id"))),
            ("at = at + 61000".to_owned(), "at = at - 61000".to_owned()),
            ("body = '{}'".to_owned(), format!("body = '{data}'")),
        ];
        let again = "UPDATE webhook_deliveries SET status = 'pending', due_at = 0, attempts = '[]'";
        for (edit, undo) in edits {
            assert_eq!(database.tamper(&format!("{event} {edit} {which}")).await, 1, "{edit}");
            assert_eq!(database.tamper(again).await, 1);
            let refused = until_tried(app, &idp, &hook, "challenge.approved", 1).await;
            assert_eq!(refused["attempts"][0]["error"], "challenge-invalid", "{edit}: {refused}");
            assert_eq!(database.tamper(&format!("{event} {undo} {which}")).await, 1);
        }
        assert_eq!(heard(receiver, "idp"), 1, "what is true was told once");
        assert_eq!(database.tamper(again).await, 1);
        until(app, &idp, &hook, "challenge.approved", "delivered").await;
        assert_eq!(heard(receiver, "idp"), 2, "as it was it is told again");
    })
    .await;
}

#[tokio::test]
async fn a_webhook_is_not_told_what_it_does_not_want_any_more() {
    both_with_receiver(async |app, receiver| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let hook = receiver.hook(&idp, "idp", &["challenge.*"]).await;
        receiver.hooks.always(Some(Behaviour::status(503)));
        let challenge = idp.plain_challenge("ada").await;
        phone.approve(&phone.pending_of(&challenge).await, None, None).await.unwrap();
        until_tried(app, &idp, &hook, "challenge.approved", 1).await;
        idp.patch(&hook.path(), json!({"events": ["device.*"]})).await.ok(200);
        receiver.hooks.always(None);
        app.clock.advance(3_600);
        let refused = until(app, &idp, &hook, "challenge.approved", "failed").await;
        assert_eq!(refused["attempts"].as_array().unwrap().last().unwrap()["error"], "not-wanted");
        idp.post(&format!("{}/replay", hook.path()), json!({})).await.ok(202);
        until(app, &idp, &hook, "challenge.approved", "failed").await;
        assert_eq!(receiver.taken(&hook).len(), 0);
        // Who wants it again has it sent again.
        idp.patch(&hook.path(), json!({"events": ["challenge.approved"]})).await.ok(200);
        idp.post(&format!("{}/replay", hook.path()), json!({})).await.ok(202);
        receiver.next(&hook, "challenge.approved").await;
        until(app, &idp, &hook, "challenge.approved", "delivered").await;
    })
    .await;
}

#[tokio::test]
async fn who_is_erased_while_a_message_is_leased_is_not_told_of_and_nobody_is_alarmed() {
    both_with_receiver(async |app, receiver| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let hook = receiver.hook(&idp, "idp", &["challenge.approved"]).await;
        receiver.hooks.always(Some(Behaviour::status(503)));
        let challenge = idp.plain_challenge("ada").await;
        phone.approve(&phone.pending_of(&challenge).await, None, None).await.unwrap();
        until_tried(app, &idp, &hook, "challenge.approved", 1).await;
        // Leased with an hour's patience: the server's own worker does not see it due until then.
        let (handlers, later) = (app.node().app(), app.node().app().now().plus_seconds(3_600));
        let webhooks = vec![Share { webhook_id: hook.id.parse().unwrap(), urgent: 1, usual: 0, all: 1 }];
        let claim = ClaimDeliveries { lease: handlers.new_id(later), now: later, lease_seconds: 25, webhooks };
        let leased = handlers.store.claim_webhook_deliveries(claim).await.unwrap().remove(0).unwrap();
        assert!(telling::prepare(handlers, &leased, later).await.is_ok(), "until then it could be told");
        let user = text(&challenge["user"], "id");
        assert_eq!(idp.delete(&format!("/v1/users/{user}")).await.status, 204);
        let hindrance = telling::prepare(handlers, &leased, later).await.err();
        assert_eq!(hindrance, Some(Hindrance::Ever("challenge-gone")));
        receiver.hooks.always(None);
    })
    .await;
}

/// What the live check says of webhooks.
async fn doubts(app: &TestApp) -> Vec<String> {
    crate::audit::seal(app).await;
    let report = crate::audit::look_through(app, &[]).await;
    let findings = report.findings.into_iter();
    findings.map(|finding| format!("{}: {}", finding.fault.as_str(), finding.detail)).collect()
}

#[tokio::test]
async fn a_webhook_or_a_message_that_was_rewritten_is_named_by_the_live_check() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        let hook = receiver.hook(&admin, "idp", &["user.*"]).await;
        let left = receiver.hook(&admin, "left", &["user.created"]).await;
        let (database, id) = (&app.database, app.database.id(&hook.id));
        let former = database.texts(&format!("SELECT seal FROM webhooks WHERE id = {id}")).await.remove(0);
        app.clock.advance(60);
        admin.patch(&hook.path(), json!({"events": ["user.created", "device.*"]})).await.ok(200);
        admin.delete(&left.path()).await;
        app.clock.advance(120);
        admin.enroll("ada").await;
        until(app, &admin, &hook, "device.added", "delivered").await;
        app.clock.advance(60);
        assert_eq!(doubts(app).await, [] as [&str; 0]);

        let row = format!("UPDATE webhooks SET $1 WHERE id = {id}");
        let now = database.texts(&format!("SELECT seal FROM webhooks WHERE id = {id}")).await.remove(0);
        let set = async |what: &str| assert_eq!(database.tamper(&row.replace("$1", what)).await, 1, "{what}");
        let original = receiver.hooks.url("idp");
        for (edit, undo, word) in [
            (format!("url = '{}'", receiver.hooks.url("evil")), format!("url = '{original}'"), "sealed"),
            // A row that this server sealed, before.
            (
                format!("events = ' user.* ', seal = '{former}'"),
                format!("events = ' device.* user.created ', seal = '{now}'"),
                "former",
            ),
            (
                "status = 'disabled', disabled_reason = 'client'".to_owned(),
                "status = 'enabled', disabled_reason = NULL".to_owned(),
                "whether it is told",
            ),
        ] {
            set(&edit).await;
            let found = doubts(app).await;
            assert!(found.len() == 1 && found[0].contains(&hook.id) && found[0].contains(word), "{edit}: {found:?}");
            set(&undo).await;
            assert_eq!(doubts(app).await, [] as [&str; 0], "{undo}");
        }
        // One message of two is removed; then the webhook with all it was to be told.
        let gone = format!("DELETE FROM webhook_deliveries WHERE webhook_id = {id} AND kind = 'device.added'");
        assert_eq!(database.tamper(&gone).await, 1);
        let found = doubts(app).await;
        assert!(found.len() == 1 && found[0].contains("1 are gone"), "{found:?}");
        assert_eq!(database.tamper(&format!("DELETE FROM webhooks WHERE id = {id}")).await, 1);
        let found = doubts(app).await;
        assert!(found.len() == 1 && found[0].contains("it is gone"), "{found:?}");
    })
    .await;
}

#[tokio::test]
async fn messages_that_were_kept_for_long_enough_are_not_missed() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        let hook = receiver.hook(&admin, "idp", &["user.created"]).await;
        app.clock.advance(120);
        admin.enroll("ada").await;
        until(app, &admin, &hook, "user.created", "delivered").await;
        app.clock.advance(DELIVERED_KEPT_SECONDS + 60);
        forget::round(app.node().app(), &app.settings().retention).await.unwrap();
        assert_eq!(app.database.number("SELECT count(*) FROM webhook_deliveries").await, 0);
        assert_eq!(doubts(app).await, [] as [&str; 0]);
    })
    .await;
}
