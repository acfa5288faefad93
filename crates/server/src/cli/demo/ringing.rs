//! Chapter: two phones ring, one answers, the other's alert goes away (protocol 8).

use std::time::Duration;

use countersign_proto::vocabulary::{ChallengeStatus, Platform, PushChannel, Word as _};
use countersign_simulator::{
    Phone,
    phone::{EnrollOptions, Inbox, Notification},
};

use super::{DemoError, approval::Held, identity_provider::IdentityProvider, providers::Providers, story::Story};
use crate::{
    cli::device::surroundings,
    clock::{Clock as _, SystemClock},
};

/// Generous on a loaded machine; mostly it is a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Rings both of Ada's phones.
pub(super) async fn tell(
    story: &mut Story,
    page: &IdentityProvider,
    providers: &Providers,
    iphone: (&Phone, &mut Inbox),
) -> Result<(), DemoError> {
    let (phone, inbox) = iphone;
    let (android, mut android_inbox) = second_phone(story, page, providers, inbox).await?;
    let location = "Porto";
    story.step("Ada signs in, and holds no app open: both phones ring, one by APNs, one by FCM.")?;
    let created = page.ask(location, "203.0.113.7").await?;
    let asked_at = SystemClock.now();
    let held = Held::begin(page, created.challenge.id);
    for (inbox, provider) in [(&mut *inbox, "APNs"), (&mut android_inbox, "FCM")] {
        let push = ring(inbox, "challenge", provider).await?;
        let millis = SystemClock.now().millis_since(asked_at);
        let is_ours = push.challenge_id == Some(created.challenge.id);
        story.check(is_ours, &format!("{provider}'s stand-in took a push {millis} ms after the question"), &push)?;
        let payload = push.payload.to_string();
        let number = created.number.as_deref().unwrap_or_default();
        // Quoted, because random ids are hexadecimal, and so is Ada.
        let says_nothing = ["\"ada\"", "Ada", location, number].iter().all(|secret| !payload.contains(secret));
        story.check(says_nothing, "it says where to look: no name, no place, no number", payload)?;
    }

    story.step("Ada takes the Android phone. It pulls the question, verifies it, and she answers.")?;
    let challenge = android.pull(&ringing(&android_inbox)?).await?;
    let recorded = android.approve(&challenge, created.number.as_deref(), None).await?;
    let is_approved = recorded.status == ChallengeStatus::Approved;
    story.check(is_approved, "the server recorded it: approved", recorded.status.as_str())?;
    held.ends(story, ChallengeStatus::Approved).await?;
    let push = ring(inbox, "withdrawn", "APNs").await?;
    let is_gone = push.challenge_id == Some(created.challenge.id)
        && inbox.shown().iter().all(|shown| shown.challenge_id != push.challenge_id);
    story.check(is_gone, "the iPhone's alert is taken back: there is nothing left to answer", &push)?;
    let waiting = phone.pending(0, None).await?.map_or(0, |set| set.challenges.len());
    story.check(waiting == 0, "and nothing waits on it", waiting)?;

    story.step("Ada gives the Android phone away. Before that, it leaves.")?;
    android.deregister(None).await?;
    ring(inbox, "notice", "APNs").await?;
    story.check(true, "the iPhone is told that a device has gone", "")
}

/// Enrolls an Android phone; the iPhone is told.
async fn second_phone(
    story: &mut Story,
    page: &IdentityProvider,
    providers: &Providers,
    iphone: &mut Inbox,
) -> Result<(Phone, Inbox), DemoError> {
    story.step("Ada enrolls a second phone, which gets its pushes from Google.")?;
    let inbox = providers.android().await?;
    let invitation = page.invite().await?;
    let mut options = EnrollOptions { push: inbox.binding(), ..EnrollOptions::named("Ada's Android") };
    options.device.platform = Platform::Android;
    let phone = Phone::enroll(&invitation.enrollment_uri, options, surroundings()).await?;
    let code = phone.registration().confirmation_code.clone().unwrap_or_default();
    page.confirm(invitation.enrollment.id, &code).await?;
    let own = phone.fetch_self().await?;
    let is_fcm = own.device.push.channel == PushChannel::Fcm;
    story.check(is_fcm, "it is active, and can be rung", own.device.push.channel.as_str())?;
    ring(iphone, "notice", "APNs").await?;
    story.check(true, "the first phone rings: a device was added, and it may say \"that was not me\"", "")?;
    Ok((phone, inbox))
}

async fn ring(inbox: &mut Inbox, kind: &str, provider: &str) -> Result<Notification, DemoError> {
    let push = inbox.next_of_kind(kind, PATIENCE).await?;
    push.ok_or_else(|| DemoError::Deviation {
        expected: format!("a push ({kind}) at {provider}'s stand-in"),
        saw: "none".to_owned(),
    })
}

/// What the phone's screen shows.
fn ringing(inbox: &Inbox) -> Result<Notification, DemoError> {
    let shown = inbox.shown().iter().rev().find(|shown| shown.kind == "challenge");
    shown.cloned().ok_or_else(|| DemoError::Deviation {
        expected: "the phone shows an alert".to_owned(),
        saw: "an empty screen".to_owned(),
    })
}
