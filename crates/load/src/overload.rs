//! `countersign-load overload`: more than the server can do, on purpose.
//!
//! First a few sign-ins one after another say what is normal. Then more flows than the server's queue holds sign in at
//! once, each patient: a 503 with `Retry-After` is answered by asking the same again a quarter of a second later, which
//! is sooner than it asks for. Then nobody asks anything new, and while what was asked is still being answered, sign-ins
//! one after another say when it is normal again.
//!
//! What is measured: how long a 503 took, what was still signed in, how long until normal. The run fails at any other
//! answer: a connection that breaks, a 503 that does not say when to come back, an error.

use std::{sync::Arc, time::Duration};

use countersign_simulator::process::{Process, Usage};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    LoadError,
    device::Device,
    population,
    reply::{Created, Failure, Pending, Standing, expect},
    results::{self, Kept},
    say,
    sign_in::flow::Flow,
    statistics::{Latencies, rounded},
    system::pause_until,
    target::{MAX_WAIT, Server, Target},
    wire::Connection,
};

/// How much too much, for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: Server,
    /// Sign-ins at once: more than wait in the server's queue, which has 4,096 places. Each has a connection.
    #[arg(long, default_value_t = 8_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    flows: u32,
    /// For so long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

/// Sign-ins one after another that say what is normal.
const PROBES: usize = 50;
/// So many of them in a row must be as fast as before, or nearly.
const IN_A_ROW: usize = 20;
/// Between them.
const PROBE_GAP: Duration = Duration::from_millis(20);
/// Nearly: within this, or five times the median before.
const NORMAL: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_millis(250);
const GIVE_UP: Duration = Duration::from_secs(60);

/// What one flow saw.
#[derive(Debug, Default)]
struct Seen {
    /// How long each 503 took.
    shed: Vec<Duration>,
    /// How long each sign-in took, all its repetitions included.
    signed_in: Vec<Duration>,
    longest_retry_after: Duration,
    kept: Vec<Kept>,
}

pub(crate) async fn run(arguments: Args, json: bool) -> Result<(), LoadError> {
    let failed = |failure: Failure| LoadError::Failed(failure.to_string());
    let target = Arc::new(Target::find(&arguments.server).await?);
    let flows = usize::try_from(arguments.flows).unwrap_or(usize::MAX);
    let devices = Arc::new(population::enroll(&target, flows + 1).await?);
    let usage = || arguments.server.pid.map(Process::Id).and_then(Usage::of);

    let (before, mut kept) = probe(&target, &devices, flows).await.map_err(failed)?;
    let normal = (before.percentile(50) * 5).max(NORMAL);
    let until = target.began.elapsed() + Duration::from_secs(arguments.seconds);
    let overloading = {
        let (target, devices) = (Arc::clone(&target), Arc::clone(&devices));
        tokio::spawn(async move { overload(&target, &devices, flows, until).await })
    };
    pause_until(target.began, until).await;
    // From here on nobody asks anything new; what was asked before is still being answered.
    let normal_again = until_normal(&target, &devices, flows, normal, &mut kept).await?.saturating_sub(until);
    let seen = overloading.await.map_err(|error| LoadError::Failed(error.to_string()))?.map_err(failed)?;
    let peak = usage();

    kept.extend(seen.kept);
    let verified = results::verify(&target.issuer, &target.keys().await?, &devices, &kept)?;
    let figures = Figures {
        before,
        shed: seen.shed.into_iter().collect(),
        signed_in: seen.signed_in.into_iter().collect(),
        longest_retry_after: seen.longest_retry_after,
        normal_again,
        peak,
        verified,
    };
    say(&if json { figures.to_json(&arguments).to_string() } else { figures.to_text(&arguments) })?;
    if figures.shed.is_empty() {
        return Err(LoadError::Failed("nothing was shed: that was no overload".to_owned()));
    }
    Ok(())
}

/// Some sign-ins one after another, by the device of this number.
async fn probe(target: &Target, devices: &[Device], device: usize) -> Result<(Latencies, Vec<Kept>), Failure> {
    let mut flow = Flow::open(target).await?;
    let (mut took, mut kept) = (Vec::new(), Vec::new());
    let user = devices.get(device).ok_or_else(|| Failure::Wrong("no device".to_owned()))?;
    for _ in 0..PROBES {
        let now = target.began.elapsed();
        let signed_in = flow.sign_in(target, user, now).await?;
        took.push(signed_in.sample.whole);
        kept.push(Kept { id: signed_in.id, device, body: signed_in.body });
        pause_until(target.began, now + PROBE_GAP).await;
    }
    Ok((took.into_iter().collect(), kept))
}

