//! Under `enrollment_approval: existing_device` nobody brings a device in whom the person has not let in, and nobody
//! answers or asks with somebody else's credentials.

mod attackers;
mod withdrawn;

use countersign_proto::vocabulary::EnrollmentApproval;
use countersign_simulator::phone::{Candidate, EnrollOptions};
use countersign_tests::{ApiClient, Device, Reply, TestApp, both, text};
use serde_json::{Value, json};

pub(crate) async fn guard(app: &TestApp) {
    app.change_policy(|policy| policy.enrollment_approval = EnrollmentApproval::ExistingDevice).await;
}

pub(crate) async fn ask(idp: &ApiClient, user: &str, more: Value) -> Reply {
    let mut body = json!({"user": {"external_id": user}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    idp.post("/v1/enrollments", body).await
}

/// A challenge about one more device of the user.
pub(crate) async fn about_a_device(idp: &ApiClient, user: &str) -> Value {
    idp.create_challenge(json!({"user": {"external_id": user}, "action": "enroll_device"})).await
}

/// … that the phone approves.
pub(crate) async fn agreement(idp: &ApiClient, phone: &Device, user: &str) -> Value {
    let challenge = about_a_device(idp, user).await;
    let shown = phone.pending_of(&challenge).await;
    phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap();
    challenge
}

async fn claim_and_confirm(idp: &ApiClient, enrollment: &Value) -> Reply {
    let phone = idp.claim(enrollment, EnrollOptions::named("Phone")).await;
    let code = phone.registration().confirmation_code.clone().unwrap();
    idp.confirm(enrollment, &code).await
}

#[tokio::test]
async fn a_device_lets_the_next_one_in() {
    both(async |app| {
        guard(app).await;
        let idp = app.client("challenges,enrollments,audit:read").await;
        let first = idp.enroll("ada").await;
        ask(&idp, "ada", json!({})).await.problem("approval-required");
        let challenge = agreement(&idp, &first, "ada").await;
        let enrollment = ask(&idp, "ada", json!({"approval": challenge["id"]})).await.ok(201);
        claim_and_confirm(&idp, &enrollment).await.ok(200);
        let events = crate::log::events(&idp).await;
        let created = events.iter().filter(|event| event["type"] == "enrollment.created");
        let agreed_to: Vec<_> = created.filter(|event| event["challenge_id"] == challenge["id"]).collect();
        assert_eq!(agreed_to.len(), 1);
        assert_eq!(agreed_to[0]["enrollment_id"], enrollment["id"]);
        // Once.
        ask(&idp, "ada", json!({"approval": challenge["id"]})).await.problem("approval-required");
        // Other people's first devices are nobody's business.
        idp.enroll("bob").await;
    })
    .await;
}

#[tokio::test]
async fn an_approval_is_five_minutes_good_and_no_longer() {
    both(async |app| {
        guard(app).await;
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let (good, late) = (agreement(&idp, &phone, "ada").await, agreement(&idp, &phone, "ada").await);
        // The clock stands within a second; decisions are dated to its beginning.
        app.clock.advance(299);
        ask(&idp, "ada", json!({"approval": good["id"]})).await.ok(201);
        app.clock.advance(1);
        ask(&idp, "ada", json!({"approval": late["id"]})).await.problem("approval-required");
    })
    .await;
}

#[tokio::test]
async fn only_the_persons_own_yes_to_one_more_device_is_an_approval() {
    both(async |app| {
        guard(app).await;
        let (idp, other) = (app.admin().await, app.admin().await);
        let neighbour = app.client_of(&app.tenant("neighbour").await, "admin").await;
        let (ada, bob) = (idp.enroll("ada").await, idp.enroll("bob").await);
        let foreign = neighbour.enroll("ada").await;

        let sign_in = idp.challenge("ada").await;
        ada.approve(&ada.pending_of(&sign_in).await, Some(text(&sign_in, "number")), None).await.unwrap();
        let denied = about_a_device(&idp, "ada").await;
        ada.deny(&ada.pending_of(&denied).await, None).await.unwrap();
        let wrong = about_a_device(&idp, "ada").await;
        let number = if text(&wrong, "number") == "000000" { "000001" } else { "000000" };
        ada.approve(&ada.pending_of(&wrong).await, Some(number), None).await.unwrap_err();
        let pending = about_a_device(&idp, "ada").await;
        let of_bob = agreement(&idp, &bob, "bob").await;
        let of_another_client = agreement(&other, &ada, "ada").await;
        let of_a_neighbour = agreement(&neighbour, &foreign, "ada").await;
        let ids = [sign_in, denied, wrong, pending, of_bob, of_another_client, of_a_neighbour];
        let ids = ids.iter().map(|challenge| text(challenge, "id")).chain(["nonsense", ""]);
        for id in ids {
            ask(&idp, "ada", json!({"approval": id})).await.problem("approval-required");
        }
        assert_eq!(idp.get("/v1/devices?external_id=ada").await.ok(200)["items"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_approval_dies_with_the_device_that_gave_it() {
    both(async |app| {
        guard(app).await;
        let idp = app.admin().await;
        let (stolen, own) = (idp.enroll("ada").await, {
            let reason = json!({"override": "second phone", "confirmation": "none"});
            idp.claim(&ask(&idp, "ada", reason).await.ok(201), EnrollOptions::named("Own")).await
        });
        let challenge = agreement(&idp, &stolen, "ada").await;
        idp.delete(&format!("/v1/devices/{}?reason=stolen", stolen.device_id())).await.ok(200);
        ask(&idp, "ada", json!({"approval": challenge["id"]})).await.problem("approval-required");
        let challenge = agreement(&idp, &own, "ada").await;
        ask(&idp, "ada", json!({"approval": challenge["id"]})).await.ok(201);
    })
    .await;
}

#[tokio::test]
async fn only_an_administrator_overrides_and_the_log_keeps_a_digest_of_the_reason() {
    both(async |app| {
        guard(app).await;
        let (admin, idp) = (app.admin().await, app.client("enrollments,challenges").await);
        admin.enroll("ada").await;
        let reason = "canary: the phone fell into the lake";
        let refused = ask(&idp, "ada", json!({"override": reason})).await.problem("insufficient-scope");
        assert_eq!(refused["required_scope"], "admin");
        let enrollment = ask(&admin, "ada", json!({"override": reason})).await.ok(201);
        claim_and_confirm(&admin, &enrollment).await.ok(200);
        let events = crate::log::events(&admin).await;
        let told = events.iter().find(|event| event["type"] == "enrollment.overridden").unwrap();
        assert_eq!(told["enrollment_id"], enrollment["id"]);
        assert_eq!(told["data"]["reason_sha256"], countersign_proto::jose::sha256(reason));
        assert!(!events.iter().any(|event| event.to_string().contains("canary")));
        for (wrong, pointer) in
            [(json!({"override": ""}), "/override"), (json!({"override": "x", "approval": "y"}), "/override")]
        {
            ask(&admin, "ada", wrong).await.invalid(&[pointer]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_dormant_person_needs_an_administrator() {
    both(async |app| {
        guard(app).await;
        app.change_policy(|policy| policy.dormant_after_days = Some(30)).await;
        let admin = app.admin().await;
        admin.enroll("ada").await;
        app.clock.advance(31 * 86_400);
        let about = json!({"user": {"external_id": "ada"}, "action": "enroll_device"});
        admin.post("/v1/challenges", about).await.problem("no-eligible-device");
        ask(&admin, "ada", json!({})).await.problem("approval-required");
        let enrollment = ask(&admin, "ada", json!({"override": "seen at the desk"})).await.ok(201);
        claim_and_confirm(&admin, &enrollment).await.ok(200);
        admin.challenge("ada").await;
    })
    .await;
}

#[tokio::test]
async fn of_two_invitations_of_somebody_without_a_device_one_makes_a_device() {
    both(async |app| {
        guard(app).await;
        let idp = app.admin().await;
        let invite = async |confirmation: &str| ask(&idp, "ada", json!({"confirmation": confirmation})).await.ok(201);
        let (one, two, three) = (invite("code").await, invite("code").await, invite("none").await);
        let (first, second) = (
            idp.claim(&one, EnrollOptions::named("First")).await,
            idp.claim(&two, EnrollOptions::named("Second")).await,
        );
        let code = |phone: &Device| phone.registration().confirmation_code.clone().unwrap();
        idp.confirm(&one, &code(&first)).await.ok(200);
        idp.confirm(&two, &code(&second)).await.problem("approval-required");
        idp.confirm(&two, &code(&second)).await.problem("enrollment-closed");
        idp.confirm(&one, &code(&first)).await.ok(200);
        let options = EnrollOptions::named("Third");
        let third = Candidate::new(app.phones().clone(), text(&three, "ticket"), options, app.surroundings()).unwrap();
        assert!(third.register().await.unwrap_err().is_problem("enrollment-not-found"));
        let devices = idp.get("/v1/devices?external_id=ada").await.ok(200);
        assert_eq!(devices["items"].as_array().unwrap().len(), 1, "{devices}");
        assert!(second.fetch_self().await.unwrap_err().is_problem("invalid-device-signature"));
    })
    .await;
}

#[tokio::test]
async fn a_profile_asks_for_approvals_and_codes_whatever_else_the_policy_says() {
    both(async |app| {
        let idp = app.admin().await;
        idp.enroll("ada").await;
        // Only this of the profile is looked at here: its client authentication would lock the test out.
        let profile = Some(countersign_proto::vocabulary::Profile::Nist80063b4);
        app.change_policy(|policy| policy.profile = profile).await;
        app.database.tamper("UPDATE tenants SET client_proof_required = 0").await;
        ask(&idp, "ada", json!({})).await.problem("approval-required");
        ask(&idp, "bob", json!({"confirmation": "none"})).await.invalid(&["/confirmation"]);
        ask(&idp, "bob", json!({})).await.ok(201);
    })
    .await;
}

#[tokio::test]
async fn a_broker_is_never_asked_and_cannot_answer() {
    both(async |app| {
        guard(app).await;
        let idp = app.admin().await;
        let broker = json!({"purpose": "broker", "confirmation": "none"});
        let enrollment = ask(&idp, "ada", broker).await.ok(201);
        let broker = idp.claim(&enrollment, EnrollOptions::named("Broker")).await;
        let view = idp.get(&format!("/v1/devices/{}", broker.device_id())).await.ok(200);
        assert_eq!((&view["purpose"], &view["status"]), (&json!("broker"), &json!("active")));
        // Nobody could be asked, so nobody has to agree; and nobody can approve a sign-in.
        let nobody = json!({"user": {"external_id": "ada"}});
        idp.post("/v1/challenges", nobody).await.problem("no-eligible-device");
        let named = json!({"user": {"external_id": "ada"}, "device_ids": [broker.device_id()]});
        idp.post("/v1/challenges", named.clone()).await.problem("no-eligible-device");
        let phone = idp.enroll("ada").await;
        idp.post("/v1/challenges", named).await.invalid(&["/device_ids/0"]);

        let challenge = idp.challenge("ada").await;
        let shown = phone.only_pending().await;
        assert_eq!(shown.claims().aud, [phone.device_id()]);
        assert!(broker.all_pending().await.is_empty());
        assert!(broker.challenge(shown.id()).await.unwrap_err().is_problem("not-found"));
        let refused = broker.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap_err();
        assert!(refused.is_problem("not-found"), "{refused}");
        let refused = broker.deny(&shown, None).await.unwrap_err();
        assert!(refused.is_problem("not-found"), "{refused}");
        assert_eq!(idp.show(&challenge).await["status"], "pending");
        // With a phone there is somebody to ask, for a broker too.
        ask(&idp, "ada", json!({"purpose": "broker"})).await.problem("approval-required");
    })
    .await;
}
