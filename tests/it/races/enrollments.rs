//! Several phones at one ticket, and more phones than a user may have.

use countersign_simulator::phone::{Candidate, EnrollOptions, EnrollmentUri, PhoneError};
use countersign_tests::{ApiClient, Reply, at_once, both, text};
use reqwest::Method;
use serde_json::{Value, json};

const ROUNDS: usize = 20;
/// Enrollments that are raced for at once.
const BURST: usize = 25;
const LIMIT: usize = 10;

fn candidate(idp: &ApiClient, enrollment: &Value) -> Candidate {
    let uri = EnrollmentUri::parse(text(enrollment, "enrollment_uri")).unwrap();
    let (server, surroundings) = idp.phones();
    Candidate::new(server.clone(), uri.ticket(), EnrollOptions::named("Phone"), surroundings.clone()).unwrap()
}

async fn register(idp: ApiClient, token: String) -> Reply {
    idp.http().artefact(Method::POST, "/v1/device/registrations", token).await
}

async fn enrollment(idp: ApiClient, user: String, confirmation: &'static str) -> Value {
    idp.create_enrollment(json!({"user": {"external_id": user}, "confirmation": confirmation})).await
}

/// Two phones scan one code; the replies, and what the enrollment is afterwards.
async fn contest(idp: ApiClient, user: String, confirmation: &'static str) -> ([Reply; 2], Value) {
    let enrollment = enrollment(idp.clone(), user, confirmation).await;
    let tokens = [0, 1].map(|_| candidate(&idp, &enrollment).token().to_owned());
    let replies = at_once(tokens.map(|token| register(idp.clone(), token))).await;
    let path = format!("/v1/enrollments/{}", text(&enrollment, "id"));
    let mut after = idp.get(&path).await.ok(200);
    if confirmation == "code" {
        // The winner's code is of no use any more: nobody knows which of the two is the person's phone.
        let code = replies.iter().find(|reply| reply.status == 201).unwrap().json();
        let late = idp.confirm(&enrollment, text(&code, "confirmation_code")).await;
        assert_eq!(late.problem("enrollment-closed")["enrollment_status"], "cancelled");
        after = idp.get(&path).await.ok(200);
    }
    (replies.try_into().unwrap(), after)
}

async fn race(confirmation: &'static str, status: &str, devices_left: usize) {
    both(async |app| {
        let idp = app.admin().await;
        for round in 0..ROUNDS {
            let users = (0..BURST).map(|index| format!("user-{round}-{index}"));
            for (replies, after) in at_once(users.map(|user| contest(idp.clone(), user, confirmation))).await {
                let mut outcomes = replies.each_ref().map(|reply| reply.status);
                outcomes.sort_unstable();
                assert_eq!(outcomes, [201, 404], "{replies:?}");
                replies.iter().find(|reply| reply.status == 404).unwrap().problem("enrollment-not-found");
                assert_eq!(text(&after, "status"), status);
            }
        }
        let all = i64::try_from(ROUNDS * BURST).unwrap();
        let left = i64::try_from(ROUNDS * BURST * devices_left).unwrap();
        assert_eq!(app.database.number("SELECT count(*) FROM devices").await, left);
        assert_eq!(app.database.number("SELECT count(*) FROM device_keys").await, left);
        let counted = "SELECT count(*) FROM users WHERE device_count = ";
        assert_eq!(app.database.number(&format!("{counted} {devices_left}")).await, all);
        let log = "SELECT count(*) FROM events WHERE kind = ";
        assert_eq!(app.database.number(&format!("{log} 'enrollment.claimed'")).await, all);
        assert_eq!(app.database.number(&format!("{log} 'device.added'")).await, left);
        assert_eq!(app.database.number(&format!("{log} 'enrollment.contested'")).await, all - left);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_phones_at_one_ticket_one_gets_in() {
    race("none", "completed", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_phones_before_the_code_is_typed_neither_stays() {
    race("code", "cancelled", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_registration_sent_twice_at_once_is_one_device_and_one_reply() {
    both(async |app| {
        let idp = app.admin().await;
        for round in 0..ROUNDS {
            let rounds = (0..BURST).map(|index| {
                let (idp, user) = (idp.clone(), format!("user-{}", index + round * BURST));
                async move {
                    let enrollment = enrollment(idp.clone(), user, "none").await;
                    let token = candidate(&idp, &enrollment).token().to_owned();
                    at_once([0, 1].map(|_| register(idp.clone(), token.clone()))).await
                }
            });
            for replies in at_once(rounds).await {
                assert_eq!(replies[0].ok(201), replies[1].ok(201));
            }
        }
        let all = i64::try_from(ROUNDS * BURST).unwrap();
        assert_eq!(app.database.number("SELECT count(*) FROM devices").await, all);
    })
    .await;
}

/// More phones than allowed, all at once: exactly the limit gets in, the others' tickets stay unused.
async fn crowd(idp: ApiClient, user: String) {
    let enrollments = at_once((0..LIMIT + 5).map(|_| enrollment(idp.clone(), user.clone(), "none"))).await;
    let candidates: Vec<_> = enrollments.iter().map(|enrollment| candidate(&idp, enrollment)).collect();
    let phones = at_once(candidates.iter().cloned().map(|one| async move { one.register().await })).await;
    let refused: Vec<_> = phones.iter().zip(&candidates).filter(|(phone, _)| phone.is_err()).collect();
    assert_eq!(refused.len(), 5);
    for (phone, _) in &refused {
        assert!(phone.as_ref().is_err_and(|error: &PhoneError| error.is_problem("too-many-devices")), "{phone:?}");
    }
    // A place that gets free is taken by one of those who are still outside, with the very same ticket.
    let gone = phones.iter().find_map(|phone| phone.as_ref().ok()).unwrap();
    idp.delete(&format!("/v1/devices/{}", gone.id())).await.ok(200);
    let again = at_once(refused.iter().map(|(_, one)| (*one).clone()).map(|one| async move { one.register().await }));
    assert_eq!(again.await.iter().filter(|phone| phone.is_ok()).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_that_enroll_at_once_stop_at_the_limit() {
    both(async |app| {
        let idp = app.admin().await;
        at_once((0..20).map(|user| crowd(idp.clone(), format!("user-{user}")))).await;
        let active = "SELECT count(*) FROM devices WHERE status = 'active'";
        assert_eq!(app.database.number(active).await, i64::try_from(20 * LIMIT).unwrap());
        let limit = format!("SELECT count(*) FROM users WHERE device_count <> {LIMIT}");
        assert_eq!(app.database.number(&limit).await, 0);
    })
    .await;
}
