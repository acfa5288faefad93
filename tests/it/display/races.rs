//! The right code while something else ends the challenge: one end, and everybody is told it.

use countersign_simulator::phone::{Answer, VerifiedChallenge};
use countersign_tests::{Http, Reply, at_once, both, text};
use serde_json::{Value, json};

use super::{shown_code, wrong};
use crate::races::{ARENAS, Arena, one_end_each};

/// Rounds of each race for each user, on each database.
const ROUNDS: usize = 12;

/// What else happens.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rival {
    /// Another phone of the user says no.
    Deny,
    Cancel,
    /// The phone that shows the code is revoked.
    Revoke,
    /// Another phone says that it was somebody else, about another challenge.
    NotMe,
    /// The time is up: what is left is one second.
    Expire,
}

/// A challenge whose code the first phone shows.
#[derive(Clone)]
struct Stage {
    arena: Arena,
    shown: VerifiedChallenge,
    code: String,
    /// Another of the user's, which only the second phone knows.
    other: VerifiedChallenge,
}

async fn stage(arena: Arena) -> Stage {
    let body = json!({"user": {"external_id": arena.user}, "verification": {"mode": "display"}});
    let challenge = arena.idp.create_challenge(body).await;
    let shown = arena.phones[0].pending_of(&challenge).await;
    let code = shown_code(&arena.phones[0], &challenge).await;
    let other = arena.idp.plain_challenge(&arena.user).await;
    let other = arena.phones[1].pending_of(&other).await;
    Stage { arena, shown, code, other }
}

impl Stage {
    async fn type_code(&self, http: &Http, code: &str) -> Reply {
        let path = format!("/v1/challenges/{}/code", self.shown.id());
        self.arena.idp.at(http).post(&path, json!({"code": code})).await
    }

    async fn make(&self, rival: Rival, http: &Http) -> Reply {
        let (idp, phone) = (self.arena.idp.at(http), self.arena.phones[1].at(http));
        let deny = async |shown: &VerifiedChallenge, reason| {
            let token = phone.sign_response(shown, &Answer::deny(reason)).unwrap();
            phone.respond_with(&shown.id().to_string(), &token).await
        };
        match rival {
            Rival::Deny => deny(&self.shown, None).await,
            Rival::NotMe => deny(&self.other, Some(countersign_proto::vocabulary::DenyReason::NotMe)).await,
            Rival::Cancel => idp.post_empty(&format!("/v1/challenges/{}/cancel", self.shown.id())).await,
            Rival::Revoke => idp.delete(&format!("/v1/devices/{}", self.arena.phones[0].device_id())).await,
            Rival::Expire => idp.get(&format!("/v1/challenges/{}", self.shown.id())).await,
        }
    }

    async fn ended(&self) -> Value {
        self.arena.idp.get(&format!("/v1/challenges/{}", self.shown.id())).await.ok(200)
    }
}

/// Whether the code won.
async fn round(stage: &Stage, rival: Rival, nodes: &[Http; 2], code_first: bool) -> bool {
    let moves = if code_first { [None, Some(rival)] } else { [Some(rival), None] };
    let replies = at_once(moves.map(|one| {
        let (stage, nodes) = (stage.clone(), nodes.clone());
        async move {
            match one {
                None => stage.type_code(&nodes[0], &stage.code).await,
                Some(rival) => stage.make(rival, &nodes[1]).await,
            }
        }
    }));
    let replies = replies.await;
    let (typed, other) = if code_first { (&replies[0], &replies[1]) } else { (&replies[1], &replies[0]) };
    let ended = stage.ended().await;
    let is_approved = text(&ended, "status") == "approved";
    if is_approved {
        assert_eq!(typed.ok(200)["status"], "approved");
    } else {
        assert_eq!(typed.problem("challenge-closed")["challenge_status"], ended["status"]);
    }
    match rival {
        Rival::Deny | Rival::Cancel if is_approved => {
            assert_eq!(other.problem("challenge-closed")["challenge_status"], "approved");
        }
        _ => assert_eq!(other.status, 200, "{}", other.text()),
    }
    if !is_approved {
        let reason = ended.get("reason").and_then(Value::as_str);
        let (status, expected) = match rival {
            Rival::Deny => ("denied", None),
            Rival::Cancel => ("cancelled", Some("client")),
            Rival::Revoke => ("cancelled", Some("device_revoked")),
            Rival::NotMe => ("cancelled", Some("reported")),
            Rival::Expire => ("expired", None),
        };
        assert_eq!((text(&ended, "status"), reason), (status, expected));
    }
    is_approved
}

