//! The demo at a deployment: an operator's desk at its database, a sign-in page and phones at its public URL, the phones
//! rung by stand-ins of the push providers. What a compose file or a test of an installation ends in.
//!
//! It leaves no key and no device behind when it ends well: the API client is revoked and the phones leave; the tenant
//! stays, with its events. It must never touch another tenant.

use std::{str::FromStr, time::Duration};

use countersign_proto::{
    ids::ApiClientId,
    vocabulary::{ChallengeStatus, DeviceStatus, PushChannel, Word as _},
};
use countersign_simulator::{
    Phone,
    phone::{EnrollOptions, Inbox, platform_of},
};

use super::{
    DemoError,
    approval::{Held, show},
    identity_provider::IdentityProvider,
    proof,
    story::Story,
};
use crate::{
    cli::{Context, Desk, api_client, device::surroundings, tenant},
    clock::{Clock as _, SystemClock},
};

const TENANT: &str = "demo";
const TENANT_NAME: &str = "Demonstration";
const SCOPES: &str = "enrollments,challenges";
/// A stand-in is asked at once; a dispatcher on another node looks once a second.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks at a server that is not ready.
const PAUSE_MILLIS: i64 = 200;

/// A phone, by what rings it.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    channel: PushChannel,
    control_url: String,
}

impl FromStr for Ring {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(channel, url)| Some((channel.parse().ok()?, url)));
        match parts {
            Some((channel, url)) if channel != PushChannel::None => Ok(Self { channel, control_url: url.to_owned() }),
            _ => Err("it must be apns=URL, fcm=URL or webpush=URL".to_owned()),
        }
    }
}

/// A phone that can be rung.
struct Ringing {
    phone: Phone,
    inbox: Inbox,
    channel: PushChannel,
}

/// Tells it, then tidies up, also if it did not end well.
pub(super) async fn tell(
    story: &mut Story,
    context: &Context,
    rings: &[Ring],
    wait_seconds: u16,
) -> Result<(), DemoError> {
    let issuer = context.settings.issuer();
    story.title("countersign: one approval through this deployment", &issuer)?;
    is_ready(story, &issuer, wait_seconds).await?;
    let (page, id) = sign_in_page(story, context, &issuer).await?;
    let mut outcome = sign_in(story, &page, rings).await;
    let revoked = revoke(context, id).await;
    if outcome.is_ok() {
        outcome = revoked;
    }
    outcome?;
    Ok(story.end()?)
}

/// Waits until the public URL leads to a server that is ready.
async fn is_ready(story: &mut Story, issuer: &str, wait_seconds: u16) -> Result<(), DemoError> {
    story.step("The deployment is asked through its public URL, as everybody asks it.")?;
    let page = IdentityProvider::new(issuer, String::new())?;
    let gives_up_at = SystemClock.now().plus_seconds(i64::from(wait_seconds));
    loop {
        let saw = match page.is_ready().await {
            Ok(true) => return story.check(true, "it is ready", ""),
            Ok(false) => "it is not ready".to_owned(),
            Err(error) => error.to_string(),
        };
        if SystemClock.now() >= gives_up_at {
            return story.check(false, "it is ready", saw);
        }
        SystemClock.sleep_until(SystemClock.now().plus_millis(PAUSE_MILLIS)).await;
    }
}

async fn sign_in_page(
    story: &mut Story,
    context: &Context,
    issuer: &str,
) -> Result<(IdentityProvider, ApiClientId), DemoError> {
    story.step("An operator makes a tenant at the database, unless it is there, and a key for its sign-in page.")?;
    let desk = Desk::open(context).await?;
    if desk.store.tenant_by_slug(TENANT).await.map_err(crate::cli::CliError::from)?.is_none() {
        tenant::make(&desk, TENANT, Some(TENANT_NAME)).await?;
    }
    // Should revoking it at the end fail, it is good for one day.
    let created = api_client::create(&desk, "demo", SCOPES, TENANT, Some(1)).await?;
    desk.close().await;
    story.check(true, &format!("tenant {TENANT}, API client {}", created.id), "")?;
    Ok((IdentityProvider::new(issuer, created.key.reveal().to_owned())?.with_id(created.id), created.id))
}

async fn revoke(context: &Context, id: ApiClientId) -> Result<(), DemoError> {
    let desk = Desk::open(context).await?;
    let outcome = api_client::end(&desk, id, TENANT).await;
    desk.close().await;
    Ok(outcome?)
}

