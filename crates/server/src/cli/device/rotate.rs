//! `countersign device rotate-key` (protocol 10.6), and the end of one that was broken off.
//!
//! The new keys are in the keys file before the message leaves, the old ones until the server has vouched for the new:
//! whenever this program dies, the file can still speak for the device.

use clap::Args;
use countersign_proto::ids::DeviceId;
use countersign_simulator::{
    KeysFile, Phone,
    phone::{Registration, Replace, Rotation},
};
use serde_json::json;

use super::{Desk, DeviceError};

/// Which keys.
#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// The registration; may be absent if there is only one.
    #[arg(long, value_name = "ID")]
    device: Option<DeviceId>,
    /// Also the key that stands for PIN or biometric, which then signs for both.
    #[arg(long)]
    uv: bool,
}

/// Replaces the keys.
pub(super) async fn run(desk: &Desk, arguments: RotateArgs) -> Result<(), DeviceError> {
    let phone = desk.connect(desk.only_registration(arguments.device)?).await?;
    let rotation = phone.prepare_rotation(if arguments.uv { Replace::Both } else { Replace::DeviceKey })?;
    note(desk, &phone, &rotation)?;
    let next = match phone.rotate(&rotation).await {
        Ok(next) => next,
        Err(error) => {
            // A refusal is an answer: nothing was replaced, and nothing is under way.
            if error.problem().is_some_and(|problem| problem.status < 500) {
                replace(desk, phone.registration())?;
            }
            return Err(error.into());
        }
    };
    replace(desk, next.registration())?;
    let thumbprint = next.registration().device_key.thumbprint();
    let object = json!({"device_id": next.id(), "key_thumbprint": thumbprint.as_str(), "uv": arguments.uv});
    desk.say(&object, &format!("Device {} has new keys; the old ones are forgotten.", next.id()))
}

/// The phone, after the end of a rotation that somebody broke off.
pub(super) async fn finish(desk: &Desk, phone: Phone) -> Result<Phone, DeviceError> {
    let Some(rotation) = phone.registration().rotation.clone() else { return Ok(phone) };
    let next = phone.finish_rotation(&rotation).await?;
    replace(desk, next.registration())?;
    Ok(next)
}

fn note(desk: &Desk, phone: &Phone, rotation: &Rotation) -> Result<(), DeviceError> {
    replace(desk, &Registration { rotation: Some(rotation.clone()), ..phone.registration().clone() })
}

fn replace(desk: &Desk, registration: &Registration) -> Result<(), DeviceError> {
    KeysFile::update(&desk.keys, |keys| {
        for known in &mut keys.registrations {
            if known.device_id == registration.device_id {
                known.clone_from(registration);
            }
        }
    })?;
    Ok(())
}
