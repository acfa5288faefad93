//! The file of the server's private keys: JSON, mode 0600.
//!
//! Made once, atomically, so that two processes that start at once end with the same keys: the content is
//! written and synced under another name and then linked into place, which fails if somebody was faster.
//! A start never changes it; `countersign keys rotate` and `revoke` do ([`super::rotation`]).

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use countersign_core::entropy::{Entropy, secret_bytes};
use countersign_proto::{
    jose::{Jwks, PublicKey, ServerJwk, SigningKey, base64url},
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Seals;

/// The key file cannot be used. Each message is one clear line.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system refused.
    #[error("signing key file {path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Somebody else may read the private keys.
    #[error("signing key file {path} is accessible to others: run chmod 600 on it")]
    TooOpen {
        /// The file.
        path: PathBuf,
    },
    /// It is not a key file of ours.
    #[error("signing key file {path} is not a countersign key file, or is damaged")]
    Corrupt {
        /// The file.
        path: PathBuf,
    },
    /// It is one of ours, but of another server: what was sealed under the file at start would be worth nothing.
    #[error("signing key file {path} is another server's: its seals do not match; the old keys stay in use")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be changed like this.
    #[error("{0}")]
    Refused(String),
    /// It does not exist and must not be made: other nodes would have other keys.
    #[error("signing key file {path} does not exist; make it on one node and share it")]
    Missing {
        /// The file.
        path: PathBuf,
    },
}

impl KeyFileError {
    pub(crate) fn corrupt(path: &Path) -> Self {
        Self::Corrupt { path: path.to_owned() }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFile {
    version: u32,
    /// The key of the seals; see [`super::Seals`].
    mac_key: Zeroizing<String>,
    /// The private scalar of the Web Push key (RFC 8292), b64u. Subscriptions are bound to it. A file from before there
    /// was one gets it derived from `mac_key`, so that all nodes agree without writing the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vapid_key: Option<Zeroizing<String>>,
    pub(super) keys: Vec<KeyEntry>,
}

/// One key. It has its private half for as long as it may sign.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyEntry {
    /// The private scalar, b64u.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<Zeroizing<String>>,
    /// In place of `d`: the public key, uncompressed SEC1, b64u.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    pub(super) created_at: Timestamp,
    /// Published before, used from then on.
    pub(super) signs_from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retired_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revoked_at: Option<Timestamp>,
}

impl KeyEntry {
    pub(super) fn generate(now: Timestamp, signs_from: Timestamp) -> Option<Self> {
        let d = base64url::encode(SigningKey::generate().ok()?.private_bytes().as_slice());
        let d = Some(Zeroizing::new(d));
        Some(Self { d, public_key: None, created_at: now, signs_from, retired_at: None, revoked_at: None })
    }

    pub(super) fn signing_key(&self) -> Option<SigningKey> {
        let d: Zeroizing<Vec<u8>> = Zeroizing::new(base64url::decode(self.d.as_ref()?.as_str())?);
        let d: &[u8; 32] = d.as_slice().try_into().ok()?;
        SigningKey::from_private_bytes(d).ok()
    }

    pub(super) fn public(&self) -> Option<PublicKey> {
        match &self.public_key {
            Some(text) => PublicKey::from_sec1(&base64url::decode(text)?).ok(),
            None => Some(self.signing_key()?.public_key()),
        }
    }

    pub(super) const fn has_private_half(&self) -> bool {
        self.d.is_some()
    }

    /// It signs nothing any more: what is not there cannot be stolen.
    pub(super) fn forget_private_half(&mut self) {
        if let Some(public) = self.public() {
            self.public_key = Some(base64url::encode(public.to_sec1()));
            self.d = None;
        }
    }
}

impl KeyFile {
    fn generate(now: Timestamp, entropy: &dyn Entropy) -> Option<Self> {
        let key = KeyEntry::generate(now, now)?;
        let mac_key = Zeroizing::new(base64url::encode(secret_bytes(entropy)));
        let vapid = SigningKey::generate().ok()?;
        let vapid_key = Some(Zeroizing::new(base64url::encode(vapid.private_bytes().as_slice())));
        Some(Self { version: 1, mac_key, vapid_key, keys: vec![key] })
    }

    /// Every key can be read, and one can sign; else the file is corrupt.
    fn is_sound(&self) -> bool {
        let mac_is_long_enough = base64url::decode(self.mac_key.as_str()).is_some_and(|key| key.len() == 32);
        let vapid = self.vapid_key();
        let vapid_is_a_key = SigningKey::from_private_bytes(&vapid).is_ok();
        self.version == 1
            && mac_is_long_enough
            && vapid_is_a_key
            && self.keys.iter().all(|key| key.public().is_some())
            && self.keys.iter().any(|key| key.signing_key().is_some())
    }

    /// Every key that ever signed, or is about to.
    pub(super) fn jwks(&self) -> Jwks {
        let public = self.keys.iter().filter_map(|key| {
            let public = key.public()?;
            Some(ServerJwk { retired_at: key.retired_at, revoked_at: key.revoked_at, ..ServerJwk::of(&public) })
        });
        Jwks { keys: public.collect() }
    }

