//! The server's public keys (`/.well-known/jwks.json`, protocol section 2), and reading what they signed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Arithmetic, Claims, HeaderKey, Jwk, PublicKey, Refusal, Thumbprint, Unverified, VerifySignature};
use crate::timestamp::Timestamp;

/// Every key that ever signed for this issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Jwks {
    /// The keys.
    pub keys: Vec<ServerJwk>,
}

/// One key of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerJwk {
    /// `EC`.
    pub kty: String,
    /// `P-256`.
    pub crv: String,
    /// b64u.
    pub x: String,
    /// b64u.
    pub y: String,
    /// The RFC 7638 thumbprint.
    pub kid: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub use_: String,
    /// `ES256`.
    pub alg: String,
    /// It signed nothing after this.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Timestamp>,
    /// What it signed after this is a forgery.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// A key of the server, ready to verify with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerKey {
    /// The key.
    pub key: PublicKey,
    /// A later `iat` (unix seconds) is refused: the key was retired or revoked then.
    pub last_iat: Option<i64>,
}

impl ServerJwk {
    /// The entry of a key that signs.
    pub fn of(key: &PublicKey) -> Self {
        let kid = key.thumbprint().to_string();
        let Jwk { kty, crv, x, y } = key.to_jwk();
        let (use_, alg) = ("sig".to_owned(), "ES256".to_owned());
        Self { kty, crv, x, y, kid, use_, alg, retired_at: None, revoked_at: None }
    }

    /// The key, if this entry is one of ours and `kid` is truly its thumbprint.
    fn to_server_key(&self) -> Option<ServerKey> {
        let (kty, crv, x, y) = (self.kty.clone(), self.crv.clone(), self.x.clone(), self.y.clone());
        let key = PublicKey::from_jwk(&Jwk { kty, crv, x, y }).ok()?;
        let is_ours = self.use_ == "sig" && self.alg == "ES256" && self.kid == key.thumbprint().as_str();
        let ends = [self.retired_at, self.revoked_at];
        let last_iat = ends.into_iter().flatten().map(Timestamp::as_seconds).min();
        is_ours.then_some(ServerKey { key, last_iat })
    }
}

impl Jwks {
    /// The key with this thumbprint. An entry that is not exactly a key of ours is no key.
    pub fn find(&self, thumbprint: &Thumbprint) -> Option<ServerKey> {
        self.keys.iter().find(|key| key.kid == thumbprint.as_str()).and_then(ServerJwk::to_server_key)
    }
}

/// Reads a token that the server signed: the kind is `C`'s, the key is found by `find` (usually
/// [`Jwks::find`]), and an `iat` after the key's retirement or revocation is refused.
///
/// Whether `iss`, `aud` and `exp` are what the caller expects is for the caller to check.
///
/// # Errors
/// [`Refusal`]; [`Refusal::AnotherKey`] for an unknown key and for one that had ended by `iat`.
pub fn verify_server<C: Claims>(token: &str, find: &dyn Fn(&Thumbprint) -> Option<ServerKey>) -> Result<C, Refusal> {
    verify_server_by(token, find, &Arithmetic)
}

/// The same, asking `verifier` whether the signature is good.
///
/// # Errors
/// As [`verify_server`].
pub fn verify_server_by<C: Claims>(
    token: &str,
    find: &dyn Fn(&Thumbprint) -> Option<ServerKey>,
    verifier: &dyn VerifySignature,
) -> Result<C, Refusal> {
    let unverified = Unverified::parse(C::KIND, token)?;
    let HeaderKey::Kid(kid) = unverified.key() else { return Err(Refusal::AnotherKey) };
    let ServerKey { key, last_iat } = find(kid).ok_or(Refusal::AnotherKey)?;
    let claims: C = unverified.verify_by(&key, verifier)?.claims()?;
    match last_iat {
        Some(last_iat) if claims.iat() > last_iat => Err(Refusal::AnotherKey),
        _ => Ok(claims),
    }
}
