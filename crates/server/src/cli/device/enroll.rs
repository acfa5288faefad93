//! `countersign device enroll`.

use clap::Args;
use countersign_proto::{jose::claims::DeviceDescription, push::PushBinding, vocabulary::Platform};
use countersign_simulator::{
    KeysFile, Phone,
    phone::{EnrollOptions, Registration},
};
use serde_json::json;

use super::{Desk, DeviceError, words::plain};

/// What the new device says of itself.
#[derive(Debug, Args)]
pub(super) struct EnrollArgs {
    /// https://SERVER/enroll#t=TICKET (quote it: a shell may take # for a comment).
    uri: String,
    /// The device's name, for people.
    #[arg(long, default_value = "command line")]
    name: String,
    /// What it says it runs on: ios, android, web, watchos, wearos or other.
    #[arg(long, default_value = "other")]
    platform: Platform,
    /// Where to ring it: `none`, or a push binding as JSON.
    #[arg(long, value_name = "none|JSON", default_value = "none", value_parser = push_binding)]
    push: PushBinding,
    /// Register a second key, which stands for the one behind PIN or biometric.
    #[arg(long)]
    uv: bool,
}

fn push_binding(text: &str) -> Result<PushBinding, String> {
    if text == "none" {
        return Ok(PushBinding::None);
    }
    serde_json::from_str(text).map_err(|error| format!("not a push binding: {error}"))
}

/// Registers, then keeps the keys.
pub(super) async fn run(desk: &Desk, arguments: EnrollArgs) -> Result<(), DeviceError> {
    // Before the ticket is used up: a registration whose keys cannot be kept is one to revoke by hand.
    KeysFile::check_writable(&desk.keys)?;
    let EnrollArgs { uri, name, platform, push, uv } = arguments;
    let EnrollOptions { device, .. } = EnrollOptions::named(&name);
    let app_version = Some(env!("CARGO_PKG_VERSION").to_owned());
    let device = DeviceDescription { platform, app_id: Some("countersign device".to_owned()), app_version, ..device };
    let options = EnrollOptions { device, push, has_uv_key: uv };
    let phone = Phone::enroll(&uri, options, desk.surroundings.clone()).await?;
    KeysFile::add(&desk.keys, phone.registration().clone())?;

    let Registration { issuer, device_id, user, tenant, confirmation_code, .. } = phone.registration();
    let status = if confirmation_code.is_some() { "pending_confirmation" } else { "active" };
    let mut object = json!({
        "device_id": device_id, "status": status, "issuer": issuer, "user": user, "tenant": tenant,
        "keys_file": desk.keys,
    });
    let (user_name, tenant_name) = (plain(&user.external_id), plain(&tenant.name));
    let mut text = format!("Registered at {issuer} as a device of {user_name}, {tenant_name}: {device_id}");
    if let (Some(code), Some(members)) = (confirmation_code, object.as_object_mut()) {
        members.insert("confirmation_code".to_owned(), json!(code));
        text.push_str(&format!("\nType this code into the page that began the enrollment: {}", plain(code)));
    }
    desk.say(&object, &text)
}
