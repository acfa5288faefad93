//! How every attack ends: the log is read and verified, by one verifier or two, each object is read once more, and the
//! whole history is judged.
//!
//! To add something that must hold after every attack: a file in `check/`; what needs more than history and facts, here.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde_json::Value;
use tokio::process::Command;

use crate::{
    ProofError,
    check::{self, Facts},
    flows::World,
    history::{Call, End, Op},
    http::Caller,
    report::Report,
    rig::Rig,
};

/// Who verifies beside the server's own verifier.
#[derive(Debug, clap::Args)]
pub(crate) struct JudgeArgs {
    /// A second verifier: a Python with the packages of tests/interop.
    #[arg(long, requires = "verifier", value_name = "FILE")]
    python: Option<PathBuf>,
    /// The second verifier's script: tests/interop/audit_verify.py.
    #[arg(long, requires = "python", value_name = "FILE")]
    verifier: Option<PathBuf>,
}

impl JudgeArgs {
    pub(crate) fn has_second_verifier(&self) -> bool {
        self.verifier.is_some()
    }
}

/// The log with all evidence, as JSONL.
pub(crate) async fn export(idp: &Caller) -> Result<String, ProofError> {
    idp.read("/v1/audit/export?include=evidence").await
}

/// What is judged.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// In the order in which they returned.
    pub(crate) calls: Vec<Call>,
    /// The messages that a receiver of webhooks has taken, if there was one.
    pub(crate) told: Option<BTreeSet<String>>,
    /// What the log has to continue, if somebody has kept a checkpoint.
    pub(crate) checkpoint: Option<String>,
}

/// Judges all that has happened since the last time.
pub(crate) async fn judge(
    args: &JudgeArgs,
    rig: &Rig,
    world: &World,
    told: Option<BTreeSet<String>>,
    report: &mut Report,
) -> Result<(), ProofError> {
    judge_seen(args, rig, world, Seen { calls: world.history.take(), told, checkpoint: None }, report).await
}

/// Judges what somebody has seen of a server, by the server that runs now.
pub(crate) async fn judge_seen(
    args: &JudgeArgs,
    rig: &Rig,
    world: &World,
    seen: Seen,
    report: &mut Report,
) -> Result<(), ProofError> {
    // A log that is younger than its first checkpoint is a finding of `audit verify` (docs/audit.md): here each has one.
    world.stranger.read("/v1/audit/checkpoint").await?;
    let export = export(&world.idp).await?;
    let Seen { calls, told, checkpoint } = seen;
    let facts = Facts::gather(&calls, &export, told, &world.idp).await?;
    for (name, count) in tally(&calls) {
        report.count(&name, count);
    }
    report.count("events", u64::try_from(facts.events.len()).unwrap_or(u64::MAX));
    report.absorb(check::all(&calls, &facts));
    verify(args, rig, &export, checkpoint.as_deref(), report).await
}

/// How many calls came to what.
fn tally(calls: &[Call]) -> BTreeMap<String, u64> {
    let mut tally = BTreeMap::new();
    for call in calls {
        let end = match &call.end {
            End::Ok { .. } => "answered",
            End::Refused { .. } => "refused",
            End::NotAsked => "not connected",
            End::Unknown { .. } => "unknown",
            End::Wrong { .. } => "wrong",
        };
        *tally.entry(format!("calls {end}")).or_insert(0) += 1;
        if call.said("status") == Some("approved") && call.op == Op::Approve {
            *tally.entry("approvals acknowledged".to_owned()).or_insert(0) += 1;
        }
    }
    tally
}

/// Each decision's evidence, and the whole log.
async fn verify(
    args: &JudgeArgs,
    rig: &Rig,
    export: &str,
    checkpoint: Option<&str>,
    report: &mut Report,
) -> Result<(), ProofError> {
    let file = rig.file("audit.jsonl");
    std::fs::write(&file, export)?;
    let (file, shown) = (file.display().to_string(), rig.command(&["audit", "show"]).await?);
    let key = shown.get("verifier_key").and_then(Value::as_str).unwrap_or_default();
    let mut offline = vec!["--json", "audit", "verify", &file, "--vkey", key];
    let kept = rig.file("checkpoint.txt");
    let kept_name = kept.display().to_string();
    if let Some(checkpoint) = checkpoint {
        std::fs::write(&kept, checkpoint)?;
        offline.extend(["--checkpoint", &kept_name]);
    }
    let (code, said) = rig.try_command(&offline).await?;
    if code != Some(0) {
        report.violated(format!("the audit does not verify: {said}"));
    }
    let (code, said) = rig.try_command(&["--json", "audit", "verify"]).await?;
    if code != Some(0) {
        report.violated(format!("the database does not verify: {said}"));
    }
    if let (Some(python), Some(verifier)) = (&args.python, &args.verifier) {
        let output =
            Command::new(python).arg(verifier).args([&file, "--vkey", key]).kill_on_drop(true).output().await?;
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if said.get("good") != Some(&Value::Bool(true)) {
            report.violated(format!("the second verifier does not agree: {said}"));
        }
        report.count("decisions verified twice", said.get("verified").and_then(Value::as_u64).unwrap_or(0));
    }
    Ok(())
}
