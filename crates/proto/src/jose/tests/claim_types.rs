//! Every claim of every kind × every wrong JSON type (rule 6), generated from the samples.

use crate::json::Fault;

use super::*;

/// A member of a sample, or an item of one of its arrays.
struct Place {
    /// JSON Pointer.
    pointer: String,
    optional: bool,
    is_item: bool,
}

fn places(value: &Value, pointer: &str, found: &mut Vec<Place>) {
    let mut visit = |name: &str, value: &Value, is_item: bool| {
        let pointer = format!("{pointer}/{}", name.trim_end_matches('?'));
        found.push(Place { pointer: pointer.clone(), optional: name.ends_with('?'), is_item });
        places(value, &pointer, found);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| visit(name, value, false)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| visit(&index.to_string(), item, true)),
        _ => {}
    }
}

fn places_of(kind: Kind) -> Vec<Place> {
    let mut found = Vec::new();
    places(&samples::marked(kind), "", &mut found);
    found
}

/// Reads signed `claims`, and checks that signing and reading lose nothing.
fn read_claims(kind: Kind, claims: &Value) -> Result<Value, Refusal> {
    read(kind, &key(1), &key(1).sign(kind, claims).unwrap())
}

/// One value of each JSON type, and a few disguises of `value`.
fn candidates(value: &Value) -> Vec<Value> {
    let mut all = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(7),
        json!(-7),
        json!(1.5),
        json!("7"),
        json!(""),
        json!([]),
        json!({}),
    ];
    all.push(json!([value]));
    all.push(json!({"value": value}));
    match value {
        // {"deny": null} is how serde also reads a word; 1700000000.0 and "1700000000" are disguises of a time.
        Value::String(text) => all.push(json!({text.as_str(): null})),
        Value::Number(number) => all.extend([json!(number.to_string()), json!(number.as_f64())]),
        // An array of the members' values is how serde also reads a struct.
        Value::Object(members) => all.push(members.values().cloned().collect()),
        _ => {}
    }
    all
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn remove(claims: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    claims.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
}

#[test]
fn every_full_sample_is_read_back_member_for_member() {
    for kind in Kind::ALL {
        let claims = samples::full(kind);
        assert_eq!(read_claims(kind, &claims).unwrap(), claims, "{kind:?}");
    }
}

#[test]
fn every_wrong_type_of_every_claim_is_refused_at_its_place() {
    let mut tried = 0;
    for kind in Kind::ALL {
        let full = samples::full(kind);
        for place in places_of(kind) {
            let good = full.pointer(&place.pointer).unwrap();
            for wrong in candidates(good).into_iter().filter(|wrong| json_type(wrong) != json_type(good)) {
                let mut claims = full.clone();
                *claims.pointer_mut(&place.pointer).unwrap() = wrong.clone();
                let refusal = read_claims(kind, &claims).expect_err(&format!("{kind:?} {} = {wrong}", place.pointer));
                let Refusal::Claim(shape) = &refusal else { panic!("{kind:?} {}: {refusal}", place.pointer) };
                // A push binding is read as a whole, and the word of its channel decides what it is.
                let expected = if place.pointer.starts_with("/push/") { "/push" } else { &place.pointer };
                assert_eq!(shape.pointer, expected, "{kind:?} = {wrong}");
                assert_eq!(shape.fault, Fault::Type, "{kind:?} {expected} = {wrong}");
                assert_eq!(refusal.broken_member(), None);
                tried += 1;
            }
        }
    }
    assert!(tried > 1000, "{tried}");
}