/// When the first of so many normal sign-ins in a row began, from the run's beginning.
async fn until_normal(
    target: &Target,
    devices: &[Device],
    device: usize,
    normal: Duration,
    kept: &mut Vec<Kept>,
) -> Result<Duration, LoadError> {
    let user = devices.get(device).ok_or_else(|| LoadError::Failed("no device".to_owned()))?;
    let give_up = target.began.elapsed() + GIVE_UP;
    let (mut flow, mut first, mut in_a_row) = (None, Duration::ZERO, 0);
    loop {
        let now = target.began.elapsed();
        if now > give_up {
            return Err(LoadError::Failed(format!("not normal {GIVE_UP:?} after the overload")));
        }
        let mut connections = match flow.take() {
            Some(connections) => connections,
            None => Flow::open(target).await.map_err(|failure| LoadError::Failed(failure.to_string()))?,
        };
        match connections.sign_in(target, user, now).await {
            Ok(signed_in) => {
                in_a_row = if signed_in.sample.whole <= normal { in_a_row + 1 } else { 0 };
                kept.push(Kept { id: signed_in.id, device, body: signed_in.body });
                flow = Some(connections);
            }
            Err(Failure::Shed { .. }) => in_a_row = 0,
            Err(failure) => return Err(LoadError::Failed(format!("after the overload: {failure}"))),
        }
        match in_a_row {
            // Counted from its beginning.
            0 | 1 => first = now,
            IN_A_ROW => return Ok(first),
            _ => {}
        }
        pause_until(target.began, now + PROBE_GAP).await;
    }
}

async fn overload(
    target: &Arc<Target>,
    devices: &Arc<Vec<Device>>,
    flows: usize,
    until: Duration,
) -> Result<Seen, Failure> {
    let mut running = JoinSet::new();
    for flow in 0..flows {
        let (target, devices) = (Arc::clone(target), Arc::clone(devices));
        running.spawn(async move {
            let mut seen = Seen::default();
            let Some(device) = devices.get(flow) else { return Ok::<_, Failure>(seen) };
            let mut patient = Patient::open(&target, until).await?;
            while target.began.elapsed() < until {
                let begun = target.began.elapsed();
                let Some(kept) = patient.sign_in(device, flow, &mut seen).await? else { break };
                // What ends after the overload is verified, but was not done in its time.
                let ended = target.began.elapsed();
                if ended <= until {
                    seen.signed_in.push(ended.saturating_sub(begun));
                }
                seen.kept.push(kept);
            }
            Ok(seen)
        });
    }
    let mut all = Seen::default();
    while let Some(seen) = running.join_next().await {
        let mut seen = seen.map_err(|error| Failure::Wrong(error.to_string()))??;
        all.shed.append(&mut seen.shed);
        all.signed_in.append(&mut seen.signed_in);
        all.kept.append(&mut seen.kept);
        all.longest_retry_after = all.longest_retry_after.max(seen.longest_retry_after);
    }
    Ok(all)
}

/// Signs in on one connection, and asks again as long as it is told to come back later.
struct Patient<'a> {
    target: &'a Target,
    connection: Connection,
    request: String,
    until: Duration,
}

impl<'a> Patient<'a> {
    async fn open(target: &'a Target, until: Duration) -> Result<Self, Failure> {
        let connection = Connection::open(target.callers).await;
        let connection = connection.map_err(|error| Failure::Wrong(format!("connect: {error}")))?;
        Ok(Self { target, connection, request: String::new(), until })
    }

    /// `None` if the overload is over before the sign-in.
    async fn sign_in(&mut self, device: &Device, index: usize, seen: &mut Seen) -> Result<Option<Kept>, Failure> {
        self.target.create_challenge(&mut self.request, &device.external_id);
        let Some(body) = self.ask("create", 201, seen).await? else { return Ok(None) };
        let Created { id, number } = read("create", &body)?;
        device.pull(self.target, &mut self.request, 0)?;
        let Some(inbox) = self.ask("pull", 200, seen).await? else { return Ok(None) };
        let pending: Pending<'_> = read("pull", &inbox)?;
        let challenge = pending.challenges.iter().find(|challenge| challenge.id == id);
        let challenge = challenge.ok_or_else(|| Failure::Wrong("pull: the challenge is not there".to_owned()))?;
        device.approve(self.target, &mut self.request, id, challenge.challenge, number)?;
        // The very same bytes each time: what was recorded is told again.
        let Some(_) = self.ask("respond", 200, seen).await? else { return Ok(None) };
        self.target.await_challenge(&mut self.request, id);
        let Some(body) = self.ask("wait", 200, seen).await? else { return Ok(None) };
        match read("wait", &body)? {
            Standing { status: "approved" } => Ok(Some(Kept { id: id.to_owned(), device: index, body: body.clone() })),
            Standing { status } => Err(Failure::Wrong(format!("wait: the challenge is {status}"))),
        }
    }

