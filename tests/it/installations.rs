//! One registration per installed app (protocol 4.4): enrolling the same installation again takes the former one's place.

use countersign_simulator::phone::{Answer, EnrollOptions};
use countersign_tests::{
    ApiClient, Device, both,
    providers::{both_with_providers, fcm_options},
    text,
};
use serde_json::{Value, json};

use crate::log::events;

fn options(installation: &str) -> EnrollOptions {
    let mut options = EnrollOptions::named("Phone");
    options.device.installation_id = Some(installation.to_owned());
    options
}

async fn record(idp: &ApiClient, device: &Device) -> Value {
    idp.get(&format!("/v1/devices/{}", device.device_id())).await.ok(200)
}

#[tokio::test]
async fn the_former_registration_ends_when_the_new_one_is_confirmed_and_not_before() {
    both(async |app| {
        let idp = app.admin().await;
        let tablet = idp.enroll("ada").await;
        let former = idp.enroll_with("ada", options("i1")).await;
        let enrollment = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let latest = idp.claim(&enrollment, options("i1")).await;
        // Whoever has a ticket and knows the id turns nothing off.
        let challenge = idp.plain_challenge("ada").await;
        former.approve(&former.pending_of(&challenge).await, None, None).await.unwrap();
        let waiting = idp.plain_challenge("ada").await;
        let shown = former.pending_of(&waiting).await;
        let code = latest.registration().confirmation_code.clone().unwrap();
        app.clock.advance(1);
        idp.confirm(&enrollment, &code).await.ok(200);
        let ended = record(&idp, &former).await;
        assert_eq!((text(&ended, "status"), text(&ended, "revoke_reason")), ("revoked", "replaced"));
        let token = former.sign_response(&shown, &Answer::approve(None)).unwrap();
        former.respond_with(text(&waiting, "id"), &token).await.problem("device-not-active");
        let log = events(&idp).await;
        let event = log.iter().rfind(|event| event["type"] == "device.revoked").unwrap();
        assert_eq!(event["data"], json!({"reason": "replaced", "superseded_by": latest.device_id()}));
        assert_eq!(text(event, "device_id"), former.device_id());
        // The others are told of both.
        let notices = tablet.fetch_self().await.unwrap().notices;
        let mut kinds: Vec<_> = notices.iter().take(2).map(|notice| notice.kind.as_str()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["device.added", "device.revoked"]);
        let next = idp.plain_challenge("ada").await;
        latest.approve(&latest.pending_of(&next).await, None, None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_enrollment_that_ends_otherwise_displaces_nothing() {
    both(async |app| {
        let idp = app.admin().await;
        let former = idp.enroll_with("ada", options("i1")).await;
        for end in ["cancel", "expire", "guess"] {
            let enrollment = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
            let latest = idp.claim(&enrollment, options("i1")).await;
            match end {
                "cancel" => {
                    let path = format!("/v1/enrollments/{}/cancel", text(&enrollment, "id"));
                    idp.post_empty(&path).await.ok(200);
                }
                "expire" => app.clock.advance(601),
                _ => {
                    let code = latest.registration().confirmation_code.clone().unwrap();
                    let wrong = if code == "000000" { "000001" } else { "000000" };
                    for _ in 0..5 {
                        idp.confirm(&enrollment, wrong).await.problem("wrong-code");
                    }
                }
            }
            app.sweep().await;
            assert_eq!(record(&idp, &former).await["status"], "active", "{end}");
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_displaces_another_persons_or_organisations_phone() {
    both(async |app| {
        let idp = app.admin().await;
        let stranger = app.client_of(&app.tenant("other").await, "admin").await;
        let ada = idp.enroll_with("ada", options("i1")).await;
        let nameless = idp.enroll("ada").await;
        idp.enroll_with("mallory", options("i1")).await;
        stranger.enroll_with("ada", options("i1")).await;
        idp.enroll("ada").await;
        let body = json!({"user": {"external_id": "ada"}, "purpose": "broker", "confirmation": "none"});
        let broker = idp.create_enrollment(body).await;
        idp.claim(&broker, options("i1")).await;
        for device in [&ada, &nameless] {
            assert_eq!(record(&idp, device).await["status"], "active");
        }
    })
    .await;
}

#[tokio::test]
async fn a_person_at_the_limit_sets_the_same_phone_up_again() {
    both(async |app| {
        let idp = app.admin().await;
        app.change_policy(|policy| policy.max_devices_per_user = 1).await;
        let mut last = idp.enroll_with("ada", options("i1")).await;
        for _ in 0..3 {
            let next = idp.enroll_with("ada", options("i1")).await;
            assert_eq!(record(&idp, &last).await["status"], "revoked");
            last = next;
        }
        let enrollment = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let uri = countersign_simulator::phone::EnrollmentUri::parse(text(&enrollment, "enrollment_uri")).unwrap();
        let (server, surroundings) = idp.phones();
        let other =
            countersign_simulator::Phone::enroll_at(server.clone(), uri.ticket(), options("i2"), surroundings.clone());
        assert!(other.await.unwrap_err().is_problem("too-many-devices"));
        let user = idp.get(&format!("/v1/users/{}", last.registration().user.id)).await.ok(200);
        assert_eq!(user["device_count"], 1);
    })
    .await;
}

#[tokio::test]
async fn an_approval_of_the_former_registration_lets_its_successor_in() {
    both(async |app| {
        let idp = app.admin().await;
        let former = idp.enroll_with("ada", options("i1")).await;
        app.change_policy(|policy| {
            policy.enrollment_approval = countersign_proto::vocabulary::EnrollmentApproval::ExistingDevice;
        })
        .await;
        let body = json!({"user": {"external_id": "ada"}, "action": "enroll_device"});
        let challenge = idp.create_challenge(body).await;
        let number = text(&challenge, "number");
        former.approve(&former.pending_of(&challenge).await, Some(number), None).await.unwrap();
        let body = json!({"user": {"external_id": "ada"}, "approval": text(&challenge, "id")});
        let enrollment = idp.create_enrollment(body).await;
        let latest = idp.claim(&enrollment, options("i1")).await;
        let code = latest.registration().confirmation_code.clone().unwrap();
        assert_eq!(idp.confirm(&enrollment, &code).await.ok(200)["status"], "completed");
        assert_eq!(record(&idp, &latest).await["status"], "active");
        assert_eq!(record(&idp, &former).await["status"], "revoked");
    })
    .await;
}

#[tokio::test]
async fn one_phone_is_rung_once() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let registration = |installation: &str| {
            let mut options = fcm_options("same-token");
            options.device.installation_id = Some(installation.to_owned());
            options
        };
        idp.enroll_with("ada", registration("i1")).await;
        let latest = idp.enroll_with("ada", registration("i1")).await;
        let challenge = idp.plain_challenge("ada").await;
        let push = providers.next_fcm("same-token", "challenge").await;
        assert_eq!(push.data["device_id"], latest.device_id());
        latest.deny(&latest.pending_of(&challenge).await, None).await.unwrap();
        let shown = idp.get(&format!("/v1/challenges/{}?include=deliveries", text(&challenge, "id"))).await.ok(200);
        assert_eq!(shown["deliveries"].as_array().unwrap().len(), 1);
        let _ = app;
    })
    .await;
}
