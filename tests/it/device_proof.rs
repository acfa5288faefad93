//! Once a device's end, or the end of its keys, has been answered, nothing by the former state commits, on any node.
//!
//! While phones approve, pull and tell new push tokens through every node, in several lanes, they are revoked one by one,
//! all at once, by a filter, by their installation, or replace their keys. Whatever began after the reply must be refused,
//! and what was approved when it came is all that is ever approved. A second phone is asked too, so that nothing but the
//! barrier stands in the way.
//!
//! To add a way to end: a variant of [`End`] with its arms.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use countersign_proto::jose::Kind;
use countersign_simulator::phone::{Answer, Replace, VerifiedChallenge};
use countersign_tests::{
    ApiClient, Db, Device, Http, Reply, TestApp, at_once,
    proof::{rounds, say},
    text,
};
use reqwest::Method;
use serde_json::json;

const PENDING: usize = 16;
const LANES: usize = 2;
const USERS: usize = 3;

/// How the phone, or its key, comes to its end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Rotate,
    Revoke,
}

impl End {
    /// Ends it; the phone with its new keys, if it lives on.
    async fn make(self, idp: &ApiClient, phone: &Device) -> Option<Device> {
        match self {
            Self::Rotate => return Some(phone.rotated(Replace::DeviceKey).await),
            Self::Revoke => drop(idp.delete(&format!("/v1/devices/{}", phone.device_id())).await.ok(200)),
        }
        None
    }

    const fn refusal(self) -> &'static str {
        match self {
            Self::Rotate => "invalid-device-signature",
            Self::Revoke => "device-not-active",
        }
    }
}

/// What one lane has done: whether each step began after the reply to the end, and what it got.
type Steps = Vec<(bool, Reply)>;

struct Lane {
    phone: Device,
    http: Http,
    share: Vec<VerifiedChallenge>,
    has_ended: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Lane {
    /// Approves every challenge of its share; between, it pulls and tells a new push token.
    async fn run(self) -> (Steps, Steps) {
        let Self { phone, http, share, has_ended, answered } = self;
        let (mut answers, mut others) = (Vec::new(), Vec::new());
        for (number, shown) in share.iter().enumerate() {
            let token = phone.sign_response(shown, &Answer::approve(None)).unwrap();
            let is_late = has_ended.load(Ordering::SeqCst);
            answers.push((is_late, phone.respond_with(&shown.id().to_string(), &token).await));
            answered.fetch_add(1, Ordering::SeqCst);
            let is_late = has_ended.load(Ordering::SeqCst);
            let reply = if number % 2 == 0 {
                phone.get("/v1/device/challenges").await
            } else {
                let claims = phone.claims_with(json!({"push": {"channel": "none"}}));
                http.artefact(Method::PUT, "/v1/device/push", phone.sign(Kind::PushUpdate, &claims).unwrap()).await
            };
            others.push((is_late, reply));
        }
        (answers, others)
    }
}

async fn approved(idp: &ApiClient, user: &str) -> HashSet<String> {
    let page = idp.get(&format!("/v1/challenges?external_id={user}&status=approved&limit=200")).await.ok(200);
    page["items"].as_array().unwrap().iter().map(|item| text(item, "id").to_owned()).collect()
}

fn check(steps: &Steps, end: End) -> usize {
    for (is_late, reply) in steps {
        if *is_late || reply.status != 200 {
            reply.problem(end.refusal());
        }
    }
    steps.iter().filter(|(is_late, _)| *is_late).count()
}

/// One user's phone comes to its end after it has answered `turn` times; how many steps were late.
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
            let http = nodes[index % nodes.len()].clone();
            let share = shown.iter().skip(index).step_by(LANES).cloned().collect();
            let (has_ended, answered) = (Arc::clone(&has_ended), Arc::clone(&answered));
            tokio::spawn(Lane { phone: phone.at(&http), http, share, has_ended, answered }.run())
        })
        .collect();
    while answered.load(Ordering::SeqCst) < turn {
        tokio::task::yield_now().await;
    }
    let next = end.make(&idp, &phone).await;
    has_ended.store(true, Ordering::SeqCst);
    let then = approved(&idp, &user).await;
    let (mut late, mut won) = (0, 0);
    for lane in lanes {
        let (answers, others) = lane.await.unwrap();
        late += check(&answers, end) + check(&others, end);
        won += answers.iter().filter(|(_, reply)| reply.status == 200).count();
    }
    let at_last = approved(&idp, &user).await;
    assert_eq!((&then, won), (&at_last, at_last.len()), "approved after the barrier");
    // The rest still waits; the phone with its new keys, or the other one, answers it.
    let answering = next.unwrap_or(other);
    let rest = answering.all_pending().await;
    assert_eq!(rest.len(), PENDING - won);
    for shown in &rest {
        answering.approve(shown, None, None).await.unwrap();
    }
    late
}

async fn race(app: &TestApp, nodes: Vec<Http>, end: End) {
    let idp = app.admin().await;
    let mut late = 0;
    let turns = rounds(6, 70);
    for turn in 0..turns {
        let users = (0..USERS).map(|user| format!("user-{turn}-{user}"));
        let all = users.map(|user| round(idp.clone(), nodes.clone(), user, end, turn % PENDING));
        late += at_once(all).await.into_iter().sum::<usize>();
    }
    assert!(late > 0, "nobody was late");
    let races = turns * USERS * PENDING;
    let (db, nodes) = (app.database.db(), nodes.len());
    say(&format!(
        "{end:?}, {db:?}, {nodes} node(s): {races} approvals raced, {late} steps began too late, 0 of them won"
    ));
}

async fn race_everywhere(end: End) {
    let app = TestApp::start(Db::Sqlite).await;
    race(&app, vec![app.http.clone()], end).await;
    app.finish().await;
    let app = TestApp::start(Db::Postgres).await;
    let second = app.second_node().await;
    race(&app, vec![second.http.clone(), app.http.clone()], end).await;
    second.stop().await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_by_an_old_key_commits_after_its_rotation_has_returned() {
    race_everywhere(End::Rotate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_device_commits_after_its_revocation_has_returned() {
    race_everywhere(End::Revoke).await;
}
