//! Chapter: the sign-ins that must not succeed (protocol 7.2, 9, 10.1).

use countersign_proto::{
    api::challenges::Challenge,
    vocabulary::{ChallengeReason, ChallengeStatus, DenyReason, DeviceStatus, Word as _},
};
use countersign_simulator::{
    Phone,
    phone::{PendingSet, VerifiedChallenge},
};

use super::{
    DemoError,
    approval::{Held, verify},
    enrollment::another,
    identity_provider::IdentityProvider,
    refused,
    story::Story,
};

/// A sign-in that is asked for, waited for, and shown.
struct Asked {
    held: Held,
    number: String,
    challenge: VerifiedChallenge,
}

async fn ask(page: &IdentityProvider, phone: &Phone, location: &str, ip: &str) -> Result<Asked, DemoError> {
    let created = page.ask(location, ip).await?;
    let held = Held::begin(page, created.challenge.id);
    let pending = phone.pending(0, None).await?.unwrap_or(PendingSet { challenges: Vec::new(), etag: None });
    let challenge = verify(phone, pending).await?;
    Ok(Asked { held, number: created.number.unwrap_or_default(), challenge })
}

fn check_reason(
    story: &mut Story,
    challenge: &Challenge,
    reason: ChallengeReason,
    fact: &str,
) -> Result<(), DemoError> {
    let saw = challenge.reason.map_or("no reason", countersign_proto::vocabulary::Word::as_str);
    story.check(challenge.reason == Some(reason), fact, saw)
}

/// Somebody else signs in as Ada.
pub(super) async fn not_me(story: &mut Story, page: &IdentityProvider, phone: &Phone) -> Result<(), DemoError> {
    story.step("Somebody who stole Ada's password signs in. Ada sees a place that she is not at: \"not me\".")?;
    let Asked { held, challenge, .. } = ask(page, phone, "Oslo", "198.51.100.23").await?;
    held.is_held(story).await?;
    let recorded = phone.deny(&challenge, Some(DenyReason::NotMe)).await?;
    let is_denied = recorded.status == ChallengeStatus::Denied;
    story.check(is_denied, "her phone denies, signed, and no number is needed", recorded.status.as_str())?;
    let ended = held.ends(story, ChallengeStatus::Denied).await?;
    check_reason(story, &ended, ChallengeReason::NotMe, "the page learns that it was reported, and lets nobody in")
}

/// Somebody talks Ada into approving without seeing the page.
pub(super) async fn wrong_number(story: &mut Story, page: &IdentityProvider, phone: &Phone) -> Result<(), DemoError> {
    story.step(
        "Next time they call Ada and talk her into approving. She cannot see their page, and types a wrong number.",
    )?;
    let Asked { held, number, challenge } = ask(page, phone, "Oslo", "198.51.100.23").await?;
    held.is_held(story).await?;
    let guess = phone.approve(&challenge, Some(&another(&number)), None).await;
    refused(story, guess, "number-mismatch", "the approval is refused (403 number-mismatch)")?;
    let ended = held.ends(story, ChallengeStatus::Denied).await?;
    check_reason(story, &ended, ChallengeReason::WrongNumber, "one guess is all there is: denied for good")?;
    let second = phone.approve(&challenge, Some(&number), None).await;
    refused(story, second, "challenge-closed", "even the right number comes too late (409 challenge-closed)")
}

/// The phone is lost.
pub(super) async fn revoked(story: &mut Story, page: &IdentityProvider, phone: &Phone) -> Result<(), DemoError> {
    story.step("Ada loses her phone. While a sign-in waits on it, an operator revokes it with one call.")?;
    let Asked { held, number, challenge } = ask(page, phone, "Lisbon", "203.0.113.7").await?;
    held.is_held(story).await?;
    let device = page.revoke(phone.id()).await?;
    let is_revoked = device.status == DeviceStatus::Revoked;
    story.check(is_revoked, "the device is revoked, for ever", device.status.as_str())?;
    let ended = held.ends(story, ChallengeStatus::Cancelled).await?;
    check_reason(story, &ended, ChallengeReason::DeviceRevoked, "what waited on this phone alone has ended with it")?;
    let late = phone.approve(&challenge, Some(&number), None).await;
    let fact = "the finder's approval, with the right number, is refused (403 device-not-active)";
    refused(story, late, "device-not-active", fact)?;
    let asked = page.ask("Lisbon", "203.0.113.7").await;
    refused(story, asked, "no-eligible-device", "and no sign-in is sent to it any more (422 no-eligible-device)")
}

/// What the server wrote down of all this, in order.
pub(super) async fn log(story: &mut Story, page: &IdentityProvider) -> Result<(), DemoError> {
    const EXPECTED: [&str; 15] = [
        "tenant.created",
        "api_client.created",
        "user.created",
        "enrollment.created",
        "enrollment.claimed",
        "device.added",
        "enrollment.completed",
        "device.confirmed",
        "challenge.created",
        "challenge.approved",
        "challenge.denied",
        "challenge.reported",
        "user.reported",
        "device.revoked",
        "challenge.cancelled",
    ];
    story.step("The server wrote down each change, in the transaction that made it.")?;
    let events = page.events().await?.items;
    let text = serde_json::to_string(&events)?;
    let kinds: Vec<String> = events.into_iter().map(|event| event.kind).collect();
    let missing: Vec<&str> = EXPECTED.into_iter().filter(|kind| !kinds.iter().any(|seen| seen == kind)).collect();
    story.check(
        missing.is_empty(),
        &format!("{} events: {}", kinds.len(), kinds.join(", ")),
        format!("no {}", missing.join(", no ")),
    )?;
    let is_impersonal =
        ["Lovelace", "Ada's phone", "VPN", "Lisbon", "203.0.113.7"].iter().all(|word| !text.contains(word));
    story.check(is_impersonal, "ids and digests only: who is erased leaves no name behind", "a name")
}
