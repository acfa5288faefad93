//! One full set of claims per kind. A member whose name ends in `?` is optional; the mark is no part of the
//! name.

use serde_json::{Map, Value, json};

use super::super::Kind;
use super::key;

const ISSUER: &str = "https://mfa.example.org";
const DEVICE: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const IAT: i64 = 1_700_000_000;

/// The claims of `kind`, with marks.
pub(super) fn marked(kind: Kind) -> Value {
    let jwk = key(9).public_key().to_jwk();
    match kind {
        Kind::Registration => json!({
            "aud": ISSUER, "iat": IAT, "jti": "r1", "ticket": "dGlja2V0",
            "device": {"name": "Phone", "platform": "ios", "model?": "12", "os_version?": "18", "app_id?": "org.example",
                "app_version?": "1.0", "installation_id?": "i1"},
            "push": {"channel": "apns", "token": "ab", "topic": "org.example", "environment": "production"},
            "uv_jwk?": jwk,
        }),
        Kind::Proof => {
            json!({"iss": DEVICE, "aud": ISSUER, "iat": IAT, "jti": "p1", "htm": "GET", "htu": "https://x/y"})
        }
        Kind::Response => json!({
            "iss": DEVICE, "aud": ISSUER, "sub": "c1", "iat": IAT, "jti": "s1", "challenge_sha256": "aGFzaA",
            "decision": "approve", "number?": "042137", "reason?": "mistake", "uv?": "face",
        }),
        Kind::PushUpdate => json!({
            "iss": DEVICE, "aud": ISSUER, "iat": IAT, "jti": "u1",
            "push": {"channel": "fcm", "token": "t", "project?": "p"}, "app_version?": "2.1", "os_version?": "18",
        }),
        Kind::KeyRotation => json!({
            "iss": DEVICE, "aud": ISSUER, "iat": IAT, "jti": "k1", "new_jwk?": jwk, "new_uv_jwk?": jwk, "proofs": ["a.b.c"],
        }),
        Kind::KeyProof => json!({"aud": ISSUER, "iat": IAT, "rotate_from": DEVICE}),
        Kind::Deregistration => json!({"iss": DEVICE, "aud": ISSUER, "iat": IAT, "jti": "d1", "reason?": "lost"}),
        Kind::Dispute => json!({"iss": DEVICE, "aud": ISSUER, "sub": "e1", "iat": IAT, "jti": "n1"}),
        Kind::ClientProof => json!({
            "iss": "client", "aud": ISSUER, "iat": IAT, "jti": "q1", "htm": "POST", "htu": "https://x/y", "body_sha256": "aGFzaA",
        }),
        Kind::Binding => json!({
            "iss": ISSUER, "aud": DEVICE, "sub": "user", "tenant": "t1", "external_id": "alice", "iat": IAT, "jti": "b1", "cnf": {"jwk": jwk},
            "uv_jwk?": jwk,
        }),
        Kind::Challenge => challenge(),
        Kind::Result => json!({
            "iss": ISSUER, "aud": "client", "sub": "user", "external_id": "alice", "jti": "c1", "iat": IAT, "exp": IAT + 300,
            "client_reference?": "ref", "application?": "VPN", "action": "sign_in", "status": "denied", "reason?": "not_me",
            "verification": {"mode": "enter", "digits?": 6}, "policy_version": 1, "profile?": "nist-800-63b-4", "amr?": ["pop", "mca"], "flags?": ["fast_approval"],
            "device_id?": DEVICE,
        }),
        Kind::Policy => json!({
            "iss": ISSUER, "aud": DEVICE, "tenant": "t1", "iat": IAT, "exp": IAT + 86_400, "version": 2, "modes": ["enter"],
            "user_verification": "required", "user_verification_methods?": ["pin"], "user_verification_key_required": true,
            "minimum_app_version?": "2.1", "minimum_os_version?": "17",
        }),
    }
}

fn challenge() -> Value {
    json!({
        "iss": ISSUER, "aud": [DEVICE], "sub": "user", "jti": "c1", "iat": IAT, "exp": IAT + 120, "nonce": "bm9uY2U",
        "tenant": {"id": "t1", "name": "default"}, "user": {"external_id": "alice", "display_name?": "Alice"},
        "application?": "VPN", "action": "sign_in", "message?": "Hello",
        "context?": {"ip?": "192.0.2.1", "user_agent?": "Browser", "location?": "Here", "device?": "Laptop"},
        "details?": [{"label": "Amount", "value": "1"}],
        "verification": {"mode": "choose", "digits?": 2, "choices?": ["01", "02", "03"]},
        "user_verification": "preferred", "user_verification_methods?": ["pin"], "profile?": "p", "policy_version": 1, "azp": "client",
        "client_reference_sha256?": "aGFzaA", "number_mac?": "bWFj",
    })
}

/// The claims of `kind`, with every optional member.
pub(crate) fn full(kind: Kind) -> Value {
    unmark(&marked(kind))
}

/// The same without marks.
pub(super) fn unmark(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let unmarked = members.iter().map(|(name, value)| (name.trim_end_matches('?').to_owned(), unmark(value)));
            Value::Object(unmarked.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(unmark).collect()),
        other => other.clone(),
    }
}
