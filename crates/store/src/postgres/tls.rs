//! Whether the database has to prove who it is: always, where somebody could stand between it and us.
//!
//! Left alone, the driver prefers TLS, verifies nothing and silently falls back to plain text. Here the default beyond
//! loopback is `verify-full`, and less than that is refused unless the operator says that it is meant.
//! Must never judge by a name: `localhost` is what a resolver says it is. To add a way to connect that needs no TLS:
//! an arm in [`required`], with the reason why nobody can be in between.

use std::net::IpAddr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::connect::ConnectError;

/// `options`, verifying the database where that is required. `url` is what they were made of.
pub(super) fn verified(
    options: PgConnectOptions,
    url: &str,
    allow_unverified: bool,
) -> Result<PgConnectOptions, ConnectError> {
    let is_socket = options.get_socket().is_some();
    match required(options.get_host(), is_socket, asked_for(url, &options), allow_unverified)? {
        Some(mode) => Ok(options.ssl_mode(mode)),
        None => Ok(options),
    }
}

/// The mode that the URL itself asks for; what the environment of the process says is no decision of the operator's.
fn asked_for(url: &str, options: &PgConnectOptions) -> Option<PgSslMode> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let says = query.split('&').any(|pair| matches!(pair.split('=').next(), Some("sslmode" | "ssl-mode")));
    says.then(|| options.get_ssl_mode())
}

/// The mode to set for this host, if it is not to stay as it is.
fn required(
    host: &str,
    is_socket: bool,
    asked: Option<PgSslMode>,
    allow_unverified: bool,
) -> Result<Option<PgSslMode>, ConnectError> {
    // A socket file, and loopback, end on this machine.
    let is_local = is_socket || host.starts_with('/') || is_loopback(host);
    match asked {
        None if is_local => Ok(None),
        None => Ok(Some(PgSslMode::VerifyFull)),
        Some(PgSslMode::VerifyFull) => Ok(None),
        Some(_) if is_local || allow_unverified => Ok(None),
        Some(_) => Err(ConnectError::UnverifiedTls),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    fn mode(url: &str, allow_unverified: bool) -> Result<PgSslMode, ConnectError> {
        let options = PgConnectOptions::from_str(url).unwrap();
        verified(options, url, allow_unverified).map(|options| options.get_ssl_mode())
    }

    fn is(mode: PgSslMode, expected: PgSslMode) -> bool {
        std::mem::discriminant(&mode) == std::mem::discriminant(&expected)
    }

    #[test]
    fn beyond_loopback_the_database_is_verified_unless_the_url_says_otherwise() {
        for host in ["db.example.org", "localhost", "10.0.0.7", "192.0.2.1", "[2001:db8::1]", "127.0.0.1.example.org"] {
            for allow in [false, true] {
                let url = format!("postgres://u:p@{host}/x");
                assert!(is(mode(&url, allow).unwrap(), PgSslMode::VerifyFull), "{url}");
            }
        }
        // The address that is connected to counts, not the one before the `?`.
        for further in ["host=db.example.org", "hostaddr=192.0.2.1"] {
            assert!(is(mode(&format!("postgres://u@127.0.0.1/x?{further}"), false).unwrap(), PgSslMode::VerifyFull));
        }
    }

    #[test]
    fn less_than_verify_full_is_refused_beyond_loopback_unless_it_is_allowed() {
        for weak in ["disable", "allow", "prefer", "require", "verify-ca"] {
            for parameter in ["sslmode", "ssl-mode"] {
                let url = format!("postgres://u:secret@db.example.org/x?{parameter}={weak}");
                let refused = mode(&url, false).unwrap_err().to_string();
                assert!(refused.contains("verify-full") && !refused.contains("secret"), "{refused}");
                assert_eq!(refused.lines().count(), 1);
                assert!(!is(mode(&url, true).unwrap(), PgSslMode::VerifyFull));
            }
        }
        assert!(is(mode("postgres://u@db.example.org/x?sslmode=verify-full", false).unwrap(), PgSslMode::VerifyFull));
    }

    #[test]
    fn on_this_machine_nothing_is_required_and_what_is_asked_for_holds() {
        for host in ["127.0.0.1", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]", "%2Fvar%2Frun%2Fpostgresql"] {
            let url = format!("postgres://u@{host}/x");
            assert!(!is(mode(&url, false).unwrap(), PgSslMode::VerifyFull), "{url}");
            assert!(is(mode(&format!("{url}?sslmode=disable"), false).unwrap(), PgSslMode::Disable));
            assert!(is(mode(&format!("{url}?sslmode=verify-full"), false).unwrap(), PgSslMode::VerifyFull));
        }
    }
}
