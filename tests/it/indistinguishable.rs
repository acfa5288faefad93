//! Unknown and foreign objects cannot be told apart: not by status, not by body, and, over many samples, not by time.
//!
//! The first two are asserted; of time the medians are said, for whoever runs `make proof`: on a busy machine no bound
//! would hold. To add an object: its path in [`paths`].

use std::time::{Duration, Instant};

use countersign_tests::{
    ApiClient, Reply, both, path_of,
    proof::{rounds, say},
};
use serde_json::{Value, json};

const UNKNOWN: &str = "01939b5e-7a2c-7def-8abc-000000000001";

/// Each with a name, of somebody else's and of nobody's.
async fn paths(owner: &ApiClient) -> Vec<(&'static str, String, String)> {
    let phone = owner.enroll("ada").await;
    let challenge = owner.plain_challenge("ada").await;
    phone.approve(&phone.only_pending().await, None, None).await.unwrap();
    let user = phone.registration().user.id.to_string();
    let of = |path: &str, id: &str| (path.replace("{id}", id), path.replace("{id}", UNKNOWN));
    let mut all = Vec::new();
    for (name, path, id) in [
        ("a user", "/v1/users/{id}", user.as_str()),
        ("a timeline", "/v1/users/{id}/timeline", &user),
        ("an export", "/v1/users/{id}/export", &user),
        ("a device", "/v1/devices/{id}", &phone.device_id()),
        ("a challenge", "/v1/challenges/{id}", path_of(&challenge).rsplit('/').next().unwrap()),
    ] {
        let (foreign, unknown) = of(path, id);
        all.push((name, foreign, unknown));
    }
    all
}

/// All of a reply that does not differ from request to request.
fn told(reply: &Reply) -> (u16, Value, Vec<String>) {
    let mut document = reply.problem("not-found");
    document["request_id"] = json!("");
    let mut headers: Vec<_> = reply.headers.keys().map(|name| name.as_str().to_owned()).collect();
    headers.sort_unstable();
    (reply.status, document, headers)
}

#[expect(clippy::disallowed_methods, reason = "real time is what is measured; nothing is asserted of it")]
fn now() -> Instant {
    Instant::now()
}

fn median(mut took: Vec<Duration>) -> f64 {
    took.sort();
    took[took.len() / 2].as_secs_f64() * 1_000.0
}

#[tokio::test]
async fn what_is_somebody_elses_looks_like_what_is_nobodys() {
    both(async |app| {
        let owner = app.admin().await;
        let stranger = app.client_of(&app.tenant("other").await, "admin").await;
        for (name, foreign, unknown) in paths(&owner).await {
            let (mut of_others, mut of_nobody) = (Vec::new(), Vec::new());
            let mut looks = None;
            // In turns, so that a machine that gets busier makes no difference between the two.
            for _ in 0..rounds(20, 3_000) {
                for (path, took) in [(&foreign, &mut of_others), (&unknown, &mut of_nobody)] {
                    let began = now();
                    let reply = stranger.get(path).await;
                    took.push(now() - began);
                    let look = told(&reply);
                    assert_eq!(*looks.get_or_insert_with(|| look.clone()), look, "{path}");
                }
            }
            let (samples, db) = (of_others.len(), app.database.db());
            let (of_others, of_nobody) = (median(of_others), median(of_nobody));
            say(&format!(
                "{name}, {db:?}: median of {samples} reads of somebody else's {of_others:.3} ms, of nobody's \
                 {of_nobody:.3} ms (ratio {:.3})",
                of_others / of_nobody
            ));
        }
    })
    .await;
}
