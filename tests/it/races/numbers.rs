//! Wrong numbers in parallel, over many challenges of one user: the lock comes at exactly the limit.

use countersign_simulator::phone::{Answer, VerifiedChallenge};
use countersign_tests::{ApiClient, Device, Reply, at_once, both, text};
use serde_json::{Value, json};

const LIMIT: usize = 5;
const PENDING: usize = 20;
const USERS: usize = 25;

async fn user_of(idp: &ApiClient, user: &str) -> Value {
    idp.get(&format!("/v1/users?external_id={user}")).await.ok(200)["items"][0].clone()
}

async fn guess(phone: Device, shown: VerifiedChallenge, number: String) -> Reply {
    let token = phone.sign_response(&shown, &Answer::approve(Some(&number))).unwrap();
    phone.respond_with(&shown.id().to_string(), &token).await
}

/// A user with two phones guesses at all challenges at once, again after each unlock, until none is left.
async fn guess_all(idp: ApiClient, user: String) {
    let phones = [idp.enroll(&user).await, idp.enroll(&user).await];
    let body = json!({"user": {"external_id": user}, "ttl_seconds": 600});
    let created = at_once((0..PENDING).map(|_| {
        let (idp, body) = (idp.clone(), body.clone());
        async move { idp.create_challenge(body).await }
    }));
    let created = created.await;
    let wrong = |shown: &VerifiedChallenge| {
        let right = created.iter().find(|one| text(one, "id") == shown.id().to_string()).unwrap();
        // One digit off: as wrong as can be told.
        let (head, last) = text(right, "number").split_at(5);
        format!("{head}{}", if last == "0" { "1" } else { "0" })
    };
    for round in 1..=PENDING / LIMIT {
        let pending = phones[0].all_pending().await;
        assert_eq!(pending.len(), PENDING - (round - 1) * LIMIT);
        let guesses = pending.iter().enumerate().map(|(index, shown)| {
            let phone = phones[index % 2].clone();
            guess(phone, shown.clone(), wrong(shown))
        });
        let replies = at_once(guesses).await;
        let (counted, locked): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 403);
        assert_eq!(counted.len(), LIMIT);
        for reply in counted {
            reply.problem("number-mismatch");
        }
        for reply in locked {
            reply.problem("user-locked");
            assert_eq!(reply.header("retry-after"), "900");
        }
        let locked = user_of(&idp, &user).await;
        assert_eq!(locked["consecutive_failures"], LIMIT);
        assert!(locked.get("locked_until").is_some());
        // What was not looked at still waits; the lock lets nobody in, but the right person may say no.
        assert_eq!(phones[1].all_pending().await.len(), PENDING - round * LIMIT);
        let unlocked = idp.post_empty(&format!("/v1/users/{}/unlock", text(&locked, "id"))).await.ok(200);
        assert_eq!(unlocked["consecutive_failures"], 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_numbers_in_parallel_lock_at_exactly_the_limit() {
    both(async |app| {
        let idp = app.admin().await;
        at_once((0..USERS).map(|user| guess_all(idp.clone(), format!("user-{user}")))).await;
        super::one_end_each(app, USERS * PENDING).await;
        let locks = app.database.number("SELECT count(*) FROM events WHERE kind = 'user.locked'").await;
        assert_eq!(locks, i64::try_from(USERS * PENDING / LIMIT).unwrap());
    })
    .await;
}
