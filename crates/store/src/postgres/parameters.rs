//! Which parameters the URL of a database may have.
//!
//! sqlx ignores one that it does not know, and logs it with its value, which may be a secret (`sslpassword`, a mistyped
//! `password`); and a setting that was misspelt should not be ignored. So they are refused before sqlx sees them.
//! Must never repeat a value.

use crate::connect::ConnectError;

/// Those that sqlx knows.
const KNOWN: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
];

/// Refuses the first unknown one, by its name. One that is spelt with percent signs is unknown.
pub(super) fn check(url: &str) -> Result<(), ConnectError> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        let is_known = KNOWN.contains(&name) || name == "options" || name.starts_with("options[");
        if !is_known {
            // What has no equals sign may be a value, and before an at sign all of it a password.
            let shown = if pair.contains('=') && !query.contains('@') { name } else { "without a value" };
            return Err(ConnectError::Url(format!("unknown parameter {shown}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_parameters_are_refused_by_name_and_never_with_their_value() {
        for good in ["", "?", "?sslmode=verify-full&sslrootcert=/ca.pem", "?options[search_path]=x&options=-c%20a%3Db"]
        {
            check(&format!("postgres://u@db/x{good}")).unwrap();
        }
        for bad in
            ["?sslpassword=canary", "?sslmode=disable&pasword=canary", "?canary", "?canary=x@db/y", "?ssl%6Dode=canary"]
        {
            let refusal = check(&format!("postgres://u@db/x{bad}")).unwrap_err().to_string();
            assert!(refusal.contains("unknown parameter") && !refusal.contains("canary"), "{refusal}");
        }
    }
}
