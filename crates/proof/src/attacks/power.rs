//! `countersign-proof power`: the power goes while people sign in, and the disk keeps what was synced, and of the rest what
//! it likes.
//!
//! The unmodified server runs under strace, which writes down everything that it does to the files of its SQLite database,
//! while flows go about their day, and it is killed and stopped a few times. From that record the files are made again as a
//! disk may have them after a power cut at this call or that (`power/medium.rs`); on each such image the real server is
//! started, has to work, and is judged by the calls that had been answered before the cut. A replay of the whole record
//! has to come to the very files that are there, or nothing was attacked. The control is a disk that says of each sync
//! that it is done and does not do it, as with `synchronous=OFF`: it has to lose what was acknowledged, each time this
//! runs. To cut at other moments: a throw in `cuts`.

mod medium;
mod record;
mod recorder;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};

use self::{
    medium::{Fates, Files, Medium, Temper},
    record::{Deed, Event},
    recorder::{Record, Recorder, told_by},
};
use super::{
    frame::Common,
    judge::{Seen, judge_seen},
};
use crate::{
    ProofError,
    dice::Dice,
    flows::Flow,
    history::{Call, End},
    report::Report,
    rig::{Db, Rig},
};

const DATABASE: &str = "countersign.db";
/// Somebody new enrolls and signs in on each image within this.
const WORKS: Duration = Duration::from_secs(30);
/// A disk that lies begins to do so that many calls before the cut.
const LIES: usize = 600;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Lives of the server that are recorded; all but the last end at a random time, by SIGKILL or SIGTERM.
    #[arg(long, default_value_t = 4)]
    lives: u64,
    /// How long a life is at most.
    #[arg(long, default_value_t = 4_000)]
    life_millis: u64,
    /// Flows at once.
    #[arg(long, default_value_t = 8)]
    flows: u32,
    /// How often the power goes.
    #[arg(long, default_value_t = 20)]
    cuts: u64,
    /// What the disk makes of each cut: so many images.
    #[arg(long, default_value_t = 2)]
    images: usize,
    /// Images of a disk that lies, in which losses must be found.
    #[arg(long, default_value_t = 3)]
    controls: u64,
    /// All images are of a disk that lies: its losses are told as violations.
    #[arg(long)]
    lying_disk: bool,
}

pub(crate) async fn run(args: Args) -> Result<Report, ProofError> {
    let mut report = args.common.report("power");
    let rig = Rig::new(&args.common.rig, Db::Sqlite).await?;
    let folder = rig.file("data");
    fs::create_dir(&folder)?;
    // As strace will name it.
    let folder = folder.canonicalize()?;
    let rig = rig.set("database.url", &format!("sqlite://{}", folder.join(DATABASE).display()));
    let mut dice = Dice::new(args.common.seed);
    let recorder = Recorder { rig: &rig, folder: folder.clone() };
    let record = recorder.record(&args, &mut dice, &mut report).await?;
    let mut bench = Bench { args: &args, rig: &rig, folder, record, images: 0 };
    let cuts = cuts(&bench.record.events, args.cuts, &mut dice);
    bench.cut(&cuts, args.lying_disk, &mut dice, &mut report).await?;
    bench.control(&mut dice, &mut report).await?;
    report.absorb(rig.panics()?.into_iter().map(|line| format!("a panic: {line}")));
    rig.finish().await?;
    Ok(report)
}

/// Before which calls the power goes: anywhere, or just before or after something has become safe.
fn cuts(events: &[Event], count: u64, dice: &mut Dice) -> Vec<usize> {
    let is_sync = |(index, event): (usize, &Event)| matches!(event.deed, Deed::Sync(_)).then_some(index);
    let syncs: Vec<usize> = events.iter().enumerate().filter_map(is_sync).collect();
    let last = events.len().saturating_sub(1);
    let mut cuts = Vec::new();
    for _ in 0..count {
        let cut = match dice.one_of(&syncs) {
            Some(sync) if dice.percent(50) => sync.saturating_add(usize::from(dice.percent(50))),
            _ => usize::try_from(dice.below(last as u64)).unwrap_or(0),
        };
        cuts.push(cut.min(last));
    }
    cuts.sort_unstable();
    cuts
}

/// What had been asked and told when the power went.
fn until_the_cut(calls: &[Call], cut: i64) -> Vec<Call> {
    let begun = calls.iter().filter(|call| call.invoked_at.saturating_mul(1_000) <= cut).cloned();
    let ended = begun.map(|call| {
        if told_by(call.returned_at) <= cut || call.end == End::NotAsked {
            return call;
        }
        Call { end: End::Unknown { why: "the power went".to_owned() }, ..call }
    });
    ended.collect()
}

/// Makes images of a record, and judges a server on each.
struct Bench<'r> {
    args: &'r Args,
    rig: &'r Rig,
    folder: PathBuf,
    record: Record,
    images: u32,
}

