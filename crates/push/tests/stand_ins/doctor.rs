//! What the doctor finds.

use countersign_push::{Diagnosis, Senders};
use countersign_simulator::{fcm::TOKEN_ENDPOINT, stand_in::Behaviour};

use crate::world::{ApnsRig, FcmRig, Hand, apns_settings, build, developer_key, settings};

async fn found(senders: &Senders, name: &str, check: &str) -> Result<String, String> {
    let all = senders.diagnose().await;
    let one = all.iter().find(|found: &&Diagnosis| found.name == name && found.check == check);
    one.unwrap_or_else(|| panic!("{all:?}")).outcome.clone()
}

#[tokio::test]
async fn credentials_that_work_pass_and_ring_nobody() {
    let (apple, google) = (ApnsRig::new().await, FcmRig::at(Hand::of_the_machine()).await);
    for rig in [&apple.senders, &google.senders] {
        let all = rig.diagnose().await;
        assert!(all.iter().all(|found| found.outcome.is_ok()), "{all:?}");
    }
    assert_eq!((apple.apns.accepted_count(), google.fcm.accepted_count()), (0, 0));
    assert!(found(&apple.senders, "apns:main", "credentials").await.is_ok());
    assert!(found(&google.senders, "fcm:main", "credentials").await.is_ok());
    assert!(found(&google.senders, "webpush", "VAPID key").await.is_ok());
    assert_eq!(found(&google.senders, "fcm:main", "permission").await, Ok("the service account may send".to_owned()));
    assert!(google.fcm.attempts().is_empty());
}

#[tokio::test]
async fn an_account_that_gets_a_token_and_may_not_send_is_found_out() {
    let rig = FcmRig::new().await;
    rig.fcm.script("countersign-doctor", [Behaviour::refusal(403, "PERMISSION_DENIED"), Behaviour::status(503)]);
    let refused = found(&rig.senders, "fcm:main", "permission").await;
    assert_eq!(refused, Err("the service account may not send for this project: permission-denied 403".to_owned()));
    let untried = found(&rig.senders, "fcm:main", "permission").await;
    assert_eq!(untried, Err("could not be tried: unavailable 503".to_owned()));
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let rig = ApnsRig::new().await;
    let mut wrong = settings(&[rig.apns.ca_pem()], &[]);
    let stranger = apns_settings("stranger", &developer_key(), rig.apns.base_url());
    let mut misspelt = apns_settings("misspelt", &rig.key, rig.apns.base_url());
    misspelt.team_id = "TEAM".to_owned();
    let nobody = apns_settings("nobody", &rig.key, "https://127.0.0.1:9");
    wrong.apns.extend([stranger, misspelt, nobody]);
    let senders = build(wrong, &rig.hand);
    let refused = found(&senders, "apns:stranger", "credentials").await.unwrap_err();
    assert!(refused.ends_with("invalid-provider-token 403"), "{refused}");
    assert!(found(&senders, "apns:misspelt", "team_id").await.is_err());
    assert!(found(&senders, "apns:misspelt", "credentials").await.is_err());
    let unreached = found(&senders, "apns:nobody", "connection").await.unwrap_err();
    assert_eq!(unreached, "failed: connection-refused");
}

#[tokio::test]
async fn an_account_that_google_refuses_and_an_endpoint_that_is_away_are_told_apart() {
    let rig = FcmRig::new().await;
    rig.fcm.script(TOKEN_ENDPOINT, [Behaviour::refusal(401, "invalid_client"), Behaviour::status(503)]);
    let refused = found(&rig.senders, "fcm:main", "credentials").await.unwrap_err();
    assert!(refused.starts_with("Google refuses"), "{refused}");
    let away = found(&rig.senders, "fcm:main", "credentials").await.unwrap_err();
    assert!(away.starts_with("the token endpoint could not be asked"), "{away}");
}

#[tokio::test]
async fn a_clock_that_is_far_off_is_seen_by_the_date_of_an_answer() {
    let hand = Hand::of_the_machine();
    let rig = FcmRig::at(hand.clone()).await;
    assert!(found(&rig.senders, "fcm:main", "clock").await.is_ok());
    hand.advance(400);
    let told = found(&rig.senders, "fcm:main", "clock").await.unwrap_err();
    assert!(told.contains("ahead of the provider's"), "{told}");
}
