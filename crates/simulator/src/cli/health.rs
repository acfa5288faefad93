//! `countersign-simulator health`: whether a stand-in runs, for the health check of a container without a shell.

use countersign_simulator::phone::Inbox;
use serde_json::json;

use super::{CliError, say};

/// Which stand-in.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Its control port.
    #[arg(long, value_name = "URL")]
    provider: String,
}

pub(super) async fn run(arguments: &Args, json: bool) -> Result<(), CliError> {
    Inbox::check(&arguments.provider).await?;
    Ok(say(&if json { json!({"running": true}).to_string() } else { "running".to_owned() })?)
}
