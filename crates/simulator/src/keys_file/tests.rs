use countersign_proto::api::users::{TenantSummary, UserSummary};
use countersign_proto::jose::SigningKey;
use countersign_proto::timestamp::Timestamp;
use countersign_proto::vocabulary::Platform;

use super::*;

fn registration(last: u8) -> Registration {
    let id = |last: u8| format!("01939b5e-7a2c-7def-8abc-0000000000{last:02x}");
    Registration {
        issuer: "https://approve.example".to_owned(),
        device_id: id(last).parse().unwrap(),
        user: UserSummary { id: id(201).parse().unwrap(), external_id: "ada".to_owned(), display_name: None },
        tenant: TenantSummary { id: id(202).parse().unwrap(), name: "Example".to_owned() },
        name: "phone".to_owned(),
        platform: Platform::Other,
        created_at: Timestamp::from_seconds(1_700_000_000),
        confirmation_code: Some("012345".to_owned()),
        device_key: SigningKey::from_private_bytes(&[last; 32]).unwrap(),
        uv_key: last.is_multiple_of(2).then(|| SigningKey::from_private_bytes(&[last + 100; 32]).unwrap()),
        rotation: None,
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_keys_file_gives_back_what_was_put_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    KeysFile::add(&path, registration(1)).unwrap();
    KeysFile::add(&path, registration(2)).unwrap();
    let read = KeysFile::load(&path).unwrap().registrations;
    for (read, written) in read.iter().zip([registration(1), registration(2)]) {
        assert_eq!(read.device_id, written.device_id);
        assert_eq!(read.device_key.private_bytes(), written.device_key.private_bytes());
        let thumbprint = |key: &Option<SigningKey>| key.as_ref().map(|key| key.thumbprint().clone());
        assert_eq!(thumbprint(&read.uv_key), thumbprint(&written.uv_key));
    }
    assert!(KeysFile::remove(&path, registration(1).device_id).unwrap());
    assert!(!KeysFile::remove(&path, registration(1).device_id).unwrap());
    assert_eq!(KeysFile::load(&path).unwrap().registrations.len(), 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left behind");
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_a_keys_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    KeysFile::add(&path, registration(1)).unwrap();
    assert_eq!(mode(&path), 0o600);
    KeysFile::add(&path, registration(2)).unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[cfg(unix)]
#[test]
fn a_keys_file_that_others_can_read_is_refused_and_left_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    KeysFile::add(&path, registration(1)).unwrap();
    let before = fs::read(&path).unwrap();
    for mode in [0o640, 0o604, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(KeysFile::load(&path), Err(KeysFileError::NotPrivate(_))));
        assert!(matches!(KeysFile::add(&path, registration(2)), Err(KeysFileError::NotPrivate(_))));
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_that_is_not_ours_is_refused_without_repeating_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    assert!(matches!(KeysFile::load(&path), Err(KeysFileError::Missing(_))));
    KeysFile::add(&path, registration(1)).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let canary = "Y2FuYXJ5";
    let key = good.split("\"device_key\": \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    for bad in [good.replace(&key, canary), good.replace("\"version\": 1", "\"version\": 2"), "{".to_owned()] {
        // Written over, not anew: the mode stays.
        fs::write(&path, bad).unwrap();
        let error = KeysFile::load(&path).unwrap_err();
        assert!(matches!(error, KeysFileError::Form { .. }));
        assert!(!error.to_string().contains(canary));
    }
}

#[test]
fn two_programs_at_once_lose_no_registration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::thread::scope(|scope| {
        for last in 1..=16 {
            let path = &path;
            scope.spawn(move || KeysFile::add(path, registration(last)).unwrap());
        }
    });
    assert_eq!(KeysFile::load(&path).unwrap().registrations.len(), 16);
}
