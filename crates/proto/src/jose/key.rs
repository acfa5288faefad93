//! Public keys: P-256 points, their JWK form (RFC 7518 section 6.2) and their thumbprints (RFC 7638).
//!
//! A [`PublicKey`] that exists is a point on the curve and not the point at infinity.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use p256::{elliptic_curve::sec1::ToSec1Point as _, pkcs8::DecodePublicKey as _};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::base64url;

/// Bytes of a coordinate, a private key, r or s.
const FIELD_BYTES: usize = 32;
/// Characters that spell [`FIELD_BYTES`] in b64u.
const FIELD_CHARACTERS: usize = 43;
/// Bytes of an uncompressed point: 4, x, y.
const POINT_BYTES: usize = 65;

/// Not a public P-256 key in the one form that we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a public P-256 key")]
pub struct InvalidKey;

/// Not a thumbprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key thumbprint")]
pub struct InvalidThumbprint;

/// A public key as JSON: exactly these members, in no other spelling. Unchecked until
/// [`PublicKey::from_jwk`] has taken it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwk {
    /// `EC`.
    #[schema(example = "EC")]
    pub kty: String,
    /// `P-256`.
    #[schema(example = "P-256")]
    pub crv: String,
    /// 32 bytes, b64u, 43 characters.
    pub x: String,
    /// 32 bytes, b64u, 43 characters.
    pub y: String,
}

/// A point on P-256 other than infinity. Copying it is copying 65 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey {
    sec1: [u8; POINT_BYTES],
}

impl PublicKey {
    /// From the uncompressed SEC 1 form, 65 bytes; no other form is accepted.
    ///
    /// # Errors
    /// [`InvalidKey`] for another length or form and for a point off the curve.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let sec1: [u8; POINT_BYTES] = bytes.try_into().map_err(|_| InvalidKey)?;
        // Of 65 bytes the parser takes only the uncompressed form (tag 4; it knows no hybrid form), and only
        // points on the curve.
        p256::PublicKey::from_sec1_bytes(&sec1).map_err(|_| InvalidKey)?;
        Ok(Self { sec1 })
    }

    /// From a JWK.
    ///
    /// # Errors
    /// [`InvalidKey`] unless it is EC, P-256, with coordinates of 43 characters that are on the curve.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, InvalidKey> {
        if jwk.kty != "EC" || jwk.crv != "P-256" {
            return Err(InvalidKey);
        }
        let mut sec1 = Vec::with_capacity(POINT_BYTES);
        sec1.push(4);
        sec1.extend(field(&jwk.x).ok_or(InvalidKey)?);
        sec1.extend(field(&jwk.y).ok_or(InvalidKey)?);
        Self::from_sec1(&sec1)
    }

    /// From PEM (`BEGIN PUBLIC KEY`, RFC 7468 section 13): what `openssl ec -pubout` writes.
    ///
    /// # Errors
    /// [`InvalidKey`] for anything but one public P-256 key.
    pub fn from_pem(text: &str) -> Result<Self, InvalidKey> {
        let key = p256::PublicKey::from_public_key_pem(text.trim()).map_err(|_| InvalidKey)?;
        Self::from_sec1(key.to_sec1_point(false).as_bytes())
    }

    /// The uncompressed SEC 1 form, as the database stores it.
    pub const fn to_sec1(&self) -> [u8; POINT_BYTES] {
        self.sec1
    }

    /// The JWK form.
    pub fn to_jwk(&self) -> Jwk {
        let (x, y) = self.coordinates();
        Jwk { kty: "EC".to_owned(), crv: "P-256".to_owned(), x, y }
    }

    /// The RFC 7638 thumbprint: b64u SHA-256 of the JWK's required members in lexicographic order.
    pub fn thumbprint(&self) -> Thumbprint {
        let (x, y) = self.coordinates();
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Thumbprint(base64url::encode(super::digest(canonical.as_ref())))
    }

    /// Whether `signature` (r‖s, r and s in [1, n−1]) is this key's ECDSA P-256 SHA-256 signature of
    /// `message`. Both s and n − s verify: nothing may be keyed on signature bytes.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.sec1).verify(message, signature).is_ok()
    }

    fn coordinates(&self) -> (String, String) {
        let (x, y) = self.sec1.split_at(1).1.split_at(FIELD_BYTES);
        (base64url::encode(x), base64url::encode(y))
    }
}

/// Who says whether a signature is good: the arithmetic ([`Arithmetic`]), or a memory of what it has said before.
pub trait VerifySignature {
    /// Whether `signature` is the key's signature of `message`, as [`PublicKey::verifies`] says.
    fn verifies(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool;
}

/// Calculates each signature anew.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arithmetic;

impl VerifySignature for Arithmetic {
    fn verifies(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        key.verifies(message, signature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.thumbprint())
    }
}

/// The RFC 7638 thumbprint of a key: 43 characters of b64u. The `kid` of every token and of `jwks.json`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String)]
pub struct Thumbprint(String);

impl Thumbprint {
    /// The 43 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Thumbprint {
    type Err = InvalidThumbprint;

    fn from_str(text: &str) -> Result<Self, InvalidThumbprint> {
        field(text).map(|_| Self(text.to_owned())).ok_or(InvalidThumbprint)
    }
}

impl TryFrom<String> for Thumbprint {
    type Error = InvalidThumbprint;

    fn try_from(text: String) -> Result<Self, InvalidThumbprint> {
        if field(&text).is_some() { Ok(Self(text)) } else { Err(InvalidThumbprint) }
    }
}

/// The 32 bytes that 43 characters of canonical b64u spell. The length is checked before anything is decoded.
fn field(text: &str) -> Option<Vec<u8>> {
    if text.len() == FIELD_CHARACTERS { base64url::decode(text) } else { None }
}
