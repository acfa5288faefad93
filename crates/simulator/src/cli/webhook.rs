//! `countersign-simulator webhook`.

use countersign_simulator::webhook::{Options, start};
use serde_json::json;

use super::CliError;
use super::common::{CommonArgs, Introduction, run as run_stand_in};

/// How the receiver misbehaves.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

pub(super) async fn run(arguments: Args, json: bool) -> Result<(), CliError> {
    let Args { common } = arguments;
    let place = common.place()?;
    let handle = start(Options { common: common.options()? }).await?;
    let settings =
        format!("[webhooks]\nadditional_ports = [{}]\nadditional_networks = [\"127.0.0.0/8\"]\n", handle.port());
    let members = json!({"hook_url": handle.url("default")});
    let introduction = Introduction { provider: "webhook", members, settings };
    run_stand_in(handle, &common, &place, introduction, json).await
}
