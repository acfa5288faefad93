//! Signed notes and checkpoints (C2SP signed-note and tlog-checkpoint), Ed25519.
//!
//! A note is believed only under a key that the caller brings. Lines of other keys, for example a witness's cosignature,
//! are left alone: who verifies ignores them, who keeps a note keeps them.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::merkle::Hash;
use crate::jose;

/// The signature type of Ed25519 in a signed note.
const ED25519_TYPE: u8 = 1;
/// Between the server's address and the tenant's id in an origin.
const AUDIT_PATH: &str = "/audit/";
/// Bytes of a note that are read at all.
const MAX_BYTES: usize = 64 * 1024;

/// Why a note is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not the form of a note, or not that of a checkpoint.
    #[error("not a signed checkpoint")]
    Malformed,
    /// No line is signed by the key, or one that should be is not.
    #[error("not signed by this log key")]
    Signature,
    /// A key, not a note: not the form `name+id+base64`.
    #[error("not a verifier key")]
    Key,
}

/// Who signs for a log: public half. Its text is `name+hex(id)+base64(0x01 || key)`, as note tools write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public: [u8; 32],
}

impl VerifierKey {
    /// The key's name: the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same key under another name: whoever is known by another address signs under another name.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), public: self.public }
    }

    /// The same key under another origin of the same log: a server that moves to another public URL goes on with it, and
    /// what was kept from before is still good. `None`: the origin is of another log.
    #[must_use]
    pub fn of_same_log(&self, origin: &str) -> Option<Self> {
        let (_, ours) = self.name.rsplit_once(AUDIT_PATH).unwrap_or(("", &self.name));
        let (_, other) = origin.rsplit_once(AUDIT_PATH).unwrap_or(("", origin));
        (ours == other && is_name(origin)).then(|| self.named(origin))
    }

    fn id(&self) -> [u8; 4] {
        let mut bytes = self.name.as_bytes().to_vec();
        bytes.extend_from_slice(&[b'\n', ED25519_TYPE]);
        bytes.extend_from_slice(&self.public);
        let [a, b, c, d, ..] = jose::digest(&bytes);
        [a, b, c, d]
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519_TYPE];
        key.extend_from_slice(&self.public);
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id()), STANDARD.encode(key))
    }
}

impl std::str::FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let bytes = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let Some((&ED25519_TYPE, public)) = bytes.split_first() else { return Err(NoteError::Key) };
        let key = Self { name: name.to_owned(), public: public.try_into().map_err(|_| NoteError::Key)? };
        let is_ours = is_name(name) && format!("{:08x}", u32::from_be_bytes(key.id())) == id;
        if is_ours { Ok(key) } else { Err(NoteError::Key) }
    }
}

/// Who signs for a log: private half.
pub struct LogKey {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl LogKey {
    /// From a seed of 32 bytes (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// [`NoteError::Key`] if the library refuses it.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::Key)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| NoteError::Key)?;
        Ok(Self { pair, public })
    }

    /// The public half, under this name.
    pub fn verifier(&self, name: &str) -> VerifierKey {
        VerifierKey { name: name.to_owned(), public: self.public }
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogKey([redacted])")
    }
}

/// The head of a tree: what a log states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// The signed checkpoint.
    pub fn sign(&self, key: &LogKey) -> String {
        sign_note(&self.text(), &self.origin, key)
    }

    /// Reads a checkpoint that `key` has signed, whose origin is the key's name.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, NoteError> {
        let checkpoint = Self::parse(open_note(note, key)?)?;
        if checkpoint.origin == key.name { Ok(checkpoint) } else { Err(NoteError::Signature) }
    }

    fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(NoteError::Malformed);
        };
        let number: u64 = size.parse().map_err(|_| NoteError::Malformed)?;
        let is_well_formed = !origin.is_empty() && number.to_string() == size && lines.all(|line| !line.is_empty());
        let root = root.parse().map_err(|_| NoteError::Malformed)?;
        if is_well_formed {
            Ok(Self { origin: origin.to_owned(), size: number, root })
        } else {
            Err(NoteError::Malformed)
        }
    }
}

/// Signs a text, which ends in a newline, under this name.
pub fn sign_note(text: &str, name: &str, key: &LogKey) -> String {
    let mut signature = key.verifier(name).id().to_vec();
    signature.extend_from_slice(key.pair.sign(text.as_bytes()).as_ref());
    format!("{text}\n\u{2014} {name} {}\n", STANDARD.encode(signature))
}

/// The text of a note that `key` has signed.
///
/// # Errors
/// [`NoteError`]: also if one of several lines under the key's name and id is not its signature.
pub fn open_note<'n>(note: &'n str, key: &VerifierKey) -> Result<&'n str, NoteError> {
    let (text, signatures) = split(note)?;
    let mut is_signed = false;
    for line in signatures.lines() {
        let (name, signature) =
            line.strip_prefix("\u{2014} ").and_then(|rest| rest.split_once(' ')).ok_or(NoteError::Malformed)?;
        let signature = STANDARD.decode(signature).map_err(|_| NoteError::Malformed)?;
        let Some((id, signature)) = signature.split_first_chunk::<4>() else { return Err(NoteError::Malformed) };
        if name != key.name || *id != key.id() {
            continue;
        }
        let public = UnparsedPublicKey::new(&ED25519, key.public);
        public.verify(text.as_bytes(), signature).map_err(|_| NoteError::Signature)?;
        is_signed = true;
    }
    if is_signed { Ok(text) } else { Err(NoteError::Signature) }
}

/// The first line of a note that nobody has verified: to choose the name under which to look for a signature.
pub fn origin_of_note(note: &str) -> Option<&str> {
    note.lines().next().filter(|name| is_name(name))
}

fn split(note: &str) -> Result<(&str, &str), NoteError> {
    let has_control = |text: &str| text.bytes().any(|byte| byte < 0x20 && byte != b'\n');
    if note.len() > MAX_BYTES || !note.ends_with('\n') || has_control(note) {
        return Err(NoteError::Malformed);
    }
    let at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
    let (text, rest) = note.split_at(at + 1);
    let signatures = rest.get(1..).filter(|lines| !lines.is_empty()).ok_or(NoteError::Malformed)?;
    Ok((text, signatures))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|letter: char| letter.is_whitespace() || letter == '+')
}
