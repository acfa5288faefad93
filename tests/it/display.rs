//! Mode `display`: the phone shows a code, the person types it where they sign in (protocol 6.8).

mod forgery;
mod races;

use countersign_proto::{
    evidence::{self, Evidence},
    jose::{Jwks, claims::ResultClaims, verify_server},
    vocabulary::VerificationMode,
};
use countersign_simulator::phone::{Answer, VerifiedChallenge};
use countersign_tests::{ApiClient, Db, Device, Reply, both, path_of, text};
use serde_json::{Value, json};

use crate::process::Program;

/// A challenge in mode `display`.
pub(crate) async fn challenge(idp: &ApiClient, user: &str) -> Value {
    let body = json!({"user": {"external_id": user}, "verification": {"mode": "display"}, "ttl_seconds": 300});
    idp.create_challenge(body).await
}

/// Types a code.
pub(crate) async fn type_code(idp: &ApiClient, challenge: &Value, code: &str) -> Reply {
    idp.post(&format!("{}/code", path_of(challenge)), json!({"code": code})).await
}

/// The code that the phone shows after an approve.
pub(crate) async fn shown_code(phone: &Device, challenge: &Value) -> String {
    let recorded = phone.approve(&phone.pending_of(challenge).await, None, None).await.unwrap();
    recorded.display_code.unwrap()
}

/// As wrong as can be told: one digit off.
pub(crate) fn wrong(code: &str) -> String {
    let (head, last) = code.split_at(code.len() - 1);
    format!("{head}{}", if last == "0" { "1" } else { "0" })
}

async fn approve(phone: &Device, shown: &VerifiedChallenge) -> Reply {
    let token = phone.sign_response(shown, &Answer::approve(None)).unwrap();
    phone.respond_with(&shown.id().to_string(), &token).await
}

#[tokio::test]
async fn a_code_from_the_phone_signs_in_where_the_person_types_it() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let challenge = challenge(&idp, "ada").await;
        assert_eq!(challenge["verification"], json!({"mode": "display", "digits": 6}));
        assert_eq!((challenge.get("number"), challenge.get("awaiting_code")), (None, None));
        type_code(&idp, &challenge, "123456").await.problem("not-awaiting-code");
        let shown = phone.pending_of(&challenge).await;
        assert_eq!(shown.claims().verification.mode, VerificationMode::Display);

        let reply = approve(&phone, &shown).await.ok(200);
        let code = text(&reply, "display_code").to_owned();
        assert_eq!(reply, json!({"challenge_id": challenge["id"], "status": "pending", "display_code": code}));
        assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        let waiting = idp.show(&challenge).await;
        assert_eq!((text(&waiting, "status"), &waiting["awaiting_code"]), ("pending", &json!(true)));
        for absent in ["device", "amr", "result_token", "evidence", "decided_at"] {
            assert_eq!(waiting.get(absent), None);
        }
        assert!(!waiting.to_string().contains(&code));

        app.clock.advance(200);
        let approved = type_code(&idp, &challenge, &code).await.ok(200);
        assert_eq!((text(&approved, "status"), approved.get("awaiting_code")), ("approved", None));
        assert_eq!(approved["amr"], json!(["pop", "mca", "user"]));
        assert_eq!(approved["device"]["id"], phone.device_id());
        let ended = idp.get(&format!("{}?include=evidence", path_of(&challenge))).await.ok(200);
        let keys: Jwks = serde_json::from_value(app.http.get("/.well-known/jwks.json").await.ok(200)).unwrap();
        let evidence: Evidence = serde_json::from_value(ended["evidence"].clone()).unwrap();
        evidence::verify(&evidence, &|kid| keys.find(kid)).unwrap();
        let result: ResultClaims = verify_server(text(&ended, "result_token"), &|kid| keys.find(kid)).unwrap();
        assert_eq!(result.iat, app.clock.time().as_seconds());
        assert_eq!((result.verification.mode, result.verification.digits), (VerificationMode::Display, Some(6)));
        // The caller may not have heard; nobody else may find out.
        let again = type_code(&idp, &challenge, &code).await.ok(200);
        assert_eq!(unsigned(again), unsigned(approved));
        let late = type_code(&idp, &challenge, &wrong(&code)).await.problem("challenge-closed");
        assert_eq!(late["challenge_status"], "approved");
        let path = format!("/v1/device/challenges/{}", text(&challenge, "id"));
        phone.get(&path).await.problem("challenge-gone");
    })
    .await;
}

/// Without the token, which is signed anew each time.
fn unsigned(mut challenge: Value) -> Value {
    assert!(challenge.as_object_mut().unwrap().remove("result_token").is_some());
    challenge
}

