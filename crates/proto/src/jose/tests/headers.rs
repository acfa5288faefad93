//! Header tricks (rules 2 and 3). The signature is good each time; only the header is not.

use crate::json::Malformed;

use super::*;

/// Whatever `change` makes of a good header, for a kind with `kid` and one with `jwk`.
fn refusals(change: impl Fn(&mut Value)) -> [Refusal; 2] {
    [Kind::Response, Kind::Registration].map(|kind| {
        let key = key(1);
        let mut header = header(&key, kind);
        change(&mut header);
        let token = forge(&key, header.to_string(), samples::full(kind).to_string());
        refusal(kind, &token)
    })
}

fn refusal_of_raw(header: &str) -> Refusal {
    refusal(Kind::Response, &forge(&key(1), header, "{}"))
}

#[test]
fn only_es256_is_an_algorithm() {
    for alg in ["none", "None", "", "HS256", "ES384", "ES512", "RS256", "PS256", "EdDSA", "es256", "ES256K", "ES256 "] {
        assert_eq!(refusals(|header| header["alg"] = json!(alg)), [Refusal::Algorithm, Refusal::Algorithm], "{alg}");
    }
    for alg in [json!(null), json!(256), json!(["ES256"]), json!({"ES256": 1}), json!(true)] {
        assert_eq!(refusals(|header| header["alg"] = alg.clone()), [Refusal::HeaderMembers, Refusal::HeaderMembers]);
    }
}

#[test]
fn a_type_is_compared_byte_for_byte() {
    for change in [
        |typ: &str| typ.to_uppercase(),
        |typ: &str| typ.replace("countersign", "Countersign"),
        |typ: &str| format!("application/{typ}"),
        |typ: &str| format!("{typ} "),
        |typ: &str| typ.replace("+jwt", ""),
        |_: &str| "JWT".to_owned(),
        |_: &str| String::new(),
    ] {
        let changed = refusals(|header| header["typ"] = json!(change(header["typ"].as_str().unwrap())));
        assert_eq!(changed, [Refusal::Type, Refusal::Type]);
    }
    for typ in [json!(null), json!(1), json!(["JWT"])] {
        assert_eq!(refusals(|header| header["typ"] = typ.clone()), [Refusal::HeaderMembers, Refusal::HeaderMembers]);
    }
}

#[test]
fn every_member_is_due() {
    for name in ["alg", "typ", "kid", "jwk"] {
        let [kid_kind, jwk_kind] = refusals(|header| {
            // A kind that has no such member gets one it does not know instead.
            if header.as_object_mut().unwrap().remove(name).is_none() {
                header["unknown"] = json!(1);
            }
        });
        assert_eq!((kid_kind, jwk_kind), (Refusal::HeaderMembers, Refusal::HeaderMembers), "{name}");
    }
    assert_eq!(refusals(|header| *header = json!({})), [Refusal::HeaderMembers, Refusal::HeaderMembers]);
}

