//! Randomness as a port, and what is drawn from it: ids, tickets, numbers, codes.
//!
//! Never uses a source of its own: production passes the operating system's, simulations a seeded one.

use countersign_proto::{ids::Id, timestamp::Timestamp};

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync {
    /// Fills `buffer`. A source that cannot deliver must abort the process rather than return weak bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// 32 unpredictable bytes: a ticket, an API key, a nonce.
pub fn secret_bytes(entropy: &dyn Entropy) -> [u8; 32] {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    bytes
}

/// A new id (UUIDv7, RFC 9562 §5.7): `now` in the first 48 bits, 74 random bits behind.
pub fn new_id<K>(now: Timestamp, entropy: &dyn Entropy) -> Id<K> {
    let mut random = [0; 10];
    entropy.fill(&mut random);
    id_from_parts(now, &random)
}

pub(crate) fn id_from_parts<K>(now: Timestamp, random: &[u8; 10]) -> Id<K> {
    let millis = now.as_millis().max(0).unsigned_abs();
    Id::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, random).into_uuid())
}

/// A uniform string of `count` decimal digits, leading zeros kept.
pub fn digits(count: u8, entropy: &dyn Entropy) -> String {
    (0..count).map(|_| char::from(b'0' + below(10, entropy))).collect()
}

/// A uniform number in `0..bound`; `bound` is 1–255.
///
/// Rejection sampling: a plain remainder would favour small numbers.
pub fn below(bound: u8, entropy: &dyn Entropy) -> u8 {
    let bound = bound.max(1);
    let fair = u8::MAX - (u8::MAX % bound);
    loop {
        let mut byte = [0; 1];
        entropy.fill(&mut byte);
        let [byte] = byte;
        if byte < fair {
            return byte % bound;
        }
    }
}

/// Puts `items` into a uniformly random order (Fisher–Yates).
pub fn shuffle<T>(items: &mut [T], entropy: &dyn Entropy) {
    for last in (1..items.len()).rev() {
        // Lists here are a handful long; a longer one would only be shuffled in its first 255.
        let bound = u8::try_from(last + 1).unwrap_or(u8::MAX);
        items.swap(last, usize::from(below(bound, entropy)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A small linear congruential generator: uniform enough to see a bias.
    struct Seeded(AtomicU64);

    impl Entropy for Seeded {
        fn fill(&self, buffer: &mut [u8]) {
            for byte in buffer {
                let old = self.0.load(Ordering::Relaxed);
                let new = old.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                self.0.store(new, Ordering::Relaxed);
                *byte = new.to_be_bytes()[0];
            }
        }
    }

    struct Constant(u8);

    impl Entropy for Constant {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    #[test]
    fn digits_are_uniform_and_keep_leading_zeros() {
        let entropy = Seeded(AtomicU64::new(7));
        let mut seen = [0_u32; 10];
        for _ in 0..2_000 {
            let text = digits(6, &entropy);
            assert_eq!(text.len(), 6);
            for digit in text.bytes() {
                seen[usize::from(digit - b'0')] += 1;
            }
        }
        assert!(seen.iter().all(|&count| (1_000..1_400).contains(&count)), "{seen:?}");
    }

    #[test]
    fn a_byte_that_would_favour_small_numbers_is_drawn_again() {
        // 250..=255 have no fair place among ten digits.
        struct Script(AtomicU64);
        impl Entropy for Script {
            fn fill(&self, buffer: &mut [u8]) {
                let bytes = [255_u8, 250, 249];
                buffer[0] = bytes[usize::try_from(self.0.fetch_add(1, Ordering::Relaxed)).unwrap()];
            }
        }
        assert_eq!(below(10, &Script(AtomicU64::new(0))), 9);
    }

    #[test]
    fn a_new_id_is_a_canonical_version_7() {
        let id: Id<countersign_proto::ids::kind::Device> =
            new_id(Timestamp::from_seconds(1_700_000_000), &Constant(255));
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}
