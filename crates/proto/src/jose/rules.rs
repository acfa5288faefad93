//! Rule 7: what every token of a device or API client must say, as pure functions of it and the time.

/// A rule that a claim breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenRule {
    /// `iat` is outside the window: 401 `clock-skew` with the server's time.
    #[error("iat outside the window")]
    ClockSkew,
    /// `aud` is not this issuer.
    #[error("another audience")]
    Audience,
    /// `jti` is not 1–128 characters, or has a control character.
    #[error("jti length")]
    Jti,
}

/// `iat` is within `window_seconds` of `now_seconds` on either side, both ends included.
///
/// # Errors
/// [`BrokenRule::ClockSkew`].
pub fn check_iat(iat: i64, now_seconds: i64, window_seconds: i64) -> Result<(), BrokenRule> {
    // abs_diff cannot overflow, whatever a device writes.
    if iat.abs_diff(now_seconds) <= window_seconds.unsigned_abs() { Ok(()) } else { Err(BrokenRule::ClockSkew) }
}

/// `jti` is 1–128 characters (Unicode scalar values), none of them a control character: not every database
/// stores those.
///
/// # Errors
/// [`BrokenRule::Jti`].
pub fn check_jti(jti: &str) -> Result<(), BrokenRule> {
    let fits = (1..=128).contains(&jti.chars().count()) && !jti.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(BrokenRule::Jti) }
}

/// `aud` is the issuer, byte for byte.
///
/// # Errors
/// [`BrokenRule::Audience`].
pub fn check_audience(aud: &str, issuer: &str) -> Result<(), BrokenRule> {
    if aud == issuer { Ok(()) } else { Err(BrokenRule::Audience) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_includes_both_ends_and_survives_every_number() {
        let now = 1_700_000_000;
        for iat in [now - 60, now, now + 60] {
            assert_eq!(check_iat(iat, now, 60), Ok(()));
        }
        for iat in [now - 61, now + 61, 0, -1, i64::MIN, i64::MAX] {
            assert_eq!(check_iat(iat, now, 60), Err(BrokenRule::ClockSkew));
        }
        assert_eq!(check_iat(i64::MAX, i64::MIN, 60), Err(BrokenRule::ClockSkew));
    }

    #[test]
    fn a_jti_has_1_to_128_characters_not_bytes() {
        assert_eq!(check_jti(""), Err(BrokenRule::Jti));
        assert_eq!(check_jti("j"), Ok(()));
        assert_eq!(check_jti(&"é".repeat(128)), Ok(()));
        assert_eq!(check_jti(&"j".repeat(129)), Err(BrokenRule::Jti));
        assert_eq!(check_jti("j\0"), Err(BrokenRule::Jti));
    }

    #[test]
    fn an_audience_is_compared_byte_for_byte() {
        assert_eq!(check_audience("https://a.example", "https://a.example"), Ok(()));
        for aud in ["https://a.example/", "HTTPS://a.example", "https://b.example", ""] {
            assert_eq!(check_audience(aud, "https://a.example"), Err(BrokenRule::Audience));
        }
    }
}
