//! Tells webhooks: leases what is due, sends it, stores what came of it.
//!
//! Woken by the commit that queued a message on this node, and looks once a second by itself: what another node's crash
//! left behind is sent after its lease. At least once: whoever dies between the send and the verdict lets it be sent
//! again, under the same id. Who is served next, and how much of one address and of one organisation is in flight, is in
//! `room`: whoever is slow, dead or a trap keeps nobody else waiting, and no backlog a decision. No network call inside a
//! transaction, and never a decision here: a sign-in does not depend on this.

mod room;

use std::{collections::HashMap, sync::Arc, time::Duration};

use countersign_core::{
    actor::{Actor, Stamp},
    ports::{
        StoreError,
        webhooks::{
            ClaimDeliveries, Content, DeliveryVerdict, DueWebhook, FinishDelivery, Health, LeasedDelivery, Share,
        },
    },
    webhook::{Attempt, DisabledReason, FAILING_SECONDS, Failed, is_urgent, next_attempt, not_tried_until},
};
use countersign_proto::timestamp::Timestamp;
use countersign_push::{WEBHOOK_TIMEOUT, WebhookOutcome};
use tokio::task::{Id, JoinError, JoinSet};

use self::room::{Flight, LISTED, Room, Turn};
use crate::{
    alarm,
    http::state::App,
    shutdown::Stopping,
    telling::{self, Hindrance},
};

/// Longer than a message takes, with time to make it and to store its verdict.
const LEASE_SECONDS: i64 = 25;
/// What is left of a lease for storing the verdict.
const STORING_MILLIS: i64 = 3_000;
/// How long a stop waits for what is in flight.
const STOPPING: Duration = Duration::from_secs(3);
/// Messages to a deleted address that are dropped in one transaction.
const DROPPED: u32 = 500;

/// Tells webhooks until the server stops; then waits a little for what is in flight.
pub async fn run(app: Arc<App>, mut stopping: Stopping) {
    let mut queued = app.outbox.queued_for_webhooks();
    let mut flights = Flights::default();
    loop {
        // Seen before the claim: what is queued after it is news.
        queued.mark_unchanged();
        if !stopping.has_begun()
            && let Err(error) = fill(&app, &mut flights).await
        {
            tracing::warn!(%error, "messages to webhooks cannot be leased");
        }
        tokio::select! {
            _ = queued.changed() => {}
            () = app.clock.sleep_until(app.now().plus_seconds(1)) => {}
            () = flights.until_one_lands(), if !flights.is_empty() => {}
            () = stopping.begun() => break,
        }
        store(&app, flights.landed()).await;
    }
    // What is answered soon is stored; what is not comes back with its lease, under its id.
    let drain = async {
        while !flights.is_empty() {
            flights.until_one_lands().await;
            store(&app, flights.landed()).await;
        }
    };
    let _cut_short = tokio::time::timeout(STOPPING, drain).await;
}

/// Sends everything that is due now, and what becomes due by that; returns how much that was.
///
/// # Errors
/// The store does not answer.
pub async fn round(app: &Arc<App>) -> Result<usize, StoreError> {
    let mut flights = Flights::default();
    let mut sent = 0;
    loop {
        sent += fill(app, &mut flights).await?;
        if flights.is_empty() {
            return Ok(sent);
        }
        flights.until_one_lands().await;
        store(app, flights.landed()).await;
    }
}

/// What is on its way from this node.
#[derive(Default)]
struct Flights {
    tasks: JoinSet<FinishDelivery>,
    by_task: HashMap<Id, Flight>,
    room: Room,
    landed: Vec<FinishDelivery>,
}

impl Flights {
    fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn start(&mut self, app: &Arc<App>, leased: LeasedDelivery, health: Health, turn: &mut Turn) {
        let (webhook_id, tenant_id) = (leased.webhook.id, leased.webhook.tenant_id);
        let flight = Flight { webhook_id, tenant_id, health, is_urgent: somebody_waits_for(&leased) };
        let task = self.tasks.spawn(deliver(Arc::clone(app), leased));
        self.by_task.insert(task.id(), flight);
        self.room.depart(turn, flight);
    }

