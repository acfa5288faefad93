//! `countersign policy show|set|lint|dry-run`.
//!
//! Asks the same rules as the API (`/v1/policy`), and like it puts nothing in force that was made from another version
//! than the one that is.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use countersign_core::{
    policy::{Policy, check},
    ports::tenants::{SetPolicy, SetPolicyOutcome},
};
use countersign_proto::{api::policy::DryRun, json};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{CliError, Context, Desk, say};
use crate::{
    app::DEFAULT_TENANT,
    http::{policy::dry_run, problem::ApiError},
};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the policy in force, with all applications' overrides, or an earlier one.
    Show {
        /// The tenant's slug.
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
        /// A version that was in force.
        #[arg(long)]
        version: Option<u32>,
    },
    /// Put a policy in force for the next challenges; absent members get the defaults. Without `applications` the
    /// applications' overrides stay.
    Set {
        /// A JSON file.
        file: PathBuf,
        /// The tenant's slug.
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
        /// Refuse if another version is in force.
        #[arg(long, value_name = "VERSION")]
        expect_version: Option<u32>,
    },
    /// Check a policy file, and say what it allows that may not be meant.
    Lint {
        /// A JSON file.
        file: PathBuf,
    },
    /// Say what would become of a challenge, and which rule decides. Changes nothing.
    DryRun {
        /// A JSON file with the members of `POST /v1/policy/dry-run`.
        file: PathBuf,
        /// The tenant's slug.
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
        /// A policy file to try instead of the policy in force.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
}

/// Runs it.
///
/// # Errors
/// [`CliError`].
pub async fn run(context: &Context, command: Command) -> Result<ExitCode, CliError> {
    match command {
        Command::Lint { file } => {
            let warnings = check::advice(&read_policy(&file)?.policy);
            let lines: Vec<_> = warnings.iter().map(|warning| format!("warning: {warning}")).collect();
            let text = [&["the policy is valid".to_owned()], lines.as_slice()].concat().join("\n");
            say(context, &json!({"valid": true, "warnings": warnings}), &text);
        }
        Command::Show { tenant, version } => {
            let desk = Desk::open(context).await?;
            let tenant = desk.tenant(&tenant).await?;
            let policy = match version {
                None => tenant.policy,
                Some(version) => {
                    let policy = desk.store.policy_version(tenant.id, version).await?;
                    policy.ok_or_else(|| CliError::Failed(format!("version {version} was never in force")))?
                }
            };
            print(context, &policy)?;
            desk.close().await;
        }
        Command::Set { file, tenant, expect_version } => set(context, &file, &tenant, expect_version).await?,
        Command::DryRun { file, tenant, policy } => try_out(context, &file, &tenant, policy.as_deref()).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn set(context: &Context, file: &Path, tenant: &str, expected: Option<u32>) -> Result<(), CliError> {
    let PolicyFile { mut policy, has_applications } = read_policy(file)?;
    let desk = Desk::open(context).await?;
    let tenant = desk.tenant(tenant).await?;
    let before = tenant.policy;
    if let Some(expected) = expected.filter(|expected| *expected != before.version) {
        return Err(CliError::Failed(format!("version {} is in force, not {expected}", before.version)));
    }
    if !has_applications {
        policy.applications.clone_from(&before.applications);
    }
    // Together with what stays.
    check::policy(&policy).map_err(|errors| CliError::Failed(super::first(&errors)))?;
    let command = SetPolicy::new(desk.stamp(tenant.id), &before, policy);
    let policy = command.policy.clone();
    match desk.store.set_policy(command).await? {
        SetPolicyOutcome::Set => print(context, &policy)?,
        SetPolicyOutcome::Conflict { version } => {
            return Err(CliError::Failed(format!("somebody else was faster: version {version} is in force now")));
        }
        SetPolicyOutcome::NotFound => return Err(CliError::Failed("the tenant is gone".to_owned())),
    }
    desk.close().await;
    Ok(())
}

async fn try_out(context: &Context, file: &Path, tenant: &str, policy: Option<&Path>) -> Result<(), CliError> {
    let mut asked: DryRun = read(file)?.0;
    let desk = Desk::open(context).await?;
    let tenant = desk.tenant(tenant).await?;
    if let Some(file) = policy {
        asked.policy = Some(read_policy(file)?.policy);
    }
    let result = dry_run::run(desk.store.as_ref(), tenant.id, &tenant.policy, asked, desk.now()).await;
    print(context, &result.map_err(|error| refused(file, &error))?)?;
    desk.close().await;
    Ok(())
}

fn refused(file: &Path, error: &ApiError) -> CliError {
    let why = if error.errors().is_empty() { error.detail().to_owned() } else { super::first(error.errors()) };
    CliError::Failed(format!("{}: {why}", file.display()))
}

fn print(context: &Context, shown: &impl Serialize) -> Result<(), CliError> {
    let failed = |error: serde_json::Error| CliError::Failed(error.to_string());
    let object = serde_json::to_value(shown).map_err(failed)?;
    let text = serde_json::to_string_pretty(shown).map_err(failed)?;
    say(context, &object, &text);
    Ok(())
}

struct PolicyFile {
    policy: Policy,
    has_applications: bool,
}

fn read_policy(file: &Path) -> Result<PolicyFile, CliError> {
    let (policy, members) = read::<Policy>(file)?;
    check::policy(&policy)
        .map_err(|errors| CliError::Failed(format!("{}: {}", file.display(), super::first(&errors))))?;
    Ok(PolicyFile { policy, has_applications: members.get("applications").is_some() })
}

/// What a file says, read as strictly as the API reads a body.
fn read<T: DeserializeOwned>(file: &Path) -> Result<(T, Value), CliError> {
    let refuse = |why: String| CliError::Failed(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
    let members = json::parse_object(text.as_bytes()).map_err(|error| refuse(error.to_string()))?;
    let value = json::typed(&members).map_err(|shape| refuse(format!("{} {}", shape.pointer, shape.detail)))?;
    Ok((value, members))
}
