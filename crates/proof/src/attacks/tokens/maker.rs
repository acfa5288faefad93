//! Honest artefacts, and the hand that spoils them.

use countersign_proto::jose::{KeyMember, Kind, PublicKey, SigningKey, base64url};
use serde_json::{Map, Value, json};

use super::{headers, payloads, shapes};
use crate::{ProofError, dice::Dice};

/// One token to be judged.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) class: &'static str,
    /// As what it is read.
    pub(super) kind: Kind,
    /// The key that is known for it.
    pub(super) key: PublicKey,
    pub(super) bytes: Vec<u8>,
}

/// Makes one after the other.
pub(super) struct Maker {
    pub(super) dice: Dice,
    /// The key that is known, and one that is not.
    pub(super) keys: [SigningKey; 2],
}

impl Maker {
    pub(super) fn new(mut dice: Dice) -> Result<Self, ProofError> {
        let mut key = || {
            let mut scalar = [0; 32];
            dice.fill(&mut scalar);
            SigningKey::from_private_bytes(&scalar).map_err(|error| ProofError::Rig(error.to_string()))
        };
        let keys = [key()?, key()?];
        Ok(Self { dice, keys })
    }

    /// The next; one in twenty is honest.
    pub(super) fn one(&mut self, number: u64) -> Result<Token, ProofError> {
        let kind = self.dice.one_of(&Kind::ALL).copied().unwrap_or(Kind::Response);
        let key = self.known().public_key();
        let (class, bytes) = match self.dice.below(20) {
            0 => ("honest", self.honest(kind, number)?.into_bytes()),
            1..8 => headers::spoil(self, kind, number)?,
            8..12 => payloads::spoil(self, kind)?,
            _ => {
                let honest = self.honest(kind, number)?;
                shapes::spoil(self, &honest)
            }
        };
        Ok(Token { class, kind, key, bytes })
    }

    pub(super) fn known(&self) -> &SigningKey {
        let [known, _] = &self.keys;
        known
    }

    pub(super) fn unknown(&self) -> &SigningKey {
        let [_, unknown] = &self.keys;
        unknown
    }

    fn honest(&self, kind: Kind, number: u64) -> Result<String, ProofError> {
        let header = Value::Object(self.header(kind)).to_string();
        self.sign(header.as_bytes(), claims(number).to_string().as_bytes())
    }

    /// The members that its kind has.
    pub(super) fn header(&self, kind: Kind) -> Map<String, Value> {
        let name = match kind.key_member() {
            KeyMember::Kid => ("kid", json!(self.known().thumbprint())),
            KeyMember::Jwk => ("jwk", json!(self.known().public_key().to_jwk())),
        };
        [("alg", json!("ES256")), ("typ", json!(kind.typ())), name]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// Signs these very bytes.
    pub(super) fn sign(&self, header: &[u8], payload: &[u8]) -> Result<String, ProofError> {
        let input = format!("{}.{}", base64url::encode(header), base64url::encode(payload));
        let signature = self.known().signature(input.as_bytes()).map_err(|error| ProofError::Rig(error.to_string()))?;
        Ok(format!("{input}.{}", base64url::encode(signature)))
    }
}

/// Claims of no kind: nobody who judges these tokens reads them.
pub(super) fn claims(number: u64) -> Value {
    json!({"iss": "01890a5d-ac96-774b-bcce-b302099a8057", "aud": "https://approve.example.org", "iat": 1_700_000_000,
        "jti": number.to_string(), "sub": "Grüße", "decision": "approve"})
}
