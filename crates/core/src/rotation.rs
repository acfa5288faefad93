//! Key rotation (protocol 10.6): which keys a device may replace, and what each new one has to show.
//!
//! Judges a rotation whose outer signature is good, by its claims alone; whether the signing key is still the device's
//! is decided by the conditional write. Must never let a key in that has not proven itself, nor the device key touch the
//! second one: who has only the device key could else make itself a PIN.
//! To add a rule: a line in [`check_rotation`], under the number that protocol 10.6 gives it.

use countersign_proto::{
    ids::DeviceId,
    jose::{
        Jwk, Kind, PublicKey, Refusal, Unverified, check_audience, check_iat,
        claims::{KeyProofClaims, KeyRotationClaims},
    },
    problem::FieldError,
    timestamp::Timestamp,
};

use crate::{device::KeyRole, limits::SKEW_SECONDS, text::Checker};

/// What a checked rotation replaces: at least one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The next device key.
    pub device_key: Option<PublicKey>,
    /// The next user verification key.
    pub uv_key: Option<PublicKey>,
}

/// Checks a rotation's own members. `signer` is the role of the key that signed it.
///
/// # Errors
/// The members at fault.
pub fn check_rotation(
    claims: &KeyRotationClaims,
    signer: KeyRole,
    device_id: DeviceId,
    issuer: &str,
    now: Timestamp,
) -> Result<Rotation, Vec<FieldError>> {
    let mut checker = Checker::default();
    let mut key = |pointer: &str, jwk: Option<&Jwk>| match jwk.map(PublicKey::from_jwk)? {
        Ok(key) => Some(key),
        Err(_) => {
            checker.refuse(pointer, "must be a P-256 public key with exactly kty, crv, x and y");
            None
        }
    };
    // 1. P-256 keys, that differ.
    let device_key = key("/new_jwk", claims.new_jwk.as_ref());
    let uv_key = key("/new_uv_jwk", claims.new_uv_jwk.as_ref());
    if device_key.is_some() && device_key == uv_key {
        checker.refuse("/new_uv_jwk", "must differ from the new device key");
    }
    // 2. Each key replaces itself; the user verification key may take the device key along.
    match (signer, &claims.new_jwk, &claims.new_uv_jwk) {
        (KeyRole::Device, _, Some(_)) => {
            checker.refuse("/new_uv_jwk", "only the current user verification key may replace itself");
        }
        (KeyRole::Device, None, None) => checker.refuse("/new_jwk", "must be there"),
        (KeyRole::UserVerification, _, None) => {
            checker.refuse("/new_uv_jwk", "must be there: the user verification key signs only its own replacement");
        }
        (KeyRole::Device, Some(_), None) | (KeyRole::UserVerification, _, Some(_)) => {}
    }
    checker.finish()?;
    // 3. One proof by each new key.
    let lacking: Vec<PublicKey> = device_key.into_iter().chain(uv_key).collect();
    check_proofs(&claims.proofs, lacking, device_id, issuer, now)?;
    Ok(Rotation { device_key, uv_key })
}

/// Each of the keys in `lacking` has signed one of the proofs, and each proof is by one of them.
fn check_proofs(
    proofs: &[String],
    mut lacking: Vec<PublicKey>,
    device_id: DeviceId,
    issuer: &str,
    now: Timestamp,
) -> Result<(), Vec<FieldError>> {
    let mut checker = Checker::default();
    for (number, proof) in proofs.iter().enumerate() {
        let pointer = format!("/proofs/{number}");
        let Ok((claims, key)) = open_proof(proof) else {
            checker.refuse(pointer, "is no countersign-key-proof+jwt with a good signature by the key in its header");
            continue;
        };
        let Some(place) = lacking.iter().position(|wanted| *wanted == key) else {
            checker.refuse(pointer, "is not by a new key that still lacks its proof");
            continue;
        };
        lacking.swap_remove(place);
        if check_audience(&claims.aud, issuer).is_err() {
            checker.refuse(pointer, "aud must be the issuer");
        } else if claims.rotate_from != device_id.to_string() {
            checker.refuse(pointer, "rotate_from must be the device");
        } else if check_iat(claims.iat, now.as_seconds(), SKEW_SECONDS).is_err() {
            checker.refuse(pointer, "iat must be within 60 s of the server's time");
        }
    }
    if !lacking.is_empty() {
        checker.refuse("/proofs", "must hold one proof by each new key");
    }
    checker.finish()
}

/// Proof of possession: the key of the header signed this.
fn open_proof(proof: &str) -> Result<(KeyProofClaims, PublicKey), Refusal> {
    let verified = Unverified::parse(Kind::KeyProof, proof)?.verify_with_header_key()?;
    Ok((verified.claims()?, *verified.signer()))
}

