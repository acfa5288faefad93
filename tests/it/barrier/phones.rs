//! Phones that come to their end, or whose keys do.
//!
//! Each phone answers its challenges one after the other, in several lanes and through every node, and asks for more and
//! moves its push channel in between. The challenges are addressed to a second phone too, so that nothing but the barrier
//! stands in the way. To race one more end: a variant of [`End`], what brings it about in [`End::make`], what it answers
//! to whoever comes late in [`End::refusals`], what becomes of the rest in [`End::is_of_the_device`], and a test below. To
//! race one more act: its line in [`lane`].

use std::sync::Arc;

use countersign::{disabling, http::state::App};
use countersign_core::actor::Actor;
use countersign_proto::{
    ids::{ChallengeId, TenantId},
    jose::Kind,
    vocabulary::ChallengeStatus,
};
use countersign_simulator::phone::{Answer, Replace, VerifiedChallenge};
use countersign_tests::{
    ApiClient, Device, Http, Reply, TestApp, TestClock, at_once,
    proof::{rounds, say},
};
use reqwest::Method;
use serde_json::json;

use super::{Finish, LANES, everywhere, kind};

const PENDING: usize = 16;
const USERS: usize = 3;

/// What is done to the phone, to its keys, to its user, or to its organisation.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Rotate,
    Revoke,
    Suspend,
    Deregister,
    RevokeAll,
    Erase,
    DisableTenant,
}

impl End {
    /// Brings it about, and returns when it has: with the phone and its new keys, if it lives on.
    async fn make(self, stage: &Stage) -> Option<Device> {
        let (idp, phone) = (&stage.idp, &stage.phone);
        let device = format!("/v1/devices/{}", phone.device_id());
        let user = format!("/v1/users/{}", phone.registration().user.id);
        match self {
            Self::Rotate => return Some(phone.rotated(Replace::DeviceKey).await),
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
        None
    }

    /// What the phone is told after it, and while it happens.
    const fn refusals(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Rotate => ("invalid-device-signature", &[]),
            Self::Revoke | Self::Suspend | Self::Deregister | Self::RevokeAll => ("device-not-active", &[]),
            // Until its key is blank the phone is revoked.
            Self::Erase => ("invalid-device-signature", &["device-not-active"]),
            Self::DisableTenant => ("tenant-disabled", &[]),
        }
    }

    /// Whether nobody else is disturbed.
    const fn is_of_the_device(self) -> bool {
        matches!(self, Self::Rotate | Self::Revoke | Self::Suspend | Self::Deregister)
    }
}

/// One user's round.
#[derive(Clone)]
struct Stage {
    app: Arc<App>,
    clock: TestClock,
    tenant_id: TenantId,
    idp: ApiClient,
    nodes: Vec<Http>,
    phone: Device,
    finish: Finish,
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
    let phone = &stage.phone;
    let last = share.last().map(VerifiedChallenge::id);
    for shown in share {
        if last == Some(shown.id()) {
            // However fast everybody is: somebody comes late.
            stage.finish.over().await;
        }
        let token = phone.sign_response(&shown, &Answer::approve(None)).unwrap();
        let late = stage.finish.is_over();
        told.answers.push((late, phone.respond_with(&shown.id().to_string(), &token).await));
        stage.finish.count();
        let late = stage.finish.is_over();
        told.others.push((late, phone.get("/v1/device/challenges").await));
        // A push channel that is moved after the end would be seen by its time.
        stage.clock.advance_millis(1);
        let claims = phone.claims_with(json!({"push": {"channel": "none"}}));
        let token = phone.sign(Kind::PushUpdate, &claims).unwrap();
        let late = stage.finish.is_over();
        let node = &stage.nodes[0];
        told.others.push((late, node.artefact(Method::PUT, "/v1/device/push", token).await));
    }
    told
}

impl Stage {
    /// Somebody whose phone has as much to answer as there is time for, and another phone of theirs.
    async fn set(
        app: Arc<App>,
        clock: TestClock,
        idp: ApiClient,
        nodes: Vec<Http>,
        user: &str,
    ) -> (Self, Device, Vec<VerifiedChallenge>) {
        let phone = idp.enroll(user).await;
        let other = idp.enroll(user).await;
        let body = json!({"user": {"external_id": user}, "verification": {"mode": "none"}});
        let create = |_| {
            let (idp, body) = (idp.clone(), body.clone());
            async move { idp.create_challenge(body).await }
        };
        at_once((0..PENDING).map(create)).await;
        let shown = phone.all_pending().await;
        let tenant_id = idp.tenant_id.parse().unwrap();
        (Self { app, clock, tenant_id, idp, nodes, phone, finish: Finish::default() }, other, shown)
    }

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
        let record = self.app.store.device(self.tenant_id, self.phone.id()).await.unwrap();
        record.map(|record| record.push_updated_at.as_millis())
    }
}