impl Bench<'_> {
    /// Cuts the power before each of these calls.
    async fn cut(
        &mut self,
        cuts: &[usize],
        lies: bool,
        dice: &mut Dice,
        report: &mut Report,
    ) -> Result<(), ProofError> {
        let (mut medium, mut played, mut fates) = (Medium::new(&self.record.before), 0, Fates::default());
        for (number, cut) in cuts.iter().enumerate() {
            if lies {
                (medium, played) = (Medium::new(&self.record.before), 0);
            }
            for (index, event) in self.record.events.iter().enumerate().take(*cut).skip(played) {
                if lies && index == cut.saturating_sub(LIES) {
                    medium.lie();
                }
                medium.play(event);
            }
            played = *cut;
            report.count("cuts", 1);
            report.highest("writes at stake at most", u64::try_from(medium.at_stake()).unwrap_or(u64::MAX));
            for image in 0..self.args.images {
                let temper = Temper::number(number * self.args.images + image);
                let files = medium.after_a_power_cut(temper, dice, &mut fates);
                let found = self.judge(&files, *cut, dice).await?;
                report.count("images", 1);
                if !found.is_empty() {
                    self.keep(&files, *cut)?;
                }
                report.absorb(found.into_iter().map(|what| format!("cut at {cut}, {temper:?}: {what}")));
            }
        }
        report.figure("writes kept", fates.kept);
        report.figure("lost", fates.lost);
        report.figure("torn", fates.torn);
        Ok(())
    }

    /// A disk that lies loses what was acknowledged, and that is found; or this attack finds nothing at all.
    async fn control(&mut self, dice: &mut Dice, report: &mut Report) -> Result<(), ProofError> {
        // Late enough for something to have been acknowledged.
        let (all, cuts) = (self.record.events.len(), cuts(&self.record.events, self.args.controls, dice));
        let cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.midpoint(all.saturating_sub(1))).collect();
        let mut found = Report::new("power");
        self.cut(&cuts, true, dice, &mut found).await?;
        let found = found.into_violations();
        let lost = found.iter().filter(|what| what.contains("acknowledged survives")).count();
        report.figure("acknowledged things that a disk that lies has lost", lost);
        if lost == 0 {
            report.violated(format!("the control: a disk that lies has lost nothing that was acknowledged: {found:?}"));
        }
        Ok(())
    }

    /// What is wrong with the server on these files.
    async fn judge(&mut self, files: &Files, cut: usize, dice: &mut Dice) -> Result<Vec<String>, ProofError> {
        for name in fs::read_dir(&self.folder)? {
            fs::remove_file(name?.path())?;
        }
        for (name, contents) in files {
            fs::write(self.folder.join(name), contents)?;
        }
        let node = match self.rig.start().await {
            Ok(node) => node,
            Err(why) => return Ok(vec![format!("the server does not start: {why}")]),
        };
        let mut report = Report::new("power");
        if let Err(why) = self.look(cut, dice.part(u64::from(self.images)), &mut report).await {
            report.violated(format!("the server cannot be judged: {why}"));
        }
        self.images += 1;
        node.kill().await?;
        Ok(report.into_violations())
    }

    async fn look(&self, cut: usize, dice: Dice, report: &mut Report) -> Result<(), ProofError> {
        report.absorb(self.integrity().await?);
        let world = &self.record.world;
        let cut = self.record.events.get(cut).map_or(0, |event| event.at);
        let mut witness = Flow::new(Arc::clone(world), self.args.flows + self.images, dice);
        let works = async {
            let person = witness.enroll().await?;
            witness.sign_in(&person, true).await
        };
        match tokio::time::timeout(WORKS, works).await {
            Ok(Ok(())) => {}
            other => report.violated(format!("somebody new cannot sign in: {other:?}")),
        }
        let mut calls = until_the_cut(&self.record.calls, cut);
        calls.extend(world.history.take());
        let checkpoint = self.record.checkpoints.iter().rfind(|(told, _)| *told <= cut);
        let checkpoint = checkpoint.map(|(_, checkpoint)| checkpoint.clone());
        judge_seen(&self.args.common.judge, self.rig, world, Seen { calls, told: None, checkpoint }, report).await
    }

    async fn integrity(&self) -> Result<Vec<String>, ProofError> {
        let failed = |error: sqlx::Error| ProofError::Rig(format!("the database cannot be looked at: {error}"));
        let options = SqliteConnectOptions::new().filename(self.folder.join(DATABASE)).read_only(true);
        let mut connection = options.connect().await.map_err(failed)?;
        let said: Vec<String> =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut connection).await.map_err(failed)?;
        Ok(said.into_iter().filter(|line| line != "ok").map(|line| format!("integrity_check: {line}")).collect())
    }

    /// For `--keep`.
    fn keep(&self, files: &Files, cut: usize) -> Result<(), ProofError> {
        for (name, contents) in files {
            fs::write(self.rig.file(&format!("cut-{cut}-image-{}-{name}", self.images)), contents)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Op;

    fn call(invoked_at: i64, returned_at: i64) -> Call {
        let end = End::Ok { status: 200, said: serde_json::json!({"status": "approved"}) };
        let (flow, op, subject) = (0, Op::Approve, "c".to_owned());
        let (device, note) = (None, None);
        Call { flow, op, subject, device, note, invoked: 1, returned: 2, invoked_at, returned_at, end }
    }

    #[test]
    fn only_what_was_told_before_the_cut_is_acknowledged() {
        let cut = 10_000;
        let of = |invoked_at, returned_at| until_the_cut(&[call(invoked_at, returned_at)], cut);
        assert!(matches!(of(8, 9)[0].end, End::Ok { .. }));
        assert!(matches!(of(8, 10)[0].end, End::Unknown { .. }), "it may have come after it");
        assert!(matches!(of(10, 11)[0].end, End::Unknown { .. }));
        assert_eq!(of(11, 12), []);
    }

    #[test]
    fn cuts_are_within_the_record_in_its_order() {
        let event = |number: i64| {
            let deed = if number % 3 == 0 { Deed::Sync("db".to_owned()) } else { Deed::Length("db".to_owned(), 0) };
            Event { at: number, deed }
        };
        let events: Vec<_> = (0..30).map(event).collect();
        let cuts = cuts(&events, 50, &mut Dice::new(1));
        assert_eq!(cuts.len(), 50);
        assert!(cuts.is_sorted() && cuts.iter().all(|cut| *cut < 30));
        assert!(super::cuts(&[], 1, &mut Dice::new(1)).iter().all(|cut| *cut == 0));
    }
}
