//! `countersign backup`: a copy of the SQLite file while the server runs.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::json;

use super::{CliError, Context, say};

/// Where to.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to write; it must not be there. On the disk that is to survive.
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

/// Runs it.
///
/// # Errors
/// There is no backup.
pub async fn run(context: &Context, arguments: &BackupArgs) -> Result<ExitCode, CliError> {
    let outcome = countersign_store::backup(&context.settings.database.url, &arguments.to).await;
    let backup = outcome.map_err(|error| CliError::Failed(error.to_string()))?;
    let file = arguments.to.display();
    let keys = context.settings.key_file();
    let object = json!({"file": arguments.to, "size_bytes": backup.size_bytes, "migration": backup.migration});
    let text = format!(
        "{file}: {} bytes, read back and sound\nIt holds no private key: {} is backed up apart from it.",
        backup.size_bytes,
        keys.display()
    );
    say(context, &object, &text);
    Ok(ExitCode::SUCCESS)
}
