//! `countersign device list`.

use countersign_proto::{timestamp::Timestamp, vocabulary::Word as _};
use countersign_simulator::{
    Phone,
    phone::{PhoneError, Registration, VerifiedChallenge},
};
use serde_json::{Value, json};

use super::{
    Desk, DeviceError,
    words::{plain, question},
};

/// Asks each server about its registration and what waits there. One that does not answer hides no other.
pub(super) async fn run(desk: &Desk) -> Result<(), DeviceError> {
    let mut objects = Vec::new();
    let mut lines = Vec::new();
    for registration in desk.all_registrations()? {
        let Registration { device_id, issuer, name, user, tenant, .. } = registration.clone();
        let head = format!("{device_id}  {}  {} at {issuer}", plain(&name), plain(&user.external_id));
        let mut object =
            json!({"device_id": device_id, "name": name, "issuer": issuer, "user": user, "tenant": tenant});
        let (line, members) = match ask(desk, registration).await {
            Ok((status, waiting)) => {
                lines.push(format!("{head}  {status}"));
                lines.extend(waiting.iter().map(one_line));
                let challenges: Vec<Value> = waiting.iter().map(describe).collect();
                (None, json!({"status": status, "challenges": challenges}))
            }
            Err(error) => {
                (Some(format!("{head}  ({})", plain(&error.to_string()))), json!({"error": error.to_string()}))
            }
        };
        lines.extend(line);
        if let (Value::Object(object), Value::Object(members)) = (&mut object, members) {
            object.extend(members);
        }
        objects.push(object);
    }
    if objects.is_empty() {
        lines.push(format!("No registrations in {}: enroll first.", desk.keys.display()));
    }
    desk.say(&json!({"devices": objects}), &lines.join("\n"))
}

async fn ask(desk: &Desk, registration: Registration) -> Result<(&'static str, Vec<VerifiedChallenge>), DeviceError> {
    let phone: Phone = desk.connect(registration).await?;
    let own = phone.fetch_self().await?;
    let mut waiting = Vec::new();
    for pending in phone.pending(0, None).await?.into_iter().flat_map(|set| set.challenges) {
        match phone.verify(&pending).await {
            Ok(challenge) => waiting.push(challenge),
            // A challenge that must not be shown is not shown; `watch` says why.
            Err(PhoneError::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((own.device.status.as_str(), waiting))
}

fn one_line(challenge: &VerifiedChallenge) -> String {
    let question = question(challenge.claims()).into_iter().next().unwrap_or_default();
    format!("  {}  {question}", challenge.id())
}

/// A verified challenge as JSON: the signed claims.
pub(super) fn describe(challenge: &VerifiedChallenge) -> Value {
    let claims = challenge.claims();
    let expires_at = Timestamp::from_seconds(claims.exp);
    json!({"id": challenge.id(), "expires_at": expires_at, "claims": claims})
}
