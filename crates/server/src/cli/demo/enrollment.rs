//! Chapter: an invitation turns into Ada's device (protocol 4).

use countersign_proto::vocabulary::{DeviceStatus, EnrollmentStatus, Word as _};
use countersign_simulator::{
    Phone,
    phone::{EnrollOptions, PhoneError},
};

use super::{DemoError, IdentityProviderRef, Story, slug_of};
use crate::cli::{device::surroundings, terminal_qr};

/// Invites, registers, confirms.
pub(super) async fn tell(story: &mut Story, page: IdentityProviderRef<'_>) -> Result<Phone, DemoError> {
    story.step("Ada shall approve her sign-ins with her phone. The page gets an invitation from the server, good for one device, and shows it as a QR code.")?;
    let invitation = page.invite().await?;
    for line in terminal_qr::lines(&invitation.enrollment_uri, story.is_coloured()).into_iter().flatten() {
        story.line(&line)?;
    }
    let enrollment = &invitation.enrollment;
    let seconds = enrollment.expires_at.millis_since(enrollment.created_at) / 1_000;
    story.check(
        enrollment.status == EnrollmentStatus::Pending,
        &format!("the invitation waits for a phone, for {seconds} s at most"),
        enrollment.status.as_str(),
    )?;

    story.step("Ada's phone scans it, makes a P-256 key that never leaves it, and registers with the proof that it holds the key.")?;
    let phone = Phone::enroll(&invitation.enrollment_uri, EnrollOptions::named("Ada's phone"), surroundings()).await?;
    let code = phone.registration().confirmation_code.clone().unwrap_or_default();
    story.check(code.len() == 6, &format!("the phone is registered, and shows Ada the code {code}"), "no code")?;
    let own = phone.fetch_self().await?;
    story.check(
        own.device.status == DeviceStatus::PendingConfirmation,
        "it may not answer anything yet",
        own.device.status.as_str(),
    )?;
    let again = Phone::enroll(&invitation.enrollment_uri, EnrollOptions::named("a thief's"), surroundings());
    confirm(story, page, &invitation.enrollment.id, &code, &phone, again).await?;
    Ok(phone)
}
