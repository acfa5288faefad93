//! Exactly one outcome, whatever races: each kind of race in many rounds, several users at a time.
//!
//! After each round all who ask are told the same end; who lost was told it too; an approval verifies with nothing
//! but the public keys; and the log has one end of each challenge ([`one_end_each`]).
//!
//! To add a race between moves on a challenge: a [`Move`] and its line in `races/responses.rs`.

mod devices;
mod enrollments;
mod expiry;
mod numbers;
mod repeats;
mod responses;

use countersign_proto::{
    evidence::{self, Evidence},
    jose::{Jwks, claims::ResultClaims, verify_server},
    vocabulary::Decision,
};
use countersign_simulator::phone::{Answer, VerifiedChallenge};
use countersign_tests::{ApiClient, Device, Reply, TestApp, at_once, text};
use serde_json::{Value, json};

/// Users that race beside each other.
pub(crate) const ARENAS: usize = 5;
/// Challenges of one user that are raced for at once.
pub(crate) const BURST: usize = 10;

/// A user whose phones are all asked.
#[derive(Clone)]
pub(crate) struct Arena {
    pub(crate) idp: ApiClient,
    pub(crate) user: String,
    pub(crate) phones: Vec<Device>,
    keys: Jwks,
}

impl Arena {
    /// So many users with so many phones each.
    pub(crate) async fn several(app: &TestApp, phones: usize) -> Vec<Self> {
        let idp = app.admin().await;
        let keys: Jwks = serde_json::from_value(app.http.get("/.well-known/jwks.json").await.ok(200)).unwrap();
        let mut arenas = Vec::new();
        for index in 0..ARENAS {
            let user = format!("user-{index}");
            let mut all = Vec::new();
            for _ in 0..phones {
                all.push(idp.enroll(&user).await);
            }
            arenas.push(Self { idp: idp.clone(), user, phones: all, keys: keys.clone() });
        }
        arenas
    }

    /// Challenges of this user, created at once, as its first phone sees them.
    pub(crate) async fn burst(&self, ttl_seconds: u32) -> Vec<VerifiedChallenge> {
        let body = json!({"user": {"external_id": self.user}, "verification": {"mode": "none"},
            "ttl_seconds": ttl_seconds});
        let creations = (0..BURST).map(|_| {
            let (idp, body) = (self.idp.clone(), body.clone());
            async move { idp.create_challenge(body).await }
        });
        at_once(creations).await;
        let shown = self.phones[0].all_pending().await;
        assert_eq!(shown.len(), BURST);
        shown
    }

    /// Sends the response of one of the phones.
    pub(crate) async fn answer(&self, phone: usize, shown: &VerifiedChallenge, answer: Answer) -> Reply {
        let phone = &self.phones[phone];
        phone.respond_with(&shown.id().to_string(), &phone.sign_response(shown, &answer).unwrap()).await
    }

    /// The end of the challenge, on which all who may ask agree, and which verifies.
    pub(crate) async fn settled(&self, shown: &VerifiedChallenge) -> Value {
        let path = format!("/v1/challenges/{}?wait=50&include=evidence", shown.id());
        let ended = self.idp.get(&path).await.ok(200);
        let status = text(&ended, "status");
        assert_ne!(status, "pending");
        let result: ResultClaims = verify_server(text(&ended, "result_token"), &|kid| self.keys.find(kid)).unwrap();
        assert_eq!((json!(result.status), &result.jti), (ended["status"].clone(), &shown.id().to_string()));
        let decision = match status {
            "approved" => Decision::Approve,
            "denied" => Decision::Deny,
            _ => {
                assert!(ended.get("evidence").is_none() && ended.get("device").is_none(), "{ended}");
                return ended;
            }
        };
        let evidence: Evidence = serde_json::from_value(ended["evidence"].clone()).unwrap();
        let proven = evidence::verify(&evidence, &|kid| self.keys.find(kid)).unwrap();
        assert_eq!((proven.response.decision, &proven.challenge.jti), (decision, &result.jti));
        assert_eq!(result.device_id, Some(proven.binding.aud));
        ended
    }
}

/// The log says of each challenge that has ended that it ended once, and as its row says.
pub(crate) async fn one_end_each(app: &TestApp, rounds: usize) {
    const ENDS: &str = "('challenge.approved', 'challenge.denied', 'challenge.expired', 'challenge.cancelled')";
    let count = async |sql: &str| usize::try_from(app.database.number(sql).await).unwrap();
    let all = count("SELECT count(*) FROM challenges WHERE status <> 'pending'").await;
    assert_eq!(all, rounds);
    assert_eq!(count(&format!("SELECT count(*) FROM events WHERE kind IN {ENDS}")).await, all);
    let agree = "SELECT count(*) FROM challenges JOIN events ON events.challenge_id = challenges.id
        AND events.kind = 'challenge.' || challenges.status";
    assert_eq!(count(agree).await, all);
}
