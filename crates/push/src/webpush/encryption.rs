//! Message encryption for Web Push (RFC 8291 over RFC 8188's `aes128gcm`, one record).
//!
//! A pure function of plaintext, subscription, ephemeral key and salt, so that the RFC's own example is reproduced byte
//! for byte. Padded to one size, so that a push service cannot tell the kinds apart by their length.
//!
//! Never reuses an ephemeral key: [`Ephemeral`] is drawn anew for each message, and key and nonce follow from it.

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey},
    hkdf::{self, HKDF_SHA256, Salt},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::entropy::Entropy;
use zeroize::Zeroizing;

const POINT_BYTES: usize = 65;
const AUTH_BYTES: usize = 16;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 16;
const RECORD_BYTES: u32 = 4096;
/// Ends the data of the last record (RFC 8188 section 2).
const DELIMITER: u8 = 2;
/// Every message is padded to a multiple of this; ours all fit once.
const PADDED_BYTES: usize = 768;

/// Where a message is for: the browser's key and secret.
pub(super) struct Subscription {
    public: [u8; POINT_BYTES],
    auth: Zeroizing<[u8; AUTH_BYTES]>,
}

impl Subscription {
    /// From b64u; `None` for what is not 65 and 16 bytes. That the point is on the curve shows when it is used.
    pub(super) fn new(p256dh: &str, auth: &str) -> Option<Self> {
        let auth = Zeroizing::new(URL_SAFE_NO_PAD.decode(auth).ok()?);
        Some(Self {
            public: URL_SAFE_NO_PAD.decode(p256dh).ok()?.try_into().ok()?,
            auth: Zeroizing::new(auth.as_slice().try_into().ok()?),
        })
    }
}

/// What is drawn for one message: a key pair and a salt.
pub(super) struct Ephemeral {
    private: PrivateKey,
    salt: [u8; SALT_BYTES],
}

impl Ephemeral {
    /// Draws both.
    pub(super) fn new(entropy: &dyn Entropy) -> Option<Self> {
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt);
        // One scalar in 2^32 is not below the order; three in a row are never seen.
        (0..3).find_map(|_| {
            let mut scalar = Zeroizing::new([0; 32]);
            entropy.fill(scalar.as_mut());
            Self::from_parts(&scalar, salt)
        })
    }

    fn from_parts(scalar: &[u8; 32], salt: [u8; SALT_BYTES]) -> Option<Self> {
        Some(Self { private: PrivateKey::from_private_key(&ECDH_P256, scalar.as_slice()).ok()?, salt })
    }
}

/// Encrypts; `None` if the subscription's point is not on the curve or the message does not fit a record.
pub(super) fn encrypt(plaintext: &[u8], to: &Subscription, ephemeral: &Ephemeral) -> Option<Vec<u8>> {
    let padded = (plaintext.len() + 1).next_multiple_of(PADDED_BYTES);
    encrypt_padded(plaintext, padded, to, ephemeral)
}

/// Encrypts a record of `padded` bytes: the plaintext, its delimiter, zeros.
fn encrypt_padded(plaintext: &[u8], padded: usize, to: &Subscription, ephemeral: &Ephemeral) -> Option<Vec<u8>> {
    let sender = ephemeral.private.compute_public_key().ok()?;
    let (key, nonce) = derive(to, ephemeral, sender.as_ref())?;
    let mut record = Vec::with_capacity(padded + AES_128_GCM.tag_len());
    record.extend_from_slice(plaintext);
    record.push(DELIMITER);
    record.resize(padded, 0);
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut record).ok()?;
    if record.len() > usize::try_from(RECORD_BYTES).ok()? {
        return None;
    }
    // RFC 8188 section 2.1: salt, record size, length of the key id, key id (our public key).
    let mut message = Vec::with_capacity(SALT_BYTES + 4 + 1 + POINT_BYTES + record.len());
    message.extend_from_slice(&ephemeral.salt);
    message.extend_from_slice(&RECORD_BYTES.to_be_bytes());
    message.push(u8::try_from(sender.as_ref().len()).ok()?);
    message.extend_from_slice(sender.as_ref());
    message.append(&mut record);
    Some(message)
}