async fn sign_in(story: &mut Story, page: &IdentityProvider, rings: &[Ring]) -> Result<(), DemoError> {
    story
        .step("Ada enrolls her phones: each scans an invitation, makes a key, and shows a code that she types back.")?;
    let mut phones = Vec::with_capacity(rings.len());
    for ring in rings {
        phones.push(enroll(story, page, ring).await?);
    }
    let Some((first, others)) = phones.split_first_mut() else {
        return story.check(false, "there is a phone to ring", "no --ring was given");
    };

    story.step("Ada signs in. The page asks, shows her a number, and waits; each phone is rung.")?;
    let created = page.ask("Lisbon", "203.0.113.7").await?;
    let asked_at = SystemClock.now();
    let number = created.number.clone().unwrap_or_default();
    let held = Held::begin(page, created.challenge.id);
    story.check(
        number.len() == 6,
        &format!("challenge {}: the page shows {number}", created.challenge.id),
        "no number",
    )?;
    let push = ring(first, "challenge").await?;
    tell_rung(story, first.channel, SystemClock.now().millis_since(asked_at))?;
    for other in others.iter_mut() {
        ring(other, "challenge").await?;
        tell_rung(story, other.channel, SystemClock.now().millis_since(asked_at))?;
    }

    story.step(
        "She takes one. It pulls the question, verifies the server's signature, and shows only what is signed:",
    )?;
    let challenge = first.phone.pull(&push).await?;
    show(story, &first.phone, &challenge)?;
    story.step(&format!("Ada types {number}, and the phone signs \"approve\"."))?;
    let recorded = first.phone.approve(&challenge, Some(&number), None).await?;
    story.check(recorded.status == ChallengeStatus::Approved, "recorded: approved", recorded.status.as_str())?;
    let approved = held.ends(story, ChallengeStatus::Approved).await?;
    let folder = tempfile::Builder::new().prefix("countersign-demo-").tempdir()?;
    proof::keep(story, page, &approved, folder.path()).await?.verify(story, &first.phone)?;

    story.step("The phones leave.")?;
    for Ringing { phone, .. } in &phones {
        let left = phone.deregister(None).await?;
        story.check(
            left.status == DeviceStatus::Revoked,
            &format!("device {} has left", left.device_id),
            "it stays",
        )?;
    }
    Ok(())
}

async fn enroll(story: &mut Story, page: &IdentityProvider, ring: &Ring) -> Result<Ringing, DemoError> {
    let Ring { channel, control_url } = ring;
    let name = format!("Ada's phone ({})", channel.as_str());
    let inbox = Inbox::open(*channel, control_url).await?;
    let invitation = page.invite().await?;
    let mut options = EnrollOptions { push: inbox.binding(), ..EnrollOptions::named(&name) };
    options.device.platform = platform_of(*channel);
    let phone = Phone::enroll(&invitation.enrollment_uri, options, surroundings()).await?;
    let code = phone.registration().confirmation_code.clone().unwrap_or_default();
    page.confirm(invitation.enrollment.id, &code).await?;
    let own = phone.fetch_self().await?.device;
    let is_active = own.status == DeviceStatus::Active && own.push.channel == *channel;
    story.check(is_active, &format!("{name} is active: device {}", phone.id()), own.status.as_str())?;
    Ok(Ringing { phone, inbox, channel: *channel })
}

async fn ring(ringing: &mut Ringing, kind: &str) -> Result<countersign_simulator::phone::Notification, DemoError> {
    let Ringing { inbox, channel, .. } = ringing;
    let push = inbox.next_of_kind(kind, PATIENCE).await?;
    push.ok_or_else(|| DemoError::Deviation {
        expected: format!("a push ({kind}) at the stand-in of {}", channel.as_str()),
        saw: "none".to_owned(),
    })
}

fn tell_rung(story: &mut Story, channel: PushChannel, millis: u64) -> Result<(), DemoError> {
    story.check(true, &format!("rung by {} {millis} ms after the question", channel.as_str()), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_a_channel_and_where_its_stand_in_is() {
        let ring: Ring = "fcm=http://fcm:8081".parse().unwrap();
        assert_eq!((ring.channel, ring.control_url.as_str()), (PushChannel::Fcm, "http://fcm:8081"));
        for wrong in ["", "fcm", "none=http://a:1", "sms=http://a:1"] {
            assert!(wrong.parse::<Ring>().is_err(), "{wrong}");
        }
    }
}
