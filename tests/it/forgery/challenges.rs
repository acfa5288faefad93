//! Forged challenges: other ends, other texts, other evidence.

use countersign_proto::vocabulary::{DenyReason, UvMethod};
use countersign_simulator::phone::Answer;
use countersign_tests::{Device, path_of, text};
use reqwest::Method;
use serde_json::Value;

use super::{Alarms, House, intrusion};

/// How a challenge came to its row before the intruder did.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Past {
    Pending,
    Approved,
    Denied,
    WrongNumber,
    Expired,
    Cancelled,
}

async fn bring(house: &House, phone: &Device, user: &str, past: Past) -> Value {
    // Lists are newest first: it comes before all that were made a second ago.
    house.app.clock.advance(1);
    let challenge = house.challenge(user, "enter").await;
    let right = text(&challenge, "number").to_owned();
    let shown = phone.only_pending().await;
    match past {
        Past::Pending => {}
        Past::Approved => drop(phone.approve(&shown, Some(&right), Some(UvMethod::Pin)).await.unwrap()),
        Past::Denied => drop(phone.deny(&shown, Some(DenyReason::Mistake)).await.unwrap()),
        Past::WrongNumber => {
            let wrong = if right == "000000" { "000001" } else { "000000" };
            phone.approve(&shown, Some(wrong), Some(UvMethod::Pin)).await.unwrap_err();
        }
        Past::Expired => house.app.clock.advance(600),
        Past::Cancelled => {
            house.idp.post_empty(&format!("{}/cancel", path_of(&challenge))).await.ok(200);
        }
    }
    house.idp.show(&challenge).await;
    challenge
}

/// Two users with a phone each, and what they approved before.
struct Stage<'a> {
    house: &'a House,
    alarms: &'a Alarms,
    phone: Device,
    /// Approved by the same phone.
    other: Value,
    /// Approved by another user's.
    foreign: Value,
}

impl Stage<'_> {
    /// A challenge with this past, rewritten so, is disbelieved with this alarm.
    async fn check(&self, past: Past, changes: &str, alarm: &str) {
        let challenge = bring(self.house, &self.phone, "ada", past).await;
        self.house.forge_challenge(&challenge, changes).await;
        self.house.is_disbelieved(self.alarms, &challenge, &self.house.idp, alarm).await;
        // Out of the way of the next one.
        self.house.forge_challenge(&challenge, "status = 'cancelled'").await;
    }
}

