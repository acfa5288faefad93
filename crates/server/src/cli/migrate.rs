//! `countersign migrate`.

use std::process::ExitCode;

use serde_json::json;

use super::{CliError, Context, Desk, say};

/// Brings the schema up to date; the server does the same at its start.
///
/// # Errors
/// [`CliError`].
pub async fn run(context: &Context) -> Result<ExitCode, CliError> {
    Desk::open(context).await?.close().await;
    say(context, &json!({"migrated": true}), "the database is up to date");
    Ok(ExitCode::SUCCESS)
}
