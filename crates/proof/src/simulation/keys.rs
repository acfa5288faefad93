//! Keys for the simulated devices, made once for all seeds: real ones, because `core` verifies the proofs of a rotation
//! and reads the key of a registration by itself.

use countersign_proto::jose::{PublicKey, SigningKey, Thumbprint};

use crate::ProofError;

/// More than any seed needs.
const COUNT: u8 = 40;

/// A key pair.
pub(crate) struct Key {
    pub(crate) signing: SigningKey,
    pub(crate) public: PublicKey,
    pub(crate) thumbprint: Thumbprint,
}

/// All of them.
pub(crate) struct Keys(Vec<Key>);

impl Keys {
    /// The same ones in every run.
    ///
    /// # Errors
    /// Never, as long as small numbers are private keys.
    pub(crate) fn make() -> Result<Self, ProofError> {
        let key = |number: u8| {
            let signing = SigningKey::from_private_bytes(&[number; 32])
                .map_err(|error| ProofError::Rig(format!("no key {number}: {error}")))?;
            let public = signing.public_key();
            Ok(Key { thumbprint: public.thumbprint(), signing, public })
        };
        (1..=COUNT).map(key).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn get(&self, number: usize) -> Option<&Key> {
        self.0.get(number)
    }
}
