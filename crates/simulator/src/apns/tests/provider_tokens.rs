//! Provider tokens: signature, claims, age and churn.

use super::*;

impl Rig {
    async fn answer_to(&self, provider_token: &str) -> (u16, String) {
        self.answer(self.alert(&device(1), provider_token)).await
    }
}

const INVALID: &str = "InvalidProviderToken";

#[tokio::test]
async fn a_wrong_provider_token_is_refused() {
    let rig = Rig::new().await;
    let (header, claims) = rig.provider_token_parts();
    let sign = |header: &Value, claims: &Value| es256(&rig.key.private_pem, header, claims);
    let good = sign(&header, &claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let another = DeveloperKey::generate("KEY0000001", "TEAM000001").unwrap();
    // Even length is not needed for padding: the signature of 64 bytes would end in two signs.
    let padded = format!("{signed}.{signature}==");
    let (other_bytes, spare) = signature.split_at(signature.len() - 1);
    let sloppy = if spare == "A" { "B" } else { "A" };
    let rows = [
        sign(&json!({"alg": "ES256"}), &claims),
        sign(&json!({"alg": "none", "kid": "KEY0000001"}), &claims),
        sign(&json!({"alg": "ES256", "kid": "KEY0000002"}), &claims),
        sign(&header, &json!({"iss": "TEAM000002", "iat": rig.now()})),
        sign(&header, &json!({"iat": rig.now()})),
        sign(&header, &json!({"iss": "TEAM000001"})),
        sign(&header, &json!({"iss": "TEAM000001", "iat": rig.now().to_string()})),
        sign(&header, &json!({"iss": "TEAM000001", "iat": rig.now() + 120})),
        es256(&another.private_pem, &header, &claims),
        padded,
        format!("{signed}.{other_bytes}{sloppy}"),
        format!("{signed}.{}", signature.replace(['-', '_'], "+")).replace('+', "/") + "/",
        "no.token".to_owned(),
        "x".to_owned(),
    ];
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(rig.answer_to(row).await, (403, INVALID.to_owned()), "row {index}: {row}");
    }
    let shot = rig.alert(&device(1), &good);
    assert_eq!(rig.answer(shot.clone().without("authorization")).await, (403, "MissingProviderToken".to_owned()));
    let basic = shot.header("authorization", "basic dTpw");
    assert_eq!(rig.answer(basic).await, (403, "MissingProviderToken".to_owned()));
    assert_eq!((rig.apns.provider_tokens_seen(), rig.apns.accepted_count()), (0, 0));
    assert_eq!(rig.answer_to(&good).await.0, 200);
}

#[tokio::test]
async fn a_provider_token_lives_for_an_hour() {
    let rig = Rig::new().await;
    let token = rig.provider_token();
    assert_eq!(rig.answer_to(&token).await.0, 200);
    rig.hand.advance(3_600);
    assert_eq!(rig.answer_to(&token).await.0, 200);
    rig.hand.advance(1);
    assert_eq!(rig.answer_to(&token).await, (403, "ExpiredProviderToken".to_owned()));
    assert_eq!(rig.answer_to(&rig.provider_token()).await.0, 200);
    assert_eq!(rig.apns.provider_tokens_seen(), 2);
}

#[tokio::test]
async fn a_new_provider_token_within_twenty_minutes_is_too_many() {
    let rig = Rig::new().await;
    let first = rig.provider_token();
    assert_eq!(rig.answer_to(&first).await.0, 200);
    rig.hand.advance(1_199);
    let second = rig.provider_token();
    assert_eq!(rig.answer_to(&second).await, (429, "TooManyProviderTokenUpdates".to_owned()));
    assert_eq!(rig.answer_to(&first).await.0, 200, "the token in use stays good");
    rig.hand.advance(1);
    assert_eq!(rig.answer_to(&second).await.0, 200);
    assert_eq!(rig.apns.provider_tokens_seen(), 2);
}

#[tokio::test]
async fn keys_have_their_own_pace() {
    let second = DeveloperKey::generate("KEY0000002", "TEAM000001").unwrap();
    let rig = Rig::with(|options| options.keys.push(second.clone())).await;
    assert_eq!(rig.answer_to(&rig.provider_token()).await.0, 200);
    let claims = json!({"iss": "TEAM000001", "iat": rig.now()});
    let token = es256(&second.private_pem, &json!({"alg": "ES256", "kid": "KEY0000002"}), &claims);
    assert_eq!(rig.answer_to(&token).await.0, 200);
}
