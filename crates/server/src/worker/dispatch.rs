//! Sends pushes: leases what is due, hands it to its sender, stores the verdict.
//!
//! One lane per channel, each with its own room for pushes in flight: a channel whose providers are slow keeps no other
//! waiting, and within a lane the senders bound what one slow destination may hold. Woken by the commit that queued a
//! push on this node, and looks once a second by itself: what another node's crash left behind is sent after its lease.
//! At least once: whoever dies between the send and the verdict lets it be sent again, under the same request and
//! collapse ids. No network call inside a transaction, and never a decision here: a sign-in does not depend on this.
//! To add a channel: its sender in `countersign-push`, its entry in [`CHANNELS`].

use std::sync::Arc;

use countersign_core::{
    ports::{
        StoreError,
        notifications::{
            ClaimNotifications, FinishNotification, FinishOutcome, LeasedNotification, NotificationKind,
            NotificationVerdict,
        },
    },
    retry::{self, Failed},
};
use countersign_proto::{
    timestamp::Timestamp,
    vocabulary::{PushChannel, Word as _},
};
use countersign_push::{Outcome, Report};
use tokio::task::JoinSet;

use crate::{http::state::App, shutdown::Stopping};

/// The channels that have senders.
pub const CHANNELS: [PushChannel; 3] = [PushChannel::Apns, PushChannel::Fcm, PushChannel::Webpush];

/// A push leaves within its lease or not at all (protocol 10.1).
const LEASE_SECONDS: i64 = 10;
/// Pushes of one lane in flight.
const ROOM: usize = 1_024;
/// Leased by one statement.
const CLAIM_LIMIT: usize = 256;

/// Sends the pushes of one channel until the server stops; then waits for those in flight, which their leases bound.
pub async fn run(app: Arc<App>, channel: PushChannel, mut stopping: Stopping) {
    let mut queued = app.outbox.queued(channel);
    let mut sending = JoinSet::new();
    loop {
        // Seen before the claim: what is queued after it is news.
        queued.mark_unchanged();
        while sending.len() < ROOM && !stopping.has_begun() {
            let limit = CLAIM_LIMIT.min(ROOM - sending.len());
            match claim(&app, channel, limit).await {
                Ok(leased) => {
                    let is_all = leased.len() < limit;
                    for notification in leased {
                        sending.spawn(deliver(Arc::clone(&app), notification));
                    }
                    if is_all {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(channel = channel.as_str(), %error, "pushes cannot be leased");
                    break;
                }
            }
            while sending.try_join_next().is_some() {}
        }
        let is_full = sending.len() >= ROOM;
        tokio::select! {
            _ = queued.changed(), if !is_full => {}
            () = app.clock.sleep_until(app.now().plus_seconds(1)) => {}
            _ = sending.join_next(), if is_full => {}
            () = stopping.begun() => break,
        }
        while sending.try_join_next().is_some() {}
    }
    while sending.join_next().await.is_some() {}
}

/// Sends everything that is due now on a channel, once; returns how much that was.
///
/// # Errors
/// The store does not answer.
pub async fn round(app: &Arc<App>, channel: PushChannel) -> Result<usize, StoreError> {
    let mut sending = JoinSet::new();
    loop {
        let leased = claim(app, channel, CLAIM_LIMIT).await?;
        if leased.is_empty() {
            break;
        }
        for notification in leased {
            sending.spawn(deliver(Arc::clone(app), notification));
        }
    }
    Ok(sending.join_all().await.len())
}

async fn claim(app: &App, channel: PushChannel, limit: usize) -> Result<Vec<LeasedNotification>, StoreError> {
    let now = app.now();
    let command = ClaimNotifications {
        channel,
        lease: app.new_id(now),
        now,
        lease_seconds: LEASE_SECONDS,
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
    };
    app.store.claim_notifications(command).await
}

/// Sends one push and stores what came of it.
async fn deliver(app: Arc<App>, leased: LeasedNotification) {
    let begun = app.now();
    let report = app.pushing.senders().send(&leased).await;
    let at = app.now();
    measure(&leased, &report, begun, at);
    let verdict = verdict(&app, &leased, report.outcome);
    let id = leased.id;
    match app.store.finish_notification(FinishNotification { leased, verdict, at }).await {
        Ok(FinishOutcome::Stored) => {}
        // The lease ran out: whoever leased it next says what became of it.
        Ok(FinishOutcome::StaleLease) => tracing::debug!(notification.id = %id, "a verdict came after its lease"),
        // Sent again after the lease, under the same ids.
        Err(error) => tracing::warn!(notification.id = %id, %error, "a verdict could not be stored"),
    }
}

fn verdict(app: &App, leased: &LeasedNotification, outcome: Outcome) -> NotificationVerdict {
    match outcome {
        Outcome::Accepted => NotificationVerdict::Delivered,
        Outcome::Retry { after_millis, reason } => {
            let reason = reason.to_string();
            // Counted from when the answer is here: never earlier than the provider asked for.
            let failed = Failed {
                attempts: leased.attempts,
                queued_at: leased.id.made_at(),
                expires_at: leased.expires_at,
                retry_after_millis: after_millis,
            };
            match retry::next_attempt(failed, app.now(), app.entropy.as_ref()) {
                Some(at) => NotificationVerdict::RetryAt(at, reason),
                None => NotificationVerdict::Expired(Some(reason)),
            }
        }
        Outcome::NotTried { after_millis, .. } => NotificationVerdict::PutBack(app.now().plus_millis(after_millis)),
        Outcome::TokenGone(reason) => NotificationVerdict::TokenGone(reason.to_string()),
        Outcome::Undeliverable(reason) => NotificationVerdict::Undeliverable(reason.to_string()),
        Outcome::Rejected(reason) => NotificationVerdict::Rejected(reason.to_string()),
    }
}

/// Whether a provider was asked: what never left is not measured with what did.
fn was_asked(outcome: &Outcome) -> bool {
    let never_left = ["circuit-open", "not-configured", "no-channel"];
    !matches!(outcome, Outcome::NotTried { .. })
        && outcome.reason().is_none_or(|reason| !never_left.contains(&reason.code))
}

fn measure(leased: &LeasedNotification, report: &Report, begun: Timestamp, at: Timestamp) {
    let provider = report.destination.provider();
    let kind = leased.kind.as_str();
    if was_asked(&report.outcome) {
        metrics::counter!("countersign_pushes_sent_total", "provider" => provider, "kind" => kind).increment(1);
        metrics::histogram!("countersign_push_seconds", "provider" => provider).record(at.seconds_since(begun));
    }
    let Some(reason) = report.outcome.reason() else {
        metrics::counter!("countersign_pushes_accepted_total", "provider" => provider, "kind" => kind).increment(1);
        if let (NotificationKind::Challenge, Some(challenge_id)) = (leased.kind, leased.challenge_id) {
            // The id says when the challenge was made, to the millisecond.
            metrics::histogram!("countersign_challenge_step_seconds", "step" => "accepted")
                .record(at.seconds_since(challenge_id.made_at()));
        }
        return;
    };
    metrics::counter!("countersign_pushes_failed_total", "provider" => provider, "reason" => reason.code).increment(1);
}
