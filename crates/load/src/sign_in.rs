//! `countersign-load sign-in`: complete sign-ins, closed loop, or open loop with `--rate`.
//!
//! Closed: so many flows, each begins the next sign-in when the last one has ended. Open: sign-ins begin at given times
//! whether or not the server keeps up, and their latency counts from then, also while they wait for a free flow: no
//! slow answer keeps later ones from being counted (coordinated omission).
//!
//! The organisation's default policy holds: the person types six digits. No push is registered, so none is sent. The
//! run fails at the first answer that is not the expected one, and afterwards if one result does not verify.

mod figures;
pub(crate) mod flow;
mod pace;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use countersign_simulator::process::{Process, Usage};
use tokio::task::JoinSet;

use self::{
    figures::Figures,
    flow::{Flow, Sample, SignedIn},
    pace::{Arrivals, End, Pace},
};
use crate::{
    LoadError,
    device::Device,
    population,
    reply::Failure,
    results::{self, Kept},
    say,
    system::pause_until,
    target::{Server, Target},
};

/// How much, how fast, for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: Server,
    /// Sign-ins that may be going on at once; each flow has two connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=9_000))]
    flows: u16,
    /// Users with a device each, enrolled before; at least as many as flows.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    users: u32,
    /// Stop after so many that count.
    #[arg(long, conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    sign_ins: Option<u64>,
    /// Count for so long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// What ends in the first seconds does not count.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up: u64,
    /// Open loop: so many begin in a second.
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// When they begin.
    #[arg(long, value_enum, default_value_t = Arrivals::Fixed, requires = "rate")]
    arrivals: Arrivals,
    /// What the random times of `--arrivals poisson` come from.
    #[arg(long, default_value_t = 1, requires = "rate")]
    seed: u64,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=100_000.0).contains(&rate) { Ok(rate) } else { Err("must be 0.1 to 100000".to_owned()) }
}

impl Args {
    fn end(&self) -> End {
        match self.sign_ins {
            Some(sign_ins) => End::Count(sign_ins),
            None => End::After(Duration::from_secs(self.seconds)),
        }
    }

    fn pace(&self) -> Pace {
        let warm_up = Duration::from_secs(self.warm_up);
        match self.rate {
            Some(rate) => Pace::open(rate, self.arrivals, self.seed, warm_up, self.end()),
            None => Pace::Closed { warm_up, end: self.end() },
        }
    }
}

pub(crate) async fn run(arguments: Args, json: bool) -> Result<(), LoadError> {
    if arguments.users < u32::from(arguments.flows) {
        return Err(LoadError::Failed("there must be at least as many users as flows".to_owned()));
    }
    let target = Arc::new(Target::find(&arguments.server).await?);
    let devices = population::enroll(&target, usize::try_from(arguments.users).unwrap_or(usize::MAX)).await?;
    let load = Load::new(target, devices, arguments.pace(), usize::from(arguments.flows));
    let mut figures = drive(&load, arguments.server.pid.map(Process::Id)).await?;
    let keys = load.target.keys().await?;
    let kept = std::mem::take(&mut figures.kept);
    figures.verified = results::verify(&load.target.issuer, &keys, &load.devices, &kept)?;
    say(&if json { figures.to_json(&arguments).to_string() } else { figures.to_text(&arguments) })?;
    figures.judge()
}

/// What the flows share.
#[derive(Debug)]
struct Load {
    target: Arc<Target>,
    devices: Vec<Device>,
    flows: usize,
    pace: Pace,
    /// When the load began, from the run's beginning.
    start: Duration,
    next: AtomicU64,
    counted: AtomicU64,
    has_failed: AtomicBool,
}

/// What came of one flow, or of all.
#[derive(Debug, Default)]
struct Outcome {
    samples: Vec<Sample>,
    kept: Vec<Kept>,
    /// When the last one that counts had ended, from the load's beginning.
    last: Duration,
    failures: Vec<Failure>,
}

impl Load {
    fn new(target: Arc<Target>, devices: Vec<Device>, pace: Pace, flows: usize) -> Arc<Self> {
        let start = target.began.elapsed();
        let (next, counted, has_failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { target, devices, flows, pace, start, next, counted, has_failed })
    }

    /// When the next sign-in should begin, from the load's beginning; `None` when there are no more.
    async fn next(&self) -> Option<(u64, Duration)> {
        if self.has_failed.load(Ordering::Relaxed) {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let now = self.target.began.elapsed().saturating_sub(self.start);
        let intended = self.pace.intended(number, now, self.counted.load(Ordering::Relaxed))?;
        if intended > now {
            pause_until(self.target.began, self.start.saturating_add(intended)).await;
        }
        Some((number, intended))
    }

    /// One flow: the next sign-in, its end, the next sign-in.
    async fn flow(&self, flow: usize) -> Outcome {
        let mut outcome = Outcome::default();
        let mut connections = match Flow::open(&self.target).await {
            Ok(connections) => connections,
            Err(failure) => return self.fail(outcome, failure),
        };
        let mut round = 0;
        while let Some((number, intended)) = self.next().await {
            // In a closed loop each flow has users of its own, so that nobody signs in twice at once.
            let index =
                if matches!(self.pace, Pace::Closed { .. }) { flow + round * self.flows } else { as_index(number) };
            let index = index % self.devices.len().max(1);
            round += 1;
            let Some(device) = self.devices.get(index) else { break };
            match connections.sign_in(&self.target, device, self.start.saturating_add(intended)).await {
                Ok(signed_in) => self.note(&mut outcome, index, intended, signed_in),
                Err(failure) => return self.fail(outcome, failure),
            }
        }
        outcome
    }

    fn note(&self, outcome: &mut Outcome, device: usize, intended: Duration, signed_in: SignedIn) {
        let SignedIn { sample, finished, id, body } = signed_in;
        let finished = finished.saturating_sub(self.start);
        // Also what does not count must be true.
        outcome.kept.push(Kept { id, device, body });
        if self.pace.counts(intended, finished, &self.counted) {
            outcome.samples.push(sample);
            outcome.last = outcome.last.max(finished);
        }
    }

    fn fail(&self, mut outcome: Outcome, failure: Failure) -> Outcome {
        self.has_failed.store(true, Ordering::Relaxed);
        outcome.failures.push(failure);
        outcome
    }
}

fn as_index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Runs all flows to their end.
async fn drive(load: &Arc<Load>, server: Option<Process>) -> Result<Figures, LoadError> {
    let mut flows = JoinSet::new();
    for flow in 0..load.flows {
        let load = Arc::clone(load);
        flows.spawn(async move { load.flow(flow).await });
    }
    pause_until(load.target.began, load.start.saturating_add(load.pace.warm_up())).await;
    let usage = || (server.and_then(Usage::of), Usage::of(Process::Own));
    let before = usage();
    let mut all = Outcome::default();
    while let Some(flow) = flows.join_next().await {
        let mut flow = flow.map_err(|error| LoadError::Failed(error.to_string()))?;
        all.samples.append(&mut flow.samples);
        all.kept.append(&mut flow.kept);
        all.failures.append(&mut flow.failures);
        all.last = all.last.max(flow.last);
    }
    if let Some(failure) = all.failures.first() {
        return Err(LoadError::Failed(format!("a sign-in failed: {failure}")));
    }
    Ok(Figures {
        took: load.pace.window(all.last),
        samples: all.samples,
        kept: all.kept,
        before,
        after: usage(),
        verified: 0,
    })
}

#[cfg(test)]
mod tests;
