//! API keys that come to their end, with their client or their organisation or alone.
//!
//! Through every node a key asks for challenges and takes them back, invites devices and renames somebody, in several
//! lanes. Each of these writes one event that names the key's client: what was acknowledged is counted there, when the
//! reply to the end came and when every lane is through. Every other round the key is one that signs (`ClientProof`). To
//! race one more end: a variant of [`End`], what brings it about in [`End::make`], and a test below. To race one more act:
//! its line in [`lane`].

use countersign_core::{actor::Actor, ports::api_clients::RevokeApiClientOutcome};
use countersign_tests::{
    ApiClient, Http, Reply, Tenant, TestApp, path_of,
    proof::{rounds, say},
    text,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Finish, LANES, everywhere};

/// Times that each lane goes through all acts.
const CYCLES: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    RevokeKey,
    RevokeClient,
    /// As an operator does: `countersign api-client revoke`.
    RevokeByOperator,
    DisableTenant,
}

/// One key's round.
struct Stage<'a> {
    app: &'a TestApp,
    tenant: Tenant,
    /// Somebody else, who ends it.
    admin: ApiClient,
    /// Whose key comes to its end.
    client: ApiClient,
    /// The same client with its next key.
    next: ApiClient,
    /// The client, as the administrator sees it.
    shown: Value,
}

impl<'a> Stage<'a> {
    async fn set(app: &'a TestApp, end: End, turn: usize) -> Self {
        let tenant = match end {
            // Each round is the end of one.
            End::DisableTenant => app.tenant(&format!("organisation-{turn}")).await,
            _ => app.default_tenant().await,
        };
        let admin = app.client_of(&tenant, "admin").await;
        let client = match turn % 2 {
            0 => app.client_of(&tenant, "admin").await,
            _ => app.proving_client_of(&tenant, "admin").await,
        };
        let path = format!("/v1/api-clients/{}", client.id);
        let shown = admin.get(&path).await.ok(200);
        let next = admin.post(&format!("{path}/keys"), json!({})).await.ok(201);
        let next = ApiClient { key: text(&next, "api_key").to_owned(), signer: None, ..client.clone() };
        Self { app, tenant, admin, client, next, shown }
    }

    /// How much the client has done, as the log has it.
    async fn done(&self) -> i64 {
        let events = format!("SELECT count(*) FROM events WHERE actor_id = '{}'", self.client.id);
        self.app.database.number(&events).await
    }
}

impl End {
    /// Brings it about, and returns when it has.
    async fn make(self, stage: &Stage<'_>) {
        let path = format!("/v1/api-clients/{}", stage.client.id);
        match self {
            Self::RevokeKey => {
                let key = format!("{path}/keys/{}", text(&stage.shown["keys"][0], "id"));
                assert_eq!(stage.admin.delete(&key).await.ok(200)["state"], "revoked");
            }
            Self::RevokeClient => assert!(stage.admin.delete(&path).await.ok(200)["revoked_at"].is_string()),
            Self::RevokeByOperator => {
                let app = stage.app.node().app();
                let stamp = app.stamp(Actor::Operator, stage.tenant.id, "test", app.now());
                let outcome = app.store.revoke_api_client(stamp, stage.client.id.parse().unwrap()).await;
                assert_eq!(outcome, Ok(RevokeApiClientOutcome::Revoked));
            }
            Self::DisableTenant => drop(stage.app.disable(&stage.tenant).await),
        }
    }
}

/// Whether each step began after the reply to the end, and what it got.
type Steps = Vec<(bool, Reply)>;

