//! `countersign-proof time`: the wall clock jumps, drifts backwards, or differs between nodes, while people sign in.
//!
//! The real server runs under libfaketime: its wall clock is moved, what has passed is not. The phones of these people
//! follow the server's time, as the protocol has them do after `clock-skew`: what is refused is refused for its time, not
//! for the phone's. PostgreSQL and the harness keep the true time: each jump on PostgreSQL is a node whose clock differs
//! from the database's. What must hold is asserted at each jump, and the whole history judged by the server's time when the
//! clock is right again. To add a thing that time must not do: a line of `Jump`.

mod clock;
mod jump;
mod skew;

use std::{path::PathBuf, sync::Arc, time::Duration};

use countersign_proto::timestamp::Timestamp;

use self::{clock::WrongClock, jump::Jump};
use super::{
    frame::On,
    judge::{Seen, judge_seen},
};
use crate::{
    ProofError,
    dice::Dice,
    flows::{Flow, Person, Turn, World},
    history::Call,
    report::Report,
    rig::{Db, Rig},
    system::{Stopwatch, pause},
};

/// Whatever has to work works within this.
const WORKS: Duration = Duration::from_secs(30);
/// The clock of a server that has answered may differ by so much from what it was set to.
const TOLERANCE_MILLIS: u64 = 30_000;
/// While it drifts: every so often it falls behind by half as much.
const DRIFT: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    on: On,
    /// How far the clock jumps each time, and then back again.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, default_value = "3600,-3600,31536000,-31536000")]
    jump_seconds: Vec<i64>,
    /// How long it drifts.
    #[arg(long, default_value_t = 5)]
    drift_seconds: u64,
    /// Sign-ins at two nodes whose clocks differ, for each hour's sign; on PostgreSQL.
    #[arg(long, default_value_t = 10)]
    skewed: u64,
    /// libfaketime, where it is not found by itself.
    #[arg(long, value_name = "FILE")]
    libfaketime: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> Result<Report, ProofError> {
    let mut report = args.on.report("time");
    let rig = Rig::new(&args.on.common.rig, args.on.database).await?;
    // A year ahead whatever ended is to be forgotten by the default: as it should, and then nobody could compare.
    let rig = rig.set("retention.challenge_days", "0").set("retention.enrollment_days", "0");
    let clock = WrongClock::new(rig.file("clock"), args.libfaketime.as_deref())?;
    let node = clock.start(&rig, rig.port).await?;
    let world = World::begin(&rig, None).await?;
    let dice = Dice::new(args.on.common.seed);
    let phones = clock.clone();
    let flow = Flow::with_clock(Arc::clone(&world), 0, dice, move || phones.now());
    let mut stage = Stage { clock, world: Arc::clone(&world), flow, calls: Vec::new() };
    stage.believes(&mut report).await?;
    for seconds in &args.jump_seconds {
        Jump::new(*seconds).run(&mut stage, &mut report).await?;
        report.count("jumps", 1);
    }
    stage.drift(Duration::from_secs(args.drift_seconds), &mut report).await?;
    let mut nodes = vec![node];
    if args.on.database == Db::Postgres {
        nodes.push(skew::run(&rig, &mut stage, args.libfaketime.as_deref(), args.skewed, &mut report).await?);
    }
    let calls = stage.all_calls();
    let seen = Seen { calls, told: None, checkpoint: None };
    judge_seen(&args.on.common.judge, &rig, &world, seen, &mut report).await?;
    args.on.common.end(&rig, nodes, &mut report).await?;
    rig.finish().await?;
    Ok(report)
}

/// One server, its clock, and somebody who signs in there.
struct Stage {
    clock: WrongClock,
    world: Arc<World>,
    flow: Flow,
    /// Until the clock was moved the last time; their times are the server's.
    calls: Vec<Call>,
}

