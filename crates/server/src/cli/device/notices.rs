//! `countersign device notices` and `dispute`: what happened to the person's registrations, and "that was not me"
//! (protocol 5.1, 8.8).

use clap::Args;
use countersign_proto::{
    api::devices::Notice,
    ids::{DeviceId, EventId},
};
use serde_json::json;

use super::{Desk, DeviceError, words::plain};

/// Which notice, by which registration.
#[derive(Debug, Args)]
pub(super) struct DisputeArgs {
    /// The notice, as `device notices` shows it.
    notice: EventId,
    /// The registration; may be absent if there is only one.
    #[arg(long, value_name = "ID")]
    device: Option<DeviceId>,
}

/// Shows the notices of the last 30 days, newest first.
pub(super) async fn list(desk: &Desk, device: Option<DeviceId>) -> Result<(), DeviceError> {
    let phone = desk.connect(desk.only_registration(device)?).await?;
    let notices = phone.fetch_self().await?.notices;
    let lines: Vec<String> = notices.iter().map(one_line).collect();
    let text = if lines.is_empty() { "Nothing has happened in the last 30 days.".to_owned() } else { lines.join("\n") };
    desk.say(&json!({"device_id": phone.id(), "notices": notices}), &text)
}

/// Says "that was not me".
pub(super) async fn dispute(desk: &Desk, arguments: DisputeArgs) -> Result<(), DeviceError> {
    let phone = desk.connect(desk.only_registration(arguments.device)?).await?;
    let done = phone.dispute(arguments.notice).await?;
    desk.say(&json!(done), "The registration that the notice is about can approve nothing any more.")
}

fn one_line(notice: &Notice) -> String {
    let device = notice.device.as_ref().map(|device| format!("  {}", plain(&device.name))).unwrap_or_default();
    let hint = if notice.is_disputable { "  (not you? `device dispute` it)" } else { "" };
    format!("{}  {}  {}{device}{hint}", notice.id, notice.created_at, plain(&notice.kind))
}
