//! `countersign policy show|set|lint`.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use countersign_core::policy::{Policy, PolicyRequest, effective};
use serde_json::json;

use super::{CliError, Context, Desk, say};
use crate::app::DEFAULT_TENANT;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the policy in force.
    Show {
        /// The tenant's slug.
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
    },
    /// Put a policy in force for the next challenges; absent members get the defaults.
    Set {
        /// A JSON file.
        file: PathBuf,
        /// The tenant's slug.
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
    },
    /// Check a policy file.
    Lint {
        /// A JSON file.
        file: PathBuf,
    },
}

/// Runs it.
///
/// # Errors
/// [`CliError`].
pub async fn run(context: &Context, command: Command) -> Result<ExitCode, CliError> {
    match command {
        Command::Lint { file } => {
            read(&file)?;
            say(context, &json!({"valid": true}), "the policy is valid");
        }
        Command::Show { tenant } => {
            let desk = Desk::open(context).await?;
            let policy = desk.tenant(&tenant).await?.policy;
            print(context, &policy)?;
            desk.close().await;
        }
        Command::Set { file, tenant } => {
            let policy = read(&file)?;
            let desk = Desk::open(context).await?;
            let tenant = desk.tenant(&tenant).await?;
            let policy = Policy { version: tenant.policy.version.saturating_add(1), ..policy };
            if !desk.store.set_policy(desk.stamp(tenant.id), policy.clone()).await? {
                return Err(CliError::Failed("the tenant is gone".to_owned()));
            }
            print(context, &policy)?;
            desk.close().await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(context: &Context, policy: &Policy) -> Result<(), CliError> {
    let failed = |error: serde_json::Error| CliError::Failed(error.to_string());
    let object = serde_json::to_value(policy).map_err(failed)?;
    let text = serde_json::to_string_pretty(policy).map_err(failed)?;
    say(context, &object, &text);
    Ok(())
}

fn read(file: &std::path::Path) -> Result<Policy, CliError> {
    let refuse = |why: String| CliError::Failed(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
    let policy: Policy = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    // A policy under which nobody could ask for anything would lock everybody out.
    effective(&policy, &PolicyRequest::default()).map_err(|refusal| refuse(refusal.to_string()))?;
    if policy.max_devices_per_user == 0 || policy.wrong_numbers_before_lock == 0 || policy.lock_seconds < 1 {
        return Err(refuse(
            "max_devices_per_user, wrong_numbers_before_lock and lock_seconds must be positive".to_owned(),
        ));
    }
    Ok(policy)
}
