//! Chapter: a sign-in is asked for, shown, approved, and heard of (protocol 5.2, 6, 7).

use countersign_proto::{
    api::challenges::Challenge,
    ids::ChallengeId,
    timestamp::Timestamp,
    vocabulary::{ChallengeStatus, Word as _},
};
use countersign_simulator::{
    Phone,
    phone::{PendingSet, VerifiedChallenge},
};
use tokio::task::JoinHandle;

use super::{
    DemoError,
    identity_provider::{CallError, IdentityProvider},
    story::Story,
};
use crate::{
    cli::device::words,
    clock::{Clock as _, SystemClock},
};

/// Generous on a loaded machine; the protocol promises 100 ms on one node.
const MAX_WAKE_MILLIS: u64 = 2_000;
/// How long Ada takes, so that a call that is held can be told from one that is not.
const PAUSE_MILLIS: i64 = 400;

/// A call that the server holds, and when it began.
pub(super) struct Held {
    call: JoinHandle<Result<Challenge, CallError>>,
    began_at: Timestamp,
}

impl Held {
    /// The page begins to wait for the end of a challenge.
    pub(super) fn begin(page: &IdentityProvider, id: ChallengeId) -> Self {
        let page = page.clone();
        Self { call: tokio::spawn(async move { page.wait(id).await }), began_at: SystemClock.now() }
    }

    /// Lets Ada take her time, then tells that the call is still held.
    pub(super) async fn is_held(&self, story: &mut Story) -> Result<(), DemoError> {
        pause().await;
        let millis = SystemClock.now().millis_since(self.began_at);
        let is_waiting = !self.call.is_finished();
        story.check(is_waiting, &format!("the page's call has been held for {millis} ms"), "it has returned")
    }

    /// The call returns with this end of the challenge, soon after it was decided, which is now.
    pub(super) async fn ends(self, story: &mut Story, status: ChallengeStatus) -> Result<Challenge, DemoError> {
        let decided_at = SystemClock.now();
        let challenge = self.call.await??;
        let millis = SystemClock.now().millis_since(decided_at);
        let reason = challenge.reason.map(|reason| format!(" ({})", reason.as_str())).unwrap_or_default();
        story.check(
            challenge.status == status && millis < MAX_WAKE_MILLIS,
            &format!("the page's call returns {} later: {}{reason}", in_words(millis), status.as_str()),
            format!("{} after {millis} ms", challenge.status.as_str()),
        )?;
        Ok(challenge)
    }
}

/// Asks, shows, approves; returns the ended challenge as the waiting call told it.
pub(super) async fn tell(story: &mut Story, page: &IdentityProvider, phone: &Phone) -> Result<Challenge, DemoError> {
    story.step("Ada signs in. The page asks the server, shows her a number, and waits: one call, held open.")?;
    let (id, number, pending) = ask(story, page, phone).await?;
    let held = Held::begin(page, id);
    let challenge = show_pulled(story, phone, pending).await?;

    story.step(&format!(
        "Ada reads {number} on the page and types it. The phone signs \"approve\" over what it showed."
    ))?;
    held.is_held(story).await?;
    let recorded = phone.approve(&challenge, Some(&number), None).await?;
    let is_approved = recorded.status == ChallengeStatus::Approved;
    story.check(is_approved, "the server recorded it: approved", recorded.status.as_str())?;
    let approved = held.ends(story, ChallengeStatus::Approved).await?;
    let device = approved.device.as_ref().map(|device| device.id);
    let amr = approved.amr.clone().unwrap_or_default().join(", ");
    story.check(
        device == Some(phone.id()) && approved.decided_at.is_some(),
        &format!("it says by which device, and how (amr: {amr})"),
        "another device",
    )?;
    Ok(approved)
}

/// The page asks while the phone waits, so that the phone hears of it without any push service.
async fn ask(
    story: &mut Story,
    page: &IdentityProvider,
    phone: &Phone,
) -> Result<(ChallengeId, String, PendingSet), DemoError> {
    let waiting_phone = phone.clone();
    let waiting = tokio::spawn(async move { waiting_phone.pending(50, None).await });
    pause().await;
    story.check(!waiting.is_finished(), "the phone is waiting too: a call that the server holds", "it has returned")?;
    let created = page.ask("Lisbon", "203.0.113.7").await?;
    let created_at = SystemClock.now();
    let number = created.number.clone().unwrap_or_default();
    let is_asked = created.challenge.status == ChallengeStatus::Pending && number.len() == 6;
    story.check(is_asked, &format!("the server signed a question; the page shows {number}"), "no number")?;
    let pending = waiting.await??;
    let millis = SystemClock.now().millis_since(created_at);
    let pending = pending.unwrap_or(PendingSet { challenges: Vec::new(), etag: None });
    let has_arrived = pending.challenges.iter().any(|waiting| waiting.id == created.challenge.id);
    story.check(
        has_arrived && millis < MAX_WAKE_MILLIS,
        &format!("the phone's call returns {} later with it: no push service needed", in_words(millis)),
        format!("{} others after {millis} ms", pending.challenges.len()),
    )?;
    Ok((created.challenge.id, number, pending))
}

async fn show_pulled(story: &mut Story, phone: &Phone, pending: PendingSet) -> Result<VerifiedChallenge, DemoError> {
    story.step("The phone verifies the server's signature, and shows only what is signed:")?;
    let challenge = verify(phone, pending).await?;
    show(story, phone, &challenge)?;
    Ok(challenge)
}

/// Tells what a phone shows of a verified challenge.
pub(super) fn show(story: &mut Story, phone: &Phone, challenge: &VerifiedChallenge) -> Result<(), DemoError> {
    let claims = challenge.claims();
    let mut screen = words::question(claims);
    screen.push(words::task(claims));
    screen.push(words::deadline(claims, SystemClock.now()));
    story.screen(&screen)?;
    let is_for_us = claims.aud.contains(&phone.id().to_string()) && claims.iss == phone.registration().issuer;
    story.check(is_for_us, "signed by its server, for this device and Ada, and not expired", "for somebody else")?;
    let is_secret = claims.verification.choices.is_none() && claims.verification.digits == Some(6);
    story.check(is_secret, "the number is not in it: only the page knows it", "choices")
}

/// The newest waiting challenge, verified.
pub(super) async fn verify(phone: &Phone, pending: PendingSet) -> Result<VerifiedChallenge, DemoError> {
    let newest = pending.challenges.last().ok_or_else(|| DemoError::Deviation {
        expected: "a challenge waits on the phone".to_owned(),
        saw: "none".to_owned(),
    })?;
    Ok(phone.verify(newest).await?)
}

async fn pause() {
    SystemClock.sleep_until(SystemClock.now().plus_millis(PAUSE_MILLIS)).await;
}

fn in_words(millis: u64) -> String {
    if millis == 0 { "less than 1 ms".to_owned() } else { format!("{millis} ms") }
}
