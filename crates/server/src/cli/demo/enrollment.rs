//! Chapter: an invitation turns into Ada's device (protocol 4).

use countersign_proto::{
    api::enrollments::EnrollmentCreated,
    push::PushBinding,
    vocabulary::{DeviceStatus, EnrollmentStatus, Platform, Word as _},
};
use countersign_simulator::{Phone, phone::EnrollOptions};

use super::{DemoError, identity_provider::IdentityProvider, refused, story::Story};
use crate::cli::{device::surroundings, terminal_qr};

/// Invites, registers, confirms. `push`: where the phone is rung.
pub(super) async fn tell(story: &mut Story, page: &IdentityProvider, push: PushBinding) -> Result<Phone, DemoError> {
    let invitation = invite(story, page).await?;
    let (phone, code) = register(story, &invitation.enrollment_uri, push).await?;
    confirm(story, page, &invitation, &phone, &code).await?;
    Ok(phone)
}

async fn invite(story: &mut Story, page: &IdentityProvider) -> Result<EnrollmentCreated, DemoError> {
    story.step(
        "Ada shall approve her sign-ins with her phone. The page asks the server for an invitation, good for one \
         device, and shows it as a QR code.",
    )?;
    let invitation = page.invite().await?;
    for line in terminal_qr::lines(&invitation.enrollment_uri, story.is_coloured()).into_iter().flatten() {
        story.line(&line)?;
    }
    let enrollment = &invitation.enrollment;
    let seconds = enrollment.expires_at.millis_since(enrollment.created_at) / 1_000;
    story.check(
        enrollment.status == EnrollmentStatus::Pending && invitation.enrollment_uri.starts_with(page.issuer()),
        &format!("the invitation waits for a phone, for {seconds} s at most"),
        enrollment.status.as_str(),
    )?;
    Ok(invitation)
}

async fn register(story: &mut Story, enrollment_uri: &str, push: PushBinding) -> Result<(Phone, String), DemoError> {
    story.step(
        "Ada's phone scans it, makes a P-256 key that never leaves it, and registers with a proof that it holds \
         the key.",
    )?;
    let mut options = EnrollOptions { push, ..EnrollOptions::named("Ada's phone") };
    options.device.platform = Platform::Ios;
    let phone = Phone::enroll(enrollment_uri, options, surroundings()).await?;
    let code = phone.registration().confirmation_code.clone().unwrap_or_default();
    let is_code = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    story.check(
        is_code,
        &format!("the phone is registered, and shows Ada the confirmation code {code}"),
        "no six digits",
    )?;
    let status = phone.fetch_self().await?.device.status;
    let is_pending = status == DeviceStatus::PendingConfirmation;
    story.check(is_pending, "it may not answer anything yet", status.as_str())?;
    Ok((phone, code))
}

async fn confirm(
    story: &mut Story,
    page: &IdentityProvider,
    invitation: &EnrollmentCreated,
    phone: &Phone,
    code: &str,
) -> Result<(), DemoError> {
    story.step("Ada types the code into the page: the phone in her hand is the one that registered.")?;
    let id = invitation.enrollment.id;
    refused(story, page.confirm(id, &another(code)).await, "wrong-code", "a wrong code is refused (422 wrong-code)")?;
    let confirmed = page.confirm(id, code).await?;
    let is_completed = confirmed.status == EnrollmentStatus::Completed;
    story.check(is_completed, "with the right one the enrollment is completed", confirmed.status.as_str())?;
    // Fetching its own record, the phone verifies the binding: signed by the server, for this very key.
    let own = phone.fetch_self().await?;
    story.check(
        own.device.status == DeviceStatus::Active && own.binding.is_some(),
        "the device is active, and has the server's signed statement that this key is Ada's",
        own.device.status.as_str(),
    )
}

/// As many digits, but not these.
pub(super) fn another(digits: &str) -> String {
    digits.chars().map(|digit| if digit == '9' { '0' } else { '9' }).collect()
}
