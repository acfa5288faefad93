//! Time and randomness of a phone, handed in by whoever runs it: a test moves the clock and repeats a run.

use std::fmt;
use std::sync::Arc;

use countersign_proto::jose::{SigningError, SigningKey};
use countersign_proto::timestamp::Timestamp;

/// The phone's clock; it may be wrong. Any `Fn() -> Timestamp` is one.
pub trait PhoneClock: Send + Sync {
    /// Now, as the phone believes.
    fn now(&self) -> Timestamp;
}

impl<F: Fn() -> Timestamp + Send + Sync> PhoneClock for F {
    fn now(&self) -> Timestamp {
        self()
    }
}

/// The phone's random source. Any `Fn(&mut [u8])` is one.
pub trait PhoneRandom: Send + Sync {
    /// Fills `buffer` with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);
}

impl<F: Fn(&mut [u8]) + Send + Sync> PhoneRandom for F {
    fn fill(&self, buffer: &mut [u8]) {
        self(buffer);
    }
}

/// Time and randomness; cloning shares them.
#[derive(Clone)]
pub struct Surroundings {
    /// Time.
    pub clock: Arc<dyn PhoneClock>,
    /// Randomness.
    pub random: Arc<dyn PhoneRandom>,
}

impl Surroundings {
    /// From a clock and a random source.
    pub fn new(clock: impl PhoneClock + 'static, random: impl PhoneRandom + 'static) -> Self {
        Self { clock: Arc::new(clock), random: Arc::new(random) }
    }

    /// A fresh `jti`: a UUIDv7.
    pub fn new_jti(&self) -> String {
        let mut random = [0; 10];
        self.random.fill(&mut random);
        let millis = self.clock.now().as_millis().max(0).unsigned_abs();
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string()
    }

    /// A fresh P-256 key.
    ///
    /// # Errors
    /// [`SigningError::Library`] if the random source gives nothing usable.
    pub fn new_key(&self) -> Result<SigningKey, SigningError> {
        // One draw in four thousand million is not below the order of the curve: three tries are plenty.
        for _ in 0..3 {
            let mut private_bytes = [0; 32];
            self.random.fill(&mut private_bytes);
            if let Ok(key) = SigningKey::from_private_bytes(&private_bytes) {
                return Ok(key);
            }
        }
        Err(SigningError::Library)
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}
