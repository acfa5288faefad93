//! `countersign-load push`: challenges through the product's APNs sender, closed loop.
//!
//! So many flows each send the next challenge as soon as the last one has its verdict, which is what the dispatcher
//! does when more is due than it may have in flight. Between it and the wire there is nothing of the measuring but two
//! new ids and a stopwatch. The connection's making is part of the time.
//!
//! The run fails if a single push was not accepted, or if the stand-in has counted another number than we have.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use countersign_push::Senders;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    LoadError,
    notifications::Notifications,
    say,
    stand_in::{Counts, Description},
    statistics::{Tally, rounded},
    system::Stopwatch,
};

/// How much, to whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What `countersign-simulator apns --json` has printed.
    #[arg(long, value_name = "FILE")]
    stand_in: PathBuf,
    /// How many pushes in all.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pushes: u64,
    /// How many at once; the sender takes no more than 1,000.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    in_flight: u16,
    /// To how many devices, in turn.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    devices: u32,
}

pub(crate) async fn run(arguments: Args, json: bool) -> Result<(), LoadError> {
    let stand_in = Description::read(&arguments.stand_in)?;
    let before = stand_in.counts().await?;
    let (senders, notifications) = (stand_in.senders()?, stand_in.notifications(arguments.devices)?);
    let (tally, took) = drive(senders, notifications, arguments.pushes, arguments.in_flight).await;
    let after = stand_in.counts().await?;
    let figures = Figures { tally, took, before, after };
    say(&if json { figures.to_json(&arguments).to_string() } else { figures.to_text(&arguments) })?;
    figures.judge(arguments.pushes)
}

/// Sends `pushes` with `in_flight` at a time.
async fn drive(senders: Senders, notifications: Notifications, pushes: u64, in_flight: u16) -> (Tally, Duration) {
    let shared = Arc::new((senders, notifications, AtomicU64::new(0)));
    let stopwatch = Stopwatch::start();
    let mut flows = JoinSet::new();
    for _ in 0..in_flight {
        let shared = Arc::clone(&shared);
        flows.spawn(async move {
            let (senders, notifications, next) = shared.as_ref();
            flow(senders, notifications, next, pushes).await
        });
    }
    let mut tally = Tally::default();
    while let Some(flow) = flows.join_next().await {
        // A flow that panicked leaves pushes unsent and uncounted: the judgement notices.
        tally.merge(flow.unwrap_or_default());
    }
    (tally, stopwatch.elapsed())
}

/// One flow: the next number, its verdict, the next number.
async fn flow(senders: &Senders, notifications: &Notifications, next: &AtomicU64, pushes: u64) -> Tally {
    let mut tally = Tally::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= pushes {
            return tally;
        }
        let Some(notification) = notifications.challenge(number) else { return tally };
        let stopwatch = Stopwatch::start();
        let report = senders.send(&notification).await;
        match report.outcome.reason() {
            None => tally.succeeded(stopwatch.elapsed()),
            Some(reason) => tally.failed(reason.to_string()),
        }
    }
}

/// What came of a run.
#[derive(Debug)]
struct Figures {
    tally: Tally,
    took: Duration,
    before: Counts,
    after: Counts,
}

impl Figures {
    fn connections(&self) -> u64 {
        self.after.connections.saturating_sub(self.before.connections)
    }

    fn counted_there(&self) -> u64 {
        self.after.accepted.saturating_sub(self.before.accepted)
    }

    fn to_json(&self, arguments: &Args) -> Value {
        json!({
            "pushes": arguments.pushes, "in_flight": arguments.in_flight, "devices": arguments.devices,
            "accepted": self.tally.succeeded_count(), "failures": self.tally.failures(),
            "connections": self.connections(), "seconds": rounded(self.took.as_secs_f64()),
            "accepted_per_second": rounded(self.tally.per_second(self.took)),
            "latency_millis": self.tally.latencies().to_json(),
        })
    }

    fn to_text(&self, arguments: &Args) -> String {
        let latencies = self.tally.latencies();
        format!(
            "{} pushes, {} at a time, to {} devices over {} connection(s): {:.0} accepted per second; \
             latency p50 {:.2?}, p99 {:.2?}, longest {:.2?}",
            self.tally.succeeded_count(),
            arguments.in_flight,
            arguments.devices,
            self.connections(),
            self.tally.per_second(self.took),
            latencies.percentile(50),
            latencies.percentile(99),
            latencies.percentile(100),
        )
    }

    /// Whether the figures may be believed.
    fn judge(&self, pushes: u64) -> Result<(), LoadError> {
        let (accepted, counted) = (self.tally.succeeded_count(), self.counted_there());
        if !self.tally.failures().is_empty() {
            return Err(LoadError::Failed(format!("not accepted: {:?}", self.tally.failures())));
        }
        if (accepted, counted) != (pushes, pushes) {
            return Err(LoadError::Failed(format!("{pushes} to send, {accepted} accepted, {counted} at the stand-in")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
