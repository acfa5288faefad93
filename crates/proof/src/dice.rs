//! Chance that can be repeated: everything random in an attack comes from one number.
//!
//! Not for secrets. To add a kind of throw: a method of [`Dice`], with its test.

use std::sync::{Mutex, PoisonError};

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to be unpredictable to the code under attack.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice of their own for one part of the run, so that parts do not shift each other's throws.
    pub(crate) fn part(&self, number: u64) -> Self {
        let mut dice = Self(self.0 ^ number.wrapping_add(1).wrapping_mul(0xd134_2543_de82_ef95));
        dice.next();
        dice
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..count`; 0 if there is none.
    pub(crate) fn below(&mut self, count: u64) -> u64 {
        // The bias of 2^-40 for the counts of an attack is no one's advantage.
        self.next().checked_rem(count).unwrap_or(0)
    }

    /// Whether it came to pass, `percent` times in a hundred.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these; `None` if there are none.
    pub(crate) fn one_of<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(choices.len()).ok()?;
        choices.get(usize::try_from(self.below(count)).ok()?)
    }

    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            for (place, byte) in chunk.iter_mut().zip(self.next().to_le_bytes()) {
                *place = byte;
            }
        }
    }
}

/// Dice that several hands throw.
#[derive(Debug)]
pub(crate) struct SharedDice(Mutex<Dice>);

impl SharedDice {
    pub(crate) fn new(dice: Dice) -> Self {
        Self(Mutex::new(dice))
    }

    pub(crate) fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same_and_parts_are_their_own() {
        let throws = |mut dice: Dice| [dice.next(), dice.next(), dice.next()];
        assert_eq!(throws(Dice::new(7)), throws(Dice::new(7)));
        assert_ne!(throws(Dice::new(7)), throws(Dice::new(8)));
        assert_ne!(throws(Dice::new(7).part(0)), throws(Dice::new(7).part(1)));
        assert_eq!(throws(Dice::new(7).part(1)), throws(Dice::new(7).part(1)));
    }

    #[test]
    fn the_first_throws_are_those_of_the_published_generator() {
        let mut dice = Dice::new(1_234_567);
        assert_eq!([dice.next(), dice.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn a_choice_is_among_the_choices_and_none_of_none() {
        let mut dice = Dice::new(1);
        assert!((0..1_000).all(|_| dice.below(3) < 3));
        assert_eq!(dice.one_of::<u8>(&[]), None);
        let mut bytes = [0; 13];
        dice.fill(&mut bytes);
        assert_ne!(bytes, [0; 13]);
    }
}