#[test]
fn every_required_claim_is_due_and_every_optional_one_may_be_absent() {
    let (mut required, mut optional) = (0, 0);
    for kind in Kind::ALL {
        for place in places_of(kind).iter().filter(|place| !place.is_item) {
            let mut claims = samples::full(kind);
            remove(&mut claims, &place.pointer);
            if place.optional {
                assert_eq!(read_claims(kind, &claims).unwrap(), claims, "{kind:?} without {}", place.pointer);
                optional += 1;
            } else {
                let refusal = read_claims(kind, &claims).unwrap_err();
                let Refusal::Claim(shape) = &refusal else { panic!("{kind:?} {}: {refusal}", place.pointer) };
                assert_eq!((shape.pointer.as_str(), shape.fault), (place.pointer.as_str(), Fault::Missing), "{kind:?}");
                required += 1;
            }
        }
    }
    assert!(required > 60 && optional > 25, "{required} {optional}");
}

#[test]
fn an_unknown_claim_is_ignored_whatever_it_is() {
    for kind in Kind::ALL {
        for value in [json!(null), json!(1), json!({"deep": [{}]}), json!("text")] {
            let mut claims = samples::full(kind);
            claims["attestation"] = value;
            assert_eq!(read_claims(kind, &claims).unwrap(), samples::full(kind));
        }
    }
}

#[test]
fn a_word_outside_its_list_breaks_a_rule_and_the_sender_may_be_told() {
    let words = [
        (Kind::Registration, "/device/platform", "/device/platform"),
        (Kind::Registration, "/push/channel", "/push"),
        (Kind::Registration, "/push/environment", "/push"),
        (Kind::Response, "/decision", "/decision"),
        (Kind::Response, "/reason", "/reason"),
        (Kind::Response, "/uv", "/uv"),
        (Kind::Deregistration, "/reason", "/reason"),
        (Kind::Challenge, "/verification/mode", "/verification/mode"),
        (Kind::Result, "/status", "/status"),
    ];
    for (kind, place, pointer) in words {
        for word in ["", "canary", "Approve", "NONE"] {
            let mut claims = samples::full(kind);
            *claims.pointer_mut(place).unwrap() = json!(word);
            let refusal = read_claims(kind, &claims).unwrap_err();
            let shape = refusal.broken_member().unwrap();
            assert_eq!(shape.pointer, pointer, "{kind:?}");
            assert!(shape.detail.starts_with("must be one of: "), "{}", shape.detail);
            assert!(!refusal.to_string().contains("canary"));
        }
    }
}

#[test]
fn a_key_in_a_claim_has_exactly_its_members() {
    for (kind, place) in [
        (Kind::Registration, "/uv_jwk"),
        (Kind::KeyRotation, "/new_jwk"),
        (Kind::KeyRotation, "/new_uv_jwk"),
        (Kind::Binding, "/cnf/jwk"),
        (Kind::Binding, "/uv_jwk"),
    ] {
        for name in ["d", "alg", "use"] {
            let mut claims = samples::full(kind);
            claims.pointer_mut(place).unwrap()[name] = json!("x");
            let refusal = read_claims(kind, &claims).unwrap_err();
            assert_eq!(refusal.broken_member().unwrap().pointer, format!("{place}/{name}"));
        }
    }
}

#[test]
fn secrets_are_not_printed() {
    let key = key(1);
    let kind = Kind::Registration;
    let mut claims = samples::full(kind);
    claims["ticket"] = json!("canary");
    claims["push"] = json!({"channel": "fcm", "token": "canary"});
    let token = key.sign(kind, &claims).unwrap();
    let unverified = Unverified::parse(kind, &token).unwrap();
    let before = format!("{unverified:?}");
    let verified = unverified.verify(&key.public_key()).unwrap();
    let read = verified.claims::<RegistrationClaims>().unwrap();
    assert_eq!(read.ticket, "canary");
    let mut response = samples::full(Kind::Response);
    response["number"] = json!("canary");
    let response: ResponseClaims = serde_json::from_value(response).unwrap();
    let challenge: ChallengeClaims = serde_json::from_value(samples::full(Kind::Challenge)).unwrap();
    let all = format!("{before}{verified:?}{read:?}{response:?}{challenge:?}{key:?}");
    for secret in ["canary", "\"03\"", &base64url::encode("canary"), &base64url::encode(*key.private_bytes()), "[1, 1,"]
    {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}
