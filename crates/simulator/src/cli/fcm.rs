//! `countersign-simulator fcm`.

use countersign_simulator::fcm::{Options, ServiceAccount, start};
use serde_json::json;

use super::CliError;
use super::common::{CommonArgs, Introduction, quoted, run as run_stand_in};

/// The project and how the service misbehaves.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// The Firebase project's id.
    #[arg(long, default_value = "stand-in")]
    project: String,
    /// How long an access token is good for, in seconds.
    #[arg(long, default_value_t = 3_599)]
    access_token_seconds: i64,
    /// Plain HTTP instead of TLS.
    #[arg(long)]
    plain_http: bool,
}

pub(super) async fn run(arguments: Args, json: bool) -> Result<(), CliError> {
    let Args { common, project, access_token_seconds, plain_http } = arguments;
    let place = common.place()?;
    let mut options = common.options()?;
    options.plain_http = plain_http;
    let account = Some(ServiceAccount::generate(&project)?);
    let handle = start(Options { common: options, account, access_token_seconds }).await?;
    let file = place.write("service-account.json", &handle.service_account_json())?;
    let settings = format!(
        "[push.fcm.standin]\nservice_account_file = {}\nbase_url = {}\n",
        quoted(&file),
        quoted(handle.base_url())
    );
    let token_uri = format!("{}{}", handle.base_url(), countersign_simulator::fcm::TOKEN_ENDPOINT);
    let members = json!({"service_account_file": file, "project": project, "token_uri": token_uri});
    let introduction = Introduction { provider: "fcm", members, settings };
    run_stand_in(handle, &common, &place, introduction, json).await
}