#[test]
fn a_further_member_is_refused_whatever_it_is() {
    let url = "https://evil.example/keys";
    for (name, value) in [
        ("crit", json!(["b64"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("aGFzaA")),
        ("x5t#S256", json!("aGFzaA")),
        ("cty", json!("JWT")),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("epk", json!({})),
        ("nonce", json!("n")),
        ("iat", json!(1)),
        ("", json!("")),
        ("Alg", json!("none")),
    ] {
        let added = refusals(|header| header[name] = value.clone());
        assert_eq!(added, [Refusal::HeaderMembers, Refusal::HeaderMembers], "{name}");
        // Nor in place of the one that is due.
        let swapped = refusals(|header| {
            let header = header.as_object_mut().unwrap();
            header.remove("typ");
            header.insert(name.to_owned(), value.clone());
        });
        assert_eq!(swapped, [Refusal::HeaderMembers, Refusal::HeaderMembers], "{name}");
    }
    let key = key(1);
    let both = refusals(|header| {
        header["kid"] = json!(key.thumbprint());
        header["jwk"] = json!(key.public_key().to_jwk());
    });
    assert_eq!(both, [Refusal::HeaderMembers, Refusal::HeaderMembers]);
}

#[test]
fn a_header_is_one_object_without_duplicate_members() {
    let (kid, typ) = (key(1).thumbprint().to_string(), Kind::Response.typ());
    let duplicate = [
        format!(r#"{{"alg":"none","alg":"ES256","typ":"{typ}","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"ES256","typ":"{typ}","kid":"{kid}","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"ES256","\u0061lg":"none","typ":"{typ}","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"ES256","typ":"{typ}","kid":{{"a":1,"a":1}}}}"#),
    ];
    for header in duplicate {
        assert_eq!(refusal_of_raw(&header), Refusal::Header(Malformed::DuplicateMember), "{header}");
    }
    let not_json = format!("\u{feff}{}", header(&key(1), Kind::Response));
    let trailing = format!("{}{{}}", header(&key(1), Kind::Response));
    for header in [not_json.as_str(), trailing.as_str(), " ", "{", "alg"] {
        assert_eq!(refusal_of_raw(header), Refusal::Header(Malformed::NotJson), "{header}");
    }
    for header in ["[]", "null", "\"ES256\"", "1", "[{\"alg\":\"ES256\"}]"] {
        assert_eq!(refusal_of_raw(header), Refusal::Header(Malformed::NotAnObject));
    }
    let deep = format!(r#"{{"alg":"ES256","typ":"{typ}","kid":{}{}}}"#, "[".repeat(16), "]".repeat(16));
    assert_eq!(refusal_of_raw(&deep), Refusal::Header(Malformed::TooDeep));
}

#[test]
fn a_kid_is_a_thumbprint_in_its_one_spelling() {
    let kind = Kind::Response;
    let key = key(1);
    let kid = key.thumbprint().to_string();
    let texts = [
        String::new(),
        format!("{kid}="),
        kid[..42].to_owned(),
        format!("{kid}A"),
        format!(" {}", &kid[..42]),
        "+".repeat(43),
        "B".repeat(43),
    ];
    for text in texts {
        let mut header = header(&key, kind);
        header["kid"] = json!(text);
        assert_eq!(refusal(kind, &forge(&key, header.to_string(), "{}")), Refusal::HeaderKey, "{text}");
    }
    for wrong in [json!(null), json!(1), json!([kid]), json!({"kid": kid}), json!(false)] {
        let mut header = header(&key, kind);
        header["kid"] = wrong;
        assert_eq!(refusal(kind, &forge(&key, header.to_string(), "{}")), Refusal::HeaderMembers);
    }
}

#[test]
fn a_jwk_is_exactly_a_public_p256_key() {
    let kind = Kind::Registration;
    let key = key(1);
    let good = json!(key.public_key().to_jwk());
    let (x, y) = (good["x"].as_str().unwrap(), good["y"].as_str().unwrap());
    let changes: Vec<(&str, Value)> = vec![
        ("d", json!(base64url::encode(*key.private_bytes()))),
        ("alg", json!("ES256")),
        ("use", json!("sig")),
        ("key_ops", json!(["verify"])),
        ("kid", json!(key.thumbprint())),
        ("ext", json!(true)),
        ("kty", json!("RSA")),
        ("kty", json!("ec")),
        ("kty", json!(["EC"])),
        ("crv", json!("P-384")),
        ("crv", json!("p-256")),
        ("crv", json!("secp256r1")),
        ("crv", json!(null)),
        ("x", json!(y)),
        ("y", json!(x)),
        ("x", json!(x[..42])),
        ("x", json!(format!("{x}="))),
        ("x", json!(base64url::encode([vec![0], base64url::decode(x).unwrap()].concat()))),
        ("x", json!(base64url::encode(&base64url::decode(x).unwrap()[1..]))),
        ("x", json!("")),
        ("x", json!(7)),
        ("y", json!(null)),
        ("y", json!([y])),
        // The field's prime: not a canonical coordinate.
        ("x", json!(base64url::encode(P256_PRIME))),
    ];
    for (name, value) in changes {
        let mut header = header(&key, kind);
        header["jwk"][name] = value.clone();
        assert_eq!(refusal(kind, &forge(&key, header.to_string(), "{}")), Refusal::HeaderKey, "{name}: {value}");
    }
    let zero = base64url::encode([0; 32]);
    let whole = [
        json!({"kty": "EC", "crv": "P-256", "x": zero, "y": zero}),
        json!({"kty": "EC", "crv": "P-256", "x": x}),
        json!({"kty": "oct", "k": "c2VjcmV0"}),
        json!(["EC", "P-256", x, y]),
        json!(key.thumbprint()),
        json!(null),
        json!({}),
    ];
    for jwk in whole {
        let mut header = header(&key, kind);
        header["jwk"] = jwk.clone();
        assert_eq!(refusal(kind, &forge(&key, header.to_string(), "{}")), Refusal::HeaderKey, "{jwk}");
    }
}

/// p = 2^256 − 2^224 + 2^192 + 2^96 − 1, big-endian.
const P256_PRIME: [u8; 32] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
];
