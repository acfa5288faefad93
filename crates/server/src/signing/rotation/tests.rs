//! Life cycles of signing keys, in the file and in a server that takes it up.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use countersign_proto::jose::{Claims, claims::ResultClaims, verify_server};
use tempfile::TempDir;

use super::*;
use crate::{entropy::SystemEntropy, signing::ServerKeys};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const ISSUER: &str = "https://mfa.example.org";

struct File {
    _folder: TempDir,
    path: PathBuf,
    server: ServerKeys,
}

impl File {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let server = ServerKeys::open(&path, true, ISSUER, NOW, &SystemEntropy::default()).unwrap();
        Self { _folder: folder, path, server }
    }

    fn rotate(&self, now: Timestamp) -> Result<KeyRecord, KeyFileError> {
        rotate(&self.path, now, &SystemEntropy::default())
    }

    fn revoke(&self, kid: &str, now: Timestamp) -> Result<Option<KeyRecord>, KeyFileError> {
        revoke(&self.path, kid, now, &SystemEntropy::default())
    }

    fn states(&self, now: Timestamp) -> Vec<KeyState> {
        list(&self.path, now).unwrap().iter().map(|key| key.state).collect()
    }

    fn kid(&self, index: usize) -> String {
        list(&self.path, NOW).unwrap()[index].kid.to_string()
    }

    /// The `kid` under which the server signs at that time, and whether it reads its own signature.
    fn signs_under(&self, at: Timestamp) -> (String, bool) {
        let token = self.server.sign(&result(at)).unwrap();
        let jwks = self.server.jwks();
        let is_accepted = verify_server::<ResultClaims>(&token, &|kid| jwks.find(kid)).is_ok();
        let header = countersign_proto::jose::base64url::decode(token.split('.').next().unwrap()).unwrap();
        let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
        (header["kid"].as_str().unwrap().to_owned(), is_accepted)
    }
}

fn result(at: Timestamp) -> ResultClaims {
    let claims = serde_json::json!({
        "iss": ISSUER, "aud": "c", "sub": "u", "external_id": "ada", "jti": "i", "iat": at.as_seconds(),
        "exp": at.as_seconds() + 300, "action": "sign_in", "status": "denied", "verification": {"mode": "none"},
        "policy_version": 1,
    });
    let claims: ResultClaims = serde_json::from_value(claims).unwrap();
    assert_eq!(claims.iat(), at.as_seconds());
    claims
}

#[test]
fn a_new_key_is_published_before_it_signs_and_the_old_one_counts_a_little_longer() {
    use KeyState::{Next, Retired, Signing};
    let file = File::new();
    let (old, new) = (file.kid(0), file.rotate(NOW).unwrap().kid.to_string());
    let begins = NOW.plus_seconds(PUBLISHED_BEFORE_SECONDS);
    // A server that has not looked yet signs as before.
    assert_eq!(file.signs_under(NOW), (old.clone(), true));
    assert!(file.server.reload().unwrap());
    assert!(!file.server.reload().unwrap());
    assert_eq!(file.server.jwks().keys.len(), 2);
    assert_eq!(file.states(NOW), [Signing, Next]);
    assert_eq!(file.signs_under(begins.plus_seconds(-1)), (old.clone(), true));
    assert_eq!(file.signs_under(begins), (new.clone(), true));
    assert_eq!(file.states(begins), [Retired, Signing]);
    // What happened before it is still told under the old one.
    assert_eq!(file.signs_under(NOW), (old, true));
    assert_eq!(file.signs_under(begins.plus_seconds(86_400)), (new, true));
}

#[test]
fn a_server_that_looks_late_is_accepted_for_the_overlap_and_not_beyond() {
    let file = File::new();
    let late = ServerKeys::open(&file.path, false, ISSUER, NOW, &SystemEntropy::default()).unwrap();
    file.rotate(NOW).unwrap();
    file.server.reload().unwrap();
    let ends = NOW.plus_seconds(PUBLISHED_BEFORE_SECONDS + OVERLAP_SECONDS);
    for (at, expected) in [(ends, true), (ends.plus_seconds(1), false)] {
        let token = late.sign(&result(at)).unwrap();
        assert_eq!(file.server.verify::<ResultClaims>(&token).is_ok(), expected);
    }
}

#[test]
fn a_second_rotation_waits_until_the_first_is_over() {
    let file = File::new();
    file.rotate(NOW).unwrap();
    assert!(matches!(file.rotate(NOW.plus_seconds(1)), Err(KeyFileError::Refused(_))));
    assert_eq!(list(&file.path, NOW).unwrap().len(), 2);
    file.rotate(NOW.plus_seconds(PUBLISHED_BEFORE_SECONDS)).unwrap();
    assert_eq!(list(&file.path, NOW).unwrap().len(), 3);
}