    /// Waits until a message has landed; with none on its way for ever. May be dropped while it waits.
    async fn until_one_lands(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(joined) => self.land(joined),
            None => std::future::pending().await,
        }
    }

    /// All that have landed by now.
    fn landed(&mut self) -> Vec<FinishDelivery> {
        while let Some(joined) = self.tasks.try_join_next_with_id() {
            self.land(joined);
        }
        std::mem::take(&mut self.landed)
    }

    fn land(&mut self, joined: Result<(Id, FinishDelivery), JoinError>) {
        let task = match joined {
            Ok((task, finished)) => {
                self.landed.push(finished);
                task
            }
            Err(error) => {
                // Its lease brings it back.
                tracing::error!(%error, "a message to a webhook ended in a bug");
                error.id()
            }
        };
        if let Some(flight) = self.by_task.remove(&task) {
            self.room.land(flight);
        }
    }
}

/// Leases and starts as much as there is room for; returns how much that was.
async fn fill(app: &Arc<App>, flights: &mut Flights) -> Result<usize, StoreError> {
    let mut started = 0;
    for health in [Health::Well, Health::Failing] {
        let mut turn = flights.room.begin(health);
        while let Some(after) = flights.room.look(&mut turn) {
            let due = app.store.due_webhooks(app.now(), health, after, LISTED).await?;
            drop_orphans(app, &due).await?;
            let wanted = flights.room.serve(&mut turn, &due);
            if !wanted.is_empty() {
                let leased = claim(app, wanted).await?;
                started += leased.len();
                leased.into_iter().for_each(|leased| flights.start(app, leased, health, &mut turn));
            }
        }
    }
    Ok(started)
}

async fn drop_orphans(app: &App, due: &[DueWebhook]) -> Result<(), StoreError> {
    for due in due.iter().filter(|due| due.tenant_id.is_none()) {
        app.store.drop_webhook_deliveries(due.id, DROPPED).await?;
    }
    Ok(())
}

async fn claim(app: &App, webhooks: Vec<Share>) -> Result<Vec<LeasedDelivery>, StoreError> {
    let now = app.now();
    let command = ClaimDeliveries { lease: app.new_id(now), now, lease_seconds: LEASE_SECONDS, webhooks };
    let mut leased = Vec::new();
    for delivery in app.store.claim_webhook_deliveries(command).await? {
        match delivery {
            Ok(delivery) => leased.push(delivery),
            // It is looked at again after its lease: perhaps by a node that knows what a later version wrote.
            Err(StoreError::Corrupt { table, row, .. }) => alarm::raise(table, &row),
            Err(error) => return Err(error),
        }
    }
    Ok(leased)
}

async fn store(app: &App, finished: Vec<FinishDelivery>) {
    if finished.is_empty() {
        return;
    }
    let count = finished.len();
    if let Err(error) = app.store.finish_webhook_deliveries(finished).await {
        // Sent again after their leases, under the same ids.
        tracing::warn!(count, %error, "what became of messages to webhooks could not be stored");
    }
}

/// What an attempt came to, before it is known what follows.
struct Tried {
    outcome: WebhookOutcome,
    status_code: Option<u16>,
    was_sent: bool,
    next: Next,
}

/// What follows if it did not arrive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Its schedule.
    Schedule,
    /// Nothing: it was not sent, and never will be.
    Nothing,
    /// The same once more: it was not sent for want of something of ours, which is no fault of the address.
    SameAgain,
}

/// Sends one message.
async fn deliver(app: Arc<App>, leased: LeasedDelivery) -> FinishDelivery {
    let begun = app.now();
    let tried = attempt(&app, &leased, begun).await;
    let at = app.now();
    measure(&tried, begun, at);
    let number = leased.attempts.last().map_or(0, |attempt| attempt.number).saturating_add(1);
    let error = match tried.outcome {
        WebhookOutcome::Failed { reason, .. } => Some(reason.to_owned()),
        WebhookOutcome::Gone => Some("gone".to_owned()),
        WebhookOutcome::Delivered => None,
    };
    let duration_millis = at.millis_since(begun);
    let attempt = Attempt { number, at: begun, duration_millis, status_code: tried.status_code, error };
    let verdict = verdict(&app, &leased, &tried, at);
    let disable = disable(&app, &leased, &tried, at);
    FinishDelivery { leased, attempt, verdict, was_sent: tried.was_sent, disable, at }
}