/// One user's phone comes to its end after it has answered `turn` times; how many steps were late.
async fn round((stage, other, shown): (Stage, Device, Vec<VerifiedChallenge>), end: End, turn: usize) -> usize {
    let ids: Vec<_> = shown.iter().map(VerifiedChallenge::id).collect();
    let lanes: Vec<_> = (0..LANES)
        .map(|index| {
            let share = shown.iter().skip(index).step_by(LANES).cloned().collect();
            let node = &stage.nodes[index % stage.nodes.len()];
            let own = Stage { phone: stage.phone.at(node), nodes: vec![node.clone()], ..stage.clone() };
            tokio::spawn(lane(own, share))
        })
        .collect();
    stage.finish.after(turn).await;
    let next = end.make(&stage).await;
    stage.finish.call();
    let then = (stage.approved(&ids).await, stage.moved_at().await);
    let (mut late, mut won) = (0, 0);
    for lane in lanes {
        let Told { answers, others } = lane.await.unwrap();
        won += answers.iter().filter(|(_, reply)| reply.status == 200).count();
        for (is_late, reply) in answers.iter().chain(&others) {
            late += usize::from(*is_late);
            judge(*is_late, reply, end);
        }
    }
    let at_last = (stage.approved(&ids).await, stage.moved_at().await);
    assert_eq!((then, won), (at_last, at_last.0), "{end:?}: something was done after the barrier");
    if end.is_of_the_device() {
        // Nobody else is disturbed: the rest still waits, and the phone with its new keys, or the other one, answers it.
        let answering = next.unwrap_or(other);
        let rest = answering.all_pending().await;
        assert_eq!(rest.len(), PENDING - won);
        for shown in &rest {
            answering.approve(shown, None, None).await.unwrap();
        }
    }
    late
}

#[track_caller]
fn judge(is_late: bool, reply: &Reply, end: End) {
    let (refusal, meanwhile) = end.refusals();
    match (is_late, reply.status) {
        (false, 200) => {}
        // What it was asked has ended just before it, and so was said to be over.
        (false, 409) if end != End::Rotate => drop(reply.problem("challenge-closed")),
        (false, _) if meanwhile.contains(&kind(reply).as_str()) => {}
        _ => drop(reply.problem(refusal)),
    }
}

async fn race(app: &TestApp, nodes: Vec<Http>, end: End) {
    let shared = app.admin().await;
    let (mut late, mut raced) = (0, 0);
    let count = nodes.len();
    for turn in 0..rounds(7, 80) {
        let mut all = Vec::new();
        for number in 0..USERS {
            let user = format!("user-{turn}-{number}");
            let idp = match end {
                // Each round is the end of one.
                End::DisableTenant => app.client_of(&app.tenant(&user).await, "admin").await,
                _ => shared.clone(),
            };
            let (state, clock, nodes) = (Arc::clone(app.node().app()), app.clock.clone(), nodes.clone());
            all.push(async move { round(Stage::set(state, clock, idp, nodes, &user).await, end, turn % 10).await });
        }
        raced += USERS * PENDING;
        late += at_once(all).await.into_iter().sum::<usize>();
    }
    assert!(late >= raced / PENDING * LANES, "nobody was late");
    let db = app.database.db();
    say(&format!(
        "{end:?}, {db:?}, {count} node(s): {raced} answers raced, {late} steps came after it, none was taken"
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_by_an_old_key_commits_after_its_rotation_has_returned() {
    everywhere(async |app, nodes| race(app, nodes, End::Rotate).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_commits_after_a_revoke_has_returned() {
    everywhere(async |app, nodes| race(app, nodes, End::Revoke).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_commits_after_a_suspend_has_returned() {
    everywhere(async |app, nodes| race(app, nodes, End::Suspend).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_commits_after_a_deregistration_has_returned() {
    everywhere(async |app, nodes| race(app, nodes, End::Deregister).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_commits_after_all_devices_of_a_user_were_revoked() {
    everywhere(async |app, nodes| race(app, nodes, End::RevokeAll).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_commits_after_an_erasure_has_returned() {
    everywhere(async |app, nodes| race(app, nodes, End::Erase).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_commits_after_an_organisation_was_disabled() {
    everywhere(async |app, nodes| race(app, nodes, End::DisableTenant).await).await;
}
