//! `countersign-simulator apns`.

use countersign_proto::vocabulary::{ApnsEnvironment, Word as _};
use countersign_simulator::apns::{DeveloperKey, Options, start};
use serde_json::json;

use super::CliError;
use super::common::{CommonArgs, Introduction, quoted, run as run_stand_in};

/// The developer's account and how the service misbehaves.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// The app's bundle id; may be given again.
    #[arg(long, default_value = "org.example.authenticator")]
    topic: Vec<String>,
    /// Ten letters and digits.
    #[arg(long, default_value = "STANDIN001")]
    key_id: String,
    /// Ten letters and digits.
    #[arg(long, default_value = "TEAM000001")]
    team_id: String,
    /// Which of Apple's services it is: production or sandbox.
    #[arg(long, default_value = "sandbox")]
    environment: ApnsEnvironment,
    /// How seldom a key may show a new provider token, in seconds; 0: always.
    #[arg(long, default_value_t = 1_200)]
    token_update_seconds: i64,
    /// A GOAWAY after each so many requests of a connection.
    #[arg(long, value_name = "N")]
    goaway_every: Option<u32>,
}

pub(super) async fn run(arguments: Args, json: bool) -> Result<(), CliError> {
    let Args { common, topic: topics, key_id, team_id, token_update_seconds, goaway_every, environment } = arguments;
    let place = common.place()?;
    let key = DeveloperKey::generate(&key_id, &team_id)?;
    let key_file = place.write(&format!("AuthKey_{key_id}.p8"), &key.private_pem)?;
    let mut options = common.options()?;
    options.goaway_every = goaway_every;
    let options =
        Options { common: options, keys: vec![key], topics: topics.clone(), token_update_seconds, environment };
    let handle = start(options).await?;
    let mut settings = String::new();
    for (index, topic) in topics.iter().enumerate() {
        let (name, base_url) = (format!("standin{}", index + 1), handle.base_url());
        let (key_file, key_id, team_id, topic) = (quoted(&key_file), quoted(&key_id), quoted(&team_id), quoted(topic));
        settings.push_str(&format!(
            "[push.apns.{name}]\nkey_file = {key_file}\nkey_id = {key_id}\nteam_id = {team_id}\ntopic = {topic}\n\
             environment = {}\nbase_url = {}\n",
            quoted(environment.as_str()),
            quoted(base_url)
        ));
    }
    let members = json!({"key_file": key_file, "key_id": key_id, "team_id": team_id, "topics": topics});
    let introduction = Introduction { provider: "apns", members, settings };
    run_stand_in(handle, &common, &place, introduction, json).await
}
