//! `countersign audit verify`: an export without the server, or the database with its log.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use countersign_proto::audit::{
    VerifierKey,
    verify::{Report, Verifier},
};
use serde_json::{Value, json};

use super::{Audit, Checks, CliError, Context, Desk, ServerKeys, VerifyArgs, failed};
use crate::{audit::live, decisions::Decisions};

/// Findings that are printed; all are counted.
const MAX_PRINTED: usize = 1_000;
/// Bytes of a checkpoint, and of a line of an export: far more than either has.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Verifies an export: nothing but the file, and what its reader has kept.
///
/// # Errors
/// [`CliError`]: it is none, or cannot be read.
pub fn verify_file(path: &Path, arguments: &Checks, is_json: bool) -> Result<ExitCode, CliError> {
    let trusted: Option<VerifierKey> = arguments
        .vkey
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_| CliError::Failed("--vkey is not a verifier key".to_owned()))?;
    let older = read_checkpoints(&arguments.checkpoint)?;
    let cannot = |error: std::io::Error| CliError::Failed(format!("cannot read {}: {error}", path.display()));
    let mut file = BufReader::new(std::fs::File::open(path).map_err(cannot)?);
    let mut line = Vec::new();
    let mut verifier: Option<Verifier> = None;
    loop {
        line.clear();
        let length = std::io::Read::take(&mut file, MAX_LINE_BYTES as u64).read_until(b'\n', &mut line);
        if length.map_err(cannot)? == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        match &mut verifier {
            Some(verifier) => verifier.line(text),
            None => {
                let begun = Verifier::begin(text, trusted.as_ref(), &older);
                verifier = Some(begun.map_err(|error| CliError::Failed(error.to_string()))?);
            }
        }
    }
    let verifier = verifier.ok_or_else(|| CliError::Failed(format!("{} is empty", path.display())))?;
    let report = verifier.finish();
    let context = Printer { is_json };
    let is_meant = report.from == arguments.from && (report.unexamined == 0 || arguments.without_evidence);
    let is_good = report.is_good() && is_meant;
    let mut object = describe(&report);
    if let Some(object) = object.as_object_mut() {
        object.insert("good".to_owned(), is_good.into());
        object.insert("key_is_trusted".to_owned(), trusted.is_some().into());
    }
    let mut text = words("the export", &report);
    if report.unexamined > 0 {
        text.push_str(&format!(
            "\n  {} decisions are here WITHOUT evidence: nothing says that they hold (--without-evidence if that is meant)",
            report.unexamined
        ));
    }
    if report.from != 1 {
        text.push_str(&format!(
            "\n  events before position {0} are not here (--from {0} if that is meant)",
            report.from
        ));
    }
    if trusted.is_none() {
        text.push_str("\nWhose log it is, is not known: compare its key with the one that you wrote down (--vkey).");
    }
    context.print(&object, &text);
    Ok(code(is_good))
}

/// Verifies the database of the settings.
///
/// # Errors
/// [`CliError`].
pub(super) async fn verify_database(
    context: &Context,
    desk: &Desk,
    audit: &Arc<Audit>,
    keys: &Arc<ServerKeys>,
    arguments: &VerifyArgs,
) -> Result<ExitCode, CliError> {
    let older = read_checkpoints(&arguments.checks.checkpoint)?;
    let decisions = Decisions::new(Arc::clone(keys));
    let tenants = match &arguments.tenant {
        Some(slug) => vec![desk.tenant(slug).await?],
        None => desk.store.tenants().await?,
    };
    if tenants.len() > 1 && !older.is_empty() {
        return Err(CliError::Failed("--checkpoint is of one log: say whose with --tenant".to_owned()));
    }
    let mut is_good = true;
    let (mut objects, mut texts) = (Vec::new(), Vec::new());
    for tenant in tenants {
        let report = live::verify(audit, &decisions, tenant.id, &older, desk.now()).await;
        let report = report.map_err(|error| failed(&error))?;
        is_good &= report.is_good();
        texts.push(words(&format!("organisation {}", tenant.slug), &report));
        let mut object = describe(&report);
        if let Some(object) = object.as_object_mut() {
            object.insert("tenant".to_owned(), tenant.slug.into());
        }
        objects.push(object);
    }
    super::say(context, &json!({"good": is_good, "tenants": objects}), &texts.join("\n"));
    Ok(code(is_good))
}

fn read_checkpoints(paths: &[PathBuf]) -> Result<Vec<String>, CliError> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).ok().filter(|text| text.len() <= MAX_LINE_BYTES);
        text.ok_or_else(|| CliError::Failed(format!("cannot read the checkpoint {}", path.display())))
    };
    paths.iter().map(read).collect()
}

fn code(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn describe(report: &Report) -> Value {
    let findings: Vec<_> = report
        .findings
        .iter()
        .take(MAX_PRINTED)
        .map(|finding| json!({"position": finding.position, "fault": finding.fault.as_str(), "detail": finding.detail}))
        .collect();
    json!({
        "good": report.is_good(),
        "events": report.events,
        "from": report.from,
        "decisions": {"verified": report.verified, "erased": report.erased, "deleted": report.deleted,
            "unexamined": report.unexamined},
        "size": report.checkpoint.map(|(size, _)| size),
        "root": report.checkpoint.map(|(_, root)| root.to_string()),
        "findings": findings,
        "finding_count": report.findings.len(),
    })
}

fn words(what: &str, report: &Report) -> String {
    let Report { events, verified, erased, deleted, findings, .. } = report;
    let mut text = format!(
        "{what}: {events} events; decisions: {verified} verified, {erased} without evidence because the person was \
         erased, {deleted} because it is no longer kept"
    );
    for finding in findings.iter().take(MAX_PRINTED) {
        text.push_str(&format!("\n  {finding}"));
    }
    text.push_str(&match findings.len() {
        0 => "\n  what is here is as it was signed".to_owned(),
        count => format!("\n  {count} findings"),
    });
    text
}

/// Prints without settings, which a file does not need.
struct Printer {
    is_json: bool,
}

impl Printer {
    #[expect(clippy::print_stdout, reason = "the command line speaks here")]
    fn print(&self, object: &Value, text: &str) {
        if self.is_json { println!("{object}") } else { println!("{text}") }
    }
}
