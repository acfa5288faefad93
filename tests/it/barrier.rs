//! The barrier: once an end has returned, nothing by whom it ends commits, on any node.
//!
//! Each phone answers its challenges one after the other, in several lanes and through every node, and asks for more and
//! moves its push channel in between, while it comes to its end. Whoever began after the reply must be refused, and what
//! was approved, and where the phone was rung, when the reply came is all that ever is. The challenges are addressed to
//! a second phone too, so that nothing but the barrier stands in the way.
//!
//! Small in `make test`, some thousand answers for each end in `make proof`. To race one more end: a variant of [`End`],
//! what brings it about in [`End::make`], what it answers to whoever comes late in [`End::refusals`], what becomes of
//! the rest in [`End::is_of_the_device`], and a test below. To race one more act of a phone: its line in [`lane`].
//! Leases of pushes are raced below HTTP, in the contract tests of devices, users and tenants.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use countersign::{disabling, http::state::App};
use countersign_core::actor::Actor;
use countersign_proto::{
    ids::{ChallengeId, DeviceId, TenantId},
    jose::Kind,
    vocabulary::ChallengeStatus,
};
use countersign_simulator::phone::{Answer, VerifiedChallenge};
use countersign_tests::{
    ApiClient, Db, Device, Http, Reply, TestApp, at_once, both, path_of,
    proof::{rounds, say},
    text,
};
use reqwest::Method;
use serde_json::json;

const PENDING: usize = 16;
const LANES: usize = 2;
const USERS: usize = 3;

/// What is done to the phone, to its user, or to its organisation.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Revoke,
    Suspend,
    Deregister,
    RevokeAll,
    Erase,
    DisableTenant,
}

impl End {
    /// Brings it about, and returns when it has.
    async fn make(self, stage: &Stage) {
        let (idp, phone) = (&stage.idp, &stage.phone);
        let device = format!("/v1/devices/{}", phone.device_id());
        let user = format!("/v1/users/{}", phone.registration().user.id);
        match self {
            Self::Revoke => assert_eq!(idp.delete(&device).await.ok(200)["status"], "revoked"),
            Self::Suspend => {
                assert_eq!(idp.post_empty(&format!("{device}/suspend")).await.ok(200)["status"], "suspended");
            }
            Self::Deregister => drop(phone.deregister(None).await.unwrap()),
            Self::RevokeAll => {
                idp.post(&format!("{user}/devices/revoke-all"), json!({"reason": "lost"})).await.ok(200);
            }
            Self::Erase => {
                // 503: begun, and the files are being read. Who asks again goes on, unless the worker was faster.
                let mut status = idp.delete(&user).await.status;
                while status == 503 {
                    status = idp.delete(&user).await.status;
                }
                assert!(matches!(status, 204 | 404), "{status}");
            }
            Self::DisableTenant => {
                let app = &stage.app;
                let stamp = || app.stamp(Actor::Operator, stage.tenant_id, "test", app.now());
                disabling::disable(app.store.as_ref(), &stamp).await.unwrap();
            }
        }
    }

    /// What the phone is told after it, and while it happens.
    const fn refusals(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Revoke | Self::Suspend | Self::Deregister | Self::RevokeAll => ("device-not-active", &[]),
            // Until its key is blank the phone is revoked.
            Self::Erase => ("invalid-device-signature", &["device-not-active"]),
            Self::DisableTenant => ("tenant-disabled", &[]),
        }
    }

    /// Whether nobody else is disturbed.
    const fn is_of_the_device(self) -> bool {
        matches!(self, Self::Revoke | Self::Suspend | Self::Deregister)
    }
}

/// One user's round.
#[derive(Clone)]
struct Stage {
    app: Arc<App>,
    tenant_id: TenantId,
    idp: ApiClient,
    nodes: Vec<Http>,
    phone: Device,
    has_ended: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

/// What a lane did: whether it began after the reply to the end, and what it got.
#[derive(Default)]
struct Told {
    answers: Vec<(bool, Reply)>,
    others: Vec<(bool, Reply)>,
}

/// One of the phone's lanes: through its node it answers every challenge of its share, and pulls and moves its push
/// channel in between.
async fn lane(stage: Stage, share: Vec<VerifiedChallenge>) -> Told {
    let mut told = Told::default();
    let is_late = || stage.has_ended.load(Ordering::SeqCst);
    let phone = &stage.phone;
    for shown in share {
        let token = phone.sign_response(&shown, &Answer::approve(None)).unwrap();
        let late = is_late();
        told.answers.push((late, phone.respond_with(&shown.id().to_string(), &token).await));
        stage.answered.fetch_add(1, Ordering::SeqCst);
        let late = is_late();
        told.others.push((late, phone.get("/v1/device/challenges").await));
        let claims = phone.claims_with(json!({"push": {"channel": "none"}}));
        let token = phone.sign(Kind::PushUpdate, &claims).unwrap();
        let late = is_late();
        let node = &stage.nodes[0];
        told.others.push((late, node.artefact(Method::PUT, "/v1/device/push", token).await));
    }
    told
}

impl Stage {
    /// Which of these are approved by now, as the database has it.
    async fn approved(&self, ids: &[ChallengeId]) -> usize {
        let mut approved = 0;
        for id in ids {
            let record = self.app.store.challenge(self.tenant_id, *id).await.unwrap().unwrap();
            approved += usize::from(record.status == ChallengeStatus::Approved);
        }
        approved
    }

