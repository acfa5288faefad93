//! The token endpoint.

use super::*;
use crate::stand_in::Behaviour;

#[tokio::test]
async fn a_good_assertion_gets_an_access_token() {
    let rig = Rig::new().await;
    let (status, body) = rig.exchange_assertion(&rig.sign(&rig.header(), &rig.claims())).await;
    assert_eq!((status, &body["token_type"], &body["expires_in"]), (200, &json!("Bearer"), &json!(3_599)));
    assert_eq!((rig.fcm.assertions(), rig.fcm.assertions_seen()), (1, 1));
}

#[tokio::test]
async fn an_assertion_may_name_googles_own_endpoint_as_googles_clients_do() {
    let rig = Rig::new().await;
    let mut claims = rig.claims();
    claims["aud"] = json!("https://oauth2.googleapis.com/token");
    assert_eq!(rig.exchange_assertion(&rig.sign(&rig.header(), &claims)).await.0, 200);
}

#[tokio::test]
async fn a_wrong_assertion_is_refused_in_googles_form() {
    let rig = Rig::new().await;
    let with = |name: &str, value: Value| {
        let mut claims = rig.claims();
        claims[name] = value;
        rig.sign(&rig.header(), &claims)
    };
    let now = rig.now();
    let good = rig.sign(&rig.header(), &rig.claims());
    let (signed, _) = good.rsplit_once('.').unwrap();
    let stranger = ServiceAccount::generate("stand-in").unwrap();
    let stranger_key = EncodingKey::from_rsa_pem(stranger.private_key_pem.as_bytes()).unwrap();
    let forged = jsonwebtoken::encode(&rig.header(), &rig.claims(), &stranger_key).unwrap();
    let other_kid = Header { kid: Some("another".to_owned()), ..rig.header() };
    let rs512 = Header { alg: Algorithm::RS512, ..rig.header() };
    let expired = json!(now - 1);
    let rows = [
        (with("iss", json!("somebody@else")), "invalid_grant"),
        (with("aud", json!("https://oauth2.googleapis.com/token/other")), "invalid_grant"),
        (with("aud", json!([rig.text("token_uri")])), "invalid_grant"),
        (with("exp", json!(now + 3_601)), "invalid_grant"),
        (with("exp", expired), "invalid_grant"),
        (with("exp", Value::Null), "invalid_grant"),
        (with("iat", json!(now + 120)), "invalid_grant"),
        (with("iat", json!(now - 7_200)), "invalid_grant"),
        (with("scope", json!("https://www.googleapis.com/auth/drive")), "invalid_scope"),
        (with("scope", json!("")), "invalid_scope"),
        (forged, "invalid_grant"),
        (rig.sign(&other_kid, &rig.claims()), "invalid_grant"),
        (rig.sign(&Header::new(Algorithm::RS256), &rig.claims()), "invalid_grant"),
        (rig.sign(&rs512, &rig.claims()), "invalid_grant"),
        (format!("{signed}.AAAA"), "invalid_grant"),
        ("no.token".to_owned(), "invalid_grant"),
    ];
    for (index, (assertion, word)) in rows.iter().enumerate() {
        let (status, body) = rig.exchange_assertion(assertion).await;
        assert_eq!((status, body["error"].as_str()), (400, Some(*word)), "row {index}: {body}");
        assert!(body["error_description"].is_string(), "row {index}");
    }
    assert_eq!(rig.exchange("grant_type=password".to_owned()).await.1["error"], "unsupported_grant_type");
    assert_eq!(rig.fcm.assertions_seen(), 0);
    assert_eq!(rig.exchange_assertion(&good).await.0, 200);
}

#[tokio::test]
async fn an_access_token_ends_with_its_time_or_when_it_is_revoked() {
    let rig = Rig::new().await;
    let token = rig.access_token().await;
    rig.hand.advance(3_598);
    assert_eq!(rig.send(&token, &message("t")).await.0, 200);
    rig.hand.advance(1);
    let (status, body) = rig.send(&token, &message("t")).await;
    assert_eq!((status, &body["error"]["status"]), (401, &json!("UNAUTHENTICATED")));
    let token = rig.access_token().await;
    assert_eq!(rig.send(&token, &message("t")).await.0, 200);
    rig.fcm.revoke_access_tokens();
    assert_eq!(rig.send(&token, &message("t")).await.0, 401);
    assert_eq!(rig.send("made-up", &message("t")).await.0, 401);
    assert_eq!(rig.fcm.accepted_count(), 2);
}

#[tokio::test]
async fn the_token_endpoint_has_a_script_of_its_own_and_no_outage_of_pushes_reaches_it() {
    let rig = Rig::new().await;
    rig.fcm.always(Some(Behaviour::status(503)));
    rig.fcm.script(crate::fcm::TOKEN_ENDPOINT, [Behaviour::status(500)]);
    let (status, body) = rig.exchange_assertion("x").await;
    assert_eq!((status, &body["error"]), (500, &json!("internal_failure")));
    let token = rig.access_token().await;
    assert_eq!(rig.send(&token, &message("t")).await.0, 503);
}
