//! Forged keys, bindings, enrollments and users.

use std::fmt::Write as _;

use countersign_proto::jose::{Kind, SigningKey};
use countersign_simulator::phone::{Answer, Candidate, EnrollOptions, EnrollmentUri};
use countersign_tests::{Db, Device, Reply, forge, text};
use serde_json::{Value, json};

use super::{Alarms, House, intrusion};

/// Bytes as a literal of this database's SQL.
fn bytes(house: &House, bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in bytes {
        write!(hex, "{byte:02x}").unwrap();
    }
    match house.app.database.db() {
        Db::Sqlite => format!("x'{hex}'"),
        Db::Postgres => format!("'\\x{hex}'"),
    }
}

/// A key of the intruder's own.
fn key(house: &House) -> SigningKey {
    house.app.surroundings().new_key().unwrap()
}

/// An approval of the challenge in the name of `device`, signed by `key`.
async fn approve(house: &House, device: &Device, key: &SigningKey, challenge: &Value) -> Reply {
    let id = text(challenge, "id");
    let jws = house.app.database.texts("SELECT jws FROM challenges WHERE status = 'pending'").await.remove(0);
    let claims = device.response_claims(id, &jws, &Answer::approve(None));
    device.respond_with(id, &key.sign(Kind::Response, &claims).unwrap()).await
}

/// A read in the name of `device`, signed by `key`.
async fn read(house: &House, device: &Device, key: &SigningKey) -> Reply {
    let url = format!("{}/v1/device", house.app.issuer());
    let proof = key.sign(Kind::Proof, &device.claims_with(json!({"htm": "GET", "htu": url}))).unwrap();
    let request = house.app.http.request(reqwest::Method::GET, "/v1/device");
    house.app.http.send(request.header("authorization", format!("DeviceProof {proof}"))).await
}

/// Puts the intruder's key in the place of the device's.
async fn swap_key(house: &House, device: &Device, key: &SigningKey) {
    let database = &house.app.database;
    let (id, thumbprint) = (database.id(&device.device_id()), key.public_key().thumbprint());
    let sec1 = bytes(house, key.public_key().to_sec1().as_slice());
    let sql = format!("UPDATE device_keys SET thumbprint = '{thumbprint}', public_key = {sec1} WHERE device_id = {id}");
    assert_eq!(database.tamper(&sql).await, 1);
    house.forge("devices", &device.device_id(), &format!("key_thumbprint = '{thumbprint}'")).await;
}

async fn plain(house: &House, user: &str) -> Value {
    house.idp.plain_challenge(user).await
}

/// The challenge still waits, whatever was tried.
async fn still_waits(house: &House, challenge: &Value) {
    assert_eq!(house.idp.show(challenge).await["status"], "pending");
}

