//! `countersign-load waiters`: many held reads at once. What they cost the server in memory, and how soon each is woken.
//!
//! First the devices: each holds `GET /v1/device/challenges?wait=50`; then challenges are created for all of them, as
//! fast as the flows can. Then the callers: each holds `GET /v1/challenges/{id}?wait=50` for its own challenge; then the
//! devices approve all. A wake-up is timed from the call that causes it, begun and answered, to the held read returned.
//! Held reads whose time is up are asked again.
//!
//! A wake-up later than five seconds counts as lost: it was the held read's own end that brought the news, or nothing.
//! The run fails if one is lost, if an answer is not the expected one, or if one result does not verify.

mod figures;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign_simulator::process::{Process, Usage};
use tokio::task::JoinSet;

use self::figures::{Figures, Side};
use crate::{
    LoadError,
    device::Device,
    population,
    reply::{Created, Failure, Pending, Standing, expect},
    results::{self, Kept},
    say,
    sign_in::flow::answer,
    system::pause_until,
    target::{MAX_WAIT, Server, Target},
    wire::Connection,
};

/// Who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Who {
    Devices,
    Callers,
    Both,
}

/// How many.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: Server,
    /// Held reads of each side: as many users, devices and challenges. Each is a file here and one at the server.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    waiters: u32,
    /// How many wake at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    flows: u16,
    /// How many begin to wait in a second: all at once would be an overload, which is another command.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    ramp: u32,
    /// Who waits.
    #[arg(long, value_enum, default_value_t = Who::Both)]
    who: Who,
}

/// After the last read is sent: until the server holds it, and its memory is what holding takes.
const SETTLE: Duration = Duration::from_secs(2);
/// A held read is back after 50 s, woken or not; what takes longer than both together is gone.
const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) async fn run(arguments: Args, json: bool) -> Result<(), LoadError> {
    let target = Arc::new(Target::find(&arguments.server).await?);
    let count = usize::try_from(arguments.waiters).unwrap_or(usize::MAX);
    let devices = population::enroll(&target, count).await?;
    let causes = (0..count).map(|_| Cause::default()).collect();
    let world = Arc::new(World { target, devices, causes, created: (0..count).map(|_| OnceLock::new()).collect() });
    let usage = || arguments.server.pid.map(Process::Id).and_then(Usage::of);
    let mut figures = Figures { idle: usage(), ..Figures::default() };
    let flows = usize::from(arguments.flows);

    if arguments.who == Who::Callers {
        in_flows(&world, flows, Step::Create).await?;
    } else {
        let held = hold(&world, Step::Create, arguments.ramp).await?;
        let usage = usage();
        in_flows(&world, flows, Step::Create).await?;
        figures.devices =
            Some(Side::new(usage, &collect(held).await?, |waiter| world.causes.get(waiter).map(Cause::created)));
    }
    if arguments.who != Who::Devices {
        let held = hold(&world, Step::Approve, arguments.ramp).await?;
        let usage = usage();
        in_flows(&world, flows, Step::Approve).await?;
        let woken = collect(held).await?;
        figures.callers = Some(Side::new(usage, &woken, |waiter| world.causes.get(waiter).map(Cause::approved)));
        let kept: Vec<Kept> = woken.into_iter().filter_map(|woken| woken.kept).collect();
        figures.verified = results::verify(&world.target.issuer, &world.target.keys().await?, &world.devices, &kept)?;
    }
    say(&if json { figures.to_json(arguments.waiters).to_string() } else { figures.to_text(arguments.waiters) })?;
    figures.judge(count)
}

/// What the tasks share; the waiter of a number has the device, the challenge and the cause of that number.
#[derive(Debug)]
struct World {
    target: Arc<Target>,
    devices: Vec<Device>,
    /// The challenge of each: its id and number.
    created: Vec<OnceLock<(String, Option<String>)>>,
    causes: Vec<Cause>,
}

