//! The browser: holds the private half of a subscription and decrypts (RFC 8291, RFC 8188).

use std::io;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use countersign_proto::jose::base64url;

use crate::stand_in::clock::random;

const SALT_BYTES: usize = 16;
const POINT_BYTES: usize = 65;
const TAG_BYTES: usize = 16;
/// Ends the padding of the last record (RFC 8188 section 2).
const LAST_RECORD: u8 = 2;

/// A browser's keys. Cloning shares them.
#[derive(Clone)]
pub struct Subscriber {
    private_key: Arc<PrivateKey>,
    public_key: [u8; POINT_BYTES],
    auth: [u8; 16],
}

/// Why a body is no push message for this subscriber. Says nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// Shorter than a header, or a key id that is no uncompressed point.
    #[error("not an aes128gcm header with the sender's key")]
    Header,
    /// Not exactly one record.
    #[error("not a single record")]
    Records,
    /// For other keys, or changed under way.
    #[error("not for these keys")]
    Keys,
    /// No delimiter after the content.
    #[error("wrong padding")]
    Padding,
}

impl Subscriber {
    /// With fresh keys.
    ///
    /// # Errors
    /// If this machine cannot make keys.
    pub fn generate() -> io::Result<Self> {
        let private_key = PrivateKey::generate(&ECDH_P256).map_err(io::Error::other)?;
        Self::with(private_key, random()?)
    }

    /// From a private scalar and an authentication secret.
    ///
    /// # Errors
    /// If the scalar is no private key.
    pub fn from_parts(private_key: &[u8; 32], auth: [u8; 16]) -> io::Result<Self> {
        let private_key = PrivateKey::from_private_key(&ECDH_P256, private_key).map_err(io::Error::other)?;
        Self::with(private_key, auth)
    }

    fn with(private_key: PrivateKey, auth: [u8; 16]) -> io::Result<Self> {
        let public_key = private_key.compute_public_key().map_err(io::Error::other)?;
        let public_key = public_key.as_ref().try_into().map_err(io::Error::other)?;
        Ok(Self { private_key: Arc::new(private_key), public_key, auth })
    }

    /// The public key, b64u.
    pub fn p256dh(&self) -> String {
        base64url::encode(self.public_key)
    }

    /// The authentication secret, b64u.
    pub fn auth(&self) -> String {
        base64url::encode(self.auth)
    }

    /// Decrypts a body of the coding `aes128gcm`.
    ///
    /// # Errors
    /// [`DecryptError`].
    pub fn decrypt(&self, body: &[u8]) -> Result<Vec<u8>, DecryptError> {
        let (salt, rest) = body.split_at_checked(SALT_BYTES).ok_or(DecryptError::Header)?;
        let (record_size, rest) = rest.split_first_chunk::<4>().ok_or(DecryptError::Header)?;
        let (key_length, rest) = rest.split_first().ok_or(DecryptError::Header)?;
        if usize::from(*key_length) != POINT_BYTES {
            return Err(DecryptError::Header);
        }
        let (sender_key, record) = rest.split_at_checked(POINT_BYTES).ok_or(DecryptError::Header)?;
        let record_size = usize::try_from(u32::from_be_bytes(*record_size)).unwrap_or(usize::MAX);
        // RFC 8291 section 4: one record, so that it may be no larger than its size says.
        if record.len() > record_size || record_size < TAG_BYTES + 2 || record.len() <= TAG_BYTES {
            return Err(DecryptError::Records);
        }
        let (key, nonce) = self.derive(salt, sender_key).ok_or(DecryptError::Keys)?;
        let mut text = record.to_vec();
        let text = key.open_in_place(nonce, Aad::empty(), &mut text).map_err(|_| DecryptError::Keys)?;
        let end = text.iter().rposition(|byte| *byte != 0).ok_or(DecryptError::Padding)?;
        match text.split_at_checked(end) {
            Some((content, [LAST_RECORD, ..])) => Ok(content.to_vec()),
            _ => Err(DecryptError::Padding),
        }
    }

    /// RFC 8291 section 3.4: the content's key and nonce.
    fn derive(&self, salt: &[u8], sender_key: &[u8]) -> Option<(LessSafeKey, Nonce)> {
        let peer = UnparsedPublicKey::new(&ECDH_P256, sender_key);
        let input = agree(&self.private_key, peer, (), |shared_secret| {
            let key_info = [b"WebPush: info\0".as_slice(), &self.public_key, sender_key].concat();
            expand::<32>(&Salt::new(HKDF_SHA256, &self.auth).extract(shared_secret), &key_info).ok_or(())
        });
        let prk = Salt::new(HKDF_SHA256, salt).extract(&input.ok()?);
        let key: [u8; 16] = expand(&prk, b"Content-Encoding: aes128gcm\0")?;
        let nonce: [u8; 12] = expand(&prk, b"Content-Encoding: nonce\0")?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
        Some((key, Nonce::assume_unique_for_key(nonce)))
    }
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").finish_non_exhaustive()
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(prk: &Prk, info: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    prk.expand(&[info], Length(N)).and_then(|okm| okm.fill(&mut bytes)).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8291, appendix A.
    const PLAIN: &str = "When I grow up, I want to be a watermelon";
    const PRIVATE: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
    const PUBLIC: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";
    const BODY: &str = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";

    fn subscriber() -> Subscriber {
        let private_key = base64url::decode(PRIVATE).unwrap().try_into().unwrap();
        Subscriber::from_parts(&private_key, base64url::decode(AUTH).unwrap().try_into().unwrap()).unwrap()
    }

    #[test]
    fn the_example_of_rfc_8291_decrypts() {
        let subscriber = subscriber();
        assert_eq!((subscriber.p256dh().as_str(), subscriber.auth().as_str()), (PUBLIC, AUTH));
        assert_eq!(subscriber.decrypt(&base64url::decode(BODY).unwrap()).unwrap(), PLAIN.as_bytes());
    }

    #[test]
    fn no_changed_byte_and_no_other_browser_goes_unnoticed() {
        let body = base64url::decode(BODY).unwrap();
        for index in 0..body.len() {
            let mut changed = body.clone();
            changed[index] ^= 1;
            let decrypted = subscriber().decrypt(&changed);
            // The record size is not authenticated: a bit that leaves it large enough changes nothing.
            let is_size = (16..20).contains(&index);
            assert!(decrypted.is_err() || is_size, "byte {index}");
        }
        for length in 0..body.len() {
            assert!(subscriber().decrypt(&body[..length]).is_err(), "{length} bytes");
        }
        assert_eq!(Subscriber::generate().unwrap().decrypt(&body), Err(DecryptError::Keys));
    }

    #[test]
    fn a_record_that_is_longer_than_its_size_says_is_refused() {
        let mut body = base64url::decode(BODY).unwrap();
        body[16..20].copy_from_slice(&20_u32.to_be_bytes());
        assert_eq!(subscriber().decrypt(&body), Err(DecryptError::Records));
    }
}
