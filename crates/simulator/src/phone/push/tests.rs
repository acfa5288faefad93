use std::time::Duration;

use countersign_proto::push::PushBinding;
use countersign_proto::vocabulary::PushChannel;
use serde_json::json;

use super::Inbox;
use crate::phone::PhoneError;
use crate::stand_in::testing::DEADLINE;
use crate::webpush::Subscription;
use crate::{apns, fcm, webpush};

const CHALLENGE: &str = "0199c0de-0000-7000-8000-00000000000c";
const SHORT: Duration = Duration::from_millis(100);

fn payload(kind: &str) -> serde_json::Value {
    json!({"aps": {"alert": "a"}, "kind": kind, "challenge_id": CHALLENGE})
}

#[tokio::test]
async fn a_phone_is_rung_by_apns_and_a_withdrawal_clears_its_screen() {
    let rig = apns::tests::Rig::new().await;
    let mut inbox = Inbox::open(PushChannel::Apns, rig.apns.control_url()).await.unwrap();
    let PushBinding::Apns { token, .. } = inbox.binding() else { panic!("another channel") };
    let alert = rig.alert(&token, &rig.provider_token()).body(payload("challenge"));
    for shot in [alert.clone(), alert.clone()] {
        assert_eq!(rig.answer(shot).await.0, 200);
    }
    let first = inbox.next(DEADLINE).await.unwrap().unwrap();
    assert_eq!((first.kind.as_str(), first.challenge_id.unwrap().to_string().as_str()), ("challenge", CHALLENGE));
    let second = inbox.next(DEADLINE).await.unwrap().unwrap();
    assert!(second.sequence > first.sequence);
    assert_eq!(inbox.shown().len(), 1, "one replaces the other");
    assert_eq!(inbox.next(SHORT).await.unwrap(), None);
    let silent = json!({"aps": {"content-available": 1}, "kind": "withdrawn", "challenge_id": CHALLENGE});
    let silent = alert.header("apns-push-type", "background").header("apns-priority", "5").body(silent);
    assert_eq!(rig.answer(silent).await.0, 200);
    assert!(inbox.next_of_kind("withdrawn", DEADLINE).await.unwrap().is_some());
    assert!(inbox.shown().is_empty());
}

#[tokio::test]
async fn a_phone_is_rung_by_fcm_while_it_waits() {
    let rig = fcm::tests::Rig::new().await;
    let mut inbox = Inbox::open(PushChannel::Fcm, rig.fcm.control_url()).await.unwrap();
    let PushBinding::Fcm { token, project } = inbox.binding() else { panic!("another channel") };
    assert_eq!(project.as_deref(), Some(rig.fcm.project()));
    let bearer = rig.access_token().await;
    let waiting = tokio::spawn(async move { inbox.next(DEADLINE).await.map(|found| (found, inbox)) });
    assert_eq!(rig.send(&bearer, &fcm::tests::message(&token)).await.0, 200);
    let (found, inbox) = waiting.await.unwrap().unwrap();
    assert_eq!((found.unwrap().kind.as_str(), inbox.shown().len()), ("challenge", 1));
}

#[tokio::test]
async fn a_browser_is_rung_by_web_push_and_decrypts_by_itself() {
    let rig = webpush::tests::Rig::new().await;
    let mut inbox = Inbox::open(PushChannel::Webpush, rig.service.control_url()).await.unwrap();
    let PushBinding::Webpush { endpoint, p256dh, auth } = inbox.binding() else { panic!("another channel") };
    let subscription = Subscription { id: inbox.token().to_owned(), endpoint, p256dh, auth };
    assert_eq!(rig.answer(rig.shot(&subscription, &rig.good_vapid())).await.0, 201);
    let found = inbox.next(DEADLINE).await.unwrap().unwrap();
    assert_eq!((found.kind.as_str(), &found.payload), ("challenge", &json!({"kind": "challenge"})));
    assert_eq!(rig.service.received()[0].push.plain, None, "the keys are the phone's alone");
}

#[tokio::test]
async fn what_is_no_stand_in_of_the_channel_is_told_so() {
    let rig = fcm::tests::Rig::new().await;
    let another = Inbox::open(PushChannel::Apns, rig.fcm.control_url()).await;
    assert!(matches!(another, Err(PhoneError::Inbox(_))), "{another:?}");
    for url in ["http://push.example", "no url", rig.fcm.base_url()] {
        assert!(Inbox::open(PushChannel::Fcm, url).await.is_err(), "{url}");
    }
}