/// When each waiter's wake-up was caused: begun and answered, from the run's beginning.
#[derive(Debug, Default)]
struct Cause {
    created: OnceLock<(Duration, Duration)>,
    approved: OnceLock<(Duration, Duration)>,
}

impl Cause {
    fn created(&self) -> (Duration, Duration) {
        self.created.get().copied().unwrap_or_default()
    }

    fn approved(&self) -> (Duration, Duration) {
        self.approved.get().copied().unwrap_or_default()
    }
}

/// What wakes: a creation wakes the device, an approval the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Approve,
}

/// A waiter that has returned with what it waited for.
#[derive(Debug)]
struct Woken {
    waiter: usize,
    at: Duration,
    kept: Option<Kept>,
}

type Held = JoinSet<Result<Woken, Failure>>;

/// Lets all wait for this step, and returns when the server holds them.
async fn hold(world: &Arc<World>, step: Step, ramp: u32) -> Result<Held, LoadError> {
    let sent = Arc::new(AtomicUsize::new(0));
    let mut held = JoinSet::new();
    let (began, start) = (world.target.began, world.target.began.elapsed());
    for waiter in 0..world.devices.len() {
        // Ten at a time: the timer is as fine as a millisecond.
        if waiter.is_multiple_of(10) {
            let due = Duration::from_secs_f64(f64::from(u32::try_from(waiter).unwrap_or(u32::MAX)) / f64::from(ramp));
            pause_until(began, start + due).await;
        }
        let (world, sent) = (Arc::clone(world), Arc::clone(&sent));
        held.spawn(async move {
            let waiting = wait(&world, waiter, step, &sent);
            let waited = tokio::time::timeout(DEADLINE + SETTLE, waiting).await;
            waited.unwrap_or_else(|_| Err(Failure::Wrong("a waiter was never woken".to_owned())))
        });
    }
    while sent.load(Ordering::Relaxed) < world.devices.len() {
        if let Some(ended) = held.try_join_next() {
            let why = ended.map(|ended| ended.err().map(|failure| failure.to_string()));
            return Err(LoadError::Failed(format!("a waiter ended before it was woken: {why:?}")));
        }
        pause_until(began, began.elapsed() + Duration::from_millis(10)).await;
    }
    pause_until(began, began.elapsed() + SETTLE).await;
    Ok(held)
}

/// One waiter.
async fn wait(world: &World, waiter: usize, step: Step, sent: &AtomicUsize) -> Result<Woken, Failure> {
    let World { target, devices, created, .. } = world;
    let missing = || Failure::Wrong("a waiter without anything to wait for".to_owned());
    let device = devices.get(waiter).ok_or_else(missing)?;
    let at = if step == Step::Create { target.devices } else { target.callers };
    let mut connection =
        Connection::open(at).await.map_err(|error| Failure::Wrong(format!("a waiter's connection: {error}")))?;
    let mut request = String::new();
    let mut is_first = true;
    loop {
        match step {
            Step::Create => device.pull(target, &mut request, MAX_WAIT)?,
            Step::Approve => {
                let (id, _) = created.get(waiter).and_then(OnceLock::get).ok_or_else(missing)?;
                target.await_challenge(&mut request, id);
            }
        }
        connection.send(request.as_bytes()).await.map_err(|error| Failure::Wrong(format!("wait: {error}")))?;
        if std::mem::take(&mut is_first) {
            sent.fetch_add(1, Ordering::Relaxed);
        }
        let reply = connection.receive().await;
        let at = target.began.elapsed();
        let body = reply.as_ref().map(|reply| reply.body.to_vec()).unwrap_or_default();
        match step {
            Step::Create => {
                let pending: Pending<'_> = expect("wait", 200, reply)?;
                if !pending.challenges.is_empty() {
                    return Ok(Woken { waiter, at, kept: None });
                }
            }
            Step::Approve => {
                let (id, _) = created.get(waiter).and_then(OnceLock::get).ok_or_else(missing)?;
                match expect("wait", 200, reply)? {
                    Standing { status: "approved" } => {
                        let kept = Kept { id: id.clone(), device: waiter, body };
                        return Ok(Woken { waiter, at, kept: Some(kept) });
                    }
                    Standing { status: "pending" } => {}
                    Standing { status } => return Err(Failure::Wrong(format!("wait: the challenge is {status}"))),
                }
            }
        }
    }
}

