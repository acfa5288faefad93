//! The operating system's random source, as the port of `countersign-core`.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use countersign_core::entropy::Entropy;

/// The operating system's random source.
#[derive(Debug, Default)]
pub struct SystemEntropy(SystemRandom);

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        if self.0.fill(buffer).is_err() {
            // Going on would mean guessable tickets and numbers: no answer is better than a weak one.
            std::process::abort();
        }
    }
}