#[tokio::test]
async fn a_phone_that_lost_the_reply_gets_the_same_code_while_it_is_awaited() {
    both(async |app| {
        let idp = app.admin().await;
        let (phone, watch) = (idp.enroll("ada").await, idp.enroll("ada").await);
        let challenge = challenge(&idp, "ada").await;
        let id = text(&challenge, "id");
        let shown = phone.pending_of(&challenge).await;
        let token = phone.sign_response(&shown, &Answer::approve(None)).unwrap();
        let first = phone.respond_with(id, &token).await;
        let code = text(&first.ok(200), "display_code").to_owned();
        let other = app.second_node().await;
        for seconds in [0, 30, 100] {
            app.clock.advance(seconds);
            assert_eq!(phone.respond_with(id, &token).await.text(), first.text());
            assert_eq!(phone.at(&other.http).respond_with(id, &token).await.text(), first.text());
        }
        // Other bytes of the same phone, and another phone, come too late; both may still say no.
        approve(&phone, &shown).await.problem("awaiting-code");
        approve(&watch, &watch.pending_of(&challenge).await).await.problem("awaiting-code");
        let approved = type_code(&idp.at(&other.http), &challenge, &code).await.ok(200);
        let again = phone.respond_with(id, &token).await.ok(200);
        assert_eq!(again, json!({"challenge_id": id, "status": "approved", "decided_at": approved["decided_at"]}));
        other.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_became_of_the_challenge_is_told_to_a_phone_that_repeats_itself() {
    both(async |app| {
        let idp = app.admin().await;
        let (phone, watch) = (idp.enroll("ada").await, idp.enroll("ada").await);
        for end in ["denied", "cancelled", "expired", "wrong"] {
            let challenge = challenge(&idp, "ada").await;
            let id = text(&challenge, "id");
            let token = phone.sign_response(&phone.pending_of(&challenge).await, &Answer::approve(None)).unwrap();
            let code = text(&phone.respond_with(id, &token).await.ok(200), "display_code").to_owned();
            let status = match end {
                "denied" => {
                    watch.deny(&watch.pending_of(&challenge).await, None).await.unwrap();
                    "denied"
                }
                "cancelled" => {
                    idp.post_empty(&format!("{}/cancel", path_of(&challenge))).await.ok(200);
                    "cancelled"
                }
                "expired" => {
                    app.clock.advance(300);
                    "expired"
                }
                _ => {
                    let user = idp.get("/v1/users?external_id=ada").await.ok(200)["items"][0]["id"].clone();
                    let unlock = format!("/v1/users/{}/unlock", user.as_str().unwrap());
                    for left in (0..5).rev() {
                        let refused = type_code(&idp, &challenge, &wrong(&code)).await.problem("wrong-code");
                        assert_eq!(refused["attempts_left"], left);
                    }
                    let locked = idp.post_empty(&unlock).await.ok(200);
                    assert_eq!(locked["consecutive_failures"], 0);
                    let denied = idp.show(&challenge).await;
                    assert_eq!((text(&denied, "status"), text(&denied, "reason")), ("denied", "wrong_code"));
                    assert!(denied.get("result_token").is_some() && denied.get("amr").is_none());
                    "denied"
                }
            };
            let told = phone.respond_with(id, &token).await;
            // The denial took the place of the approve.
            assert_eq!(told.problem("challenge-closed")["challenge_status"], status, "{end}");
            let late = type_code(&idp, &challenge, &code).await.problem("challenge-closed");
            assert_eq!(late["challenge_status"], status, "{end}");
            assert_eq!(idp.show(&challenge).await["status"], status);
        }
    })
    .await;
}

#[tokio::test]
async fn only_its_creator_types_the_code_and_only_digits_are_judged() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let challenge = challenge(&idp, "ada").await;
        let code = shown_code(&phone, &challenge).await;
        let stranger = app.client_of(&app.tenant("other").await, "admin").await;
        for thief in [app.client("challenges").await, app.admin().await, stranger] {
            type_code(&thief, &challenge, &code).await.problem("not-found");
        }
        for malformed in ["", "12345", "1234567", "12345a", "１２３４５６"] {
            type_code(&idp, &challenge, malformed).await.invalid(&["/code"]);
        }
        let auditor = app.client("audit:read").await;
        assert!(!auditor.show(&challenge).await.to_string().contains(&code));
        let user = idp.get("/v1/users?external_id=ada").await.ok(200)["items"][0].clone();
        assert_eq!(user["consecutive_failures"], 0);
        let typed = idp.challenge("ada").await;
        type_code(&idp, &typed, "123456").await.problem("not-awaiting-code");
        type_code(&idp, &challenge, &code).await.ok(200);
        phone.deny(&phone.only_pending().await, None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_of_the_caller_never_tells_the_code() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let body = json!({"user": {"external_id": "ada"}, "verification": {"mode": "display"}});
        let create = async || {
            let request = idp.request(reqwest::Method::POST, "/v1/challenges").header("Idempotency-Key", "once");
            idp.send(request.json(&body)).await
        };
        let challenge = create().await.ok(201);
        let code = shown_code(&phone, &challenge).await;
        let again = create().await;
        assert_eq!(again.header("idempotent-replay"), "true");
        assert!(again.ok(201).get("number").is_none() && !again.text().contains(&code));
        type_code(&idp, &challenge, &code).await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn whoever_waits_hears_that_the_code_is_awaited() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let other = app.second_node().await;
        let mut heard = 0;
        for _ in 0..10 {
            let challenge = challenge(&idp, "ada").await;
            let held = idp.at(&other.http).hold(&format!("{}?wait=50", path_of(&challenge)));
            other.until_held(1).await;
            let code = shown_code(&phone, &challenge).await;
            // Another process learns of it by asking, once a second.
            other.poll().await;
            // A read that is counted as held may not have looked yet: then it waits for the end.
            for _ in 0..200 {
                if !held.is_finished() {
                    other.turn().await;
                }
            }
            let is_heard = held.is_finished();
            type_code(&idp, &challenge, &code).await.ok(200);
            other.poll().await;
            let shown = held.await.unwrap().ok(200);
            let expected = if is_heard { ("pending", Some(&json!(true))) } else { ("approved", None) };
            assert_eq!((text(&shown, "status"), shown.get("awaiting_code")), expected);
            heard += u32::from(is_heard);
        }
        assert!(heard >= 5, "{heard} of 10");
        other.stop().await;
    })
    .await;
}

#[tokio::test]
async fn who_knows_that_the_code_is_awaited_waits_for_the_end() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let other = app.second_node().await;
        let challenge = challenge(&idp, "ada").await;
        let stream = tokio::spawn({
            let (idp, events) = (idp.clone(), format!("{}/events", path_of(&challenge)));
            async move { idp.get(&events).await }
        });
        app.until_held(1).await;
        let code = shown_code(&phone, &challenge).await;
        let held = idp.at(&other.http).hold(&format!("{}?wait=50", path_of(&challenge)));
        other.until_held(1).await;
        for _ in 0..20 {
            other.poll().await;
            other.turn().await;
        }
        assert!(!held.is_finished());
        type_code(&idp, &challenge, &code).await.ok(200);
        other.poll().await;
        assert_eq!(held.await.unwrap().ok(200)["status"], "approved");
        let told = stream.await.unwrap().text();
        let events: Vec<_> = told.lines().filter(|line| line.starts_with("data:")).collect();
        let [.., awaited, ended] = events[..] else { panic!("{told}") };
        assert!(awaited.contains("\"awaiting_code\":true") && ended.contains("\"approved\""), "{told}");
        assert!(!told.contains(&code));
        other.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_code_dies_with_its_device_and_by_a_lock() {
    both(async |app| {
        let idp = app.admin().await;
        let (phone, watch) = (idp.enroll("ada").await, idp.enroll("ada").await);
        let first = challenge(&idp, "ada").await;
        let code = shown_code(&watch, &first).await;
        idp.delete(&format!("/v1/devices/{}", watch.device_id())).await.ok(200);
        let gone = type_code(&idp, &first, &code).await.problem("challenge-closed");
        assert_eq!(gone["challenge_status"], "cancelled");
        assert_eq!(idp.show(&first).await["reason"], "device_revoked");

        // Wrong codes and wrong numbers are counted together.
        let second = challenge(&idp, "ada").await;
        let code = shown_code(&phone, &second).await;
        for _ in 0..3 {
            type_code(&idp, &second, &wrong(&code)).await.problem("wrong-code");
        }
        for _ in 0..2 {
            let typed = idp.challenge("ada").await;
            let number = wrong(text(&typed, "number"));
            phone.approve(&phone.pending_of(&typed).await, Some(&number), None).await.unwrap_err();
        }
        let locked = type_code(&idp, &second, &code).await;
        assert_eq!(locked.problem("user-locked")["locked_until"], {
            let user = idp.get("/v1/users?external_id=ada").await.ok(200)["items"][0].clone();
            assert_eq!(user["consecutive_failures"], 5);
            user["locked_until"].clone()
        });
        assert_eq!(locked.header("retry-after"), "900");
        let third = challenge(&idp, "ada").await;
        approve(&phone, &phone.pending_of(&third).await).await.problem("user-locked");
        phone.deny(&phone.pending_of(&third).await, None).await.unwrap();
        phone.deny(&phone.pending_of(&second).await, None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_command_line_phone_shows_the_code() {
    let program = Program::on(Db::Sqlite).await;
    let server = program.serve().await;
    let client = program.client(&server, "admin").await;
    let enrollment = client.create_enrollment(json!({"user": {"external_id": "ada"}, "confirmation": "none"})).await;
    program.json(&["device", "enroll", text(&enrollment, "enrollment_uri")]).await;
    let first = challenge(&client, "ada").await;
    let shown = program.json(&["device", "approve", text(&first, "id")]).await;
    assert_eq!((text(&shown, "status"), shown.get("decided_at")), ("pending", None));
    type_code(&client, &first, text(&shown, "display_code")).await.ok(200);
    let second = challenge(&client, "ada").await;
    let told = program.run(&["device", "approve", text(&second, "id")]).await;
    let code = told.stdout.trim().rsplit(' ').next().unwrap();
    type_code(&client, &second, code).await.ok(200);
    server.stop().await;
}
