//! `countersign-simulator webpush`.

use countersign_simulator::webpush::{Options, start};
use serde_json::json;

use super::CliError;
use super::common::{CommonArgs, Introduction, run as run_stand_in};

/// How the service misbehaves.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// Plain HTTP instead of TLS: the server refuses such endpoints, other senders may not.
    #[arg(long)]
    plain_http: bool,
}

pub(super) async fn run(arguments: Args, json: bool) -> Result<(), CliError> {
    let Args { common, plain_http } = arguments;
    let place = common.place()?;
    let mut options = common.options()?;
    options.plain_http = plain_http;
    let handle = start(Options { common: options }).await?;
    let port = handle.base_url().rsplit(':').next().unwrap_or_default().to_owned();
    let settings = format!(
        "[push.webpush]\ncontact = \"mailto:developer@example.org\"\nadditional_ports = [{port}]\n\
         additional_networks = [\"127.0.0.0/8\"]\n"
    );
    let members = json!({"subscribe_url": format!("{}/subscribe", handle.base_url())});
    let introduction = Introduction { provider: "webpush", members, settings };
    run_stand_in(handle, &common, &place, introduction, json).await
}
