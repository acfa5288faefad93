//! `countersign vacuum`: the SQLite file written anew, without what was deleted.

use std::process::ExitCode;

use serde_json::json;

use super::{CliError, Context, say};

/// Runs it; a running server's writes wait meanwhile.
///
/// # Errors
/// It could not be done; the database is what it was.
pub async fn run(context: &Context) -> Result<ExitCode, CliError> {
    let outcome = countersign_store::vacuum(&context.settings.database.url).await;
    outcome.map_err(|error| CliError::Failed(error.to_string()))?;
    let text = "the database is written anew: nothing that was deleted is left in its files";
    say(context, &json!({"vacuumed": true}), text);
    Ok(ExitCode::SUCCESS)
}
