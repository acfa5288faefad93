//! `countersign keys create`: the file of the private keys, for nodes that share one.
//!
//! A server on PostgreSQL never makes it by itself: each node would make its own. This command does, once; where there is
//! a file, it stays. To add a command on keys: a variant here.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::{CliError, Context, say};
use crate::{
    app::StartError,
    clock::{Clock as _, SystemClock},
    entropy::SystemEntropy,
    signing::ServerKeys,
};

/// What to do.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Make the key file that `signing.key_file` names, unless it is there.
    Create,
}

/// Runs it. Two that run at once end with the same file.
///
/// # Errors
/// The file cannot be made, or what is there is no key file or readable by others.
pub fn run(context: &Context, command: Command) -> Result<ExitCode, CliError> {
    let Command::Create = command;
    let settings = &context.settings;
    let file = settings.key_file();
    let was_there = file.exists();
    let keys = ServerKeys::open(&file, true, &settings.issuer(), SystemClock.now(), &SystemEntropy::default());
    let keys = keys.map_err(StartError::from)?;
    let ids: Vec<&str> = keys.jwks().keys.iter().map(|key| key.kid.as_str()).collect();
    let done = if was_there { "has been there" } else { "is made; back it up" };
    say(
        context,
        &json!({"key_file": file, "created": !was_there, "kids": ids}),
        &format!("the key file {} {done}", file.display()),
    );
    Ok(ExitCode::SUCCESS)
}
