//! The barrier: once a revoke or a suspend has returned, nothing of that device commits, on any node.
//!
//! Each phone answers its challenges one after the other, in several lanes and through every node, while it is
//! revoked or suspended. Whoever began after the reply must be refused, and what was approved when the reply came
//! is all that is ever approved. The challenges are addressed to a second phone too, so that nothing but the
//! barrier stands in the way.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use countersign_simulator::phone::{Answer, VerifiedChallenge};
use countersign_tests::{ApiClient, Db, Device, Http, Reply, TestApp, at_once, both, path_of, text};
use serde_json::{Value, json};

const PENDING: usize = 16;
const LANES: usize = 2;
const USERS: usize = 3;

/// What is done to the phone.
#[derive(Debug, Clone, Copy)]
enum End {
    Revoke,
    Suspend,
    Deregister,
}

impl End {
    async fn make(self, idp: &ApiClient, phone: &Device) {
        let path = format!("/v1/devices/{}", phone.device_id());
        match self {
            Self::Revoke => assert_eq!(idp.delete(&path).await.ok(200)["status"], "revoked"),
            Self::Suspend => {
                assert_eq!(idp.post_empty(&format!("{path}/suspend")).await.ok(200)["status"], "suspended");
            }
            Self::Deregister => drop(phone.deregister(None).await.unwrap()),
        }
    }
}

/// One of the phone's lanes: through its node it answers every challenge of its share. Whether each answer began
/// after the reply to the end, and what it got.
async fn lane(
    phone: Device,
    share: Vec<VerifiedChallenge>,
    has_ended: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) -> Vec<(bool, Reply)> {
    let mut replies = Vec::new();
    for shown in share {
        let token = phone.sign_response(&shown, &Answer::approve(None)).unwrap();
        let is_late = has_ended.load(Ordering::SeqCst);
        replies.push((is_late, phone.respond_with(&shown.id().to_string(), &token).await));
        answered.fetch_add(1, Ordering::SeqCst);
    }
    replies
}

async fn approved(idp: &ApiClient, user: &str) -> Vec<Value> {
    let page = idp.get(&format!("/v1/challenges?external_id={user}&status=approved&limit=200")).await.ok(200);
    page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
}

/// One user's phone comes to its end after it has answered `turn` times; how many answers were late.
async fn round(idp: ApiClient, nodes: Vec<Http>, user: String, end: End, turn: usize) -> usize {
    let phone = idp.enroll(&user).await;
    let other = idp.enroll(&user).await;
    let body = json!({"user": {"external_id": user}, "verification": {"mode": "none"}});
    let create = |_| {
        let (idp, body) = (idp.clone(), body.clone());
        async move { idp.create_challenge(body).await }
    };
    at_once((0..PENDING).map(create)).await;
    let shown = phone.all_pending().await;
    let (has_ended, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let lanes: Vec<_> = (0..LANES)
        .map(|index| {
            let share = shown.iter().skip(index).step_by(LANES).cloned().collect();
            let phone = phone.at(&nodes[index % nodes.len()]);
            tokio::spawn(lane(phone, share, Arc::clone(&has_ended), Arc::clone(&answered)))
        })
        .collect();
    while answered.load(Ordering::SeqCst) < turn {
        tokio::task::yield_now().await;
    }
    end.make(&idp, &phone).await;
    has_ended.store(true, Ordering::SeqCst);
    let then = approved(&idp, &user).await;
    let mut late = 0;
    let mut won = 0;
    for lane in lanes {
        for (is_late, reply) in lane.await.unwrap() {
            if is_late {
                reply.problem("device-not-active");
                late += 1;
            } else if reply.status == 200 {
                won += 1;
            } else {
                reply.problem("device-not-active");
            }
        }
    }
    let at_last = approved(&idp, &user).await;
    assert_eq!((&then, won), (&at_last, at_last.len()), "approved after the barrier");
    // Nobody else is disturbed: the rest still waits, and the other phone may answer it.
    let rest = other.all_pending().await;
    assert_eq!(rest.len(), PENDING - won);
    if let Some(shown) = rest.first() {
        other.approve(shown, None, None).await.unwrap();
    }
    late
}

async fn rounds(app: &TestApp, nodes: Vec<Http>, end: End) {
    let idp = app.admin().await;
    let mut late = 0;
    for turn in 0..10 {
        let users = (0..USERS).map(|user| format!("user-{turn}-{user}"));
        let all = users.map(|user| round(idp.clone(), nodes.clone(), user, end, turn));
        late += at_once(all).await.into_iter().sum::<usize>();
    }
    assert!(late > 0, "nobody was late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_approval_commits_after_a_revoke_has_returned() {
    both(async |app| rounds(app, vec![app.http.clone()], End::Revoke).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_approval_commits_after_a_suspend_has_returned() {
    both(async |app| rounds(app, vec![app.http.clone()], End::Suspend).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_approval_commits_after_a_deregistration_has_returned() {
    both(async |app| rounds(app, vec![app.http.clone()], End::Deregister).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_barrier_holds_on_every_node() {
    for end in [End::Revoke, End::Suspend] {
        let app = TestApp::start(Db::Postgres).await;
        let second = app.second_node().await;
        rounds(&app, vec![second.http.clone(), app.http.clone()], end).await;
        second.stop().await;
        app.finish().await;
    }
}

/// Asks for challenges until it is refused; whether each request began after the revocation, and its status.
async fn ask(client: ApiClient, is_revoked: Arc<AtomicBool>, asked: Arc<AtomicUsize>) -> Vec<(bool, Reply)> {
    let mut replies = Vec::new();
    for _ in 0..10 {
        let is_late = is_revoked.load(Ordering::SeqCst);
        let body = json!({"user": {"external_id": "ada"}, "verification": {"mode": "none"}});
        replies.push((is_late, client.post("/v1/challenges", body).await));
        asked.fetch_add(1, Ordering::SeqCst);
    }
    replies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_api_key_is_refused_at_once_on_every_node() {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start(db).await;
        let second = app.second_node().await;
        let admin = app.admin().await;
        let phone = admin.enroll("ada").await;
        for turn in 0..10 {
            let client = app.client("challenges").await;
            let old = client.plain_challenge("ada").await;
            let nodes = [client.clone(), client.at(&second.http)];
            for node in &nodes {
                node.get(&path_of(&old)).await.ok(200);
            }
            let (is_revoked, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
            let lanes: Vec<_> = nodes
                .iter()
                .cloned()
                .map(|node| tokio::spawn(ask(node, Arc::clone(&is_revoked), Arc::clone(&asked))))
                .collect();
            while asked.load(Ordering::SeqCst) < turn {
                tokio::task::yield_now().await;
            }
            app.revoke_client(&client).await;
            is_revoked.store(true, Ordering::SeqCst);
            for node in &nodes {
                node.get(&path_of(&old)).await.problem("unauthenticated");
            }
            let mut made = vec![text(&old, "id").to_owned()];
            for lane in lanes {
                for (is_late, reply) in lane.await.unwrap() {
                    match reply.status {
                        201 if !is_late => made.push(text(&reply.json(), "id").to_owned()),
                        _ => drop(reply.problem("unauthenticated")),
                    }
                }
            }
            // What was acknowledged is there, and nothing else.
            let mut waiting: Vec<_> = phone.all_pending().await.iter().map(|shown| shown.id().to_string()).collect();
            waiting.sort_unstable();
            made.sort_unstable();
            assert_eq!(waiting, made);
            app.clock.advance(120);
            app.sweep().await;
        }
        second.stop().await;
        app.finish().await;
    }
}
