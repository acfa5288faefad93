//! Wrong numbers: each denies for good and is counted; the fifth in a row locks the user.

use countersign_simulator::phone::{Answer, VerifiedChallenge};
use countersign_tests::{ApiClient, Db, Device, Http, Reply, at_once, both, proof::rounds, text};
use serde_json::{Value, json};

use crate::process::{PATIENCE, Program, free_port};

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

/// Twenty challenges at once, one wrong number for each, from two phones on two nodes; how many were judged.
async fn guess_at_all(idp: &ApiClient, phones: &[Device], nodes: &[Http]) -> usize {
    let body = json!({"user": {"external_id": "ada"}, "ttl_seconds": 600});
    let created = at_once((0..20).map(|number| {
        let (idp, body) = (idp.at(&nodes[number % nodes.len()]), body.clone());
        async move { idp.create_challenge(body).await }
    }))
    .await;
    let mut guesses = Vec::new();
    for (number, challenge) in created.iter().enumerate() {
        let phone = &phones[number % phones.len()];
        let shown = phone.pending_of(challenge).await;
        let (head, last) = text(challenge, "number").split_at(5);
        let wrong = format!("{head}{}", if last == "0" { "1" } else { "0" });
        let token = phone.sign_response(&shown, &Answer::approve(Some(&wrong))).unwrap();
        guesses.push((phone.at(&nodes[number % nodes.len()]), text(challenge, "id").to_owned(), token));
    }
    let replies =
        at_once(guesses.into_iter().map(|(phone, id, token)| async move { phone.respond_with(&id, &token).await }));
    let replies = replies.await;
    for reply in &replies {
        match reply.status {
            403 => reply.problem("number-mismatch"),
            _ => reply.problem("user-locked"),
        };
    }
    replies.iter().filter(|reply| reply.status == 403).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_guesses_from_two_nodes_are_judged_exactly_to_the_limit() {
    both(async |app| {
        let idp = app.admin().await;
        let phones = [idp.enroll("ada").await, idp.enroll("ada").await];
        let second = app.second_node().await;
        let nodes = [app.http.clone(), second.http.clone()];
        for round in 0..10 {
            // New challenges change nothing: once the limit is reached, each guess locks again.
            let expected = if round == 0 { 5 } else { 1 };
            assert_eq!(guess_at_all(&idp, &phones, &nodes).await, expected, "round {round}");
            let user = user_of(&idp, "ada").await;
            assert_eq!(user["consecutive_failures"], 5 + round);
            assert_eq!(user["locked_until"], json!(app.clock.time().plus_seconds(900)));
            // Both the lock and the challenges are over.
            app.clock.advance(900);
            app.sweep().await;
        }
        // The hundredth locks for good.
        app.database.tamper("UPDATE users SET consecutive_failures = 99").await;
        assert_eq!(guess_at_all(&idp, &phones, &nodes).await, 1);
        app.clock.advance(100 * 365 * 86_400);
        app.sweep().await;
        assert_eq!(guess_at_all(&idp, &phones, &nodes).await, 0);
        let user = user_of(&idp, "ada").await;
        assert_eq!((&user["consecutive_failures"], text(&user, "locked_until")), (&json!(100), "9999-12-31T23:59:59Z"));
        idp.post_empty(&format!("/v1/users/{}/unlock", text(&user, "id"))).await.ok(200);
        let waiting = phones[0].all_pending().await;
        for shown in waiting.iter().skip(1) {
            idp.post_empty(&format!("/v1/challenges/{}/cancel", shown.id())).await.ok(200);
        }
        assert_eq!(guess_once(&phones[1], &waiting[0]).await.status, 403);
        assert_eq!(user_of(&idp, "ada").await["consecutive_failures"], 1);
        second.stop().await;
    })
    .await;
}

/// A guess at a challenge whose number is not known here: wrong but once in a million.
async fn guess_once(phone: &Device, shown: &VerifiedChallenge) -> Reply {
    let token = phone.sign_response(shown, &Answer::approve(Some("000000"))).unwrap();
    phone.respond_with(&shown.id().to_string(), &token).await
}

#[tokio::test]
async fn challenges_that_nobody_answered_are_no_failures() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        for _ in 0..rounds(10, 50) {
            let created = at_once((0..20).map(|_| {
                let idp = idp.clone();
                async move { idp.challenge("ada").await }
            }));
            assert_eq!(created.await.len(), 20);
            app.clock.advance(120);
            app.sweep().await;
        }
        let user = user_of(&idp, "ada").await;
        assert_eq!((&user["consecutive_failures"], user.get("locked_until")), (&json!(0), None));
        assert_eq!((&user["pending_challenges"], user.get("pushes_stopped_until")), (&json!(0), None));
        let challenge = idp.challenge("ada").await;
        phone.approve(&phone.only_pending().await, Some(text(&challenge, "number")), None).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guess_that_was_counted_stays_counted_when_the_server_dies_before_it_replies() {
    for db in [Db::Sqlite, Db::Postgres] {
        // The issuer must outlive the process, and so must its port.
        let program = Program::on(db).await.set("server.listen", &format!("127.0.0.1:{}", free_port()));
        let mut server = program.serve().await;
        let client = program.client(&server, "admin").await;
        let phone = client.enroll("ada").await;
        for number in 1..=5 {
            let challenge = client.challenge("ada").await;
            let shown = phone.pending_of(&challenge).await;
            let wrong = if text(&challenge, "number") == "000000" { "000001" } else { "000000" };
            let token = phone.sign_response(&shown, &Answer::approve(Some(wrong))).unwrap();
            let guess = tokio::spawn({
                let (phone, id, token) = (phone.clone(), text(&challenge, "id").to_owned(), token.clone());
                async move { phone.send_response(&id, &token).await.is_ok() }
            });
            // As soon as the count is there: the reply is still on its way, or has just left.
            let counted = async {
                while program.database.number("SELECT consecutive_failures FROM users").await < number {
                    tokio::task::yield_now().await;
                }
            };
            assert!(tokio::time::timeout(PATIENCE, counted).await.is_ok(), "{}", server.logs());
            server.kill_9();
            guess.await.unwrap();
            server.finish().await;
            server = program.serve().await;
            // The phone, which may have heard nothing, says it again: not a second guess.
            let again = phone.respond_with(text(&challenge, "id"), &token).await;
            again.problem("number-mismatch");
            assert_eq!(user_of(&client, "ada").await["consecutive_failures"], number);
        }
        assert!(user_of(&client, "ada").await.get("locked_until").is_some());
        let challenge = client.challenge("ada").await;
        let shown = phone.pending_of(&challenge).await;
        let locked = phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap_err();
        assert!(locked.is_problem("user-locked"), "{locked}");
        server.stop().await;
    }
}
