//! `countersign-simulator trial`: what containers that try countersign out together share, made on the spot so that no
//! secret is in any repository: an authority's certificate, a certificate for each host, a database password.
//!
//! Never for production: whoever reads the directory is everybody. Never replaces what is there, because programs that
//! already run have read it. To add a secret: its file, its line in `run`.

use std::path::PathBuf;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use countersign_simulator::stand_in::Authority;
use serde_json::json;

use super::common::Place;
use super::{CliError, say};

const AUTHORITY: &str = "ca.pem";
const PASSWORD: &str = "database-password";

/// Where, and for whom.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the files are made, readable by their owner only.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// A host that needs a certificate, in DIR/NAME.pem; may be given again.
    #[arg(long, value_name = "NAME", required = true)]
    host: Vec<String>,
}

/// Makes what is missing. Certificates are made all or none: the authority's key is never written, so it can issue no more
/// later, and its certificate is written last, so that its presence means that all are there.
pub(super) fn run(arguments: &Args, json: bool) -> Result<(), CliError> {
    let Args { dir, host: hosts } = arguments;
    let place = Place::kept(dir)?;
    if !place.has(PASSWORD) {
        place.write(PASSWORD, &password()?)?;
    }
    if !place.has(AUTHORITY) {
        let authority = Authority::generate()?;
        for host in hosts {
            place.write(&file_of(host)?, authority.issue(host)?.bundle())?;
        }
        place.write(AUTHORITY, authority.pem())?;
    }
    for host in hosts {
        let file = file_of(host)?;
        if !place.has(&file) {
            let directory = dir.display();
            return Err(CliError::Usage(format!("{directory} is of a trial without {host}: remove it to begin anew")));
        }
    }
    let text = format!("The secrets of the trial are in {}.", dir.display());
    Ok(say(&if json { json!({"dir": dir}).to_string() } else { text })?)
}

/// A host's file; what is no host could be a path.
fn file_of(host: &str) -> Result<String, CliError> {
    let is_name = !host.is_empty()
        && !host.starts_with('.')
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
    if is_name { Ok(format!("{host}.pem")) } else { Err(CliError::Usage("--host must be a host name".to_owned())) }
}

fn password() -> Result<String, CliError> {
    let mut bytes = [0_u8; 24];
    SystemRandom::new().fill(&mut bytes).map_err(|_| CliError::Usage("this machine has no randomness".to_owned()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &std::path::Path) -> Vec<(String, String)> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> = entries
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_trial_gets_its_secrets_once_and_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = Args { dir: folder.path().join("trial"), host: vec!["apns".to_owned(), "db.test".to_owned()] };
        run(&arguments, true).unwrap();
        let first = files(&arguments.dir);
        let names: Vec<_> = first.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["apns.pem", "ca.pem", "database-password", "db.test.pem"]);
        assert!(first.iter().any(|(name, text)| name == PASSWORD && text.len() == 48));
        run(&arguments, true).unwrap();
        assert_eq!(files(&arguments.dir), first);
    }

    #[test]
    fn a_host_that_is_a_path_or_comes_too_late_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let run = |host: &str| run(&Args { dir: folder.path().join("trial"), host: vec![host.to_owned()] }, true);
        for host in ["", "../apns", "a/b", ".hidden"] {
            assert!(run(host).is_err(), "{host}");
        }
        assert!(run("apns").is_ok());
        assert!(run("fcm").unwrap_err().to_string().contains("without fcm"));
    }
}
