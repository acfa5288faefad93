//! An agreement to one more device is worth no more than what it rests on: the device that gave it, and a person who
//! has not said since that somebody else is at work.

use countersign_proto::vocabulary::{DenyReason, ReportAction};
use countersign_simulator::phone::EnrollOptions;
use countersign_tests::{ApiClient, Device, both, text};
use serde_json::{Value, json};

use super::{about_a_device, agreement, ask, guard};

async fn status(idp: &ApiClient, enrollment: &Value) -> String {
    let shown = idp.get(&format!("/v1/enrollments/{}", text(enrollment, "id"))).await.ok(200);
    text(&shown, "status").to_owned()
}

/// Two invitations to which the phone has agreed: one that nobody has used yet, one whose device waits for its code.
async fn opened(idp: &ApiClient, phone: &Device) -> (Value, Value, Device) {
    let mut enrollments = Vec::new();
    for _ in 0..2 {
        let challenge = agreement(idp, phone, "ada").await;
        enrollments.push(ask(idp, "ada", json!({"approval": challenge["id"]})).await.ok(201));
    }
    let claimed = enrollments.pop().unwrap();
    let waiting = idp.claim(&claimed, EnrollOptions::named("Thief")).await;
    (enrollments.pop().unwrap(), claimed, waiting)
}

async fn not_me(idp: &ApiClient, phone: &Device) {
    let challenge = idp.challenge("ada").await;
    phone.deny(&phone.pending_of(&challenge).await, Some(DenyReason::NotMe)).await.unwrap();
}

#[tokio::test]
async fn what_a_device_agreed_to_ends_with_it() {
    both(async |app| {
        guard(app).await;
        let idp = app.admin().await;
        for change in ["revoke", "suspend"] {
            let phone = idp.enroll("ada").await;
            let path = format!("/v1/devices/{}", phone.device_id());
            let (unused, claimed, waiting) = opened(&idp, &phone).await;
            match change {
                "revoke" => idp.delete(&path).await.ok(200),
                _ => idp.post_empty(&format!("{path}/suspend")).await.ok(200),
            };
            for enrollment in [&unused, &claimed] {
                assert_eq!(status(&idp, enrollment).await, "cancelled");
            }
            let code = waiting.registration().confirmation_code.clone().unwrap();
            idp.confirm(&claimed, &code).await.problem("enrollment-closed");
            idp.delete(&path).await.ok(200);
        }
        let left = idp.get("/v1/devices?external_id=ada&status=active").await.ok(200);
        assert_eq!(left["items"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_report_ends_what_was_begun_and_voids_what_was_agreed_to() {
    both(async |app| {
        guard(app).await;
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let (unused, claimed, _) = opened(&idp, &phone).await;
        let unspent = agreement(&idp, &phone, "ada").await;
        let overridden = ask(&idp, "ada", json!({"override": "new phone, seen in person"})).await.ok(201);
        app.clock.advance(1);
        not_me(&idp, &phone).await;
        for enrollment in [&unused, &claimed] {
            assert_eq!(status(&idp, enrollment).await, "cancelled");
        }
        assert_eq!(status(&idp, &overridden).await, "pending", "an administrator knew whom it was for");
        ask(&idp, "ada", json!({"approval": unspent["id"]})).await.problem("approval-required");
        // What the person agrees to afterwards counts again.
        app.clock.advance(1);
        let later = agreement(&idp, &phone, "ada").await;
        ask(&idp, "ada", json!({"approval": later["id"]})).await.ok(201);
    })
    .await;
}

#[tokio::test]
async fn nobody_is_let_in_beside_somebody_who_is_locked_until_further_notice() {
    both(async |app| {
        app.change_policy(|policy| policy.on_report = ReportAction::Lock).await;
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        not_me(&idp, &phone).await;
        let refused = ask(&idp, "ada", json!({})).await.problem("user-locked");
        assert_eq!(refused["locked_until"], "9999-12-31T23:59:59Z");
        ask(&idp, "ada", json!({"override": "seen in person"})).await.ok(201);
        idp.delete(&format!("/v1/users/{}/report", phone.registration().user.id)).await.ok(200);
        ask(&idp, "ada", json!({})).await.ok(201);
    })
    .await;
}

#[tokio::test]
async fn a_careless_tap_lets_nobody_in() {
    both(async |app| {
        guard(app).await;
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        for mode in ["none", "choose"] {
            let body =
                json!({"user": {"external_id": "ada"}, "action": "enroll_device", "verification": {"mode": mode}});
            let challenge = idp.create_challenge(body).await;
            let number = challenge.get("number").and_then(Value::as_str);
            phone.approve(&phone.pending_of(&challenge).await, number, None).await.unwrap();
            assert_eq!(idp.show(&challenge).await["status"], "approved");
            ask(&idp, "ada", json!({"approval": challenge["id"]})).await.problem("approval-required");
        }
        let typed = about_a_device(&idp, "ada").await;
        let shown = phone.pending_of(&typed).await;
        phone.approve(&shown, Some(text(&typed, "number")), None).await.unwrap();
        ask(&idp, "ada", json!({"approval": typed["id"]})).await.ok(201);
    })
    .await;
}
