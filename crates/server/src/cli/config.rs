//! `countersign config check|defaults`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::{CliError, Context, say};
use crate::config::DEFAULTS;

/// What to do.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Check the settings without starting anything.
    Check,
    /// Print every setting with its default and comment.
    Defaults,
}

/// Runs it. The settings have been read and checked by now.
///
/// # Errors
/// None of its own.
pub fn run(context: &Context, command: Command) -> Result<ExitCode, CliError> {
    match command {
        Command::Check => {
            let issuer = context.settings.issuer();
            say(
                context,
                &json!({"valid": true, "issuer": issuer}),
                &format!("the settings are valid; issuer {issuer}"),
            );
        }
        Command::Defaults => say(context, &json!({"toml": DEFAULTS}), DEFAULTS.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}