impl Stage {
    /// Moves the clock so far ahead of the true time.
    fn set(&mut self, millis: i64) -> Result<(), ProofError> {
        self.keep_calls();
        Ok(self.clock.set(millis)?)
    }

    /// What was asked since the clock was moved, as the server has seen its times: the checks compare them with its own.
    fn keep_calls(&mut self) {
        let ahead = self.clock.ahead();
        self.keep_calls_by(|_| ahead);
    }

    /// The same, where it depends on the call which clock it was judged by, and how far that was ahead.
    fn keep_calls_by(&mut self, ahead: impl Fn(&Call) -> i64) {
        self.calls.extend(self.world.history.take().into_iter().map(|call| {
            let ahead = ahead(&call);
            let (invoked_at, returned_at) =
                (call.invoked_at.saturating_add(ahead), call.returned_at.saturating_add(ahead));
            Call { invoked_at, returned_at, ..call }
        }));
    }

    fn all_calls(&mut self) -> Vec<Call> {
        self.keep_calls();
        std::mem::take(&mut self.calls)
    }

    /// Whether the server's clock moves at all; otherwise nothing is attacked.
    async fn believes(&mut self, report: &mut Report) -> Result<(), ProofError> {
        let person = self.flow.enroll().await.map_err(unprepared)?;
        for millis in [90_000, 0] {
            self.set(millis)?;
            let asking = self.flow.ask(&person, 300).await.map_err(unprepared)?;
            let shown = self.flow.idp().read_json(&format!("/v1/challenges/{}", asking.id)).await?;
            let made_at: Option<Timestamp> =
                shown.get("created_at").cloned().and_then(|at| serde_json::from_value(at).ok());
            let differs = made_at.map(|at| at.as_millis().abs_diff(self.clock.now().as_millis()));
            if differs.is_none_or(|millis| millis > TOLERANCE_MILLIS) {
                let why = format!("not attacked: the server's clock cannot be moved here ({shown})");
                return Err(ProofError::Rig(why));
            }
        }
        report.figure("the server's clock moves", true);
        Ok(())
    }

    /// Somebody new enrolls and signs in; how long it took, or why not.
    async fn signs_in(&mut self) -> Result<Person, String> {
        let began = Stopwatch::start();
        let flow = &mut self.flow;
        let signs_in = async {
            let person = flow.enroll().await?;
            flow.sign_in(&person, true).await?;
            Ok::<_, Turn>(person)
        };
        match tokio::time::timeout(WORKS, signs_in).await {
            Ok(Ok(person)) => Ok(person),
            other => Err(format!("after {:?}: {other:?}", began.elapsed())),
        }
    }

    /// Whether the log gets an event of this kind about this.
    async fn is_logged(&self, kind: &str, id: &str) -> Result<bool, ProofError> {
        let began = Stopwatch::start();
        while began.elapsed() < WORKS {
            let export = self.flow.idp().read("/v1/audit/export").await?;
            if export.lines().any(|line| line.contains(kind) && line.contains(id)) {
                return Ok(true);
            }
            pause(Duration::from_millis(200)).await;
        }
        Ok(false)
    }

    /// The clock runs at half its speed: everybody goes on.
    async fn drift(&mut self, long: Duration, report: &mut Report) -> Result<(), ProofError> {
        let (began, mut behind) = (Stopwatch::start(), 0);
        while began.elapsed() < long {
            behind += i64::try_from(DRIFT.as_millis()).unwrap_or(i64::MAX) / 2;
            self.set(-behind)?;
            let next = Stopwatch::start();
            if let Err(why) = self.signs_in().await {
                report.violated(format!("nobody signs in while the clock drifts backwards: {why}"));
            }
            report.count("sign-ins while it drifts", 1);
            pause(DRIFT.saturating_sub(next.elapsed())).await;
        }
        self.set(0)
    }
}

fn unprepared(why: Turn) -> ProofError {
    ProofError::Rig(format!("nobody could be asked while the clock was right: {why:?}"))
}
