//! Who can write the database brings about no approval, and chooses no code.

use countersign_proto::vocabulary::UvMethod;
use countersign_simulator::phone::Answer;
use countersign_tests::text;
use serde_json::Value;

use super::{type_code, wrong};
use crate::forgery::{House, intrusion};

/// A challenge whose code the phone shows, and the code.
async fn awaited(house: &House, phone: &countersign_tests::Device) -> (Value, String) {
    house.app.clock.advance(1);
    let challenge = house.challenge("ada", "display").await;
    let shown = phone.pending_of(&challenge).await;
    let recorded = phone.approve(&shown, None, Some(UvMethod::Pin)).await.unwrap();
    (challenge, recorded.display_code.unwrap())
}

#[tokio::test]
async fn an_approval_whose_code_nobody_typed_is_disbelieved() {
    intrusion(async |house, alarms| {
        let phone = house.enroll("ada").await;
        let (entered, code) = awaited(house, &phone).await;
        type_code(&house.idp, &entered, &code).await.ok(200);
        house.app.clock.advance(30);
        let approved = "status = 'approved', code = NULL";
        for (forged, alarm) in [
            (format!("{approved}, decided_at = created_at"), "code_not_entered"),
            (format!("{approved}, decided_at = created_at, entered_seal = code_seal"), "code_not_entered"),
            // What was sealed for another challenge says nothing of this one.
            (
                format!("{approved}, decided_at = created_at, {}", house.of("entered_seal", &entered)),
                "code_not_entered",
            ),
            (format!("{approved}, decided_at = NULL"), "evidence_time"),
            (format!("{approved}, decided_at = expires_at + 1000"), "evidence_time"),
        ] {
            let (challenge, _) = awaited(house, &phone).await;
            house.forge_challenge(&challenge, &forged).await;
            house.is_disbelieved(alarms, &challenge, &house.idp, alarm).await;
            house.forge_challenge(&challenge, "status = 'cancelled'").await;
        }
        // A spent approval does not become a new one.
        house.forge_challenge(&entered, "decided_at = decided_at + 10000").await;
        house.is_disbelieved(alarms, &entered, &house.idp, "code_not_entered").await;
    })
    .await;
}

#[tokio::test]
async fn nobody_who_writes_the_database_chooses_the_code() {
    intrusion(async |house, alarms| {
        let phone = house.enroll("ada").await;
        let (other, others_code) = awaited(house, &phone).await;
        for forged in [
            "code = '123456'".to_owned(),
            format!("{}, {}", house.of("code", &other), house.of("code_seal", &other)),
            "code_seal = 'x'".to_owned(),
        ] {
            let (challenge, code) = awaited(house, &phone).await;
            let before = phone.sign_response(&phone.pending_of(&challenge).await, &Answer::approve(None)).unwrap();
            house.forge_challenge(&challenge, &forged).await;
            alarms.take();
            for typed in ["123456", others_code.as_str(), code.as_str(), wrong(&code).as_str()] {
                type_code(&house.idp, &challenge, typed).await.problem("internal");
                assert_eq!(alarms.take(), ["code_seal"], "{forged}");
            }
            assert_eq!(house.idp.show(&challenge).await["status"], "pending");
            // Nor does anybody show the phone another one.
            phone.respond_with(text(&challenge, "id"), &before).await;
            house.app.http.take_failures();
            house.forge_challenge(&challenge, "status = 'cancelled'").await;
        }
        // A code of somebody's own, for a response that never was.
        let challenge = house.challenge("ada", "display").await;
        let id = house.app.database.id(&phone.device_id());
        let forged =
            format!("device_id = {id}, response = 'x.y.z', binding = 'x.y.z', code = '123456', code_seal = 'x'");
        house.forge_challenge(&challenge, &forged).await;
        alarms.take();
        type_code(&house.idp, &challenge, "123456").await.problem("internal");
        assert_eq!(alarms.take(), ["evidence_invalid"]);
    })
    .await;
}

#[tokio::test]
async fn a_denial_by_wrong_codes_needs_a_response_that_asked_for_one() {
    intrusion(async |house, alarms| {
        let phone = house.enroll("ada").await;
        let challenge = house.challenge("ada", "display").await;
        let shown = phone.pending_of(&challenge).await;
        phone.deny(&shown, None).await.unwrap();
        for forged in ["reason = 'wrong_code'", "status = 'approved'"] {
            house.forge_challenge(&challenge, forged).await;
            house.is_disbelieved(alarms, &challenge, &house.idp, "evidence_decision").await;
        }
    })
    .await;
}
