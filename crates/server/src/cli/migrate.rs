//! `countersign migrate`.

use std::process::ExitCode;

use serde_json::json;

use super::{CliError, Context, Desk, say};

/// Brings the schema up to date; the server does the same at its start, unless `database.migrate` is false.
///
/// # Errors
/// [`CliError`].
pub async fn run(context: &Context) -> Result<ExitCode, CliError> {
    let mut settings = context.settings.clone();
    // Who gives this command is the one who migrates, whatever the servers may do.
    settings.database.migrate = true;
    Desk::open(&Context { settings, json: context.json }).await?.close().await;
    say(context, &json!({"migrated": true}), "the database is up to date");
    Ok(ExitCode::SUCCESS)
}
