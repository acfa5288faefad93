//! `countersign doctor`: whether this configuration can ring a phone, and if not, why.
//!
//! Reads, connects and asks; rings nobody. It opens the database as `serve` does, which brings its schema up to date, and
//! makes neither a database nor a key file that is not there. Exit code 1 if one check fails.
//! To add a check: a function that returns findings, its line in [`run`].

use std::{os::unix::fs::MetadataExt as _, path::PathBuf, process::ExitCode, sync::Arc};

use countersign_push::{Diagnosis, Senders};
use serde_json::json;

use super::{CliError, Context, Desk, say};
use crate::{
    clock::{Clock as _, SystemClock},
    entropy::SystemEntropy,
    pushing,
    signing::ServerKeys,
};

/// One thing that was looked at.
struct Finding {
    name: String,
    check: &'static str,
    outcome: Result<String, String>,
}

impl From<Diagnosis> for Finding {
    fn from(diagnosis: Diagnosis) -> Self {
        let Diagnosis { name, check, outcome } = diagnosis;
        Self { name, check, outcome }
    }
}

/// Looks at the database, the keys and the push credentials.
///
/// # Errors
/// The database cannot be opened.
pub async fn run(context: &Context) -> Result<ExitCode, CliError> {
    let missing = missing_files(context);
    if !missing.is_empty() {
        report(context, &missing, false);
        return Ok(ExitCode::FAILURE);
    }
    let desk = Desk::open(context).await?;
    let mut findings = vec![Finding {
        name: "database".to_owned(),
        check: "opens",
        outcome: desk
            .store
            .check_ready(SystemClock.now())
            .await
            .map(|()| "it takes a durable write".to_owned())
            .map_err(|error| error.to_string()),
    }];
    findings.extend(credential_files(context));
    findings.extend(senders(context, &desk).await);
    desk.close().await;
    let is_well = findings.iter().all(|finding| finding.outcome.is_ok());
    report(context, &findings, is_well);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the first start makes, and who asks before it must not: it would belong to whoever asked.
fn missing_files(context: &Context) -> Vec<Finding> {
    let settings = &context.settings;
    let database = settings.database.url.strip_prefix("sqlite://");
    let database = database.map(|path| PathBuf::from(path.split('?').next().unwrap_or(path)));
    let files = database.map(|path| ("database", path)).into_iter().chain([("signing keys", settings.key_file())]);
    let missing = files.filter(|(_, path)| !path.exists()).map(|(name, path)| Finding {
        name: name.to_owned(),
        check: "exist",
        outcome: Err(format!("{} is not there: start the server once, then ask again", path.display())),
    });
    missing.collect()
}

/// Who may read the credentials.
fn credential_files(context: &Context) -> Vec<Finding> {
    let files = context.settings.push.credential_files().map(|path| {
        let outcome = match std::fs::metadata(path) {
            Err(error) => Err(format!("cannot be read: {error}")),
            Ok(metadata) if metadata.mode() & 0o007 != 0 => {
                Err("every user of this machine may read it: run chmod 640 on it".to_owned())
            }
            Ok(_) => Ok("only its owner and group may read it".to_owned()),
        };
        Finding { name: path.display().to_string(), check: "file", outcome }
    });
    files.collect()
}

/// The senders' own checks.
async fn senders(context: &Context, desk: &Desk) -> Vec<Finding> {
    let failed = |check, error: String| vec![Finding { name: "push".to_owned(), check, outcome: Err(error) }];
    let settings = &context.settings;
    let entropy = Arc::new(SystemEntropy::default());
    let now = SystemClock.now();
    let issuer = settings.issuer();
    let keys = match ServerKeys::open(&settings.key_file(), false, &issuer, now, entropy.as_ref()) {
        Ok(keys) => keys,
        Err(error) => return failed("signing keys", error.to_string()),
    };
    let surroundings = pushing::Surroundings {
        store: Arc::clone(&desk.store),
        clock: Arc::new(SystemClock),
        entropy,
        vapid_key: keys.vapid_key(),
        issuer,
    };
    let push = match pushing::read(&settings.push, &surroundings).await {
        Ok((push, _)) => push,
        Err(error) => return failed("settings", error.to_string()),
    };
    let pushing::Surroundings { clock, entropy, .. } = surroundings;
    match Senders::new(push, clock, entropy) {
        Ok(senders) => senders.diagnose().await.into_iter().map(Finding::from).collect(),
        Err(error) => failed("credentials", error.to_string()),
    }
}

fn report(context: &Context, findings: &[Finding], is_well: bool) {
    let mut lines = Vec::with_capacity(findings.len() + 1);
    let mut checks = Vec::with_capacity(findings.len());
    for Finding { name, check, outcome } in findings {
        let (mark, says) = match outcome {
            Ok(says) => ("ok  ", says),
            Err(says) => ("FAIL", says),
        };
        lines.push(format!("{mark}  {name}  {check}: {says}"));
        checks.push(json!({"name": name, "check": check, "ok": outcome.is_ok(), "detail": says}));
    }
    lines.push(if is_well { "all is well".to_owned() } else { "something needs your attention".to_owned() });
    say(context, &json!({"ok": is_well, "checks": checks}), &lines.join("\n"));
}
