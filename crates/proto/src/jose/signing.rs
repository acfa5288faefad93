//! Signing: the server's key, and the keys of simulated and command-line devices.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use p256::elliptic_curve::sec1::ToSec1Point;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{InvalidKey, Jwk, KeyMember, Kind, PublicKey, Thumbprint, base64url};

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The token would be longer than its kind may be: what it should carry is too much.
    #[error("the token would have {size_bytes} bytes")]
    TooLarge {
        /// How long it would be.
        size_bytes: usize,
    },
    /// The claims have no JSON form.
    #[error("claims without a JSON form")]
    Claims(#[from] serde_json::Error),
    /// The library refused or had no randomness.
    #[error("signing failed")]
    Library,
}

/// A private P-256 key. Cloning shares it; the last one dropped wipes it.
#[derive(Clone)]
pub struct SigningKey {
    inner: Arc<Inner>,
}

struct Inner {
    key_pair: EcdsaKeyPair,
    private_bytes: Zeroizing<[u8; 32]>,
    public_key: PublicKey,
    thumbprint: Thumbprint,
}

/// A header, with exactly the members of its kind.
#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a Thumbprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwk: Option<Jwk>,
}

impl SigningKey {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// [`SigningError::Library`] if the system has none to give.
    pub fn generate() -> Result<Self, SigningError> {
        Self::generate_with(&SystemRandom::new())
    }

    /// A new key from `random`.
    ///
    /// # Errors
    /// [`SigningError::Library`] if it has none to give.
    pub fn generate_with(random: &dyn SecureRandom) -> Result<Self, SigningError> {
        let mut private_bytes = Zeroizing::new([0; 32]);
        // One in four thousand million draws is not below n. Three in a row do not happen: the source is broken.
        for _ in 0..3 {
            random.fill(private_bytes.as_mut()).map_err(|_| SigningError::Library)?;
            if let Ok(key) = Self::from_private_bytes(&private_bytes) {
                return Ok(key);
            }
        }
        Err(SigningError::Library)
    }

    /// The key with the private scalar `d`, big-endian (a JWK's `d`). Its public point is derived, never taken.
    ///
    /// # Errors
    /// [`InvalidKey`] unless `d` is in [1, n−1].
    pub fn from_private_bytes(d: &[u8; 32]) -> Result<Self, InvalidKey> {
        let point = p256::SecretKey::from_slice(d).map_err(|_| InvalidKey)?.public_key().to_sec1_point(false);
        let public_key = PublicKey::from_sec1(point.as_bytes())?;
        let key_pair =
            EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, d, &public_key.to_sec1())
                .map_err(|_| InvalidKey)?;
        let thumbprint = public_key.thumbprint();
        let private_bytes = Zeroizing::new(*d);
        Ok(Self { inner: Arc::new(Inner { key_pair, private_bytes, public_key, thumbprint }) })
    }

    /// The private scalar, for a key file. The copy is wiped when dropped.
    pub fn private_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.inner.private_bytes.clone()
    }

    /// The public key.
    pub fn public_key(&self) -> PublicKey {
        self.inner.public_key
    }

    /// The public key's thumbprint.
    pub fn thumbprint(&self) -> &Thumbprint {
        &self.inner.thumbprint
    }

    /// Signs `claims` as a compact JWS of this kind.
    ///
    /// # Errors
    /// [`SigningError`].
    pub fn sign(&self, kind: Kind, claims: &impl Serialize) -> Result<String, SigningError> {
        let (kid, jwk) = match kind.key_member() {
            KeyMember::Kid => (Some(self.thumbprint()), None),
            KeyMember::Jwk => (None, Some(self.public_key().to_jwk())),
        };
        let header = Header { alg: "ES256", typ: kind.typ(), kid, jwk };
        let header = base64url::encode(serde_json::to_vec(&header)?);
        let payload = base64url::encode(serde_json::to_vec(claims)?);
        let signing_input = format!("{header}.{payload}");
        let signature = self.signature(signing_input.as_bytes())?;
        let token = format!("{signing_input}.{}", base64url::encode(signature));
        match token.len() {
            size_bytes if size_bytes > kind.max_bytes() => Err(SigningError::TooLarge { size_bytes }),
            _ => Ok(token),
        }
    }

    /// The bare ES256 signature r‖s of `message`.
    ///
    /// # Errors
    /// [`SigningError::Library`].
    pub fn signature(&self, message: &[u8]) -> Result<[u8; 64], SigningError> {
        let signature = self.inner.key_pair.sign(&SystemRandom::new(), message).map_err(|_| SigningError::Library)?;
        signature.as_ref().try_into().map_err(|_| SigningError::Library)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, [redacted])", self.thumbprint())
    }
}