/// One of the key's lanes: through its node it does all that it may, time and again.
async fn lane(client: ApiClient, finish: Finish, user: Value, number: usize) -> Steps {
    let mut steps = Steps::new();
    let who = json!({"external_id": text(&user, "external_id")});
    let of_user = format!("/v1/users/{}", text(&user, "id"));
    for cycle in 0..CYCLES {
        if cycle + 1 == CYCLES {
            // However fast everybody is: somebody comes late.
            finish.over().await;
        }
        let late = finish.is_over();
        let asked = client.post("/v1/challenges", json!({"user": who, "verification": {"mode": "none"}})).await;
        finish.count();
        let mine = (asked.status == 201).then(|| path_of(&asked.json()));
        steps.push((late, asked));
        let late = finish.is_over();
        steps.push((late, client.post("/v1/enrollments", json!({"user": who})).await));
        finish.count();
        let late = finish.is_over();
        let name = json!({"display_name": format!("Ada {number} {cycle}")});
        steps.push((late, client.send(client.request(Method::PATCH, &of_user).json(&name)).await));
        finish.count();
        if let Some(mine) = mine {
            let late = finish.is_over();
            steps.push((late, client.post_empty(&format!("{mine}/cancel")).await));
            finish.count();
        }
    }
    steps
}

/// A key comes to its end after it has done `acts`; how many steps there were, and how many were late.
async fn round(stage: &Stage<'_>, nodes: &[Http], end: End, acts: usize) -> (usize, usize) {
    let external_id = format!("ada of {}", stage.client.id);
    let phone = stage.admin.enroll(&external_id).await;
    let user = json!({"external_id": external_id, "id": phone.registration().user.id});
    let before = stage.done().await;
    let finish = Finish::default();
    let lanes: Vec<_> = (0..LANES)
        .map(|number| {
            let node = &nodes[number % nodes.len()];
            tokio::spawn(lane(stage.client.at(node), finish.clone(), user.clone(), number))
        })
        .collect();
    finish.after(acts).await;
    end.make(stage).await;
    finish.call();
    let then = stage.done().await;
    for node in nodes {
        stage.client.at(node).get("/v1/users").await.problem("unauthenticated");
    }
    let (mut all, mut late, mut won) = (0, 0, 0);
    for lane in lanes {
        for (is_late, reply) in lane.await.unwrap() {
            all += 1;
            late += usize::from(is_late);
            let is_taken = !is_late && matches!(reply.status, 200 | 201);
            won += i64::from(is_taken);
            // Of an organisation that is disabled what waited is cancelled, too.
            let is_over = !is_late && end == End::DisableTenant && reply.status == 409;
            if !is_taken && !is_over {
                reply.problem("unauthenticated");
            }
        }
    }
    let at_last = stage.done().await;
    assert_eq!((then, before + won), (at_last, at_last), "{end:?}: done and acknowledged are not the same");
    if end == End::RevokeKey {
        // The next key is another one.
        let challenge = stage.next.plain_challenge(&external_id).await;
        phone.approve(&phone.pending_of(&challenge).await, None, None).await.unwrap();
    } else {
        stage.next.get("/v1/users").await.problem("unauthenticated");
    }
    (all, late)
}

async fn race(app: &TestApp, nodes: Vec<Http>, end: End) {
    let (mut raced, mut late) = (0, 0);
    let turns = rounds(6, 120);
    for turn in 0..turns {
        let stage = Stage::set(app, end, turn).await;
        let (of_round, late_of_round) = round(&stage, &nodes, end, turn % 14).await;
        raced += of_round;
        late += late_of_round;
    }
    assert!(late >= turns * LANES, "nobody was late");
    let (db, count) = (app.database.db(), nodes.len());
    say(&format!("{end:?} of a key, {db:?}, {count} node(s): {raced} acts, {late} came after it, none was taken"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_by_an_api_key_commits_after_its_revocation_has_returned() {
    everywhere(async |app, nodes| race(app, nodes, End::RevokeKey).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_by_an_api_client_commits_after_its_revocation_has_returned() {
    everywhere(async |app, nodes| race(app, nodes, End::RevokeClient).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_by_an_api_client_commits_after_an_operator_has_revoked_it() {
    everywhere(async |app, nodes| race(app, nodes, End::RevokeByOperator).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_by_an_api_client_commits_after_its_organisation_was_disabled() {
    everywhere(async |app, nodes| race(app, nodes, End::DisableTenant).await).await;
}