async fn attempt(app: &App, leased: &LeasedDelivery, now: Timestamp) -> Tried {
    let not_sent = |reason, next| {
        let outcome = WebhookOutcome::Failed { retry_after_millis: None, reason, was_asked: false };
        Tried { outcome, status_code: None, was_sent: false, next }
    };
    let message = match telling::prepare(app, leased, now).await {
        Ok(message) => message,
        Err(Hindrance::Passing(reason)) => return not_sent(reason, Next::SameAgain),
        Err(Hindrance::Now(reason)) => return not_sent(reason, Next::Schedule),
        Err(Hindrance::Ever(reason)) => return not_sent(reason, Next::Nothing),
    };
    let left = leased.leased_until.plus_millis(-STORING_MILLIS).millis_since(app.now());
    let limit = Duration::from_millis(left).min(WEBHOOK_TIMEOUT);
    if limit.is_zero() {
        // Too late for this lease: somebody else's turn may have begun.
        return not_sent("lease-over", Next::SameAgain);
    }
    let report = app.webhooks.send(message, limit).await;
    let was_sent = !matches!(report.outcome, WebhookOutcome::Failed { was_asked: false, .. });
    let next = if was_sent { Next::Schedule } else { Next::SameAgain };
    Tried { outcome: report.outcome, status_code: report.status_code, was_sent, next }
}

fn verdict(app: &App, leased: &LeasedDelivery, tried: &Tried, at: Timestamp) -> DeliveryVerdict {
    let retry_after_millis = match (tried.outcome, tried.next) {
        (WebhookOutcome::Delivered, _) => return DeliveryVerdict::Delivered,
        (WebhookOutcome::Gone, _) | (_, Next::Nothing) => return DeliveryVerdict::Failed,
        (_, Next::SameAgain) => return DeliveryVerdict::NotTried(not_tried_until(at, app.entropy.as_ref())),
        (WebhookOutcome::Failed { retry_after_millis, .. }, Next::Schedule) => retry_after_millis,
    };
    let failed = Failed {
        is_urgent: somebody_waits_for(leased),
        tries: leased.tries,
        queued_at: leased.queued_at,
        retry_after_millis,
    };
    let Some(next) = next_attempt(failed, at, app.entropy.as_ref()) else { return DeliveryVerdict::Failed };
    if is_put_off(leased, tried.status_code, retry_after_millis) {
        DeliveryVerdict::NotBefore(next)
    } else {
        DeliveryVerdict::RetryAt(next)
    }
}

fn somebody_waits_for(leased: &LeasedDelivery) -> bool {
    matches!(&leased.content, Content::Event { event, .. } if is_urgent(event.kind))
}

/// Whether the address was well, or answered that it does not want this one now: it is not asked sooner because it takes
/// others.
fn is_put_off(leased: &LeasedDelivery, status_code: Option<u16>, retry_after_millis: Option<i64>) -> bool {
    let refuses = status_code.is_some_and(|code| (400..500).contains(&code));
    refuses || retry_after_millis.is_some() || leased.webhook.failing_since.is_none()
}

/// Whether the address is to be told nothing from now on.
fn disable(app: &App, leased: &LeasedDelivery, tried: &Tried, at: Timestamp) -> Option<(Stamp, DisabledReason)> {
    let has_failed_for_long =
        || leased.webhook.failing_since.is_some_and(|since| at >= since.plus_seconds(FAILING_SECONDS));
    let reason = match tried.outcome {
        WebhookOutcome::Gone => DisabledReason::Gone,
        WebhookOutcome::Failed { .. } if tried.was_sent && has_failed_for_long() => DisabledReason::Failing,
        WebhookOutcome::Delivered | WebhookOutcome::Failed { .. } => return None,
    };
    Some((app.stamp(Actor::System, leased.webhook.tenant_id, "webhooks", at), reason))
}

fn measure(tried: &Tried, begun: Timestamp, at: Timestamp) {
    let outcome = match tried.outcome {
        WebhookOutcome::Delivered => "delivered",
        WebhookOutcome::Gone => "gone",
        WebhookOutcome::Failed { .. } if tried.was_sent => "failed",
        WebhookOutcome::Failed { .. } => "not_sent",
    };
    metrics::counter!("countersign_webhook_attempts_total", "outcome" => outcome).increment(1);
    if tried.was_sent {
        metrics::histogram!("countersign_webhook_seconds").record(at.seconds_since(begun));
    }
}

/// How long the message has been due that has been for longest.
///
/// # Errors
/// The store does not answer.
pub async fn measure_age(app: &App) -> Result<(), StoreError> {
    let now = app.now();
    let due_at = app.store.oldest_due_webhook_delivery(now).await?;
    metrics::gauge!("countersign_webhook_age_seconds").set(due_at.map_or(0.0, |due_at| now.seconds_since(due_at)));
    Ok(())
}
