//! Push bindings: where a device wants to be rung (protocol 8).
//!
//! Only the shape is judged here. Whether an address is safe to connect to is judged at each connect, on the
//! address actually connected to, by whoever connects.

use countersign_proto::push::PushBinding;

use crate::text::Checker;

/// Checks a push binding; `pointer` is where it stands in the artefact's claims.
pub fn check(checker: &mut Checker, pointer: &str, binding: &PushBinding) {
    match binding {
        PushBinding::Apns { token, topic, .. } => {
            if !(64..=200).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                checker.refuse(format!("{pointer}/token"), "must be 64 to 200 hexadecimal digits");
            }
            identifier(checker, &format!("{pointer}/topic"), topic);
        }
        PushBinding::Fcm { token, project } => {
            if !(1..=4096).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                checker.refuse(format!("{pointer}/token"), "must be 1 to 4096 visible ASCII characters");
            }
            if let Some(project) = project {
                identifier(checker, &format!("{pointer}/project"), project);
            }
        }
        PushBinding::Webpush { endpoint, p256dh, auth } => check_webpush(checker, pointer, endpoint, p256dh, auth),
        PushBinding::None => {}
    }
}

fn identifier(checker: &mut Checker, pointer: &str, value: &str) {
    let fits = (1..=255).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':'));
    if !fits {
        checker.refuse(pointer, "must be 1 to 255 letters, digits, `.`, `-`, `_` or `:`");
    }
}

fn check_webpush(checker: &mut Checker, pointer: &str, endpoint: &str, p256dh: &str, auth: &str) {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    let visible = endpoint.len() <= 2048 && endpoint.bytes().all(|byte| byte.is_ascii_graphic());
    let host = endpoint.strip_prefix("https://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    // User information in the authority ("https://good@evil/") has no use here and misleads whoever reads it.
    if !visible || host.is_none_or(|host| host.is_empty() || host.contains('@')) {
        checker.refuse(format!("{pointer}/endpoint"), "must be an https URL of at most 2048 characters");
    }
    let point = URL_SAFE_NO_PAD.decode(p256dh).ok();
    let on_curve = point.is_some_and(|bytes| countersign_proto::jose::PublicKey::from_sec1(&bytes).is_ok());
    if !on_curve {
        checker.refuse(format!("{pointer}/p256dh"), "must be an uncompressed P-256 point in base64url");
    }
    if URL_SAFE_NO_PAD.decode(auth).map_or(0, |bytes| bytes.len()) != 16 {
        checker.refuse(format!("{pointer}/auth"), "must be 16 bytes in base64url");
    }
}
