//! What a stolen API key and a stolen device key are good for.

use countersign_simulator::phone::EnrollOptions;
use countersign_tests::{Db, Device, TestApp, both, path_of, text};
use reqwest::{Method, header::AUTHORIZATION};
use serde_json::{Value, json};

use super::{about_a_device, agreement, ask, guard};

async fn devices(idp: &countersign_tests::ApiClient) -> usize {
    idp.get("/v1/devices?external_id=ada").await.ok(200)["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_stolen_api_key_brings_neither_an_approval_nor_a_device() {
    both(async |app| {
        guard(app).await;
        let (admin, stolen) = (app.admin().await, app.client("enrollments,challenges").await);
        let phone = admin.enroll("ada").await;
        // What the person has let the identity provider do is not for the thief to use.
        let theirs = agreement(&admin, &phone, "ada").await;
        let own = about_a_device(&stolen, "ada").await;
        for attempt in [
            json!({}),
            json!({"approval": theirs["id"]}),
            json!({"approval": own["id"]}),
            json!({"purpose": "broker"}),
            json!({"confirmation": "none"}),
        ] {
            ask(&stolen, "ada", attempt).await.problem("approval-required");
        }
        ask(&stolen, "ada", json!({"override": "trust me"})).await.problem("insufficient-scope");
        // A device of his own, under another name, answers nothing that was asked of her.
        let mallory = stolen.enroll_with("mallory", EnrollOptions::named("Mallory")).await;
        let shown = phone.pending_of(&own).await;
        let number = Some(text(&own, "number"));
        assert!(mallory.approve(&shown, number, None).await.unwrap_err().is_problem("not-found"));
        let hers = json!({"user": {"external_id": "ada"}, "device_ids": [mallory.device_id()]});
        stolen.post("/v1/challenges", hers).await.invalid(&["/device_ids/0"]);
        let approval_of_his = agreement(&stolen, &mallory, "mallory").await;
        ask(&stolen, "ada", json!({"approval": approval_of_his["id"]})).await.problem("approval-required");
        // He cannot remove her phone to become the first, raise the policy, or see what others asked.
        let gone = stolen.delete(&format!("/v1/devices/{}", phone.device_id())).await;
        gone.problem("insufficient-scope");
        stolen.get(&path_of(&theirs)).await.problem("not-found");
        stolen.post_empty(&format!("{}/cancel", path_of(&theirs))).await.problem("not-found");
        assert_eq!(stolen.show(&own).await["status"], "pending");
        assert_eq!(devices(&admin).await, 1);
        phone.deny(&shown, None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_invitation_made_before_the_person_came_is_worth_nothing_afterwards() {
    both(async |app| {
        guard(app).await;
        let (admin, stolen) = (app.admin().await, app.client("enrollments,challenges").await);
        let waiting = ask(&stolen, "ada", json!({"confirmation": "none"})).await.ok(201);
        admin.enroll("ada").await;
        let uri = text(&waiting, "enrollment_uri");
        let late = countersign_simulator::Phone::enroll(uri, EnrollOptions::named("Thief"), app.surroundings()).await;
        assert!(late.unwrap_err().is_problem("enrollment-not-found"));
        assert_eq!(devices(&admin).await, 1);
    })
    .await;
}

/// Everything that an API client may do to a challenge, tried with a device's credentials.
async fn tries_the_api(app: &TestApp, device: &Device, challenge: &Value) {
    let path = path_of(challenge);
    let body = json!({"user": {"external_id": "ada"}});
    let calls = [
        (Method::POST, "/v1/challenges".to_owned(), Some(body)),
        (Method::GET, "/v1/challenges".to_owned(), None),
        (Method::GET, path.clone(), None),
        (Method::GET, format!("{path}/events"), None),
        (Method::POST, format!("{path}/cancel"), None),
        (Method::GET, "/v1/users".to_owned(), None),
    ];
    for (method, path, body) in calls {
        let proof = device.proof(method.as_str(), &format!("{}{path}", app.issuer())).unwrap();
        for scheme in ["DeviceProof", "Bearer"] {
            let request = app.http.request(method.clone(), &path).header(AUTHORIZATION, format!("{scheme} {proof}"));
            let request = if let Some(body) = &body { request.json(body) } else { request };
            app.http.send(request).await.problem("unauthenticated");
        }
    }
}

#[tokio::test]
async fn a_stolen_device_key_asks_nothing_and_sees_only_what_is_asked_of_it() {
    both(async |app| {
        let idp = app.admin().await;
        let (ada, bob) = (idp.enroll("ada").await, idp.enroll("bob").await);
        let watch = idp.enroll("ada").await;
        let challenge = idp.challenge("ada").await;
        let only_the_watch = json!({"user": {"external_id": "ada"}, "device_ids": [watch.device_id()]});
        let other = idp.create_challenge(only_the_watch).await;
        for thief in [&bob, &ada] {
            tries_the_api(app, thief, &challenge).await;
        }
        let number = Some(text(&challenge, "number"));
        let shown = ada.pending_of(&challenge).await;
        assert!(bob.all_pending().await.is_empty());
        assert!(bob.challenge(shown.id()).await.unwrap_err().is_problem("not-found"));
        assert!(bob.approve(&shown, number, None).await.unwrap_err().is_problem("not-found"));
        assert!(bob.deny(&shown, None).await.unwrap_err().is_problem("not-found"));
        // Nor what is asked of the same person's other device.
        let of_the_watch = watch.pending_of(&other).await;
        assert!(ada.challenge(of_the_watch.id()).await.unwrap_err().is_problem("not-found"));
        let refused = ada.approve(&of_the_watch, Some(text(&other, "number")), None).await.unwrap_err();
        assert!(refused.is_problem("not-found"), "{refused}");
        for challenge in [&challenge, &other] {
            assert_eq!(idp.show(challenge).await["status"], "pending");
        }
    })
    .await;
}

#[tokio::test]
async fn an_approval_that_was_written_into_the_database_lets_nobody_in() {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start(db).await;
        guard(&app).await;
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let (signed, denied) = (agreement(&idp, &phone, "ada").await, about_a_device(&idp, "ada").await);
        phone.deny(&phone.pending_of(&denied).await, None).await.unwrap();
        let pending = about_a_device(&idp, "ada").await;
        let sign_in = idp.challenge("ada").await;
        phone.approve(&phone.pending_of(&sign_in).await, Some(text(&sign_in, "number")), None).await.unwrap();
        let now = app.clock.time().floor_to_second().as_millis();
        let forge = async |challenge: &Value, changes: &str| {
            let id = app.database.id(text(challenge, "id"));
            assert_eq!(app.database.tamper(&format!("UPDATE challenges SET {changes} WHERE id = {id}")).await, 1);
        };
        forge(&denied, "status = 'approved', reason = NULL").await;
        forge(&pending, &format!("status = 'approved', decided_at = {now}")).await;
        forge(&sign_in, "content = replace(content, 'sign_in', 'enroll_device')").await;
        app.clock.advance(400);
        // An old agreement made young again.
        let later = app.clock.time().floor_to_second().as_millis();
        for challenge in [&signed, &denied, &pending, &sign_in] {
            forge(challenge, &format!("decided_at = {later}")).await;
            ask(&idp, "ada", json!({"approval": challenge["id"]})).await.problem("internal");
        }
        assert_eq!(devices(&idp).await, 1);
        app.http.take_failures();
    }
}

#[tokio::test]
async fn a_broker_stays_one_whatever_its_row_says() {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start(db).await;
        let idp = app.admin().await;
        for confirmation in ["none", "code"] {
            let user = format!("user-{confirmation}");
            let body = json!({"purpose": "broker", "confirmation": confirmation});
            let enrollment = ask(&idp, &user, body).await.ok(201);
            let broker = idp.claim(&enrollment, EnrollOptions::named("Broker")).await;
            let id = app.database.id(&broker.device_id());
            let promote = format!("UPDATE devices SET purpose = 'approval' WHERE id = {id}");
            if let Some(code) = broker.registration().confirmation_code.clone() {
                // Before it is confirmed, too: the claim was sealed.
                assert_eq!(app.database.tamper(&promote).await, 1);
                idp.confirm(&enrollment, &code).await.problem("internal");
                let restore = format!("UPDATE devices SET purpose = 'broker' WHERE id = {id}");
                assert_eq!(app.database.tamper(&restore).await, 1);
                idp.confirm(&enrollment, &code).await.ok(200);
            }
            assert_eq!(app.database.tamper(&promote).await, 1);
            let challenge = idp.challenge(&user).await;
            let shown = broker.pending_of(&challenge).await;
            let refused = broker.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap_err();
            assert!(refused.is_problem("not-found"), "{refused}");
            assert_eq!(idp.show(&challenge).await["status"], "pending");
        }
        app.http.take_failures();
    }
}
