//! Two equal requests with one `Idempotency-Key` at the same time.

use std::collections::HashSet;

use countersign_tests::{ApiClient, Reply, at_once, both, text};
use reqwest::Method;
use serde_json::json;

const USERS: usize = 10;
const PENDING: usize = 20;
const ROUNDS: usize = 3;

async fn create(idp: ApiClient, user: String, key: String) -> Reply {
    let body = json!({"user": {"external_id": user}, "ttl_seconds": 60});
    idp.send(idp.request(Method::POST, "/v1/challenges").header("idempotency-key", key).json(&body)).await
}

/// As many challenges as may wait, each asked for twice at once. If one were made twice, some were too many.
async fn ask(idp: ApiClient, user: String, round: usize) -> Vec<[Reply; 2]> {
    let pairs = (0..PENDING).map(|index| {
        let (idp, user, key) = (idp.clone(), user.clone(), format!("{user}-{round}-{index}"));
        async move {
            let both = at_once([0, 1].map(|_| create(idp.clone(), user.clone(), key.clone()))).await;
            <[Reply; 2]>::try_from(both).unwrap()
        }
    });
    at_once(pairs).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_equal_requests_at_once_make_one_challenge() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        for user in 0..USERS {
            idp.enroll(&format!("user-{user}")).await;
        }
        let mut ids = HashSet::new();
        for round in 0..ROUNDS {
            let users = (0..USERS).map(|user| ask(idp.clone(), format!("user-{user}"), round));
            for [one, other] in at_once(users).await.into_iter().flatten() {
                assert_eq!(one.ok(201), other.ok(201));
                assert_eq!(one.header("location"), other.header("location"));
                let mut replays = [one.header("idempotent-replay"), other.header("idempotent-replay")];
                replays.sort_unstable();
                assert_eq!(replays, ["", "true"]);
                let challenge = one.json();
                assert_eq!(text(&challenge, "number").len(), 6);
                assert!(ids.insert(text(&challenge, "id").to_owned()), "each key has a challenge of its own");
            }
            app.clock.advance(60);
            app.sweep().await;
        }
        assert_eq!(ids.len(), USERS * PENDING * ROUNDS);
        super::one_end_each(app, ids.len()).await;
    })
    .await;
}
