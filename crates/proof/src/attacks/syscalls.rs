//! `countersign-proof syscalls`: one approval, enrollment or revocation, and the server struck at one of its system calls.
//!
//! Everything is prepared; then strace is put to the server, the one step is taken, and at the K-th call of its kind the
//! server is killed before the call is made, or the call fails. K begins at 1 and grows until the step comes through
//! untouched: each call of each kind has been the last one then. strace counts the calls of each thread by itself, and
//! those of the server's own work beside the step too. What was struck is asked again, with the same bytes or key, until
//! it is certain; the whole history is judged. Nothing but the server is traced. To strike at one more kind of call: its
//! name in [`Fault::calls`]; to take one more step: a variant of [`Step`], its arms in `steps.rs`.

mod steps;
mod tracer;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use self::{
    steps::{Prepared, Step},
    tracer::Tracer,
};
use super::frame::On;
use crate::{
    ProofError,
    dice::Dice,
    flows::{Flow, World},
    report::Report,
    rig::{Db, Node, Rig, signal},
    system::{Stopwatch, pause},
};

/// So long writes go on to fail.
const TROUBLE: Duration = Duration::from_millis(1_500);
/// Once they do not any more, the server has so long to get over it by itself.
const RECOVERY: Duration = Duration::from_secs(30);
/// No step makes as many calls of one kind.
const MAX_CALLS: u32 = 2_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    on: On,
    /// What is being done.
    #[arg(long, value_enum)]
    step: Step,
    /// What happens to the server meanwhile.
    #[arg(long, value_enum, default_value_t = Fault::Kill)]
    fault: Fault,
    /// Only at every so manieth call.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
}

/// What happens at a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Fault {
    /// SIGKILL, before the call is made.
    Kill,
    /// The call fails once, as on a bad disk.
    Eio,
    /// The call and all later ones fail for a while, as on a full disk.
    Enospc,
}

impl Fault {
    /// The kinds of calls, by those that are counted as one.
    fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Kill => &["pwrite64", "fsync,fdatasync,ftruncate", "write", "writev", "sendto", "recvfrom"],
            Self::Eio | Self::Enospc => &["pwrite64", "fsync,fdatasync,ftruncate"],
        }
    }

    /// As strace wants it told.
    fn injection(self, calls: &str, at: u32) -> String {
        match self {
            Self::Kill => format!("inject={calls}:signal=KILL:when={at}"),
            Self::Eio => format!("inject={calls}:error=EIO:when={at}"),
            Self::Enospc => format!("inject={calls}:error=ENOSPC:when={at}+"),
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<Report, ProofError> {
    if args.fault != Fault::Kill && args.on.database == Db::Postgres {
        let why = "not attacked: on PostgreSQL it is PostgreSQL that writes the files; see the attack `postgres`";
        return Err(ProofError::Rig(why.to_owned()));
    }
    let mut report = args.on.report("syscalls");
    report.figure("step", format!("{:?}", args.step).to_lowercase());
    report.figure("fault", format!("{:?}", args.fault).to_lowercase());
    let rig = Rig::new(&args.on.common.rig, args.on.database).await?;
    let node = rig.start().await?;
    let world = World::begin(&rig, None).await?;
    let flow = Flow::new(Arc::clone(&world), 0, Dice::new(args.on.common.seed));
    let mut bench = Bench { rig: &rig, node, flow, step: args.step, fault: args.fault };
    for calls in args.fault.calls() {
        let mut at = 1;
        while at < MAX_CALLS && bench.round(calls, at, &mut report).await? {
            report.count(&format!("struck at {calls}"), 1);
            at = at.saturating_add(args.every);
        }
    }
    let node = bench.node;
    args.on.common.conclude(&rig, &world, None, [node], &mut report).await?;
    rig.finish().await?;
    Ok(report)
}

/// What the rounds of one step stand on.
struct Bench<'r> {
    rig: &'r Rig,
    node: Node,
    flow: Flow,
    step: Step,
    fault: Fault,
}

impl Bench<'_> {
    /// Takes the step once, struck at this call; whether it was.
    async fn round(&mut self, calls: &str, at: u32, report: &mut Report) -> Result<bool, ProofError> {
        let prepared = Prepared::make(self.step, &mut self.flow).await;
        let prepared = prepared.map_err(|why| ProofError::Rig(format!("a step could not be prepared: {why:?}")))?;
        let traced = self.node.id().ok_or_else(|| ProofError::Rig("the server has ended by itself".to_owned()))?;
        let files = self.files();
        let tracer = Tracer::attach(traced, calls, &self.fault.injection(calls, at), files).await?;
        let is_over = AtomicBool::new(false);
        let step = async {
            let violations = prepared.take(&mut self.flow).await;
            is_over.store(true, Ordering::Release);
            violations
        };
        let guard = Guard { rig: self.rig, fault: self.fault, is_over: &is_over };
        let (violations, guarded) = tokio::join!(step, guard.watch(&mut self.node, tracer, report));
        let was_struck = guarded?;
        let named = |what: String| format!("{calls} {at}: {what}");
        report.absorb(violations.into_iter().map(named));
        report.absorb(prepared.afterwards(&mut self.flow).await.into_iter().map(named));
        if was_struck && self.fault != Fault::Kill {
            // What was acknowledged after the error must also be on the disk.
            kill(&mut self.node).await?;
            self.node = self.rig.start().await?;
        }
        Ok(was_struck)
    }

    fn files(&self) -> [PathBuf; 2] {
        [self.rig.file("strace.txt"), self.rig.file("strace.err")]
    }
}

async fn kill(node: &mut Node) -> Result<(), ProofError> {
    if let Some(id) = node.id() {
        signal(id, "KILL").await?;
    }
    node.ended().await.map(drop)
}

/// Starts a server again that was killed, and ends the trouble.
struct Guard<'g> {
    rig: &'g Rig,
    fault: Fault,
    is_over: &'g AtomicBool,
}

impl Guard<'_> {
    /// Until the step is over; whether it was struck.
    async fn watch(&self, node: &mut Node, tracer: Tracer, report: &mut Report) -> Result<bool, ProofError> {
        let (began, mut tracer) = (Stopwatch::start(), Some(tracer));
        let (mut was_struck, mut was_helped) = (false, false);
        while !self.is_over.load(Ordering::Acquire) {
            if node.has_ended()? {
                was_struck |= detach(&mut tracer).await?;
                was_struck |= self.start_again(node, report).await?;
            }
            if self.fault != Fault::Kill && tracer.is_some() && began.elapsed() > TROUBLE {
                was_struck |= detach(&mut tracer).await?;
            }
            if !was_helped && began.elapsed() > TROUBLE + RECOVERY {
                was_helped = true;
                report.violated("a server did not get over it by itself");
                kill(node).await?;
            }
            pause(Duration::from_millis(5)).await;
        }
        was_struck |= detach(&mut tracer).await?;
        if node.has_ended()? {
            was_struck |= self.start_again(node, report).await?;
        }
        Ok(was_struck)
    }

    async fn start_again(&self, node: &mut Node, report: &mut Report) -> Result<bool, ProofError> {
        *node = self.rig.start().await?;
        report.count("restarts", 1);
        Ok(self.fault == Fault::Kill)
    }
}

/// Lets the server go; whether calls were made to fail.
async fn detach(tracer: &mut Option<Tracer>) -> Result<bool, ProofError> {
    match tracer.take() {
        Some(tracer) => tracer.detach().await,
        None => Ok(false),
    }
}