/// Takes this step for all, in so many flows.
async fn in_flows(world: &Arc<World>, flows: usize, step: Step) -> Result<(), LoadError> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut running = JoinSet::new();
    for _ in 0..flows {
        let (world, next) = (Arc::clone(world), Arc::clone(&next));
        running.spawn(async move {
            let at = if step == Step::Create { world.target.callers } else { world.target.devices };
            let connection = Connection::open(at).await;
            let mut connection = connection.map_err(|error| Failure::Wrong(format!("connect: {error}")))?;
            let mut request = String::new();
            loop {
                let waiter = next.fetch_add(1, Ordering::Relaxed);
                let Some(device) = world.devices.get(waiter) else { return Ok::<_, Failure>(()) };
                take(&world, waiter, device, step, &mut connection, &mut request).await?;
            }
        });
    }
    while let Some(flow) = running.join_next().await {
        let flow = flow.map_err(|error| LoadError::Failed(error.to_string()))?;
        flow.map_err(|failure| LoadError::Failed(failure.to_string()))?;
    }
    Ok(())
}

async fn take(
    world: &World,
    waiter: usize,
    device: &Device,
    step: Step,
    connection: &mut Connection,
    request: &mut String,
) -> Result<(), Failure> {
    let World { target, created, causes, .. } = world;
    let (Some(challenge), Some(cause)) = (created.get(waiter), causes.get(waiter)) else { return Ok(()) };
    match step {
        Step::Create => {
            target.create_challenge(request, &device.external_id);
            let begun = target.began.elapsed();
            let reply: Created<'_> = expect("create", 201, connection.exchange(request.as_bytes()).await)?;
            let _first = cause.created.set((begun, target.began.elapsed()));
            let _first = challenge.set((reply.id.to_owned(), reply.number.map(str::to_owned)));
        }
        Step::Approve => {
            let Some((id, number)) = challenge.get() else { return Ok(()) };
            let answered = answer(target, device, connection, request, (id, number.as_deref())).await?;
            let _first = cause.approved.set((answered.responded, answered.replied));
        }
    }
    Ok(())
}

/// All waiters, once they have returned.
async fn collect(mut held: Held) -> Result<Vec<Woken>, LoadError> {
    let mut all = Vec::with_capacity(held.len());
    while let Some(woken) = held.join_next().await {
        let woken = woken.map_err(|error| LoadError::Failed(error.to_string()))?;
        all.push(woken.map_err(|failure| LoadError::Failed(failure.to_string()))?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::false_server::{FalseServer, Fault};

    async fn wait_at(fault: Fault, who: Who) -> Result<(), LoadError> {
        let server = FalseServer::start(fault).await;
        run(Args { server: server.arguments(), waiters: 20, flows: 4, ramp: 1_000, who }, true).await
    }

    #[tokio::test]
    async fn all_devices_and_all_callers_are_woken_with_what_they_wait_for() {
        wait_at(Fault::Nothing, Who::Both).await.unwrap();
        wait_at(Fault::Nothing, Who::Callers).await.unwrap();
    }

    #[tokio::test]
    async fn who_is_told_something_else_or_too_soon_fails_the_run() {
        for fault in [Fault::Hasty, Fault::Denies, Fault::OldEvidence] {
            assert!(wait_at(fault, Who::Callers).await.is_err(), "{fault:?}");
        }
    }
}