#[tokio::test]
async fn a_key_that_was_swapped_in_the_database_is_unknown() {
    intrusion(async |house, alarms| {
        let phone = house.idp.enroll("ada").await;
        let challenge = plain(house, "ada").await;
        let intruder = key(house);
        swap_key(house, &phone, &intruder).await;
        alarms.take();
        approve(house, &phone, &intruder, &challenge).await.problem("invalid-device-signature");
        assert!(alarms.take().iter().any(|alarm| alarm == "device_binding_invalid"));
        read(house, &phone, &intruder).await.problem("invalid-device-signature");
        assert_eq!(alarms.take(), ["device_binding_invalid"]);
        still_waits(house, &challenge).await;
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_not_its_thumbprints_is_unknown() {
    intrusion(async |house, alarms| {
        let phone = house.idp.enroll("ada").await;
        let challenge = plain(house, "ada").await;
        let intruder = key(house);
        let (id, sec1) = (house.app.database.id(&phone.device_id()), intruder.public_key().to_sec1());
        let sql =
            format!("UPDATE device_keys SET public_key = {} WHERE device_id = {id}", bytes(house, sec1.as_slice()));
        assert_eq!(house.app.database.tamper(&sql).await, 1);
        // Signed by the intruder, under the name of the device's key.
        let name = phone.registration().device_key.public_key().thumbprint().to_string();
        let jws = house.app.database.texts("SELECT jws FROM challenges").await.remove(0);
        let claims = phone.response_claims(text(&challenge, "id"), &jws, &Answer::approve(None));
        let header = json!({"alg": "ES256", "typ": "countersign-response+jwt", "kid": name});
        let token = forge::sign_json(&intruder, &header, &serde_json::to_value(claims).unwrap());
        phone.respond_with(text(&challenge, "id"), &token).await.problem("invalid-device-signature");
        alarms.take();
        phone.get("/v1/device").await.problem("invalid-device-signature");
        assert_eq!(alarms.take(), ["device_key_corrupt"]);
        still_waits(house, &challenge).await;
    })
    .await;
}

#[tokio::test]
async fn a_binding_of_another_device_binds_nothing() {
    intrusion(async |house, alarms| {
        let (ada, mallory) = (house.idp.enroll("ada").await, house.idp.enroll("mallory").await);
        let (from, to) = (ada.device_id(), mallory.device_id());
        let of = |column: &str| {
            let id = house.app.database.id(&from);
            format!("{column} = (SELECT other.{column} FROM devices AS other WHERE other.id = {id})")
        };
        let steps = [
            // Mallory's phone becomes ada's, first with its own binding, then with that of ada's phone.
            of("user_id"),
            format!("{}, {}", of("binding"), of("binding_id")),
            "binding = NULL, binding_id = NULL".to_owned(),
            "binding = 'x.y.z', binding_id = decision_id".to_owned(),
        ];
        for (step, alarm) in steps.iter().zip([
            "device_binding_invalid",
            "device_binding_invalid",
            "device_binding_missing",
            "device_binding_invalid",
        ]) {
            house.forge("devices", &to, step).await;
            let challenge = plain(house, "ada").await;
            alarms.take();
            let reply = approve(house, &mallory, &mallory.registration().device_key, &challenge).await;
            assert!(matches!(reply.status, 401 | 404), "{}", reply.text());
            still_waits(house, &challenge).await;
            house.idp.post_empty(&format!("{}/cancel", countersign_tests::path_of(&challenge))).await.ok(200);
            alarms.take();
            mallory.get("/v1/device").await.problem("invalid-device-signature");
            assert_eq!(alarms.take(), [alarm], "{step}");
        }
    })
    .await;
}

fn candidate(house: &House, enrollment: &Value) -> Candidate {
    let uri = EnrollmentUri::parse(text(enrollment, "enrollment_uri")).unwrap();
    let options = EnrollOptions::named("Phone");
    Candidate::new(house.app.phones().clone(), uri.ticket(), options, house.app.surroundings()).unwrap()
}

#[tokio::test]
async fn a_key_that_was_swapped_before_it_was_confirmed_is_not_bound() {
    intrusion(async |house, alarms| {
        let enrollment = house.idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let phone = house.idp.claim(&enrollment, EnrollOptions::named("Phone")).await;
        let code = phone.registration().confirmation_code.clone().unwrap();
        let intruder = key(house);
        swap_key(house, &phone, &intruder).await;
        is_not_confirmed(house, alarms, &enrollment, &code).await;
    })
    .await;
}

/// The confirmation fails with an alarm, and no device got active.
async fn is_not_confirmed(house: &House, alarms: &Alarms, enrollment: &Value, code: &str) {
    alarms.take();
    house.idp.confirm(enrollment, code).await.problem("internal");
    assert_eq!(alarms.take(), ["claim_seal"]);
    let waiting = "SELECT count(*) FROM devices WHERE status = 'pending_confirmation' AND binding IS NULL";
    assert_eq!(house.app.database.number(waiting).await, 1);
}

#[tokio::test]
async fn a_claim_cannot_be_given_to_another_user_or_enrollment() {
    intrusion(async |house, alarms| {
        house.idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let enrollment = house.idp.create_enrollment(json!({"user": {"external_id": "mallory"}})).await;
        let phone = house.idp.claim(&enrollment, EnrollOptions::named("Phone")).await;
        let code = phone.registration().confirmation_code.clone().unwrap();
        let ada = "user_id = (SELECT users.id FROM users WHERE users.external_id = 'ada')";
        house.forge("devices", &phone.device_id(), ada).await;
        is_not_confirmed(house, alarms, &enrollment, &code).await;
        house.forge("enrollments", text(&enrollment, "id"), ada).await;
        is_not_confirmed(house, alarms, &enrollment, &code).await;
        house.forge("enrollments", text(&enrollment, "id"), "claim_seal = 'AAAA'").await;
        is_not_confirmed(house, alarms, &enrollment, &code).await;
    })
    .await;
}

#[tokio::test]
async fn a_ticket_cannot_be_given_to_another_user_or_to_other_terms() {
    intrusion(async |house, alarms| {
        house.idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        for forged in [
            "user_id = (SELECT users.id FROM users WHERE users.external_id = 'ada')",
            "confirmation = 'none'",
            "purpose = 'broker'",
            "expires_at = expires_at + 600000",
            "seal = 'AAAA'",
            "seal = (SELECT other.seal FROM enrollments AS other WHERE other.id <> enrollments.id LIMIT 1)",
        ] {
            let enrollment = house.idp.create_enrollment(json!({"user": {"external_id": "mallory"}})).await;
            house.forge("enrollments", text(&enrollment, "id"), forged).await;
            alarms.take();
            let refused = candidate(house, &enrollment).register().await.unwrap_err();
            assert!(refused.is_problem("internal"), "{forged}: {refused}");
            assert_eq!(alarms.take(), ["ticket_seal"], "{forged}");
            assert_eq!(house.app.database.number("SELECT count(*) FROM devices").await, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn users_who_were_renamed_in_the_database_are_noticed() {
    intrusion(async |house, alarms| {
        let _ada = house.idp.enroll("ada").await;
        let mallory = house.idp.enroll("mallory").await;
        for (from, to) in [("ada", "nobody"), ("mallory", "ada"), ("nobody", "mallory")] {
            let sql = format!("UPDATE users SET external_id = '{to}' WHERE external_id = '{from}'");
            assert_eq!(house.app.database.tamper(&sql).await, 1);
        }
        // The identity provider asks for ada, and it is mallory's phone that is asked.
        let challenge = plain(house, "ada").await;
        alarms.take();
        approve(house, &mallory, &mallory.registration().device_key, &challenge).await.problem("internal");
        assert_eq!(alarms.take(), ["user_renamed"]);
        still_waits(house, &challenge).await;
    })
    .await;
}