async fn race(rival: Rival) {
    both(async |app| {
        let second = app.second_node().await;
        let nodes = [app.http.clone(), second.http.clone()];
        let mut arenas = Arena::several(app, 2).await;
        let mut wins = 0;
        for number in 0..ROUNDS {
            let rounds = at_once(arenas.into_iter().map(|arena| {
                let nodes = nodes.clone();
                async move {
                    let mut stage = stage(arena).await;
                    let won = round(&stage, rival, &nodes, number.is_multiple_of(2)).await;
                    let idp = stage.arena.idp.clone();
                    idp.post_empty(&format!("/v1/challenges/{}/cancel", stage.other.id())).await;
                    if rival == Rival::Revoke {
                        stage.arena.phones[0] = idp.enroll(&stage.arena.user).await;
                    }
                    (stage.arena, won)
                }
            }));
            let rounds = rounds.await;
            wins += rounds.iter().filter(|(_, won)| *won).count();
            arenas = rounds.into_iter().map(|(arena, _)| arena).collect();
        }
        assert!(wins > 0 && wins < ARENAS * ROUNDS, "no race: {rival:?} {wins}");
        one_end_each(app, 2 * ARENAS * ROUNDS).await;
        second.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_and_a_denial_have_one_end() {
    race(Rival::Deny).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_and_a_cancellation_have_one_end() {
    race(Rival::Cancel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_and_the_revocation_of_its_device_have_one_end() {
    race(Rival::Revoke).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_and_a_report_of_fraud_have_one_end() {
    race(Rival::NotMe).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_and_the_end_of_its_time_have_one_end() {
    both(async |app| {
        let second = app.second_node().await;
        for arena in Arena::several(app, 2).await {
            let stage = stage(arena).await;
            app.clock.advance(119);
            let moves = (0..5).map(|number| {
                let (stage, clock) = (stage.clone(), app.clock.clone());
                let http = if number % 2 == 0 { app.http.clone() } else { second.http.clone() };
                async move {
                    if number == 2 {
                        clock.advance(1);
                        return stage.make(Rival::Expire, &http).await;
                    }
                    stage.type_code(&http, &stage.code).await
                }
            });
            let mut replies = at_once(moves).await;
            let read = replies.remove(2).ok(200);
            let ended = stage.ended().await;
            assert_eq!(read["status"], ended["status"]);
            for reply in replies {
                match text(&ended, "status") {
                    "approved" => assert_eq!(reply.ok(200)["status"], "approved"),
                    _ => assert_eq!(reply.problem("challenge-closed")["challenge_status"], "expired"),
                }
            }
            app.clock.advance(120);
            app.sweep().await;
        }
        second.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_phones_that_approve_at_once_one_shows_a_code() {
    both(async |app| {
        let second = app.second_node().await;
        for arena in Arena::several(app, 2).await {
            let body = json!({"user": {"external_id": arena.user}, "verification": {"mode": "display"}});
            let challenge = arena.idp.create_challenge(body).await;
            let nodes = [app.http.clone(), second.http.clone()];
            let mut approvals = Vec::new();
            for (phone, http) in arena.phones.iter().zip(&nodes) {
                let token = phone.sign_response(&phone.pending_of(&challenge).await, &Answer::approve(None)).unwrap();
                approvals.push((phone.at(http), token));
            }
            let id = text(&challenge, "id");
            let replies = at_once(approvals.into_iter().map(|(phone, token)| {
                let id = id.to_owned();
                async move { phone.respond_with(&id, &token).await }
            }));
            let replies = replies.await;
            let (won, lost): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
            assert_eq!((won.len(), lost.len()), (1, 1));
            lost[0].problem("awaiting-code");
            let code = won[0].json()["display_code"].as_str().unwrap().to_owned();
            let path = format!("/v1/challenges/{id}/code");
            // Guesses on both nodes at once: as many are judged as are allowed, and no more.
            let guesses = (0..10).map(|number| {
                let idp = arena.idp.at(&nodes[number % 2]);
                let (path, body) = (path.clone(), json!({"code": wrong(&code)}));
                async move { idp.post(&path, body).await }
            });
            let judged = at_once(guesses).await;
            assert_eq!(judged.iter().filter(|reply| reply.status == 422).count(), 5);
            for reply in judged.iter().filter(|reply| reply.status != 422) {
                assert!(matches!(reply.status, 409 | 423), "{}", reply.text());
            }
            assert_eq!(arena.idp.show(&challenge).await["reason"], "wrong_code");
        }
        second.stop().await;
    })
    .await;
}