    /// The private key of Web Push. Unreadable: zeros, which are no key.
    pub(super) fn vapid_key(&self) -> Zeroizing<[u8; 32]> {
        let mut scalar = Zeroizing::new([0; 32]);
        match &self.vapid_key {
            Some(text) => {
                let bytes = Zeroizing::new(base64url::decode(text.as_str()).unwrap_or_default());
                if bytes.len() == scalar.len() {
                    scalar.copy_from_slice(&bytes);
                }
            }
            // All but about one in 2^32 digests are a valid scalar; such a file would be refused as damaged.
            None => scalar = Seals::new(self.mac_key()).derive("web push key"),
        }
        scalar
    }

    pub(super) fn mac_key(&self) -> &[u8] {
        self.mac_key.as_bytes()
    }
}

pub(super) fn open_or_create(
    path: &Path,
    may_create: bool,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<KeyFile, KeyFileError> {
    match read(path) {
        Err(KeyFileError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
            if !may_create {
                return Err(KeyFileError::Missing { path: path.to_owned() });
            }
            create(path, now, entropy)?;
            read(path)
        }
        outcome => outcome,
    }
}

/// Reads it.
pub(super) fn read(path: &Path) -> Result<KeyFile, KeyFileError> {
    let failed = |cause| KeyFileError::Io { path: path.to_owned(), cause };
    let metadata = fs::metadata(path).map_err(failed)?;
    if is_too_open(metadata.uid(), metadata.mode()) {
        return Err(KeyFileError::TooOpen { path: path.to_owned() });
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    let file: KeyFile = serde_json::from_str(&text).map_err(|_| KeyFileError::corrupt(path))?;
    if file.is_sound() { Ok(file) } else { Err(KeyFileError::corrupt(path)) }
}

/// Private is what only its owner can use. systemd hands a credential to a service as root's, readable through an access
/// list, which shows as the group's read bit: nobody but root can have made such a file.
const fn is_too_open(owner: u32, mode: u32) -> bool {
    let is_credential = owner == 0 && mode & 0o777 == 0o440;
    mode & 0o077 != 0 && !is_credential
}

fn create(path: &Path, now: Timestamp, entropy: &dyn Entropy) -> Result<(), KeyFileError> {
    let failed = |cause| KeyFileError::Io { path: path.to_owned(), cause };
    let folder = folder(path);
    fs::create_dir_all(folder).map_err(failed)?;
    let file = KeyFile::generate(now, entropy).ok_or_else(|| KeyFileError::corrupt(path))?;
    let temporary = write_beside(path, &file, entropy)?;
    // Linking, unlike renaming, refuses to replace a file that another process has made meanwhile.
    let linked = match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    };
    let removed = fs::remove_file(&temporary);
    linked.and(removed).and_then(|()| fs::File::open(folder)?.sync_all()).map_err(failed)
}

/// Where it lies.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes and syncs a file's content under another name in its folder.
pub(super) fn write_beside(path: &Path, file: &KeyFile, entropy: &dyn Entropy) -> Result<PathBuf, KeyFileError> {
    let text = Zeroizing::new(serde_json::to_string_pretty(file).map_err(|_| KeyFileError::corrupt(path))?);
    let mut suffix = [0; 8];
    entropy.fill(&mut suffix);
    let temporary = folder(path).join(format!(".signing-keys-{}.new", base64url::encode(suffix)));
    let written = write_synced(&temporary, text.as_bytes());
    written.map_err(|cause| KeyFileError::Io { path: path.to_owned(), cause })?;
    Ok(temporary)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::entropy::SystemEntropy;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn open(path: &Path) -> Result<KeyFile, KeyFileError> {
        open_or_create(path, true, NOW, &SystemEntropy::default())
    }

    #[test]
    fn the_first_start_makes_a_private_file_and_later_ones_keep_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/keys.json");
        let first = open(&path).unwrap().jwks();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(open(&path).unwrap().jwks(), first);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn processes_that_start_at_once_end_with_the_same_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let starters: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || open(&path).unwrap().jwks())
            })
            .collect();
        let all: Vec<_> = starters.into_iter().map(|starter| starter.join().unwrap()).collect();
        assert!(all.iter().all(|jwks| *jwks == all[0]));
    }

    #[test]
    fn a_file_that_others_can_read_or_that_is_damaged_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(open(&path), Err(KeyFileError::TooOpen { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "{").unwrap();
        assert!(matches!(open(&path), Err(KeyFileError::Corrupt { .. })));
    }

    #[test]
    fn a_credential_of_systemd_is_private_enough_and_nothing_else_of_a_group_is() {
        for (owner, mode, expected) in [
            (0, 0o100_440, false),
            (0, 0o100_400, false),
            (1_000, 0o100_600, false),
            (1_000, 0o100_440, true),
            (0, 0o100_640, true),
            (0, 0o100_444, true),
        ] {
            assert_eq!(is_too_open(owner, mode), expected, "{owner} {mode:o}");
        }
    }

    #[test]
    fn a_missing_file_is_not_made_where_other_nodes_would_have_other_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let outcome = open_or_create(&path, false, NOW, &SystemEntropy::default());
        assert!(matches!(outcome, Err(KeyFileError::Missing { .. })));
        assert!(!path.exists());
    }
}