#[test]
fn a_private_half_goes_when_its_key_can_sign_no_more_and_the_public_one_stays() {
    let file = File::new();
    file.rotate(NOW).unwrap();
    file.server.reload().unwrap();
    let halves = || {
        let text = fs::read_to_string(&file.path).unwrap();
        let stored: serde_json::Value = serde_json::from_str(&text).unwrap();
        stored["keys"].as_array().unwrap().iter().map(|key| key.get("d").is_some()).collect::<Vec<_>>()
    };
    let retired_at = NOW.plus_seconds(PUBLISHED_BEFORE_SECONDS + OVERLAP_SECONDS);
    let prune = |now| prune(&file.path, now, &SystemEntropy::default()).unwrap();
    assert_eq!((prune(retired_at.plus_seconds(PRIVATE_HALF_SECONDS - 1)), halves()), (0, vec![true, true]));
    let spent = retired_at.plus_seconds(PRIVATE_HALF_SECONDS);
    assert_eq!((prune(spent), halves()), (1, vec![false, true]));
    assert!(file.server.reload().unwrap(), "what left the file leaves the memory");
    assert!(!file.server.reload().unwrap());
    assert_eq!(file.server.jwks().keys.len(), 2);
    // Any other change does the same.
    file.rotate(spent).unwrap();
    let later = spent.plus_seconds(86_400);
    file.revoke(&file.kid(0), later).unwrap();
    assert_eq!(halves(), [false, false, true]);
    assert_eq!(list(&file.path, later).unwrap().iter().filter(|key| key.has_private_half).count(), 1);
}

#[test]
fn a_revoked_key_signs_nothing_and_what_it_signed_before_still_counts() {
    let file = File::new();
    let old = file.kid(0);
    let before = file.server.sign(&result(NOW)).unwrap();
    let stolen = ServerKeys::open(&file.path, false, ISSUER, NOW, &SystemEntropy::default()).unwrap();
    let revoked_at = NOW.plus_seconds(60);
    let successor = file.revoke(&old, revoked_at).unwrap().unwrap();
    assert!(file.server.reload().unwrap());
    assert_eq!(file.states(revoked_at), [KeyState::Revoked, KeyState::Signing]);
    assert_eq!(file.signs_under(revoked_at), (successor.kid.to_string(), true));
    assert!(file.server.verify::<ResultClaims>(&before).is_ok());
    let forged = stolen.sign(&result(revoked_at.plus_seconds(1))).unwrap();
    assert!(file.server.verify::<ResultClaims>(&forged).is_err());
    // A second call, by a clock that was wrong, lets nothing in again.
    assert!(file.revoke(&old, revoked_at.plus_seconds(600)).unwrap().is_none());
    file.server.reload().unwrap();
    assert!(file.server.verify::<ResultClaims>(&forged).is_err());
    assert!(!fs::read_to_string(&file.path).unwrap().contains("\"d\": null"));
}

#[test]
fn however_keys_are_revoked_somebody_signs_for_ever() {
    let half = PUBLISHED_BEFORE_SECONDS / 2;
    let begun = PUBLISHED_BEFORE_SECONDS + OVERLAP_SECONDS / 2;
    for (after, which) in [(half, 0), (half, 1), (begun, 0), (begun, 1)] {
        let file = File::new();
        file.rotate(NOW).unwrap();
        let at = NOW.plus_seconds(after);
        file.revoke(&file.kid(which), at).unwrap();
        file.server.reload().unwrap();
        for later in [0, 1, half, begun, 2 * begun, 86_400] {
            let (kid, is_accepted) = file.signs_under(at.plus_seconds(later));
            assert!(is_accepted && kid != file.kid(which), "{after} {which} {later}");
        }
    }
}

#[test]
fn a_file_that_is_damaged_or_anothers_leaves_the_old_keys_in_use() {
    let (file, other) = (File::new(), File::new());
    let good = fs::read(&file.path).unwrap();
    let kid = file.signs_under(NOW).0;
    fs::write(&file.path, fs::read(&other.path).unwrap()).unwrap();
    assert!(matches!(file.server.reload(), Err(KeyFileError::Foreign { .. })));
    fs::write(&file.path, "{").unwrap();
    assert!(matches!(file.server.reload(), Err(KeyFileError::Corrupt { .. })));
    assert!(matches!(file.rotate(NOW), Err(KeyFileError::Corrupt { .. })));
    assert_eq!(file.signs_under(NOW).0, kid);
    fs::write(&file.path, good).unwrap();
    assert!(!file.server.reload().unwrap());
    assert!(matches!(file.revoke("no-such-key", NOW), Err(KeyFileError::Refused(_))));
}

#[test]
fn of_those_who_rotate_at_once_one_does_and_the_file_stays_private() {
    let file = File::new();
    let rotated = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| file.rotate(NOW).is_ok())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|rotated| *rotated).count()
    });
    assert_eq!(rotated, 1);
    assert_eq!(list(&file.path, NOW).unwrap().len(), 2);
    assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(file.path.parent().unwrap()).unwrap().count(), 1, "no copy of the keys stays behind");
}
