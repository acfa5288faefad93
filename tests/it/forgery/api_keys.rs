//! Who can write the database makes no API key, and widens none.

use countersign_core::api_client::{ApiKey, proof_digest};
use countersign_proto::jose::SigningKey;
use countersign_tests::{ApiClient, text};
use serde_json::json;

use super::{Alarms, House, intrusion};

const ALARM: &str = "api_key_seal_invalid";

/// 401 as to a stranger, and the alarm.
async fn is_disbelieved(alarms: &Alarms, client: &ApiClient) {
    alarms.take();
    client.get("/v1/users").await.problem("unauthenticated");
    assert_eq!(alarms.take(), [ALARM]);
    client.post("/v1/challenges", json!({"user": {"external_id": "ada"}})).await.problem("unauthenticated");
    assert_eq!(alarms.take(), [ALARM]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes as a literal of this database's SQL.
fn literal(house: &House, bytes: &[u8]) -> String {
    match house.app.database.db() {
        countersign_tests::Db::Sqlite => format!("x'{}'", hex(bytes)),
        countersign_tests::Db::Postgres => format!("'\\x{}'", hex(bytes)),
    }
}

#[tokio::test]
async fn a_key_that_somebody_wrote_into_the_database_opens_nothing() {
    intrusion(async |house, alarms| {
        let own = ApiKey::generate(&countersign::entropy::SystemEntropy::default());
        let digest = literal(house, own.digest().as_ref());
        let database = &house.app.database;
        let made = |seal: &str, id: &str| {
            format!(
                "INSERT INTO api_keys (id, tenant_id, client_id, digest, created_at, seal)
                 SELECT {id}, tenant_id, client_id, {digest}, created_at, {seal} FROM api_keys WHERE client_id = {}",
                database.id(&house.idp.id)
            )
        };
        let thief = ApiClient { key: own.reveal().to_owned(), ..house.idp.clone() };
        // Without a seal, and with another key's.
        for (seal, id) in
            [("NULL", "01939b5e-7a2c-7def-8abc-000000000011"), ("seal", "01939b5e-7a2c-7def-8abc-000000000012")]
        {
            assert_eq!(database.tamper(&made(seal, &database.id(id))).await, 1);
            is_disbelieved(alarms, &thief).await;
            assert_eq!(database.tamper(&format!("DELETE FROM api_keys WHERE id = {}", database.id(id))).await, 1);
        }
        // In the place of one that is sealed.
        let swap = format!("UPDATE api_keys SET digest = {digest} WHERE client_id = {}", database.id(&house.idp.id));
        assert_eq!(database.tamper(&swap).await, 1);
        is_disbelieved(alarms, &thief).await;
    })
    .await;
}

#[tokio::test]
async fn a_client_is_not_widened_and_a_key_not_given_to_another_or_prolonged() {
    intrusion(async |house, alarms| {
        let reader = house.app.client("users:read").await;
        let admin = house.app.admin().await;
        let database = &house.app.database;
        let (id, admins) = (database.id(&reader.id), database.id(&admin.id));
        let digest = ApiKey::parse(&reader.key).unwrap().digest();
        let key = format!("digest = {}", literal(house, digest.as_ref()));
        let client = format!("id = {id}");
        for (table, which, change, back) in [
            ("api_clients", &client, "scopes = 'admin'".to_owned(), "scopes = 'users:read'".to_owned()),
            ("api_clients", &client, "applications = '[\"VPN\"]'".to_owned(), "applications = NULL".to_owned()),
            ("api_keys", &key, "expires_at = 4000000000000".to_owned(), "expires_at = NULL".to_owned()),
            ("api_keys", &key, format!("client_id = {admins}"), format!("client_id = {id}")),
        ] {
            assert_eq!(database.tamper(&format!("UPDATE {table} SET {change} WHERE {which}")).await, 1);
            is_disbelieved(alarms, &reader).await;
            assert_eq!(database.tamper(&format!("UPDATE {table} SET {back} WHERE {which}")).await, 1);
            reader.get("/v1/users").await.ok(200);
            assert_eq!(alarms.take(), Vec::<String>::new());
        }
    })
    .await;
}

#[tokio::test]
async fn a_public_key_that_was_swapped_signs_for_nobody() {
    intrusion(async |house, alarms| {
        let signing = house.app.proving_client("users:read").await;
        signing.get("/v1/users").await.ok(200);
        let own = SigningKey::generate().unwrap();
        let (sec1, digest) = (own.public_key().to_sec1(), proof_digest(&own.public_key().thumbprint()));
        let which = format!("WHERE client_id = {}", house.app.database.id(&signing.id));
        let (key, digest) = (literal(house, &sec1), literal(house, digest.as_ref()));
        // The key alone: it is found by the other one's name, and does not fit it.
        let change = format!("UPDATE api_keys SET public_key = {key} {which}");
        assert_eq!(house.app.database.tamper(&change).await, 1);
        is_disbelieved(alarms, &signing).await;
        // With the digest that it is found by.
        let change = format!("UPDATE api_keys SET digest = {digest} {which}");
        assert_eq!(house.app.database.tamper(&change).await, 1);
        let thief = ApiClient { signer: Some(own), ..signing.clone() };
        is_disbelieved(alarms, &thief).await;
    })
    .await;
}

#[tokio::test]
async fn who_is_sealed_over_http_is_believed_and_so_is_a_change() {
    intrusion(async |house, alarms| {
        let admin = house.app.admin().await;
        let made = admin.post("/v1/api-clients", json!({"name": "tool", "scopes": ["users:read"]})).await.ok(201);
        let tool =
            ApiClient { id: text(&made, "id").to_owned(), key: text(&made, "api_key").to_owned(), ..admin.clone() };
        tool.get("/v1/users").await.ok(200);
        let path = format!("/v1/api-clients/{}", tool.id);
        let request = admin.request(reqwest::Method::PATCH, &path).json(&json!({"scopes": ["devices:read"]}));
        admin.send(request).await.ok(200);
        tool.get("/v1/devices").await.ok(200);
        // What was sealed before the change is worth nothing after it.
        house.forge("api_clients", &tool.id, "scopes = 'users:read'").await;
        is_disbelieved(alarms, &tool).await;
        // No change of something else makes it the server's own.
        alarms.take();
        let rename = admin.request(reqwest::Method::PATCH, &path).json(&json!({"name": "renamed"}));
        admin.send(rename).await.problem("internal");
        assert_eq!(alarms.take(), ["api_client_seal_invalid"]);
        is_disbelieved(alarms, &tool).await;
        house.app.http.take_failures();
    })
    .await;
}
