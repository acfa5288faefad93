//! `countersign device approve|deny`.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use countersign_proto::{
    api::devices::ResponseRecorded,
    ids::{ChallengeId, DeviceId},
    jose::claims::ChallengeClaims,
    vocabulary::{DenyReason, UserVerification, UvMethod, VerificationMode, Word as _},
};
use countersign_simulator::{
    Phone,
    phone::{Answer, VerifiedChallenge},
};
use serde::Serialize;
use serde_json::json;

use super::{Desk, DeviceError, words};

/// Which challenge, and how.
#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// The challenge's id, as `watch` and `list` show it.
    id: ChallengeId,
    /// The number that the sign-in page shows; asked for on a terminal.
    #[arg(long)]
    number: Option<String>,
    /// Pretend that the platform verified the user: pin, fpt, face or other. If absent, `pin` where the
    /// challenge wants verification and the device has the key for it.
    #[arg(long, value_name = "METHOD")]
    uv: Option<UvMethod>,
    /// Only with this registration.
    #[arg(long, value_name = "ID")]
    device: Option<DeviceId>,
}

/// Which challenge, and why not.
#[derive(Debug, Args)]
pub(super) struct DenyArgs {
    /// The challenge's id, as `watch` and `list` show it.
    id: ChallengeId,
    /// Why: not_me, mistake or other.
    #[arg(long)]
    reason: Option<DenyReason>,
    /// Only with this registration.
    #[arg(long, value_name = "ID")]
    device: Option<DeviceId>,
}

/// What came of an answer.
#[derive(Serialize)]
struct Answered {
    #[serde(flatten)]
    recorded: ResponseRecorded,
    device_id: DeviceId,
}

/// Approves.
pub(super) async fn approve(desk: &Desk, arguments: ApproveArgs) -> Result<(), DeviceError> {
    let ApproveArgs { id, number, uv, device } = arguments;
    let (phone, challenge) = find(desk, id, device).await?;
    let claims = challenge.claims();
    let number = match number {
        None if wants_number(claims) => Some(ask_number(desk, claims)?),
        number => number,
    };
    let wants_uv = claims.user_verification != UserVerification::Discouraged;
    let has_key = phone.registration().uv_key.is_some();
    let uv = uv.or((wants_uv && has_key).then_some(UvMethod::Pin));
    answer(desk, &phone, &challenge, Answer { uv, ..Answer::approve(number.as_deref()) }).await
}

/// Denies.
pub(super) async fn deny(desk: &Desk, arguments: DenyArgs) -> Result<(), DeviceError> {
    let DenyArgs { id, reason, device } = arguments;
    let (phone, challenge) = find(desk, id, device).await?;
    answer(desk, &phone, &challenge, Answer::deny(reason)).await
}

async fn answer(desk: &Desk, phone: &Phone, challenge: &VerifiedChallenge, answer: Answer) -> Result<(), DeviceError> {
    let recorded = phone.respond(challenge, &answer).await?;
    let text = match &recorded.display_code {
        Some(code) => format!("Type this code where you sign in: {}", words::plain(code)),
        None => format!("Challenge {} is {}.", recorded.challenge_id, recorded.status.as_str()),
    };
    desk.say(&json!(Answered { recorded, device_id: phone.id() }), &text)
}

/// The challenge, verified, and the registration that it is addressed to.
async fn find(
    desk: &Desk,
    id: ChallengeId,
    device: Option<DeviceId>,
) -> Result<(Phone, VerifiedChallenge), DeviceError> {
    let mut last = None;
    for registration in desk.registrations(device)? {
        let found = async {
            let phone = desk.connect(registration).await?;
            let pending = phone.challenge(id).await?;
            let challenge = phone.verify(&pending).await?;
            Ok::<_, DeviceError>((phone, challenge))
        };
        match found.await {
            Ok(found) => return Ok(found),
            // Another registration may know it; what a server said of it outweighs that it does not.
            Err(error) if last.is_none() || !is_unknown(&error) => last = Some(error),
            Err(_) => {}
        }
    }
    Err(last.unwrap_or_else(|| DeviceError::Usage("there are no registrations".to_owned())))
}

fn is_unknown(error: &DeviceError) -> bool {
    matches!(error, DeviceError::Phone(error) if error.is_problem("not-found"))
}

fn wants_number(claims: &ChallengeClaims) -> bool {
    matches!(claims.verification.mode, VerificationMode::Enter | VerificationMode::Choose)
}

/// Shows the challenge and asks for its number, if there is somebody to ask.
fn ask_number(desk: &Desk, claims: &ChallengeClaims) -> Result<String, DeviceError> {
    if desk.json || !io::stdin().is_terminal() {
        return Err(DeviceError::Usage("this challenge wants a number: --number N".to_owned()));
    }
    let mut out = io::stdout().lock();
    for line in words::question(claims) {
        writeln!(out, "{line}")?;
    }
    write!(out, "{}\nNumber: ", words::task(claims))?;
    out.flush()?;
    let mut number = String::new();
    io::stdin().read_line(&mut number)?;
    Ok(number.trim().to_owned())
}
