//! Runs the server under strace while people sign in, and keeps what was seen from both sides.
//!
//! Nothing but the server is traced. To record it in one more situation: a turn in `live`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    Args,
    medium::{Files, Medium},
    record::{self, Deed, Event},
};
use crate::{
    ProofError,
    attacks::frame::meanwhile,
    dice::Dice,
    flows::World,
    history::Call,
    report::Report,
    rig::{Node, Rig, until},
    system::{now, pause},
};

/// Between two looks at the log's checkpoint.
const LOOK: Duration = Duration::from_millis(200);

/// What was seen from both sides.
pub(super) struct Record {
    pub(super) world: Arc<World>,
    /// The files before.
    pub(super) before: Files,
    /// What was done to them.
    pub(super) events: Vec<Event>,
    /// What everybody asked, and was told.
    pub(super) calls: Vec<Call>,
    /// The log's checkpoints, and when they had been told, in Unix microseconds.
    pub(super) checkpoints: Vec<(i64, String)>,
}

/// Runs the server and writes down what it does.
pub(super) struct Recorder<'r> {
    pub(super) rig: &'r Rig,
    pub(super) folder: PathBuf,
}

impl Recorder<'_> {
    pub(super) async fn record(&self, args: &Args, dice: &mut Dice, report: &mut Report) -> Result<Record, ProofError> {
        // All that the command line writes comes first: the record knows of the server only.
        let node = self.rig.start().await?;
        let world = World::begin(self.rig, None).await?;
        node.stop().await?;
        let before = files(&self.folder)?;
        let flow_dice = dice.part(u64::from(u32::MAX));
        let lives = self.live(args, dice, report);
        let ((last, uncertain), checkpoints) =
            tokio::try_join!(meanwhile(&world, args.flows, &flow_dice, lives), watch(&world))?;
        self.end(last, true, report).await?;
        report.count("turns of which nothing is certain", uncertain);
        let mut events = Vec::new();
        for life in 0..args.lives {
            let text = fs::read_to_string(self.file(life))?;
            events.extend(record::parse(&text, &self.folder.display().to_string())?);
        }
        let calls = world.history.take();
        let mut medium = Medium::new(&before);
        events.iter().for_each(|event| medium.play(event));
        if medium.seen() != files(&self.folder)? {
            return Err(ProofError::Rig("the record does not come to the files that are there".to_owned()));
        }
        let syncs = events.iter().filter(|event| matches!(event.deed, Deed::Sync(_) | Deed::SyncFolder)).count();
        report.figure("calls to the disk", events.len());
        report.figure("of them syncs", syncs);
        report.figure("calls to the server", calls.len());
        Ok(Record { world, before, events, calls, checkpoints })
    }

    /// All lives but the end of the last.
    async fn live(&self, args: &Args, dice: &mut Dice, report: &mut Report) -> Result<Node, ProofError> {
        let mut life = 0;
        loop {
            let node = self.start(life).await?;
            pause(Duration::from_millis(args.life_millis / 4 + dice.below(args.life_millis * 3 / 4))).await;
            report.count("lives", 1);
            if life + 1 >= args.lives {
                return Ok(node);
            }
            self.end(node, dice.percent(50), report).await?;
            life += 1;
        }
    }

    async fn start(&self, life: u64) -> Result<Node, ProofError> {
        let output = self.file(life).display().to_string();
        let strace = ["strace", "-D", "-f", "--seccomp-bpf", "-ttt", "-y", "-xx", "-s", "67108864", "-o", &output];
        // Otherwise the signals that the runtime sends itself would fill the file.
        let words = [&strace[..], &["-e", "signal=none", "-e", record::CALLS]].concat();
        self.rig.start_under(&words, self.rig.port).await
    }

    /// Ends a life, well or not, and waits until strace has written all of it.
    async fn end(&self, node: Node, well: bool, report: &mut Report) -> Result<(), ProofError> {
        let tracer = node.id().and_then(tracer);
        let tracer = tracer.ok_or_else(|| ProofError::Rig("not attacked: strace may not trace here".to_owned()))?;
        if !well {
            node.kill().await?;
        } else if node.stop().await? != Some(0) {
            report.violated("a server that was asked to stop did not end well");
        }
        until("strace has written all", async || Ok(has_ended(tracer))).await
    }

    fn file(&self, life: u64) -> PathBuf {
        self.rig.file(&format!("strace-{life}.txt"))
    }
}

/// Somebody outside keeps the log's checkpoints.
async fn watch(world: &World) -> Result<Vec<(i64, String)>, ProofError> {
    let mut seen = Vec::new();
    while !world.is_over() {
        // Nobody answers while the server is away.
        if let Ok(checkpoint) = world.idp.read("/v1/audit/checkpoint").await {
            seen.push((told_by(now().as_millis()), checkpoint));
        }
        pause(LOOK).await;
    }
    Ok(seen)
}

/// Who traces this process.
fn tracer(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().parse().ok()?;
    (tracer != 0).then_some(tracer)
}

/// Whether a process is gone, or only waits for somebody to notice.
fn has_ended(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, state)| state.trim_start().starts_with('Z'))
}

/// A reply that had come in this millisecond had come by then, in microseconds.
pub(super) fn told_by(millis: i64) -> i64 {
    millis.saturating_add(1).saturating_mul(1_000)
}

/// The files of a folder, without the memory that is shared through one.
fn files(folder: &Path) -> Result<Files, ProofError> {
    let mut files = Files::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with("-shm") {
            files.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(files)
}