/// Key and nonce (RFC 8291 section 3.4).
fn derive(to: &Subscription, ephemeral: &Ephemeral, sender: &[u8]) -> Option<(LessSafeKey, Nonce)> {
    let peer = UnparsedPublicKey::new(&ECDH_P256, to.public);
    let auth = Salt::new(HKDF_SHA256, to.auth.as_slice());
    let prk = agreement::agree(&ephemeral.private, peer, (), |secret| Ok(auth.extract(secret))).ok()?;
    let ikm = expand::<32>(&prk, &[b"WebPush: info\0", &to.public, sender])?;
    let prk = Salt::new(HKDF_SHA256, &ephemeral.salt).extract(ikm.as_slice());
    let key = expand::<KEY_BYTES>(&prk, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce = expand::<NONCE_LEN>(&prk, &[b"Content-Encoding: nonce\0"])?;
    let key = UnboundKey::new(&AES_128_GCM, key.as_slice()).ok()?;
    Some((LessSafeKey::new(key), Nonce::assume_unique_for_key(*nonce)))
}

/// So many bytes from HKDF.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(prk: &hkdf::Prk, info: &[&[u8]]) -> Option<Zeroizing<[u8; N]>> {
    let mut out = Zeroizing::new([0; N]);
    prk.expand(info, Length(N)).ok()?.fill(out.as_mut()).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Counting;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        URL_SAFE_NO_PAD.decode(text).unwrap().try_into().unwrap()
    }

    const PUBLIC: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

    #[test]
    fn the_example_of_rfc_8291_appendix_a_is_reproduced_byte_for_byte() {
        let scalar = bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
        let ephemeral = Ephemeral::from_parts(&scalar, bytes("DGv6ra1nlYgDCS1FRnbzlw")).unwrap();
        let plaintext = b"When I grow up, I want to be a watermelon";
        let to = Subscription::new(PUBLIC, AUTH).unwrap();
        let message = encrypt_padded(plaintext, plaintext.len() + 1, &to, &ephemeral).unwrap();
        let expected = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        assert_eq!(URL_SAFE_NO_PAD.encode(message), expected);
    }

    #[test]
    fn messages_of_different_length_look_alike_and_none_is_larger_than_a_record() {
        let to = Subscription::new(PUBLIC, AUTH).unwrap();
        let entropy = Counting::default();
        let length = |count| {
            let plaintext = vec![b'x'; count];
            encrypt(&plaintext, &to, &Ephemeral::new(&entropy).unwrap()).map(|message| message.len())
        };
        assert_eq!(length(1), length(PADDED_BYTES - 1));
        assert_eq!(length(1), Some(86 + PADDED_BYTES + 16));
        assert_eq!(length(4_096), None);
    }

    #[test]
    fn no_two_messages_share_a_key_or_a_salt() {
        let to = Subscription::new(PUBLIC, AUTH).unwrap();
        let entropy = Counting::default();
        let message = || encrypt(b"x", &to, &Ephemeral::new(&entropy).unwrap()).unwrap();
        let (first, second) = (message(), message());
        assert_ne!(first[..16], second[..16]);
        assert_ne!(first[21..86], second[21..86]);
    }

    #[test]
    fn a_subscription_that_is_none_is_not_encrypted_for() {
        let off_curve = URL_SAFE_NO_PAD.encode([4; POINT_BYTES]);
        let to = Subscription::new(&off_curve, AUTH).unwrap();
        assert!(encrypt(b"x", &to, &Ephemeral::new(&Counting::default()).unwrap()).is_none());
        for (p256dh, auth) in [("", AUTH), (PUBLIC, ""), (&PUBLIC[4..], AUTH), (PUBLIC, &AUTH[4..]), (PUBLIC, PUBLIC)] {
            assert!(Subscription::new(p256dh, auth).is_none());
        }
    }
}