#[cfg(test)]
mod tests {
    use countersign_proto::{ids::Id, jose::SigningKey};
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://mfa.example.org";
    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn key(number: u8) -> SigningKey {
        SigningKey::from_private_bytes(&[number; 32]).unwrap()
    }

    fn jwk(number: u8) -> Option<Jwk> {
        Some(key(number).public_key().to_jwk())
    }

    fn device() -> DeviceId {
        Id::from_uuid("01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap())
    }

    fn proof_with(number: u8, aud: &str, iat: i64, rotate_from: &str) -> String {
        key(number).sign(Kind::KeyProof, &json!({"aud": aud, "iat": iat, "rotate_from": rotate_from})).unwrap()
    }

    fn proof(number: u8) -> String {
        proof_with(number, ISSUER, NOW.as_seconds(), &device().to_string())
    }

    fn check(
        signer: KeyRole,
        new_jwk: Option<Jwk>,
        new_uv_jwk: Option<Jwk>,
        proofs: Vec<String>,
    ) -> Result<Rotation, Vec<String>> {
        let (iss, aud) = (device().to_string(), ISSUER.to_owned());
        let claims =
            KeyRotationClaims { iss, aud, iat: NOW.as_seconds(), jti: "k".to_owned(), new_jwk, new_uv_jwk, proofs };
        check_rotation(&claims, signer, device(), ISSUER, NOW)
            .map_err(|errors| errors.into_iter().map(|error| error.pointer).collect())
    }

    const DEVICE: KeyRole = KeyRole::Device;
    const UV: KeyRole = KeyRole::UserVerification;

    #[test]
    fn each_key_replaces_itself_and_the_second_one_may_take_the_first_along() {
        let (one, two) = (Some(key(1).public_key()), Some(key(2).public_key()));
        assert_eq!(check(DEVICE, jwk(1), None, vec![proof(1)]), Ok(Rotation { device_key: one, uv_key: None }));
        assert_eq!(check(UV, None, jwk(2), vec![proof(2)]), Ok(Rotation { device_key: None, uv_key: two }));
        let both = Ok(Rotation { device_key: one, uv_key: two });
        assert_eq!(check(UV, jwk(1), jwk(2), vec![proof(2), proof(1)]), both);
    }

    #[test]
    fn the_device_key_never_touches_the_second_one() {
        for new_jwk in [None, jwk(1)] {
            assert_eq!(check(DEVICE, new_jwk, jwk(2), vec![proof(1), proof(2)]), Err(vec!["/new_uv_jwk".to_owned()]));
        }
        assert_eq!(check(UV, jwk(1), None, vec![proof(1)]), Err(vec!["/new_uv_jwk".to_owned()]));
        assert_eq!(check(DEVICE, None, None, vec![]), Err(vec!["/new_jwk".to_owned()]));
    }

    #[test]
    fn one_key_in_both_roles_and_what_is_no_key_are_refused() {
        assert_eq!(check(UV, jwk(1), jwk(1), vec![proof(1), proof(1)]), Err(vec!["/new_uv_jwk".to_owned()]));
        let mut broken = jwk(1).unwrap();
        broken.x = broken.y.clone();
        assert_eq!(check(DEVICE, Some(broken), None, vec![proof(1)]), Err(vec!["/new_jwk".to_owned()]));
    }

    #[test]
    fn every_new_key_proves_itself_once_for_this_device_here_and_now() {
        let own = device().to_string();
        let now = NOW.as_seconds();
        for wrong in [
            proof_with(1, "https://other.example", now, &own),
            proof_with(1, ISSUER, now, "01890a5d-ac96-774b-bcce-b302099a8058"),
            proof_with(1, ISSUER, now - 61, &own),
            proof_with(1, ISSUER, now + 61, &own),
        ] {
            assert_eq!(check(DEVICE, jwk(1), None, vec![wrong]), Err(vec!["/proofs/0".to_owned()]));
        }
        for wrong in [proof(3), String::new(), "a.b.c".to_owned(), proof(1).replace('.', "")] {
            let errors = vec!["/proofs/0".to_owned(), "/proofs".to_owned()];
            assert_eq!(check(DEVICE, jwk(1), None, vec![wrong]), Err(errors));
        }
        assert_eq!(check(DEVICE, jwk(1), None, vec![]), Err(vec!["/proofs".to_owned()]));
        assert_eq!(check(DEVICE, jwk(1), None, vec![proof(1), proof(1)]), Err(vec!["/proofs/1".to_owned()]));
        assert_eq!(check(UV, jwk(1), jwk(2), vec![proof(1)]), Err(vec!["/proofs".to_owned()]));
    }
}