async fn stage(story: impl AsyncFn(&Stage<'_>)) {
    intrusion(async |house, alarms| {
        let (phone, stranger) = (house.enroll("ada").await, house.enroll("grace").await);
        let other = bring(house, &phone, "ada", Past::Approved).await;
        let foreign = bring(house, &stranger, "grace", Past::Approved).await;
        story(&Stage { house, alarms, phone, other, foreign }).await;
    })
    .await;
}

const APPROVED: &str = "status = 'approved', reason = NULL, decided_at = created_at";

#[tokio::test]
async fn an_end_without_a_device_cannot_become_an_approval() {
    stage(async |stage| {
        for past in [Past::Pending, Past::Expired, Past::Cancelled] {
            stage.check(past, APPROVED, "evidence_missing").await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_denial_cannot_become_an_approval() {
    stage(async |stage| {
        for past in [Past::Denied, Past::WrongNumber] {
            stage.check(past, "status = 'approved', reason = NULL", "evidence_decision").await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_approval_cannot_become_a_denial_nor_a_denial_another() {
    stage(async |stage| {
        for reason in ["NULL", "'not_me'", "'wrong_number'"] {
            for past in [Past::Approved, Past::Denied] {
                stage.check(past, &format!("status = 'denied', reason = {reason}"), "evidence_decision").await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_evidence_of_another_challenge_proves_nothing() {
    stage(async |stage| {
        for past in [Past::Pending, Past::Denied] {
            for from in [&stage.other, &stage.foreign] {
                let of = |column: &str| stage.house.of(column, from);
                let pasted = format!("{APPROVED}, {}, {}, {}", of("response"), of("binding"), of("device_id"));
                stage.check(past, &pasted, "evidence_invalid").await;
                // With the challenge's text too the evidence is whole, but of another challenge.
                stage.check(past, &format!("{pasted}, {}", of("jws")), "challenge_row").await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn no_part_of_the_evidence_can_be_exchanged() {
    stage(async |stage| {
        let foreign = |column: &str| stage.house.of(column, &stage.foreign);
        for (forged, alarm) in [
            ("response = 'x.y.z'".to_owned(), "evidence_invalid"),
            ("response = NULL".to_owned(), "evidence_missing"),
            ("binding = NULL".to_owned(), "evidence_missing"),
            (foreign("binding"), "evidence_invalid"),
            (foreign("device_id"), "evidence_device"),
            ("jws = 'x.y.z'".to_owned(), "challenge_signature"),
            // A decision that was made long ago does not become a new one.
            ("decided_at = decided_at + 61000".to_owned(), "evidence_time"),
        ] {
            stage.check(Past::Approved, &forged, alarm).await;
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_that_was_signed_can_be_rewritten() {
    stage(async |stage| {
        let user = stage.house.of("user_id", &stage.foreign);
        for forged in [
            "content = replace(content, 'session-1', 'session-2')",
            "content = replace(content, 'VPN', 'Bank')",
            "content = replace(content, 'Amount: 12', 'Amount: 13')",
            "content = replace(content, 'sign_in', 'transfer')",
            "policy = replace(policy, '\"required\"', '\"preferred\"')",
            "policy = replace(policy, '\"enter\"', '\"none\"')",
            "external_id = 'grace'",
            user.as_str(),
            "created_at = created_at - 1000",
            "expires_at = expires_at + 600000",
        ] {
            for past in [Past::Pending, Past::Approved] {
                stage.check(past, forged, "challenge_row").await;
            }
        }
        let revived = "status = 'pending', expires_at = expires_at + 600000";
        stage.check(Past::Expired, revived, "challenge_row").await;
    })
    .await;
}

#[tokio::test]
async fn a_forged_approval_does_not_end_a_waiting_call_as_one() {
    stage(async |stage| {
        let challenge = bring(stage.house, &stage.phone, "ada", Past::Pending).await;
        let waiting = stage.house.idp.hold(&format!("{}?wait=50", path_of(&challenge)));
        stage.house.app.until_held(1).await;
        stage.house.forge_challenge(&challenge, APPROVED).await;
        stage.alarms.take();
        stage.house.app.poll().await;
        waiting.await.unwrap().problem("internal");
        assert_eq!(stage.alarms.take(), ["evidence_missing"]);
    })
    .await;
}

#[tokio::test]
async fn an_approval_cannot_be_given_to_another_client_or_organisation() {
    intrusion(async |house, alarms| {
        let phone = house.enroll("ada").await;
        let challenge = bring(house, &phone, "ada", Past::Approved).await;
        let colleague = house.app.client("challenges").await;
        let stranger = house.app.client_of(&house.app.tenant("other").await, "challenges").await;
        for thief in [&colleague, &stranger] {
            thief.get(&path_of(&challenge)).await.problem("not-found");
            let (client, tenant) = (house.app.database.id(&thief.id), house.app.database.id(&thief.tenant_id));
            house.forge_challenge(&challenge, &format!("client_id = {client}, tenant_id = {tenant}")).await;
            house.is_disbelieved(alarms, &challenge, thief, "challenge_row").await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_rewritten_challenge_cannot_be_answered_and_whoever_knew_it_before_is_not_believed() {
    stage(async |stage| {
        let Stage { house, alarms, phone, .. } = stage;
        // The node that made the challenge judges by what it signed; any other reads the forged row.
        let stranger = house.app.second_node().await;
        for (forged, alarm) in [
            ("content = replace(content, 'Amount: 12', 'Amount: 13')", "challenge_row"),
            ("policy = replace(policy, '\"required\"', '\"discouraged\"')", "challenge_row"),
            ("jws = 'x.y.z'", "challenge_signature"),
        ] {
            let challenge = bring(house, phone, "ada", Past::Pending).await;
            let shown = phone.only_pending().await;
            house.forge_challenge(&challenge, forged).await;
            alarms.take();
            let path = format!("/v1/device/challenges/{}/response", text(&challenge, "id"));
            for answer in [
                Answer::approve(Some(text(&challenge, "number"))).verified_by(UvMethod::Face),
                Answer::approve(Some(text(&challenge, "number"))),
                Answer::deny(None),
            ] {
                let token = phone.sign_response(&shown, &answer).unwrap();
                stranger.http.artefact(Method::POST, &path, token).await.problem("internal");
                assert_eq!(alarms.take(), [alarm]);
            }
            let pending = "SELECT count(*) FROM challenges WHERE status = 'pending' AND response IS NULL";
            assert_eq!(house.app.database.number(pending).await, 1);
            let right = Answer::approve(Some(text(&challenge, "number"))).verified_by(UvMethod::Face);
            let token = phone.sign_response(&shown, &right).unwrap();
            phone.respond_with(text(&challenge, "id"), &token).await.ok(200);
            house.is_disbelieved(alarms, &challenge, &house.idp, alarm).await;
        }
        stranger.http.take_failures();
        stranger.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_device_that_was_addressed_in_the_database_alone_cannot_answer() {
    intrusion(async |house, _| {
        let phone = house.enroll("ada").await;
        let challenge = bring(house, &phone, "ada", Past::Pending).await;
        let later = house.enroll("ada").await;
        let database = &house.app.database;
        let (from, to) = (database.id(&phone.device_id()), database.id(&later.device_id()));
        let sql = format!("UPDATE deliveries SET device_id = {to} WHERE device_id = {from}");
        assert_eq!(database.tamper(&sql).await, 1);
        // The phone itself refuses to show it; an app that does not care is refused by the server.
        let pulled = later.pending(0, None).await.unwrap().unwrap().challenges.remove(0);
        later.verify(&pulled).await.unwrap_err();
        let answer = Answer::approve(Some(text(&challenge, "number"))).verified_by(UvMethod::Pin);
        let claims = later.response_claims(text(&challenge, "id"), &pulled.challenge, &answer);
        let token = later.sign_with_user_verification(countersign_proto::jose::Kind::Response, &claims).unwrap();
        later.respond_with(text(&challenge, "id"), &token).await.problem("not-found");
        assert_eq!(house.idp.show(&challenge).await["status"], "pending");
    })
    .await;
}
