//! `database.password_file`: the one secret of a PostgreSQL URL, in a file of its own, so that the URL can be shown,
//! committed and given to a container in its environment.
//!
//! Never repeats what it has read: errors name the file alone.

use std::{fs::File, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};

use super::{ConfigError, invalid};

/// More is no password.
const MAX_BYTES: u64 = 1_024;

/// The URL with the password that is in `file`, without the line's end.
pub(super) fn insert(url: &str, file: &Path) -> Result<String, ConfigError> {
    let failed = |why: &str| invalid(format!("database.password_file {}: {why}", file.display()));
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    if !matches!(scheme, "postgres" | "postgresql") {
        return Err(invalid("database.password_file is for postgres:// only"));
    }
    let (user, host) = rest.split_once('@').unwrap_or_default();
    if user.is_empty() || user.contains([':', '/', '?']) {
        return Err(invalid("database.url must be postgres://USER@HOST/NAME beside database.password_file"));
    }
    let mut text = String::new();
    let opened = File::open(file).map_err(|error| failed(&error.to_string()))?;
    let metadata = opened.metadata().map_err(|error| failed(&error.to_string()))?;
    if metadata.mode() & 0o007 != 0 {
        return Err(failed("every user of this machine may read it: run chmod 640 on it"));
    }
    opened.take(MAX_BYTES).read_to_string(&mut text).map_err(|error| failed(&error.to_string()))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    if password.is_empty() || password.contains('\n') {
        return Err(failed("it must hold one line"));
    }
    Ok(format!("{scheme}://{user}:{}@{host}", encoded(password)))
}

/// Safe in a URL whatever it holds (RFC 3986 section 2.1).
fn encoded(password: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    password.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn insert_text(url: &str, text: &str, mode: u32) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        insert(url, file.path()).map_err(|error| error.to_string())
    }

    const URL: &str = "postgres://app@db.internal:5433/countersign?sslmode=verify-full";

    #[test]
    fn a_password_goes_into_the_url_whatever_it_holds() {
        assert_eq!(
            insert_text(URL, "a/b:c@ %\u{e9}\n", 0o640).unwrap(),
            "postgres://app:a%2Fb%3Ac%40%20%25%C3%A9@db.internal:5433/countersign?sslmode=verify-full"
        );
    }

    #[test]
    fn what_cannot_be_a_private_password_is_refused_without_repeating_it() {
        for (url, text, mode) in [
            (URL, "canary", 0o644),
            (URL, "", 0o600),
            (URL, "canary\ncanary\n", 0o600),
            ("sqlite://data/canary.db", "canary", 0o600),
            ("postgres://app:secret@db/countersign", "canary", 0o600),
            ("postgres://db/countersign", "canary", 0o600),
        ] {
            let refusal = insert_text(url, text, mode).unwrap_err();
            assert!(!refusal.contains("canary") && !refusal.contains("secret"), "{refusal}");
        }
        assert!(insert(URL, Path::new("/nowhere")).unwrap_err().to_string().contains("/nowhere"));
    }
}