    /// Sends what is in `request` until it is taken; `None` if the overload is over before.
    async fn ask(&mut self, step: &'static str, status: u16, seen: &mut Seen) -> Result<Option<Vec<u8>>, Failure> {
        let deadline = Duration::from_secs(u64::from(MAX_WAIT) + 10);
        loop {
            let begun = self.target.began.elapsed();
            if begun >= self.until {
                return Ok(None);
            }
            let exchange = tokio::time::timeout(deadline, self.connection.exchange(self.request.as_bytes()));
            let reply = exchange.await.map_err(|_| Failure::Wrong(format!("{step}: no reply in time")))?;
            let body = reply.as_ref().map(|reply| reply.body.to_vec()).unwrap_or_default();
            match expect::<serde::de::IgnoredAny>(step, status, reply) {
                Ok(_) => return Ok(Some(body)),
                Err(Failure::Shed { retry_after, .. }) => {
                    seen.shed.push(self.target.began.elapsed().saturating_sub(begun));
                    seen.longest_retry_after = seen.longest_retry_after.max(retry_after);
                }
                Err(failure) => return Err(failure),
            }
            pause_until(self.target.began, self.target.began.elapsed() + PATIENCE).await;
        }
    }
}

fn read<'b, T: serde::Deserialize<'b>>(step: &str, body: &'b [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|_| Failure::Wrong(format!("{step}: a reply of another shape")))
}

#[derive(Debug)]
struct Figures {
    before: Latencies,
    shed: Latencies,
    signed_in: Latencies,
    longest_retry_after: Duration,
    normal_again: Duration,
    peak: Option<Usage>,
    verified: u64,
}

impl Figures {
    fn to_json(&self, arguments: &Args) -> Value {
        json!({
            "flows": arguments.flows, "seconds": arguments.seconds, "verified": self.verified,
            "before_millis": self.before.to_json(), "shed": self.shed.len(), "shed_millis": self.shed.to_json(),
            "signed_in": self.signed_in.len(), "signed_in_millis": self.signed_in.to_json(),
            "longest_retry_after_seconds": self.longest_retry_after.as_secs(),
            "normal_again_millis": rounded(self.normal_again.as_secs_f64() * 1e3),
            "peak_resident_kib": self.peak.map(|usage| usage.peak_kib),
        })
    }

    fn to_text(&self, arguments: &Args) -> String {
        format!(
            "{} at once for {} s: {} signed in, {} times 503 with Retry-After (at most {:?}); normal again after {:.2?}; \
             {} results verified\n     before  {}\n        503  {}\n  signed in  {}",
            arguments.flows,
            arguments.seconds,
            self.signed_in.len(),
            self.shed.len(),
            self.longest_retry_after,
            self.normal_again,
            self.verified,
            self.before.to_text(),
            self.shed.to_text(),
            self.signed_in.to_text(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::false_server::{FalseServer, Fault};

    async fn overload_at(fault: Fault) -> Result<(), LoadError> {
        let server = FalseServer::start(fault).await;
        run(Args { server: server.arguments(), flows: 10, seconds: 1 }, true).await
    }

    #[tokio::test]
    async fn who_is_shed_asks_again_and_is_counted() {
        let server = FalseServer::start(Fault::Sheds).await;
        let target = Arc::new(Target::find(&server.arguments()).await.unwrap());
        let devices = Arc::new(population::enroll(&target, 10).await.unwrap());
        let until = target.began.elapsed() + Duration::from_secs(1);
        let seen = overload(&target, &devices, 10, until).await.unwrap();
        assert!(!seen.shed.is_empty() && !seen.signed_in.is_empty());
        assert_eq!(seen.longest_retry_after, Duration::from_secs(1));
    }

    #[tokio::test]
    async fn an_overload_that_sheds_nothing_or_errs_is_none() {
        assert!(overload_at(Fault::Nothing).await.unwrap_err().to_string().contains("no overload"));
        assert!(overload_at(Fault::Errors).await.is_err());
    }
}
