//! Strict base64url (RFC 7515 section 2, RFC 4648 section 5): no padding, canonical trailing bits, and no
//! character outside the alphabet, so that every byte string has exactly one spelling.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The one spelling of `bytes`.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes that `text` spells, or `None` if it is not exactly how [`encode`] would spell them.
pub fn decode(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_that_decodes_is_the_one_spelling() {
        // All two-character texts: 64 × 64 in the alphabet, of which every 16th second character is canonical.
        let mut accepted = 0;
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let text = [first, second];
                if let Some(bytes) = decode(text) {
                    assert_eq!(encode(bytes).as_bytes(), text);
                    accepted += 1;
                }
            }
        }
        assert_eq!(accepted, 256);
    }

    #[test]
    fn padding_other_alphabets_and_white_space_are_refused() {
        for text in ["YQ==", "YQ=", "YR", "Y", "YWI=", "-_+/", "YW Jj", "YWJj\n", "YWJj\r\n", " YWJj", "YWJj\0", "ÿ"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
        assert_eq!(decode("YQ"), Some(b"a".to_vec()));
        assert_eq!(decode(""), Some(Vec::new()));
    }
}
