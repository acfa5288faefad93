//! Request bodies of the API: each operation that takes JSON, and the claims of each artefact that a device sends as one.
//!
//! Asserted: what is taken a plain JSON parser takes, too, has no null in it, and reads the same when written again; what
//! is refused is refused with a client's fault that points at a member, or at where one should be; a registration and a
//! rotation that are taken never have one key in two roles.

use std::{pin::Pin, sync::Arc, sync::OnceLock};

use countersign::{http::operations, rehearsal};
use countersign_core::{
    clock::Clock,
    device::{KeyRole, check_registration},
    push,
    rotation::check_rotation,
    text::Checker,
};
use countersign_proto::{
    jose::{
        SigningKey,
        claims::{KeyRotationClaims, PushUpdateClaims, RegistrationClaims},
    },
    json,
    problem::FieldError,
    timestamp::Timestamp,
};
use countersign_push::{WebhookSender, WebhookSettings};
use serde_json::Value;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const DEVICE: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Stands still.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn sleep_until(&self, _: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        unreachable!("no check sleeps")
    }
}

/// Every operation with a body of JSON, in the order of the table.
pub fn operations() -> impl Iterator<Item = &'static str> {
    operations::ALL.iter().filter(|operation| operation.takes_json()).map(|operation| operation.id)
}

/// A line that names the operation; the body.
pub fn run(data: &[u8]) -> bool {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let [Some(operation), Some(body)] = [(); 2].map(|()| parts.next()) else { return false };
    match operation {
        b"claims.registration" => of_registration(body),
        b"claims.push_update" => of_push_update(body),
        b"claims.key_rotation" => of_key_rotation(body),
        operation => std::str::from_utf8(operation).is_ok_and(|operation| of_operation(operation, body)),
    }
}

/// Made once: it reads the system's certificates.
fn sender() -> &'static WebhookSender {
    static SENDER: OnceLock<WebhookSender> = OnceLock::new();
    SENDER.get_or_init(|| WebhookSender::new(WebhookSettings::default(), Arc::new(Still)).expect("a sender"))
}

fn of_operation(operation: &str, body: &[u8]) -> bool {
    let Some(outcome) = rehearsal::read(operation, body, sender()) else { return false };
    match outcome {
        Ok(written) => {
            check_taken(body);
            let again = rehearsal::read(operation, written.to_string().as_bytes(), sender());
            let again = again.expect("the same operation").expect("it was taken before");
            assert_eq!(again, written);
            true
        }
        Err(error) => {
            let status = error.kind().spec().status;
            assert!((400..500).contains(&status), "{status}: {error:?}");
            check_pointers(body, error.errors());
            false
        }
    }
}

fn of_registration(body: &[u8]) -> bool {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    let key = KEY.get_or_init(|| SigningKey::from_private_bytes(&[9; 32]).expect("a key")).public_key();
    let Ok(claims) = json::from_slice::<RegistrationClaims>(body) else { return false };
    match check_registration(&claims, &key) {
        Ok(registration) => {
            check_taken_but_for_the_unknown(body);
            assert_ne!(registration.uv_key, Some(key), "one key in two roles");
            assert_eq!(registration.uv_key.is_some(), claims.uv_jwk.is_some());
            true
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            check_pointers(body, &errors);
            false
        }
    }
}

fn of_push_update(body: &[u8]) -> bool {
    let Ok(claims) = json::from_slice::<PushUpdateClaims>(body) else { return false };
    let mut checker = Checker::default();
    push::check(&mut checker, "/push", &claims.push);
    match checker.finish() {
        Ok(()) => {
            check_taken_but_for_the_unknown(body);
            true
        }
        Err(errors) => {
            check_pointers(body, &errors);
            false
        }
    }
}

fn of_key_rotation(body: &[u8]) -> bool {
    let Ok(claims) = json::from_slice::<KeyRotationClaims>(body) else { return false };
    let device_id = DEVICE.parse().expect("an id");
    let mut is_taken = false;
    for role in [KeyRole::Device, KeyRole::UserVerification] {
        match check_rotation(&claims, role, device_id, "https://mfa.example.org", NOW) {
            Ok(rotation) => {
                assert!(rotation.device_key.is_some() || rotation.uv_key.is_some(), "replaces nothing");
                assert!(rotation.device_key != rotation.uv_key, "one key in two roles");
                assert!(
                    role == KeyRole::UserVerification || rotation.uv_key.is_none(),
                    "the weaker key replaces the stronger"
                );
                is_taken = true;
            }
            Err(errors) => {
                assert!(!errors.is_empty());
                check_pointers(body, &errors);
            }
        }
    }
    is_taken
}

fn check_taken(body: &[u8]) {
    let value: Value = serde_json::from_slice(body).expect("taken, and no JSON");
    assert!(value.is_object(), "taken, and no object");
    assert!(!has_null(&value), "taken with a null: {value}");
}

/// Claims that nobody knows may be anything.
fn check_taken_but_for_the_unknown(body: &[u8]) {
    let value: Value = serde_json::from_slice(body).expect("taken, and no JSON");
    assert!(value.is_object(), "taken, and no object");
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

/// Each points at something, or right below an object or array that is there.
fn check_pointers(body: &[u8], errors: &[FieldError]) {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    for FieldError { pointer, detail } in errors {
        let parent = pointer.rsplit_once('/').map(|(parent, _)| parent);
        let leads_somewhere =
            value.pointer(pointer).is_some() || parent.is_some_and(|parent| value.pointer(parent).is_some());
        assert!(leads_somewhere, "{pointer} leads nowhere in {value}");
        assert!(!detail.is_empty() && !detail.chars().any(char::is_control), "{detail:?}");
    }
}