    /// When the phone last moved its push channel; `None` if it is nobody's any more.
    async fn moved_at(&self) -> Option<i64> {
        let id: DeviceId = self.phone.id();
        let record = self.app.store.device(self.tenant_id, id).await.unwrap();
        record.map(|record| record.push_updated_at.as_millis())
    }
}

/// One user's phone comes to its end after it has answered `turn` times; how many answers were late.
async fn round(app: Arc<App>, idp: ApiClient, nodes: Vec<Http>, user: String, end: End, turn: usize) -> usize {
    let phone = idp.enroll(&user).await;
    let other = idp.enroll(&user).await;
    let body = json!({"user": {"external_id": user}, "verification": {"mode": "none"}});
    let create = |_| {
        let (idp, body) = (idp.clone(), body.clone());
        async move { idp.create_challenge(body).await }
    };
    at_once((0..PENDING).map(create)).await;
    let shown = phone.all_pending().await;
    let ids: Vec<_> = shown.iter().map(VerifiedChallenge::id).collect();
    let tenant_id = idp.tenant_id.parse().unwrap();
    let (has_ended, answered) = Default::default();
    let stage = Stage { app, tenant_id, idp, nodes, phone, has_ended, answered };
    let lanes: Vec<_> = (0..LANES)
        .map(|index| {
            let share = shown.iter().skip(index).step_by(LANES).cloned().collect();
            let node = &stage.nodes[index % stage.nodes.len()];
            let own = Stage { phone: stage.phone.at(node), nodes: vec![node.clone()], ..stage.clone() };
            tokio::spawn(lane(own, share))
        })
        .collect();
    while stage.answered.load(Ordering::SeqCst) < turn {
        tokio::task::yield_now().await;
    }
    end.make(&stage).await;
    stage.has_ended.store(true, Ordering::SeqCst);
    let then = (stage.approved(&ids).await, stage.moved_at().await);
    let (refusal, meanwhile) = end.refusals();
    let (mut late, mut won) = (0, 0);
    for lane in lanes {
        let Told { answers, others } = lane.await.unwrap();
        for (is_late, reply) in &answers {
            late += usize::from(*is_late);
            won += usize::from(reply.status == 200);
            judge(*is_late, reply, refusal, meanwhile);
        }
        others.iter().for_each(|(is_late, reply)| judge(*is_late, reply, refusal, meanwhile));
    }
    let at_last = (stage.approved(&ids).await, stage.moved_at().await);
    assert_eq!((then, won), (at_last, at_last.0), "{end:?}: something was done after the barrier");
    if end.is_of_the_device() {
        // Nobody else is disturbed: the rest still waits, and the other phone may answer it.
        let rest = other.all_pending().await;
        assert_eq!(rest.len(), PENDING - won);
        if let Some(shown) = rest.first() {
            other.approve(shown, None, None).await.unwrap();
        }
    }
    late
}

#[track_caller]
fn judge(is_late: bool, reply: &Reply, refusal: &str, meanwhile: &[&str]) {
    let kind = || reply.json()["type"].as_str().unwrap_or_default().rsplit('/').next().unwrap().to_owned();
    match (is_late, reply.status) {
        (false, 200) => {}
        // What it was asked has ended just before it, and so was said to be over.
        (false, 409) => drop(reply.problem("challenge-closed")),
        (false, _) if meanwhile.contains(&kind().as_str()) => {}
        _ => drop(reply.problem(refusal)),
    }
}

async fn race(app: &TestApp, nodes: Vec<Http>, end: End) {
    let shared = app.admin().await;
    let (mut late, mut raced) = (0, 0);
    for turn in 0..rounds(8, 80) {
        let mut all = Vec::new();
        for number in 0..USERS {
            let user = format!("user-{turn}-{number}");
            let idp = match end {
                // Each round is the end of one.
                End::DisableTenant => app.client_of(&app.tenant(&user).await, "admin").await,
                _ => shared.clone(),
            };
            all.push(round(Arc::clone(app.node().app()), idp, nodes.clone(), user, end, turn % 10));
        }
        raced += USERS * PENDING;
        late += at_once(all).await.into_iter().sum::<usize>();
    }
    assert!(late > 0, "nobody was late");
    say(&format!("{end:?}, {:?}: {raced} answers raced, {late} came after it, none was too late", app.database.db()));
}

async fn race_on_both(end: End) {
    both(async |app| race(app, vec![app.http.clone()], end).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_commits_after_a_revoke_has_returned() {
    race_on_both(End::Revoke).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_commits_after_a_suspend_has_returned() {
    race_on_both(End::Suspend).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_commits_after_a_deregistration_has_returned() {
    race_on_both(End::Deregister).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_commits_after_all_devices_of_a_user_were_revoked() {
    race_on_both(End::RevokeAll).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_commits_after_an_erasure_has_returned() {
    race_on_both(End::Erase).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_commits_after_an_organisation_was_disabled() {
    race_on_both(End::DisableTenant).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_barrier_holds_on_every_node() {
    for end in [End::Revoke, End::Suspend, End::Erase, End::DisableTenant] {
        let app = TestApp::start(Db::Postgres).await;
        let second = app.second_node().await;
        race(&app, vec![second.http.clone(), app.http.clone()], end).await;
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
        for turn in 0..rounds(10, 100) {
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
            while asked.load(Ordering::SeqCst) < turn % 10 {
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
